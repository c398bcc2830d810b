//! DPoP at the token endpoint (RFC 9449 §5).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{GRANT, claims, error};
use crate::support::client::{RawAnswer, get, post_form};
use crate::support::keys::{Alg, TestKey};
use crate::support::proofs::{self, proof, thumbprint};
use crate::support::sidecar::Sidecar;
use crate::support::{logs, now};

const SECRET: &str = "a-secret-of-sixteen-bytes-or-more";
const ENDPOINT: &str = "https://issuer.test/m2m/oauth/token";

const YAML: &str = r#"
stateDir: "@DIR@"
store: { url: "sqlite::memory:" }
issuer:
  url: https://issuer.test/m2m
  listen: 127.0.0.1:0
  clients:
    - { id: free, secretFile: "@DIR@/secret",
        allowedGrantTypes: [client_credentials, refresh_token] }
    - { id: bound, secretFile: "@DIR@/secret", dpopBoundAccessTokens: true }
"#;

async fn start(profile: &str) -> Sidecar {
    let builder = ["free", "bound"]
        .into_iter()
        .fold(Sidecar::builder(), |builder, id| {
            builder.secret_file("secret", id, SECRET)
        });
    let yaml = YAML.replace("issuer:\n", &format!("issuer:\n  profile: {profile}\n"));
    builder.start(&yaml).await
}

async fn post(
    sidecar: &Sidecar,
    path: &str,
    (id, fields): (&str, &[(&str, &str)]),
    proofs: &[&str],
) -> RawAnswer {
    let basic = format!("Basic {}", STANDARD.encode(format!("{id}:{SECRET}")));
    let mut headers = vec![("Authorization", basic.as_str())];
    headers.extend(proofs.iter().map(|proof| ("DPoP", *proof)));
    let answer = post_form(sidecar.address("issuer"), path, fields, &headers).await;
    for secret in ["access_token", "refresh_token"] {
        if let (200, Some(secret)) = (answer.status, answer.json()[secret].as_str()) {
            logs::remember_secret(secret);
        }
    }
    answer
}

async fn ask(sidecar: &Sidecar, id: &str, proofs: &[&str]) -> RawAnswer {
    post(sidecar, "/m2m/oauth/token", (id, &[GRANT]), proofs).await
}

