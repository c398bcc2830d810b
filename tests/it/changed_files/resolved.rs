//! Files whose content is a part of the configuration: a change makes a new generation.

use serde_json::Value;

use super::*;
use crate::issued::{claims, database};

/// A token of the client.
async fn token(address: std::net::SocketAddr) -> Option<String> {
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "meter"),
        ("client_secret", FIRST),
    ];
    let answer = post_form(address, "/oauth/token", &form, &[]).await;
    let token = answer.json()["access_token"].as_str().map(str::to_owned);
    token.inspect(|token| logs::remember_secret(token))
}

fn kid(token: &str) -> Value {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let header = token.split('.').next().expect("a header");
    let header = URL_SAFE_NO_PAD.decode(header).expect("base64url");
    serde_json::from_slice::<Value>(&header).expect("JSON")["kid"].clone()
}

fn pem() -> String {
    let pem = rcgen::KeyPair::generate().expect("a key").serialize_pem();
    logs::remember_private_key(&pem);
    pem
}

#[tokio::test(flavor = "multi_thread")]
async fn another_signing_key_signs_at_once_and_an_unusable_file_changes_nothing() {
    let yaml = issuer("  signing: { privateKeyFile: \"@DIR@/key\" }");
    let mut sidecar = builder().key_file("key", &pem()).start(&yaml).await;
    let (address, file) = (sidecar.address("issuer"), sidecar.path("key"));
    let first = kid(&token(address).await.expect("a token"));
    sidecar
        .following(async {
            let mark = logs::mark();
            replace(&file, "no key");
            let words = [
                "WARN",
                "issuer.signing.privateKeyFile",
                "the old content stays",
            ];
            logs::wait_for_line(mark, &words).await;
            assert_eq!(kid(&token(address).await.expect("a token")), first);
            let mark = logs::mark();
            replace(&file, &pem());
            let words = [
                "INFO",
                "issuer.signing.privateKeyFile",
                "took over a changed file",
            ];
            logs::wait_for_line(mark, &words).await;
            let second = kid(&token(address).await.expect("a token"));
            assert_ne!(second, first);
            let published = get(address, "/.well-known/jwks.json", &[]).await.text();
            assert!(
                published.contains(second.as_str().expect("a text")),
                "{published}"
            );
        })
        .await;
    sidecar.stop().await;
}

/// A file of another key may be the reason why a change cannot be used, so its end is enough.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_tried_again_after_the_fault_of_another_file() {
    let yaml = issuer("  signing: { privateKeyFile: \"@DIR@/key\" }");
    let mut sidecar = builder().key_file("key", &pem()).start(&yaml).await;
    let address = sidecar.address("issuer");
    let (file, secret) = (sidecar.path("key"), sidecar.path("secret"));
    let first = kid(&token(address).await.expect("a token"));
    sidecar
        .following(async {
            let mark = logs::mark();
            std::fs::remove_file(&secret).expect("a file");
            replace(&file, &pem());
            let (key, directory) = (
                "issuer.signing.privateKeyFile",
                secret.display().to_string(),
            );
            logs::wait_for_line(mark, &["WARN", key, &directory, "is tried again"]).await;
            assert_eq!(kid(&token(address).await.expect("a token")), first);
            replace(&secret, FIRST);
            until("the other key signs", async || {
                token(address)
                    .await
                    .is_some_and(|token| kid(&token) != first)
            })
            .await;
        })
        .await;
    sidecar.stop().await;
}

