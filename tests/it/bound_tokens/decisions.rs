//! Bound tokens in the questions of a proxy that forwards itself.

use serde_json::json;

use super::outcome;
use super::proof::{Draft, thumbprint};
use crate::support::authority::{Authority, Endpoint};
use crate::support::client::get;
use crate::support::keys::{Alg, TestKey};
use crate::support::sidecar::Sidecar;
use crate::support::{AUDIENCE, now};

#[tokio::test(flavor = "multi_thread")]
async fn the_proof_of_the_original_request_is_checked() {
    let (authority, key) = (Authority::start(), TestKey::generate("client", Alg::ES256));
    let yaml = format!(
        r#"
authorities: {{ users: {{ issuer: "{}" }} }}
stateDir: "@DIR@"
decisions:
  - name: api
    listen: 127.0.0.1:0
    from: forwarded
    authorities: [users]
    audiences: [{AUDIENCE}]
    rules: [{{ paths: ["/**"] }}]
"#,
        authority.issuer()
    );
    let sidecar = Sidecar::start(&yaml).await;
    authority.wait_for_fetches(Endpoint::Jwks, 1).await;
    let bound = |cnf| authority.token().claim("cnf", cnf).sign();
    let of_key = bound(json!({ "jkt": thumbprint(&key) }));
    let of_certificate = bound(json!({ "x5t#S256": thumbprint(&key) }));
    let url = "https://api.example/devices/1";
    let proof = |method| Draft::new(&key, method, url, &of_key, now()).sign();
    let (right, wrong) = (proof("GET"), proof("POST"));
    let (dpop, bearer) = (format!("DPoP {of_key}"), format!("Bearer {of_certificate}"));
    for (authorization, proof, expected) in [
        (&dpop, &right, (200, "-")),
        (&dpop, &right, (401, "proof_replayed")),
        (&dpop, &wrong, (401, "proof_invalid")),
        (&bearer, &right, (401, "certificate_binding")),
    ] {
        let fields = [
            ("Authorization", authorization.as_str()),
            ("DPoP", proof),
            ("X-Forwarded-Method", "GET"),
            ("X-Forwarded-Uri", "/devices/1?a=b"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "api.example"),
        ];
        let answer = get(sidecar.address("api"), "/", &fields).await;
        assert_eq!(outcome(&answer), expected, "{answer:?}");
    }
    sidecar.stop().await;
}
