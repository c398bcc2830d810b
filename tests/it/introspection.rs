//! Opaque tokens: the authority is asked what they are.

mod claims;
mod commands;
mod faults;
mod flood;
mod streams;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::support::authority::{Authority, Endpoint};
use crate::support::behave::{Behave, Gate};
use crate::support::client::{RawAnswer, get};
use crate::support::clock::MovableClock;
use crate::support::sidecar::{Sidecar, SidecarBuilder};
use crate::support::upstream::Upstream;
use crate::support::{AUDIENCE, logs, until};

const CLIENT: &str = "res:server";
const SECRET: &str = "a secret of 16 bytes: %+";
const TOKEN: &str = "ory_at_Zm9vYmFyYmF6.cXV4cXV1eA";

struct World {
    authority: Authority,
    upstream: Upstream,
    sidecar: Sidecar,
    clock: Arc<MovableClock>,
}

/// The configuration, with these further keys of `introspection`.
fn yaml(authority: &Authority, upstream: &str, keys: &str) -> String {
    let issuer = authority.issuer();
    format!(
        r#"
stateDir: "@DIR@/state"
probes: {{ listen: 127.0.0.1:0 }}
admin: {{ listen: 127.0.0.1:0, tokenFile: "@DIR@/admin" }}
authorities:
  users:
    issuer: "{issuer}"
    introspection: {{ url: "{issuer}/introspect", {keys} }}
inbound:
  - name: api
    listen: 127.0.0.1:0
    upstream: "{upstream}"
    authorities: [users]
    audiences: [{AUDIENCE}]
    identityHeaders:
      x-m2m-subject: sub
      x-m2m-client-id: client_id
      x-m2m-issuer: iss
      x-m2m-tenant: ext.tenant
    rules:
      - {{ paths: ["/blue/**"], scopes: ["devices:read"], claims: {{ ext.tenant: [blue] }} }}
      - {{ paths: ["/write/**"], scopes: ["devices:write"] }}
      - {{ paths: ["/**"] }}
"#
    )
}

fn builder() -> SidecarBuilder {
    Sidecar::builder()
        .secret_file("secret", CLIENT, SECRET)
        .secret_file("admin", "admin", "an-admin-token-of-the-tests")
}

const OWN_CLIENT: &str = "clientId: \"res:server\", secretFile: \"@DIR@/secret\"";

async fn world(keys: &str) -> World {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    authority.register_client(CLIENT, SECRET);
    let clock = MovableClock::now();
    let keys = format!("{OWN_CLIENT}, {keys}");
    let builder = builder().clock(clock.clone());
    let yaml = yaml(&authority, &upstream.url(), &keys);
    let sidecar = builder.start(&yaml).await;
    World {
        authority,
        upstream,
        sidecar,
        clock,
    }
}

async fn ask(sidecar: &Sidecar, path: &str, token: &str) -> RawAnswer {
    let bearer = format!("Bearer {token}");
    get(
        sidecar.address("api"),
        path,
        &[("Authorization", bearer.as_str())],
    )
    .await
}

fn outcome(answer: &RawAnswer) -> (u16, String) {
    let reason = answer.header("x-m2m-reason").unwrap_or("-");
    (answer.status, reason.to_owned())
}

fn is(status: u16, reason: &str) -> (u16, String) {
    (status, reason.to_owned())
}

impl World {
    async fn outcome(&self, path: &str, token: &str) -> (u16, String) {
        outcome(&ask(&self.sidecar, path, token).await)
    }

    fn questions(&self) -> usize {
        self.authority.fetches(Endpoint::Introspection)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_is_used_for_its_time_and_no_longer() {
    let world = world("cache: 20s").await;
    world.authority.opaque(TOKEN, json!({}));
    for _ in 0..5 {
        assert_eq!(world.outcome("/", TOKEN).await, is(200, "-"));
    }
    assert_eq!(world.questions(), 1);
    // As RFC 7662 §2.1 has it, with the credentials of the configuration.
    let asked = &world.authority.revocation_questions()[0];
    let form = [("token", TOKEN), ("token_type_hint", "access_token")];
    let form = form.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(asked.form, form);
    world.clock.forward(Duration::from_secs(21));
    assert_eq!(world.outcome("/", TOKEN).await, is(200, "-"));
    assert_eq!(world.questions(), 2);
    world.authority.end_opaque(TOKEN);
    assert_eq!(
        world.outcome("/", TOKEN).await,
        is(200, "-"),
        "not asked yet"
    );
    world.clock.forward(Duration::from_secs(21));
    assert_eq!(world.outcome("/", TOKEN).await, is(401, "inactive"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_not_used_beyond_the_end_of_the_token() {
    let world = world("cache: 5m").await;
    let exp = crate::support::now() + 30;
    world.authority.opaque(TOKEN, json!({ "exp": exp }));
    assert_eq!(world.outcome("/", TOKEN).await, is(200, "-"));
    world.clock.forward(Duration::from_secs(40));
    world.authority.end_opaque(TOKEN);
    assert_eq!(world.outcome("/", TOKEN).await, is(401, "inactive"));
    assert_eq!(world.questions(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_with_one_token_share_one_question() {
    let world = world("cache: 20s").await;
    let gate = Gate::closed();
    let hold = Behave::Hold(gate.clone());
    world.authority.behave(Endpoint::Introspection, hold);
    world.authority.opaque(TOKEN, json!({}));
    for (token, expected) in [
        (TOKEN, is(200, "-")),
        ("opaque-unknown", is(401, "inactive")),
    ] {
        let before = world.questions();
        let asked = (0..50).map(|_| world.outcome("/", token));
        let asked = futures_util::future::join_all(asked);
        let (answers, ()) = tokio::join!(asked, async {
            let endpoint = Endpoint::Introspection;
            world.authority.wait_for_fetches(endpoint, before + 1).await;
            gate.open();
        });
        assert!(answers.iter().all(|it| *it == expected), "{answers:?}");
        assert_eq!(world.questions(), before + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_keeps_the_answers_and_a_changed_secret_takes_effect() {
    let mut world = world("cache: 20s").await;
    world.authority.opaque(TOKEN, json!({}));
    assert_eq!(world.outcome("/", TOKEN).await, is(200, "-"));
    let same = yaml(
        &world.authority,
        &world.upstream.url(),
        &format!("{OWN_CLIENT}, cache: 20s"),
    );
    let more = same.replace("[blue]", "[blue, green]");
    world.sidecar.replace(&more).await.expect("a valid change");
    assert_eq!(world.outcome("/", TOKEN).await, is(200, "-"));
    assert_eq!(world.questions(), 1);

    world
        .authority
        .register_client(CLIENT, "another secret of the client");
    world.clock.forward(Duration::from_secs(21));
    let refused = is(503, "introspection_credentials");
    assert_eq!(world.outcome("/", TOKEN).await, refused);
    let file = world.sidecar.path("secret");
    std::fs::write(file, "another secret of the client\n").expect("a writable directory");
    until("the new secret is used", async || {
        world.outcome("/", TOKEN).await == is(200, "-")
    })
    .await;
}