/// Also a file that changed before the process began to look.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_between_the_start_and_the_first_look_is_found() {
    let yaml = issuer("  signing: { privateKeyFile: \"@DIR@/key\" }");
    let mut sidecar = builder().key_file("key", &pem()).start(&yaml).await;
    let (address, file) = (sidecar.address("issuer"), sidecar.path("key"));
    let first = kid(&token(address).await.expect("a token"));
    replace(&file, &pem());
    sidecar
        .following(until("the other key signs", async || {
            token(address)
                .await
                .is_some_and(|token| kid(&token) != first)
        }))
        .await;
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_encryption_key_encrypts_the_stored_keys_again() {
    const KEYS: [&str; 2] = [
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        "ICECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    ];
    let stored = |text: &str| {
        text.replace(
            "store: { url: \"sqlite::memory:\" }",
            "store: { url: \"sqlite:@DIR@/m2m.db\", encryptionKeyFile: \"@DIR@/store-key\" }",
        )
    };
    let yaml = stored(&issuer(""));
    KEYS.iter().for_each(|key| logs::remember_secret(key));
    let mut sidecar = builder().file("store-key", KEYS[0]).start(&yaml).await;
    let (address, file) = (sidecar.address("issuer"), sidecar.path("store-key"));
    let first = token(address).await.expect("a token");
    let mut database = database(&sidecar).await;
    let mut rows = async || -> Vec<String> {
        let rows = sqlx::query_scalar("SELECT private_key FROM signing_keys ORDER BY kid");
        rows.fetch_all(&mut database).await.expect("rows")
    };
    let before = rows().await;
    sidecar
        .following(async {
            let mark = logs::mark();
            replace(&file, "no key");
            let words = ["WARN", "store.encryptionKeyFile", "the old content stays"];
            logs::wait_for_line(mark, &words).await;
            assert_eq!(rows().await, before);
            let mark = logs::mark();
            replace(&file, KEYS[1]);
            let words = [
                "INFO",
                "store.encryptionKeyFile",
                "took over a changed file",
            ];
            logs::wait_for_line(mark, &words).await;
        })
        .await;
    assert_ne!(rows().await, before);
    let second = token(address).await.expect("a token");
    assert_eq!(kid(&second), kid(&first), "the signing key is the same");
    // The store now needs the new key.
    let builder = sidecar.stop_keeping_state().await;
    let sidecar = builder.start(&yaml).await;
    let third = token(sidecar.address("issuer")).await.expect("a token");
    assert_eq!(kid(&third), kid(&first));
    assert_eq!(claims(&third)["client_id"], "meter");
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_an_authority_are_fetched_with_the_certificates_that_its_file_has_now() {
    let (authority, other, upstream) = (
        Authority::start_tls(),
        Authority::start_tls(),
        Upstream::start(),
    );
    let yaml = format!(
        r#"
stateDir: "@DIR@/state"
authorities: {{ users: {{ issuer: "{}", caFile: "@DIR@/ca.pem" }} }}
inbound:
  - {{ name: api, listen: 127.0.0.1:0, upstream: "{}", authorities: [users], audiences: any,
      rules: [{{ paths: ["/**"] }}] }}
"#,
        authority.issuer(),
        upstream.url()
    );
    let mut sidecar = Sidecar::builder()
        .file("ca.pem", other.ca_pem())
        .start(&yaml)
        .await;
    let (address, file) = (sidecar.address("api"), sidecar.path("ca.pem"));
    let bearer = format!("Bearer {}", authority.token().sign());
    let status = async || {
        get(address, "/", &[("Authorization", &bearer)])
            .await
            .status
    };
    assert_eq!(
        status().await,
        503,
        "its certificate is of an unknown authority"
    );
    sidecar
        .following(async {
            replace(&file, authority.ca_pem());
            until("the keys are fetched", async || status().await == 200).await;
        })
        .await;
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_a_client_are_fetched_with_the_certificates_that_the_file_has_now() {
    let (robot, other) = (Authority::start_tls(), Authority::start_tls());
    let more = "  clientJwksHosts: [localhost]\n  clientJwksCaFile: \"@DIR@/ca.pem\"\n";
    let host = robot.jwks_url();
    let yaml = issuer(more).replace(
        "allowedScopes: [read] }",
        &format!("allowedScopes: [read] }}, {{ id: robot, jwksUri: \"{host}\" }}"),
    );
    let mut sidecar = builder().file("ca.pem", other.ca_pem()).start(&yaml).await;
    let (address, file) = (sidecar.address("issuer"), sidecar.path("ca.pem"));
    let present = async || {
        let assertion = robot.token().header("typ", "JWT").claim("iss", "robot");
        let assertion = assertion
            .claim("sub", "robot")
            .claim("aud", "http://issuer.test");
        let assertion = assertion.claim("jti", uuid::Uuid::new_v4().to_string());
        let jwt = assertion.without("client_id").without("scope").sign();
        let form = [
            ("grant_type", "client_credentials"),
            (
                "client_assertion_type",
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            ),
            ("client_assertion", jwt.as_str()),
        ];
        let answer = post_form(address, "/oauth/token", &form, &[]).await;
        if let Some(token) = answer.json()["access_token"].as_str() {
            logs::remember_secret(token);
        }
        answer.status
    };
    assert_eq!(
        present().await,
        503,
        "its certificate is of an unknown authority"
    );
    sidecar
        .following(async {
            replace(&file, robot.ca_pem());
            until("the keys are fetched", async || present().await == 200).await;
        })
        .await;
    sidecar.stop().await;
}