fn of_endpoint() -> Value {
    proofs::claims("POST", ENDPOINT)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_binds_the_token_to_its_key() {
    let sidecar = start("standard").await;
    for alg in [Alg::ES256, Alg::ES384] {
        let key = TestKey::generate("k", alg);
        let jkt = thumbprint(&key.public_jwk());
        for id in ["free", "bound"] {
            let answer = ask(&sidecar, id, &[&proof(&key, &of_endpoint())]).await;
            assert_eq!(claims(&answer)["cnf"], json!({ "jkt": jkt }), "{alg:?}");
            assert_eq!(answer.json()["token_type"], "DPoP");
            let token = answer.json()["access_token"].as_str().unwrap().to_owned();
            let fields = [("token", token.as_str())];
            let shown = post(&sidecar, "/m2m/oauth/introspect", (id, &fields), &[]).await;
            let shown = shown.json();
            assert_eq!(
                (&shown["active"], &shown["token_type"], &shown["cnf"]["jkt"]),
                (&json!(true), &json!("DPoP"), &json!(jkt))
            );
        }
    }
    let plain = ask(&sidecar, "free", &[]).await;
    assert_eq!(claims(&plain).get("cnf"), None);
    assert_eq!(plain.json()["token_type"], "Bearer");
    let path = "/.well-known/oauth-authorization-server/m2m";
    let metadata = get(sidecar.address("issuer"), path, &[]).await.json();
    let listed = &metadata["dpop_signing_alg_values_supported"];
    assert!(
        listed.as_array().unwrap().iter().any(|alg| alg == "ES256"),
        "{listed}"
    );
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_url_of_a_proof_is_the_requested_one_below_the_issuers_origin() {
    let sidecar = start("plgd").await;
    let key = TestKey::generate("k", Alg::ES256);
    for path in [
        "/m2m/oauth/token",
        "/oauth/token",
        "/token",
        "/oauth2/token",
    ] {
        for url in [
            ENDPOINT.to_owned(),
            format!("https://issuer.test{path}"),
            format!("HTTPS://ISSUER.test:443{path}?x=1#y"),
        ] {
            let proof = proof(&key, &proofs::claims("POST", &url));
            let answer = post(&sidecar, path, ("free", &[GRANT]), &[&proof]).await;
            assert_eq!(answer.status, 200, "{path} {url}: {}", answer.text());
            assert_eq!(answer.json()["token_type"], "DPoP");
        }
        for url in [
            format!("http://issuer.test{path}"),
            format!("https://other.test{path}"),
            format!("https://issuer.test:8443{path}"),
            format!("https://issuer.test{path}/x"),
            format!("http://{}{path}", sidecar.address("issuer")),
        ] {
            let proof = proof(&key, &proofs::claims("POST", &url));
            let answer = post(&sidecar, path, ("free", &[GRANT]), &[&proof]).await;
            assert_eq!(
                error(&answer),
                (400, "invalid_dpop_proof".to_owned()),
                "{url}"
            );
        }
    }
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_or_used_proof_gets_no_token() {
    let sidecar = start("standard").await;
    let key = TestKey::generate("k", Alg::ES256);
    let invalid = (400, "invalid_dpop_proof".to_owned());
    let with = |name: &str, value: Value| {
        let mut claims = of_endpoint();
        claims[name] = value;
        proof(&key, &claims)
    };
    let signed = proof(&key, &of_endpoint());
    let (message, _) = signed.rsplit_once('.').unwrap();
    for (wrong, text) in [
        (with("htm", json!("GET")), "htm"),
        (with("iat", json!(now() - 120)), "iat"),
        (with("iat", json!(now() + 120)), "iat"),
        (with("jti", Value::Null), "jti"),
        (with("jti", json!("")), "jti"),
        (format!("{message}.{}", "A".repeat(86)), "signature"),
        ("not.a.proof".to_owned(), "JWT"),
        (String::new(), "JWT"),
    ] {
        let mark = logs::mark();
        let answer = ask(&sidecar, "free", &[&wrong]).await;
        assert_eq!(error(&answer), invalid, "{text}");
        assert!(answer.text().contains(text), "{text}: {}", answer.text());
        logs::wait_for_line(mark, &["token request", "invalid_dpop_proof", text]).await;
    }
    let once = proof(&key, &of_endpoint());
    assert_eq!(ask(&sidecar, "free", &[&once]).await.status, 200);
    // Another client cannot use it either.
    for id in ["free", "bound"] {
        let answer = ask(&sidecar, id, &[&once]).await;
        assert_eq!(error(&answer), invalid);
        assert!(answer.text().contains("used before"));
    }
    let [one, two] = [(); 2].map(|()| proof(&key, &of_endpoint()));
    let answer = ask(&sidecar, "free", &[&one, &two]).await;
    assert_eq!(error(&answer), invalid);
    let answer = ask(&sidecar, "bound", &[]).await;
    assert_eq!(error(&answer), (400, "invalid_request".to_owned()));
    assert!(answer.text().contains("send a proof"));
    // Without client authentication a proof is not used up.
    let unused = proof(&key, &of_endpoint());
    let unknown = ask(&sidecar, "unknown", &[&unused]).await;
    assert_eq!(error(&unknown), (401, "invalid_client".to_owned()));
    assert_eq!(ask(&sidecar, "bound", &[&unused]).await.status, 200);
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refreshed_token_is_bound_to_the_key_of_its_own_proof() {
    let sidecar = start("standard").await;
    let keys = ["a", "b"].map(|kid| TestKey::generate(kid, Alg::ES256));
    let first = ask(&sidecar, "free", &[&proof(&keys[0], &of_endpoint())]).await;
    let refresh_token = first.json()["refresh_token"].as_str().unwrap().to_owned();
    let fields = [
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh_token.as_str()),
    ];
    let proof = proof(&keys[1], &of_endpoint());
    let next = post(&sidecar, "/m2m/oauth/token", ("free", &fields), &[&proof]).await;
    assert_eq!(
        claims(&next)["cnf"]["jkt"],
        thumbprint(&keys[1].public_jwk())
    );
    sidecar.stop().await;
}
