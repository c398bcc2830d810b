//! Issued tokens: the registry, introspection, refresh tokens. Over real sockets.

mod introspection;
mod refresh;
mod registry;

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, SqliteConnection};

use crate::support::client::{RawAnswer, get, post_form};
use crate::support::clock::MovableClock;
use crate::support::logs;
use crate::support::sidecar::{Sidecar, SidecarBuilder};
use crate::support::upstream::Upstream;

/// `plain` has no refresh tokens; `fresh` and `other` do; `devices` is a resource server in `aud`;
/// `auditor` may introspect all.
pub(crate) const YAML: &str = r#"
stateDir: "@DIR@"
store: { url: "sqlite:@DIR@/m2m.db" }
issuer:
  url: http://issuer.test
  listen: 127.0.0.1:0
  accessTokenLifetime: 15m
  clients:
    - { id: plain, secretFile: "@DIR@/secret", owner: "7", allowedScopes: [a, b],
        allowedAudiences: [devices, hub] }
    - { id: fresh, secretFile: "@DIR@/secret", owner: "7", allowedScopes: [a, b],
        allowedAudiences: [devices, hub], allowedGrantTypes: [client_credentials, refresh_token] }
    - { id: other, secretFile: "@DIR@/secret", allowedGrantTypes: [client_credentials,
        refresh_token] }
    - { id: devices, secretFile: "@DIR@/secret" }
    - { id: auditor, secretFile: "@DIR@/secret", allowIntrospection: true }
authorities: { self: { issuer: http://issuer.test } }
inbound:
  - { name: api, listen: 127.0.0.1:0, upstream: "@UPSTREAM@", authorities: [self], audiences: any,
      rules: [{ paths: ["/**"] }] }
"#;

pub(crate) const SECRET: &str = "a-secret-of-all-clients-here";

pub(crate) fn builder() -> SidecarBuilder {
    with_secret(Sidecar::builder())
}

fn with_secret(builder: SidecarBuilder) -> SidecarBuilder {
    ["plain", "fresh", "other", "devices", "auditor"]
        .into_iter()
        .fold(builder, |builder, id| {
            builder.secret_file("secret", id, SECRET)
        })
}

/// A sidecar whose time the test moves.
async fn world(upstream: &Upstream) -> (Sidecar, Arc<MovableClock>) {
    let clock = MovableClock::now();
    let sidecar = builder()
        .clock(clock.clone())
        .start(&YAML.replace("@UPSTREAM@", &upstream.url()))
        .await;
    (sidecar, clock)
}

pub(crate) async fn post(
    sidecar: &Sidecar,
    path: &str,
    client: &str,
    form: &[(&str, &str)],
) -> RawAnswer {
    let basic = format!("Basic {}", STANDARD.encode(format!("{client}:{SECRET}")));
    let answer = post_form(
        sidecar.address("issuer"),
        path,
        form,
        &[("Authorization", basic.as_str())],
    )
    .await;
    if answer.status == 200 && path == "/oauth/token" {
        for name in ["access_token", "refresh_token"] {
            if let Some(token) = answer.json()[name].as_str() {
                logs::remember_secret(token);
            }
        }
    }
    answer
}

async fn issue(sidecar: &Sidecar, client: &str, form: &[(&str, &str)]) -> Value {
    let form = [&[("grant_type", "client_credentials")], form].concat();
    let answer = post(sidecar, "/oauth/token", client, &form).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn text<'a>(answer: &'a Value, member: &str) -> &'a str {
    answer[member]
        .as_str()
        .unwrap_or_else(|| panic!("no {member} in {answer}"))
}

/// The claims of an access token.
pub(crate) fn claims(token: &str) -> Value {
    let payload = URL_SAFE_NO_PAD
        .decode(token.split('.').nth(1).expect("a JWT"))
        .expect("base64url");
    serde_json::from_slice(&payload).expect("JSON")
}

/// The inbound listener's answer to a token: status and reason.
async fn answer_to(sidecar: &Sidecar, token: &str) -> (u16, String) {
    let authorization = format!("Bearer {token}");
    let answer = get(
        sidecar.address("api"),
        "/",
        &[("Authorization", &authorization)],
    )
    .await;
    (
        answer.status,
        answer.header("x-m2m-reason").unwrap_or("-").to_owned(),
    )
}

fn is(status: u16, reason: &str) -> (u16, String) {
    (status, reason.to_owned())
}

/// The sidecar's database, as another process opens it.
pub(crate) async fn database(sidecar: &Sidecar) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(sidecar.path("m2m.db"));
    SqliteConnection::connect_with(&options)
        .await
        .expect("the sidecar's database")
}

async fn count(database: &mut SqliteConnection, table: &'static str) -> i64 {
    let query = match table {
        "tokens" => "SELECT count(*) FROM tokens",
        "refresh_tokens" => "SELECT count(*) FROM refresh_tokens",
        other => panic!("{other}"),
    };
    sqlx::query_scalar(query)
        .fetch_one(database)
        .await
        .expect("a count")
}
