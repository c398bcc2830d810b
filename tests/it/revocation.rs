//! Revoked tokens: by our own issuer, a signed list, plgd's tokens endpoint, introspection.

mod lists;
mod methods;
mod own_issuer;
mod queries;
mod trouble;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use m2m_sidecar::for_tests::domain::revoked::HashedClientId;
use serde_json::json;
use tokio::time::Instant;

use crate::support::authority::{Authority, Endpoint};
use crate::support::behave::{Behave, Gate};
use crate::support::client::{RawAnswer, get, post_form};
use crate::support::clock::MovableClock;
use crate::support::sidecar::Sidecar;
use crate::support::upstream::Upstream;
use crate::support::{logs, now, until};

/// A sidecar that trusts `authority`, with this text as its `revocation`.
async fn sidecar(authority: &Authority, revocation: &str, upstream: &Upstream) -> Sidecar {
    let yaml = yaml_of(authority, revocation, upstream);
    let builder =
        Sidecar::builder().secret_file("secret", "res:server", "a secret of 16 bytes: %+");
    let sidecar = builder.start(&yaml).await;
    authority.wait_for_fetches(Endpoint::Jwks, 1).await;
    sidecar
}

fn yaml_of(authority: &Authority, revocation: &str, upstream: &Upstream) -> String {
    format!(
        r#"
stateDir: "@DIR@/state"
probes: {{ listen: 127.0.0.1:0 }}
authorities: {{ users: {{ issuer: "{}", revocation: {revocation} }} }}
credentials:
  introspector: {{ tokenUrl: "{}", clientID: "res:server", clientSecretFile: "@DIR@/secret" }}
inbound:
  - {{ name: api, listen: 127.0.0.1:0, upstream: "{}", authorities: [users], audiences: any, rules: [{{ paths: ["/**"] }}] }}
"#,
        authority.issuer(),
        authority.token_url(),
        upstream.url()
    )
}

async fn ask(sidecar: &Sidecar, token: &str) -> RawAnswer {
    get(
        sidecar.address("api"),
        "/",
        &[("Authorization", &format!("Bearer {token}"))],
    )
    .await
}

fn outcome(answer: &RawAnswer) -> (u16, String) {
    (
        answer.status,
        answer.header("x-m2m-reason").unwrap_or("-").to_owned(),
    )
}

async fn outcome_of(sidecar: &Sidecar, token: &str) -> (u16, String) {
    outcome(&ask(sidecar, token).await)
}

fn is(status: u16, reason: &str) -> (u16, String) {
    (status, reason.to_owned())
}

/// Repeats the request until the outcome is this one.
async fn becomes(sidecar: &Sidecar, token: &str, expected: (u16, String)) {
    until(&format!("{expected:?}"), async || {
        outcome_of(sidecar, token).await == expected
    })
    .await;
}

const UUIDS: [&str; 2] = [
    "11111111-2222-4333-8444-555555555555",
    "99999999-2222-4333-8444-555555555555",
];

/// A token that the list revokes and one that it does not, once both have their outcome.
async fn revoked_and_good(authority: &Authority, sidecar: &Sidecar) -> (String, String) {
    authority.revoke("one");
    let day = 24 * 3600;
    let revoked = authority.token().claim("jti", "one").expires_in(day).sign();
    let good = authority.token().claim("jti", "two").expires_in(day).sign();
    becomes(sidecar, &revoked, is(401, "revoked")).await;
    assert_eq!(outcome_of(sidecar, &good).await, is(200, "-"));
    (revoked, good)
}

async fn with_plgd(upstream: &Upstream) -> (Authority, Sidecar) {
    let authority = Authority::start();
    authority.advertise("plgd_tokens_endpoint", "/api/v1/tokens");
    let sidecar = sidecar(&authority, "auto", upstream).await;
    (authority, sidecar)
}
