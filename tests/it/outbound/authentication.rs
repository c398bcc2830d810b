//! How the sidecar proves who it is, against our own issuer and others; files that change; tokens
//! that outlive a restart.

use std::time::Duration;

use serde_json::json;

use super::{SECRET, World, world, yaml};
use crate::support::authority::{Authority, Endpoint};
use crate::support::client::get;
use crate::support::keys::{Alg, TestKey};
use crate::support::sidecar::{Sidecar, SidecarBuilder};
use crate::support::tls::ClientCertificate;
use crate::support::upstream::Upstream;
use crate::support::{logs, until};

/// One sidecar that issues to a client with these keys, and one that is this client.
async fn own_issuer(client: &str, issuer_files: SidecarBuilder) -> (Sidecar, String) {
    let yaml = format!(
        r#"
stateDir: "@DIR@"
store: {{ url: "sqlite::memory:" }}
issuer:
  url: http://issuer.test
  listen: 127.0.0.1:0
  clients: [{{ id: legacy, {client}, allowedAudiences: [a] }}]
{}
"#,
        ""
    );
    let issuer = issuer_files.start(&yaml).await;
    let token_url = format!("http://{}/oauth/token", issuer.address("issuer"));
    (issuer, token_url)
}

fn client_yaml(token_url: &str, upstream: &Upstream, credential: &str) -> String {
    format!(
        r#"
stateDir: "@DIR@"
credentials:
  hub: {{ tokenUrl: "{token_url}", clientID: legacy, {credential} }}
outbound: [{{ name: hub, listen: 127.0.0.1:0, upstream: "{}", credential: hub }}]
"#,
        upstream.url()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_key_authenticates_at_our_own_issuer_and_another_key_does_not() {
    for alg in [Alg::ES256, Alg::ES384, Alg::RS256, Alg::EdDSA] {
        let (key, other) = (TestKey::generate("k1", alg), TestKey::generate("k1", alg));
        let jwks = json!({ "keys": [key.public_jwk()] }).to_string();
        let (_issuer, token_url) = own_issuer(
            "jwksFile: \"@DIR@/jwks\"",
            Sidecar::builder().file("jwks", &jwks),
        )
        .await;
        let upstream = Upstream::start();
        let credential = "authMethod: private_key_jwt, privateKeyFile: \"@DIR@/key\", keyID: k1, \
                          assertionAudience: \"http://issuer.test\"";
        let yaml = client_yaml(&token_url, &upstream, credential);
        let sidecar = Sidecar::builder()
            .key_file("key", &key.private_pem())
            .start(&yaml)
            .await;
        let answer = get(sidecar.address("hub"), "/", &[]).await;
        assert_eq!(answer.status, 200, "{}: {}", alg.name(), answer.text());
        assert!(upstream.received()[0].bearer().is_some());
        let impostor = Sidecar::builder()
            .key_file("key", &other.private_pem())
            .start(&yaml)
            .await;
        assert_eq!(get(impostor.address("hub"), "/", &[]).await.status, 503);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_says_to_the_issuer_that_its_metadata_name_who_we_are() {
    let (authority, upstream) = (Authority::start_at_path("/realms/iot"), Upstream::start());
    let key = TestKey::generate("k1", Alg::ES256);
    let yaml = yaml(
        &authority,
        &upstream.url(),
        "    authMethod: private_key_jwt\n    privateKeyFile: \"@DIR@/key\"\n",
        "",
    )
    .replace("    clientSecretFile: \"@DIR@/secret\"\n", "");
    let sidecar = Sidecar::builder()
        .key_file("key", &key.private_pem())
        .start(&yaml)
        .await;
    assert_eq!(get(sidecar.address("hub"), "/", &[]).await.status, 200);
    let asked = &authority.token_requests()[0];
    assert_eq!(asked.all("client_id"), ["legacy"]);
    assert_eq!(
        asked.all("client_assertion_type"),
        ["urn:ietf:params:oauth:client-assertion-type:jwt-bearer"]
    );
    assert!(asked.all("client_secret").is_empty());
    let &[assertion] = asked.all("client_assertion").as_slice() else {
        panic!()
    };
    let (header, claims) = key.open(assertion);
    assert!(header.get("kid").is_none());
    assert_eq!(claims["aud"], authority.issuer());
    assert_eq!(
        (claims["iss"].as_str(), claims["sub"].as_str()),
        (Some("legacy"), Some("legacy"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_assertion_is_read_for_each_request() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    authority.answer_tokens(|answer| answer.lifetime = Duration::from_secs(2));
    let yaml = yaml(
        &authority,
        &upstream.url(),
        "    authMethod: private_key_jwt\n    assertionFile: \"@DIR@/jwt\"\n",
        "",
    )
    .replace("    clientSecretFile: \"@DIR@/secret\"\n", "");
    let sidecar = Sidecar::builder()
        .file("jwt", "e30.first.c2ln\n")
        .start(&yaml)
        .await;
    assert_eq!(get(sidecar.address("hub"), "/", &[]).await.status, 200);
    assert_eq!(
        authority.token_requests()[0].all("client_assertion"),
        ["e30.first.c2ln"]
    );
    std::fs::write(sidecar.path("next"), "e30.second.c2ln").unwrap();
    std::fs::rename(sidecar.path("next"), sidecar.path("jwt")).unwrap();
    // Nothing is dropped: who we are has not changed. The next refresh has it.
    until("the second assertion is used", async || {
        get(sidecar.address("hub"), "/", &[]).await;
        authority
            .token_requests()
            .last()
            .unwrap()
            .all("client_assertion")
            == ["e30.second.c2ln"]
    })
    .await;
    // A file without a JWT, here a misplaced key, is never sent.
    let before = authority.token_requests().len();
    std::fs::write(sidecar.path("jwt"), "-----BEGIN PRIVATE KEY-----\nAAAA\n").unwrap();
    until("there is no token", async || {
        get(sidecar.address("hub"), "/", &[]).await.status == 503
    })
    .await;
    let sent = authority.token_requests().split_off(before);
    assert!(
        sent.iter()
            .all(|asked| asked.all("client_assertion") == ["e30.second.c2ln"])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_authenticates_over_tls_and_only_the_right_one() {
    let (client, impostor) = (ClientCertificate::generate(), ClientCertificate::generate());
    let (authority, upstream) = (Authority::start_mtls(&client), Upstream::start());
    let credential = "    authMethod: tls_client_auth\n    certFile: \"@DIR@/cert\"\n    keyFile: \
        \"@DIR@/key\"\n    \
                      caFile: \"@DIR@/ca\"\n";
    let yaml = yaml(&authority, &upstream.url(), credential, "")
        .replace("    clientSecretFile: \"@DIR@/secret\"\n", "");
    let start = async |of: &ClientCertificate| {
        let files = Sidecar::builder()
            .file("cert", &of.cert_pem)
            .file("ca", authority.ca_pem());
        files.key_file("key", &of.key_pem).start(&yaml).await
    };
    let sidecar = start(&client).await;
    let answer = get(sidecar.address("hub"), "/", &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let asked = &authority.token_requests()[0];
    assert_eq!(asked.all("client_id"), ["legacy"]);
    assert!(asked.client().is_none(), "no secret is sent");
    let unknown = start(&impostor).await;
    assert_eq!(get(unknown.address("hub"), "/", &[]).await.status, 503);
    assert_eq!(authority.token_requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_authority_is_trusted_by_its_ca_only() {
    let (authority, upstream) = (Authority::start_tls(), Upstream::start());
    authority.register_client("legacy", SECRET);
    let start = async |credential: &str| {
        let yaml = yaml(&authority, &upstream.url(), credential, "");
        let files = Sidecar::builder().secret_file("secret", "legacy", SECRET);
        files.file("ca", authority.ca_pem()).start(&yaml).await
    };
    let trusting = start("    caFile: \"@DIR@/ca\"\n").await;
    assert_eq!(get(trusting.address("hub"), "/", &[]).await.status, 200);
    let other = start("").await;
    assert_eq!(get(other.address("hub"), "/", &[]).await.status, 503);
}

/// Replaces the client's secret in its file, as a whole.
fn replace_secret(world: &World, secret: &str) {
    logs::remember_client_secret("legacy", secret);
    std::fs::write(world.sidecar.path("next"), format!("{secret}\n")).unwrap();
    std::fs::rename(world.sidecar.path("next"), world.sidecar.path("secret")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_secret_is_tried_at_once_and_the_old_token_used_until_then() {
    const NEW: &str = "outbound-client-secret-2";
    let world = world("", "").await;
    assert_eq!(world.get("/").await.status, 200);
    let asked_with = |secret: &str| {
        let client = world
            .authority
            .token_requests()
            .last()
            .and_then(|asked| asked.client());
        client == Some(("legacy".to_owned(), secret.to_owned()))
    };
    // A file that cannot be used changes nothing.
    std::fs::write(world.sidecar.path("secret"), "").unwrap();
    // The authority does not know the new secret yet.
    replace_secret(&world, NEW);
    until("the new secret is tried", async || {
        assert_eq!(world.get("/").await.status, 200);
        asked_with(NEW)
    })
    .await;
    let refused = world.authority.token_requests().len();
    until("it is tried again", async || {
        assert_eq!(world.get("/").await.status, 200);
        world.authority.token_requests().len() > refused
    })
    .await;
    assert_eq!(
        world.authority.issued().len(),
        1,
        "the first token still serves"
    );
    world.authority.register_client("legacy", NEW);
    until("it has worked", async || {
        assert_eq!(world.get("/").await.status, 200);
        world.authority.issued().len() == 2
    })
    .await;
    until("its token serves", async || {
        assert_eq!(world.get("/").await.status, 200);
        let bearer = world
            .upstream
            .received()
            .pop()
            .unwrap()
            .bearer()
            .map(str::to_owned);
        bearer.as_ref() == world.authority.issued().last()
    })
    .await;
    assert!(asked_with(NEW));
}

const STORE_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn keeping(world_yaml: &str) -> String {
    format!("{world_yaml}\nstore: {{ encryptionKeyFile: \"@DIR@/store-key\" }}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_token_survives_a_restart_and_belongs_to_this_client() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    authority.register_client("legacy", SECRET);
    let yaml = keeping(&yaml(
        &authority,
        &upstream.url(),
        "    keepToken: true\n",
        "",
    ));
    let files = Sidecar::builder().secret_file("secret", "legacy", SECRET);
    let sidecar = files.file("store-key", STORE_KEY).start(&yaml).await;
    assert_eq!(get(sidecar.address("hub"), "/", &[]).await.status, 200);
    let token = authority.issued()[0].clone();
    // Written behind the request's back: a slow disk delays no request.
    until("the token is kept", async || {
        sidecar.path("token-hub").exists()
    })
    .await;
    let kept = std::fs::read_to_string(sidecar.path("token-hub")).unwrap();
    assert!(!kept.contains(&token) && kept.len() > 100);

    // The authority is down: a fetch would fail.
    authority.down().await;
    let restarted = sidecar.stop_keeping_state().await.start(&yaml).await;
    assert_eq!(get(restarted.address("hub"), "/", &[]).await.status, 200);
    assert_eq!(
        upstream.received().last().unwrap().bearer(),
        Some(token.as_str())
    );

    // Another client, or the same with another secret, does not get it.
    let state = restarted.stop_keeping_state().await;
    let other = state
        .start(&yaml.replace("clientID: legacy", "clientID: other"))
        .await;
    assert_eq!(get(other.address("hub"), "/", &[]).await.status, 503);
    let state =
        other
            .stop_keeping_state()
            .await
            .secret_file("secret", "legacy", "another-secret-of-it");
    let other = state.start(&yaml).await;
    assert_eq!(get(other.address("hub"), "/", &[]).await.status, 503);
    let state = other
        .stop_keeping_state()
        .await
        .secret_file("secret", "legacy", SECRET);
    let again = state.start(&yaml).await;
    assert_eq!(get(again.address("hub"), "/", &[]).await.status, 200);
    assert_eq!(authority.fetches(Endpoint::Token), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_kept_also_when_the_end_comes_right_behind_it() {
    for _ in 0..5 {
        let (authority, upstream) = (Authority::start(), Upstream::start());
        authority.register_client("legacy", SECRET);
        let yaml = keeping(&yaml(
            &authority,
            &upstream.url(),
            "    keepToken: true\n",
            "",
        ));
        let files = Sidecar::builder().secret_file("secret", "legacy", SECRET);
        let sidecar = files.file("store-key", STORE_KEY).start(&yaml).await;
        assert_eq!(get(sidecar.address("hub"), "/", &[]).await.status, 200);
        let files = sidecar.stop_keeping_state().await;
        assert!(files.path("token-hub").exists(), "the sidecar has ended");
        authority.down().await;
        let restarted = files.start(&yaml).await;
        assert_eq!(get(restarted.address("hub"), "/", &[]).await.status, 200);
        assert_eq!(authority.fetches(Endpoint::Token), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_word_of_it_no_token_is_written_anywhere() {
    let World {
        authority, sidecar, ..
    } = {
        let world = world("", "").await;
        assert_eq!(world.get("/").await.status, 200);
        world
    };
    let token = authority.issued()[0].clone();
    for entry in std::fs::read_dir(sidecar.dir()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let content = std::fs::read(&path).unwrap();
            assert!(
                !content
                    .windows(token.len())
                    .any(|part| part == token.as_bytes()),
                "{}",
                path.display()
            );
        }
    }
}
