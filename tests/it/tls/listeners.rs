//! TLS on every kind of listener, and the commands that call them.

use std::process::Output;

use super::{NAME, ask};
use crate::commands::{ended, sidecar as command};
use crate::support::certificates::{CertificateAuthority, TlsClient};
use crate::support::client::request_bytes;
use crate::support::sidecar::Sidecar;
use crate::support::upstream::{Answer, Upstream};

/// The admin token.
const TOKEN: &str = "an-admin-token-of-the-tls-tests";
const LISTENERS: [&str; 6] = ["probes", "admin", "issuer", "api", "localApi", "hub"];

/// Every kind of listener, each with TLS.
fn yaml(upstream: &str) -> String {
    let tls = r#"tls: { certFile: "@DIR@/tls.crt", keyFile: "@DIR@/tls.key" }"#;
    format!(
        r#"
stateDir: "@DIR@/state"
store: {{ url: "sqlite::memory:" }}
probes: {{ listen: 127.0.0.1:0, {tls} }}
admin: {{ listen: 127.0.0.1:0, tokenFile: "@DIR@/admin", {tls} }}
issuer:
  url: https://issuer.test
  listen: 127.0.0.1:0
  {tls}
  clients: [{{ id: legacy, secretFile: "@DIR@/secret", allowedScopes: [read] }}]
authorities: {{ self: {{ issuer: https://issuer.test }} }}
inbound:
  - {{ name: api, listen: 127.0.0.1:0, {tls}, upstream: "{upstream}", authorities: [self],
      audiences: any, rules: [{{ paths: ["/**"], access: public }}] }}
credentials: {{ hub: {{ tokenUrl: "{upstream}/token", clientID: legacy,
  clientSecretFile: "@DIR@/secret", localApi: true }} }}
outbound:
  - {{ name: hub, listen: 127.0.0.1:0, {tls}, upstream: "{upstream}", credential: hub,
      overwrite: false, forwardedHeaders: true }}
localApi: {{ listen: 127.0.0.1:0, {tls} }}
"#
    )
}

struct World {
    authority: CertificateAuthority,
    upstream: Upstream,
    sidecar: Sidecar,
}

impl World {
    async fn new() -> Self {
        let authority = CertificateAuthority::new("the servers' authority");
        let pair = authority.server(&[NAME]);
        let upstream = Upstream::start();
        let sidecar = Sidecar::builder()
            .file("tls.crt", &pair.cert_pem)
            .file("tls.key", &pair.key_pem)
            .secret_file("secret", "legacy", "a-secret-of-the-tls-tests")
            .secret_file("admin", "admin", TOKEN)
            .start(&yaml(&upstream.url()))
            .await;
        Self {
            authority,
            upstream,
            sidecar,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_listener_speaks_tls() {
    let world = World::new().await;
    let client = TlsClient::trusting(&world.authority.pem);
    let token = format!("Bearer {TOKEN}");
    let admin = [("Host", "127.0.0.1"), ("Authorization", token.as_str())];
    let local = [("Host", "localhost"), ("X-M2M-Sidecar", "1")];
    let own = [("Host", "localhost"), ("Authorization", "Bearer own")];
    for (listener, target, fields, status) in [
        ("probes", "/readyz", &[][..], 200),
        ("admin", "/status", &admin, 200),
        ("issuer", "/.well-known/jwks.json", &[], 200),
        ("api", "/x", &[], 200),
        ("localApi", "/token/unknown", &local, 404),
        ("hub", "/x", &own, 200),
    ] {
        let address = world.sidecar.address(listener);
        let mut connection = client.open(address, NAME).await;
        connection
            .send(request_bytes("GET", address, target, fields, b""))
            .await;
        let answer = connection.answer().await;
        assert_eq!(answer.status, status, "{listener}: {answer:?}");
        if listener == "admin" {
            let status = answer.json();
            let listeners = status["listeners"].as_array().expect("a list");
            assert_eq!(listeners.len(), LISTENERS.len());
            for listener in listeners {
                let certificate = &listener["tls"]["certificates"][0];
                assert_eq!(certificate["name"], NAME, "{listener}");
                assert_eq!(certificate["not_after"], "4096-01-01T00:00:00Z");
                assert_eq!(listener["tls"]["errors"], serde_json::json!([]));
            }
        }
    }
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outbound_listener_names_itself_with_https() {
    let world = World::new().await;
    let address = world.sidecar.address("hub");
    let mut connection = TlsClient::trusting(&world.authority.pem)
        .open(address, NAME)
        .await;
    let elsewhere = format!("{}/elsewhere", world.upstream.url());
    world
        .upstream
        .next(Answer::with_headers(&[("Location", &elsewhere)], ""));
    let fields = [("Host", "localhost:9000"), ("Authorization", "Bearer own")];
    connection
        .send(request_bytes("GET", address, "/x", &fields, b""))
        .await;
    let answer = connection.answer().await;
    assert_eq!(
        answer.header("location"),
        Some("https://localhost:9000/elsewhere")
    );
    let received = world.upstream.received().pop().expect("a request");
    assert_eq!(received.header("x-forwarded-proto"), Some("https"));
    assert_eq!(
        received.header("forwarded"),
        Some("host=\"localhost:9000\";proto=https")
    );
    world.sidecar.stop().await;
}

async fn run(arguments: Vec<String>) -> Output {
    let run = move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        command(&arguments).output().expect("the binary runs")
    };
    tokio::task::spawn_blocking(run)
        .await
        .expect("the command ends")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_trust_the_certificate_of_the_configuration_and_no_other() {
    let world = World::new().await;
    let (probes, admin) = (
        world.sidecar.address("probes"),
        world.sidecar.address("admin"),
    );
    let dir = world.sidecar.dir().display().to_string();
    let write = |name: &str, certificate: &str| {
        let path = world.sidecar.path(name);
        let tls = format!("tls: {{ certFile: {dir}/{certificate}, keyFile: {dir}/tls.key }}");
        let text = format!(
            "probes: {{ listen: {probes}, {tls} }}\n\
             admin: {{ listen: {admin}, tokenFile: {dir}/admin, {tls} }}\n"
        );
        std::fs::write(&path, text).expect("a writable directory");
        path.display().to_string()
    };
    // The certificate has the name `api.test` only, and is called by its address.
    let config = write("commands.yaml", "tls.crt");
    for arguments in [
        ["healthcheck", "--config", &config]
            .map(str::to_owned)
            .to_vec(),
        ["client", "list", "--config", &config]
            .map(str::to_owned)
            .to_vec(),
    ] {
        let (code, _, err) = ended(&run(arguments.clone()).await);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{arguments:?}");
    }
    let other = world.authority.server(&[NAME, "127.0.0.1"]);
    std::fs::write(world.sidecar.path("other.crt"), &other.cert_pem).expect("a writable directory");
    let config = write("other.yaml", "other.crt");
    for arguments in [
        ["healthcheck", "--config", &config]
            .map(str::to_owned)
            .to_vec(),
        ["client", "list", "--config", &config]
            .map(str::to_owned)
            .to_vec(),
    ] {
        let (code, _, err) = ended(&run(arguments.clone()).await);
        assert_eq!(code, Some(1), "{arguments:?}");
        assert!(err.contains("TLS"), "{err}");
    }
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_issued_over_tls() {
    let world = World::new().await;
    let address = world.sidecar.address("issuer");
    let mut connection = TlsClient::trusting(&world.authority.pem)
        .open(address, NAME)
        .await;
    let form =
        b"grant_type=client_credentials&client_id=legacy&client_secret=a-secret-of-the-tls-tests";
    let fields = [("Content-Type", "application/x-www-form-urlencoded")];
    connection
        .send(request_bytes(
            "POST",
            address,
            "/oauth/token",
            &fields,
            form,
        ))
        .await;
    let answer = connection.answer().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let token = answer.json()["access_token"]
        .as_str()
        .expect("a token")
        .to_owned();
    crate::support::logs::remember_secret(&token);
    assert_eq!(
        ask(&mut connection, "/.well-known/openid-configuration")
            .await
            .status,
        200
    );
    world.sidecar.stop().await;
}
