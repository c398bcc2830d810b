//! JWTs of a trusted authority that must not authenticate a client.

use serde_json::json;

use super::{ISSUER, JWT, SVID, ask, client_of, payload, post, yaml};
use crate::support::authority::Authority;
use crate::support::keys::{Alg, TestKey};
use crate::support::sidecar::Sidecar;
use crate::support::tokens::TokenBuilder;
use crate::support::{logs, now};

const REFUSED: &str = "401 invalid_client";
const SECRET: &str = "a-secret-of-sixteen-bytes-or-more";

/// The ID token of a job, as GitHub Actions issues it.
fn job(ci: &Authority) -> TokenBuilder {
    let token = ci
        .token()
        .header("typ", "JWT")
        .without("client_id")
        .without("scope");
    token
        .claim("sub", "repo:example/app:ref:refs/heads/main")
        .claim("aud", ISSUER)
        .claim("repository", "example/app")
        .claim("repository_id", "74")
        .claim("ref", "refs/heads/main")
        .expires_in(300)
}

/// A sidecar whose clients trust `ci`, `portal` or both.
async fn start(ci: &Authority, portal: &Authority) -> Sidecar {
    let authorities = [
        format!("ci: {{ issuer: \"{}\" }}", ci.issuer()),
        format!("portal: {{ issuer: \"{}\" }}", portal.issuer()),
        format!("self: {{ issuer: \"{ISSUER}\" }}"),
    ];
    let authorities: Vec<_> = authorities.iter().map(String::as_str).collect();
    let clients = [
        "id: deploy, federated: [{ authority: ci, subject: \"repo:example/*\", claims: \
         { repository: example/app, ref: [refs/heads/main, \"refs/tags/*\"] } }]",
        "id: off, disabled: true, federated: [{ authority: ci, subject: \"repo:example/*\" }]",
        "id: over, federated: [{ authority: ci, subject: \"repo:example/*\", \
         expiresAt: 2020-01-01T00:00:00Z }]",
        "id: twin-1, federated: [{ authority: ci, subject: \"repo:twin/*\" }]",
        "id: twin-2, federated: [{ authority: ci, subject: \"repo:twin/app\" }, \
         { authority: portal, subject: lone }]",
        "id: other-audience, federated: [{ authority: ci, subject: \"repo:other/app\", \
         audience: \"api://m2m\" }]",
        "id: legacy, secretFile: \"@DIR@/secret\", allowIntrospection: true",
    ];
    let builder = Sidecar::builder().secret_file("secret", "legacy", SECRET);
    builder.start(&yaml(&clients, &authorities)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_gets_a_token_and_may_send_its_jwt_again() {
    let (ci, portal) = (Authority::start(), Authority::start());
    let sidecar = start(&ci, &portal).await;
    for id in [None, Some("deploy")] {
        assert_eq!(
            client_of(&sidecar, JWT, job(&ci), id).await,
            "deploy",
            "{id:?}"
        );
    }
    for jwt in [
        job(&ci).claim("ref", "refs/tags/v1.2"),
        job(&ci).claim("aud", json!([ISSUER])),
        job(&ci).without("jti").without_header("typ"),
        job(&ci).expires_in(3600),
    ] {
        assert_eq!(client_of(&sidecar, JWT, jwt, None).await, "deploy");
    }
    let again = job(&ci).sign();
    logs::remember_secret(&again);
    for _ in 0..2 {
        assert_eq!(ask(&sidecar, JWT, &again, None).await.status, 200);
    }
    // A client that several fit names itself, and each entry counts by itself.
    for (jwt, id, expected) in [
        (job(&ci).claim("sub", "repo:twin/app"), None, REFUSED),
        (
            job(&ci).claim("sub", "repo:twin/app"),
            Some("twin-1"),
            "twin-1",
        ),
        (
            job(&ci).claim("sub", "repo:twin/app"),
            Some("twin-2"),
            "twin-2",
        ),
        (job(&ci).claim("sub", "repo:twin/lib"), None, "twin-1"),
        (job(&portal).claim("sub", "lone"), None, "twin-2"),
        (
            job(&ci)
                .claim("sub", "repo:other/app")
                .claim("aud", "api://m2m"),
            None,
            "other-audience",
        ),
    ] {
        let found = client_of(&sidecar, JWT, jwt, id).await;
        assert_eq!(found, expected, "{id:?} {expected}");
    }
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn introspection_and_revocation_take_the_same_jwt() {
    let (ci, portal) = (Authority::start(), Authority::start());
    let sidecar = start(&ci, &portal).await;
    let jwt = job(&ci).sign();
    logs::remember_secret(&jwt);
    let answer = ask(&sidecar, JWT, &jwt, None).await;
    let token = answer.json()["access_token"]
        .as_str()
        .expect("a token")
        .to_owned();
    assert_eq!(payload(&token)["sub"], "deploy");
    let fields = [
        ("token", token.as_str()),
        ("client_assertion_type", JWT),
        ("client_assertion", jwt.as_str()),
    ];
    for (path, active) in [
        ("/oauth/introspect", true),
        ("/oauth/revoke", true),
        ("/oauth/introspect", false),
    ] {
        let answer = post(&sidecar, path, &fields).await;
        assert_eq!(answer.status, 200, "{path} {}", answer.text());
        if path == "/oauth/introspect" {
            assert_eq!(answer.json()["active"], active);
        }
    }
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_other_jwt_is_refused_with_its_reason_in_the_log() {
    let (ci, portal) = (Authority::start(), Authority::start());
    let alien = TestKey::generate("es256-1", Alg::ES256);
    let secret = b"published-as-a-symmetric-key-here";
    ci.publish_jwk(json!({
        "kty": "oct", "kid": "hmac", "alg": "HS256", "use": "sig",
        "k": "cHVibGlzaGVkLWFzLWEtc3ltbWV0cmljLWtleS1oZXJl",
    }));
    let sidecar = start(&ci, &portal).await;
    let cases = [
        (
            job(&ci).claim("aud", "https://other.example"),
            "another aud",
        ),
        (
            job(&ci).claim("aud", json!([ISSUER, "https://other.example"])),
            "another aud",
        ),
        (job(&ci).without("aud"), "another aud"),
        // An access token of the authority, and an ID token for one of its web clients.
        (job(&ci).header("typ", "at+jwt"), "another kind of token"),
        (
            job(&ci).claim("aud", "web-client").claim("nonce", "n"),
            "another aud",
        ),
        (job(&portal), "sub is none"),
        (job(&ci).signed_by(&alien), "refused: signature"),
        (
            job(&ci).hmac(secret).header("kid", "hmac"),
            "algorithm is not supported",
        ),
        (job(&ci).unsigned(), "is no signed JWT"),
        (job(&ci).header("crit", json!(["exp"])), "critical"),
        (job(&ci).expires_in(-120), "refused: expired"),
        (job(&ci).without("exp"), "refused: no_expiry"),
        (job(&ci).expires_in(7200), "expires too late"),
        (job(&ci).claim("nbf", now() + 600), "refused: not_yet_valid"),
        (
            job(&ci).claim("iat", now() + 600),
            "refused: issued_in_future",
        ),
        (
            job(&ci).claim("sub", json!(["repo:example/app"])),
            "refused: malformed_claims",
        ),
        (
            job(&ci).claim("sub", "repo:example-evil/app"),
            "sub is none",
        ),
        (job(&ci).without("sub"), "sub is none"),
        (
            job(&ci).claim("ref", "refs/heads/mainline"),
            "a claim of the assertion",
        ),
        (
            job(&ci).claim("repository", json!({ "a": "example/app" })),
            "a claim of the assertion",
        ),
        (job(&ci).without("repository"), "a claim of the assertion"),
        (
            job(&ci).claim("iss", "https://unknown.example"),
            "refused: unknown_issuer",
        ),
        (job(&ci).without("iss"), "refused: unknown_issuer"),
        (
            job(&ci).claim("cnf", json!({ "jkt": "x" })),
            "refused: sender_constrained",
        ),
    ];
    for (jwt, reason) in cases {
        let mark = logs::mark();
        assert_eq!(
            client_of(&sidecar, JWT, jwt, None).await,
            REFUSED,
            "{reason}"
        );
        logs::wait_for_line(mark, &["token request", reason]).await;
    }
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_client_and_no_token_of_ours_is_accepted() {
    let (ci, portal) = (Authority::start(), Authority::start());
    let sidecar = start(&ci, &portal).await;
    for (id, reason) in [
        ("off", "disabled"),
        ("over", "trusts the authority"),
        ("legacy", "does not use assertions"),
        ("unknown", "no client has this id"),
        ("twin-1", "sub is none"),
        (
            "repo:example/app:ref:refs/heads/main",
            "no client has this id",
        ),
    ] {
        let mark = logs::mark();
        assert_eq!(
            client_of(&sidecar, JWT, job(&ci), Some(id)).await,
            REFUSED,
            "{id}"
        );
        logs::wait_for_line(mark, &["token request", reason]).await;
    }
    // A JWT-SVID has a SPIFFE ID.
    assert_eq!(client_of(&sidecar, SVID, job(&ci), None).await, REFUSED);
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", "legacy"),
        ("client_secret", SECRET),
    ];
    let own = post(&sidecar, "/oauth/token", &fields).await;
    let own = own.json()["access_token"]
        .as_str()
        .expect("a token")
        .to_owned();
    for id in [None, Some("deploy")] {
        assert_eq!(ask(&sidecar, JWT, &own, id).await.status, 401);
    }
    // One method per request.
    let jwt = job(&ci).sign();
    logs::remember_secret(&jwt);
    let both = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", JWT),
        ("client_assertion", jwt.as_str()),
        ("client_id", "legacy"),
        ("client_secret", SECRET),
    ];
    assert_eq!(post(&sidecar, "/oauth/token", &both).await.status, 400);
    sidecar.stop().await;
}
