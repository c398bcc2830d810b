//! The ends of a token: revocation by every way, a withdrawn key, a disabled client.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::*;
use crate::support::client::{post_form, request};
use crate::support::keys::{Alg, TestKey};
use crate::support::logs;

const SECRET: &str = "legacy-secret-of-24-bytes";
const ADMIN: &str = "an-admin-token-of-the-tests";

/// A sidecar with an issuer and its listener.
async fn own_issuer(upstream: &ManualUpstream) -> Sidecar {
    let yaml = format!(
        r#"
stateDir: "@DIR@"
store: {{ url: "sqlite:@DIR@/m2m.db" }}
admin: {{ listen: 127.0.0.1:0, tokenFile: "@DIR@/admin" }}
issuer: {{ url: http://issuer.test, listen: 127.0.0.1:0 }}
authorities: {{ self: {{ issuer: http://issuer.test }} }}
inbound:
  - {{ name: api, listen: 127.0.0.1:0, upstream: "{}", authorities: [self], audiences: any,
      rules: [{{ paths: ["/**"] }}] }}
"#,
        upstream.url()
    );
    let builder = Sidecar::builder().secret_file("admin", "admin", ADMIN);
    builder.start(&yaml).await
}

async fn admin(sidecar: &Sidecar, method: &str, target: &str, body: serde_json::Value) {
    let bearer = format!("Bearer {ADMIN}");
    let headers = [
        ("Authorization", bearer.as_str()),
        ("Content-Type", "application/json"),
    ];
    let address = sidecar.address("admin");
    let body = body.to_string();
    let answer = request(method, address, target, &headers, body.as_bytes()).await;
    assert!(answer.status < 300, "{}", answer.text());
}

async fn issue(sidecar: &Sidecar) -> (String, String) {
    let basic = format!("Basic {}", STANDARD.encode(format!("legacy:{SECRET}")));
    let grant = [("grant_type", "client_credentials")];
    let headers = [("Authorization", basic.as_str())];
    let answer = post_form(sidecar.address("issuer"), "/oauth/token", &grant, &headers).await;
    let token = answer.json()["access_token"]
        .as_str()
        .expect("a token")
        .to_owned();
    logs::remember_secret(&token);
    (token, basic)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_own_issuer_ends_streams_by_revoking_a_token_or_disabling_its_client() {
    let upstream = ManualUpstream::start();
    let sidecar = own_issuer(&upstream).await;
    logs::remember_client_secret("legacy", SECRET);
    let client = json!({
        "client_id": "legacy", "client_secret": SECRET, "grant_types": ["client_credentials"]
    });
    admin(&sidecar, "POST", "/clients", client).await;
    let (token, basic) = issue(&sidecar).await;
    let (kept, _) = issue(&sidecar).await;
    let address = sidecar.address("api");
    let stream = websocket(address, &upstream, &token).await;
    let long = response(
        address,
        &upstream,
        &token,
        ("Content-Length: 9\r\n", "part"),
    )
    .await;
    let mut other = websocket(address, &upstream, &kept).await;
    let headers = [("Authorization", basic.as_str())];
    let revoked = [("token", token.as_str())];
    let answer = post_form(
        sidecar.address("issuer"),
        "/oauth/revoke",
        &revoked,
        &headers,
    )
    .await;
    assert_eq!(answer.status, 200);
    assert_eq!(stream.closes().await, "revoked");
    long.breaks().await;
    other.talk().await;
    admin(
        &sidecar,
        "PATCH",
        "/clients/legacy",
        json!({ "disabled": true }),
    )
    .await;
    assert_eq!(other.closes().await, "revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authority_is_asked_again_about_the_tokens_of_open_streams() {
    let world = world("revocation: { kind: plgd, maxAge: 1s }").await;
    let [revoked, kept] = ["0001", "0002"].map(|end| {
        let jti = format!("0d7c0c29-4a42-4a2e-9d4e-2f2a3f6f{end}");
        let token = world.authority.token().claim("jti", jti.as_str()).sign();
        (jti, token)
    });
    let stream = world.websocket("api", &revoked.1).await;
    let mut other = world.websocket("api", &kept.1).await;
    world.authority.revoke(&revoked.0);
    assert_eq!(stream.closes().await, "revoked");
    other.talk().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_key_ends_the_streams_of_its_tokens() {
    let (authority, upstream) = (Authority::start(), ManualUpstream::start());
    let key = TestKey::generate("other", Alg::ES256);
    let set = |keys: Vec<serde_json::Value>| json!({ "keys": keys }).to_string();
    let first = authority.jwks()["keys"][0].clone();
    let yaml = format!(
        r#"
stateDir: "@DIR@"
authorities: {{ users: {{ issuer: "{}", jwksFile: "@DIR@/jwks.json", revocation: none }} }}
inbound:
  - {{ name: api, listen: 127.0.0.1:0, upstream: "{}", authorities: [users], audiences: any,
      rules: [{{ paths: ["/**"] }}] }}
"#,
        authority.issuer(),
        upstream.url()
    );
    let both = set(vec![first, key.public_jwk()]);
    let sidecar = Sidecar::builder()
        .file("jwks.json", both)
        .start(&yaml)
        .await;
    let address = sidecar.address("api");
    let stream = websocket(address, &upstream, &authority.token().sign()).await;
    let mut other = websocket(
        address,
        &upstream,
        &authority.token().signed_by(&key).sign(),
    )
    .await;
    std::fs::write(sidecar.path("jwks.json"), set(vec![key.public_jwk()])).unwrap();
    assert_eq!(stream.closes().await, "unknown_kid");
    other.talk().await;
}
