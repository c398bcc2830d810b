//! The plgd profile: plgd's own tests of its M2M server, replayed over real sockets, and its
//! weaknesses, absent.
//!
//! The fixture is plgd's: two clients of owner "1", users whose tokens say who they are in the
//! owner claim.

mod cases;
mod claims_of_users;
mod consumers;
mod errors;
mod exchange;
mod forms;
mod front;
mod hub;
mod imported;
mod lists;
mod owners;
mod replay;
mod sizes;
mod slashes;
mod towards;
mod weaknesses;

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::issued::{claims, database};
use crate::support::authority::{Authority, Endpoint};
use crate::support::client::{RawAnswer, get, post_form, request};
use crate::support::clock::MovableClock;
use crate::support::logs;
use crate::support::sidecar::{Sidecar, SidecarBuilder};
use crate::support::upstream::Upstream;

const OWNER: &str = "https://plgd.dev/owner";
const SECRET: &str = "serviceClientSecret";
const TOKEN: &str = "/m2m-oauth-server/oauth/token";
const TOKENS: &str = "/m2m-oauth-server/api/v1/tokens";

/// The start of the configurations of these tests: the issuer up to its owner claim.
const ISSUER: &str = r#"
stateDir: "@DIR@"
store: { url: "sqlite:@DIR@/m2m.db" }
issuer:
  url: http://issuer.test/m2m-oauth-server
  listen: 127.0.0.1:0
  profile: plgd
  ownerClaim: https://plgd.dev/owner"#;

const YAML: &str = r#"
  deviceIDClaim: https://plgd.dev/deviceId
  authorities: [self, users]
  clients:
    - { id: serviceClient, secretFile: "@DIR@/secret", owner: "1", accessTokenLifetime: 0s,
        insertTokenClaims: { hardcodedClaim: true, sub: never } }
    - { id: dayClient, secretFile: "@DIR@/secret", owner: "1", accessTokenLifetime: 24h,
        allowedAudiences: [x, y], allowedScopes: [a, b] }
    - { id: twoClient, secretFile: "@DIR@/secret", owner: "2" }
    - id: JWTPrivateKeyClient
      accessTokenLifetime: 24h
      jwtPrivateKey: { authorities: [users] }
authorities:
  self: { issuer: http://issuer.test/m2m-oauth-server, requireExpiry: false }
  users: { issuer: "@USERS@" }
inbound:
  - { name: api, listen: 127.0.0.1:0, upstream: "@UPSTREAM@", authorities: [self], audiences: any,
      rules: [{ paths: ["/**"] }] }
"#;

struct World {
    sidecar: Sidecar,
    users: Authority,
    clock: Arc<MovableClock>,
    _upstream: Upstream,
}

fn with_secrets(builder: SidecarBuilder) -> SidecarBuilder {
    ["serviceClient", "dayClient", "twoClient"]
        .into_iter()
        .fold(builder, |builder, id| {
            builder.secret_file("secret", id, SECRET)
        })
}

impl World {
    async fn start() -> Self {
        let (users, upstream, clock) = (Authority::start(), Upstream::start(), MovableClock::now());
        let yaml = [ISSUER, YAML]
            .concat()
            .replace("@USERS@", &users.issuer())
            .replace("@UPSTREAM@", &upstream.url());
        let sidecar = with_secrets(Sidecar::builder())
            .clock(clock.clone())
            .start(&yaml)
            .await;
        users.wait_for_fetches(Endpoint::Jwks, 1).await;
        Self {
            sidecar,
            users,
            clock,
            _upstream: upstream,
        }
    }

    /// A user's token.
    fn user(&self, owner: &str) -> String {
        format!("Bearer {}", self.users.token().claim(OWNER, owner).sign())
    }

    async fn token(&self, client: &str, form: &[(&str, &str)]) -> RawAnswer {
        let form = [&[("grant_type", "client_credentials")], form].concat();
        let address = self.sidecar.address("issuer");
        remember(post_form(address, TOKEN, &form, &[("Authorization", &basic(client))]).await)
    }

    async fn issue(&self, client: &str, form: &[(&str, &str)]) -> String {
        let answer = self.token(client, form).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["access_token"]
            .as_str()
            .expect("a token")
            .to_owned()
    }

    async fn list(&self, authorization: &str, query: &str) -> Vec<Value> {
        let answer = self
            .tokens(
                "GET",
                authorization,
                query,
                &[("Accept", "application/protojson")],
                b"",
            )
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let text = answer.text();
        text.lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["result"].clone())
            .collect()
    }

    async fn tokens(
        &self,
        method: &str,
        authorization: &str,
        query: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> RawAnswer {
        let target = if query.is_empty() {
            TOKENS.to_owned()
        } else {
            format!("{TOKENS}?{query}")
        };
        let headers = [&[("Authorization", authorization)], headers].concat();
        request(
            method,
            self.sidecar.address("issuer"),
            &target,
            &headers,
            body,
        )
        .await
    }

    async fn answer_to(&self, token: &str) -> (u16, String) {
        let authorization = format!("Bearer {token}");
        let answer = get(
            self.sidecar.address("api"),
            "/",
            &[("Authorization", &authorization)],
        )
        .await;
        (
            answer.status,
            answer.header("x-m2m-reason").unwrap_or("-").to_owned(),
        )
    }
}

fn basic(client: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{client}:{SECRET}")))
}

fn remember(answer: RawAnswer) -> RawAnswer {
    if answer.status == 200 {
        for name in ["access_token", "accessToken"] {
            if let Some(token) = answer.json()[name].as_str() {
                logs::remember_secret(token);
            }
        }
    }
    answer
}

fn jti(token: &str) -> String {
    claims(token)["jti"].as_str().expect("a jti").to_owned()
}

fn ids(tokens: &[Value]) -> Vec<&str> {
    let mut ids: Vec<_> = tokens
        .iter()
        .map(|token| token["id"].as_str().expect("an id"))
        .collect();
    ids.sort_unstable();
    ids
}

/// Every error of the tokens API is a google.rpc.Status and nothing else.
fn assert_status(answer: &RawAnswer, http: u16, code: u64) {
    assert_eq!(answer.status, http, "{}", answer.text());
    let body = answer.json();
    let members: Vec<_> = body
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(members, ["code", "details", "message"]);
    assert_eq!(
        (&body["code"], &body["details"]),
        (&json!(code), &json!([]))
    );
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
}
