//! Outbound → inbound with bound tokens: one sidecar issues and protects, the other one attaches.

use std::net::TcpListener;

use super::{NAME, gateway};
use crate::support::certificates::{CertificateAuthority, Issued, TlsClient};
use crate::support::client::{get, request};
use crate::support::logs;
use crate::support::sidecar::Sidecar;
use crate::support::upstream::Upstream;

const SECRET: &str = "a-secret-of-sixteen-bytes-or-more";

/// A port that is free now: the issuer's URL names it.
fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("bound").port()
}

fn with_secret() -> crate::support::sidecar::SidecarBuilder {
    Sidecar::builder().secret_file("secret", "legacy", SECRET)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dpop_token_passes_with_the_proofs_of_its_sidecar_and_not_without_them() {
    let (upstream, port) = (Upstream::start(), free_port());
    let protecting = with_secret()
        .start(&format!(
            r#"
stateDir: "@DIR@"
store: {{ url: "sqlite::memory:" }}
issuer:
  url: http://127.0.0.1:{port}
  listen: 127.0.0.1:{port}
  clients: [{{ id: legacy, secretFile: "@DIR@/secret", dpopBoundAccessTokens: true }}]
authorities: {{ self: {{ issuer: "http://127.0.0.1:{port}" }} }}
inbound:
  - name: api
    listen: 127.0.0.1:0
    upstream: "{}"
    authorities: [self]
    audiences: any
    dpop: {{ nonce: true }}
    rules: [{{ paths: ["/**"] }}]
"#,
            upstream.url()
        ))
        .await;
    let api = protecting.address("api");
    let attaching = with_secret()
        .start(&format!(
            r#"
stateDir: "@DIR@"
credentials:
  hub:
    tokenUrl: "http://127.0.0.1:{port}/oauth/token"
    clientID: legacy
    clientSecretFile: "@DIR@/secret"
    dpop: {{ algorithm: EdDSA }}
outbound:
  - {{ name: hub, listen: 127.0.0.1:0, upstream: "http://{api}", credential: hub }}
"#
        ))
        .await;
    let hub = attaching.address("hub");
    for _ in 0..3 {
        let answer = get(hub, "/a/b?c=1", &[]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(request("POST", hub, "/c", &[], b"body").await.status, 200);
    let seen = upstream.received();
    assert_eq!(seen.len(), 4);
    // The token alone is useless, and so is a proof that was used.
    let authorization = seen[0].header("authorization").expect("a token").to_owned();
    let token = authorization.strip_prefix("DPoP ").expect("a DPoP token");
    logs::remember_secret(token);
    for scheme in ["DPoP", "Bearer"] {
        let value = format!("{scheme} {token}");
        let answer = get(api, "/a/b?c=1", &[("Authorization", &value)]).await;
        assert_eq!(answer.status, 401, "{scheme}");
    }
    assert_eq!(upstream.received().len(), 4);
    attaching.stop().await;
    protecting.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_bound_token_passes_on_connections_with_its_certificate_only() {
    let (upstream, port) = (Upstream::start(), free_port());
    let servers = CertificateAuthority::new("the servers' authority");
    let clients = CertificateAuthority::new("the clients' authority");
    let pair = servers.server(&[NAME, "127.0.0.1"]);
    let tls = r#"{ certFile: "@DIR@/tls.crt", keyFile: "@DIR@/tls.key",
      clientCertificate: optional, clientCaFile: "@DIR@/clients.pem" }"#;
    let protecting = Sidecar::builder()
        .file("tls.crt", &pair.cert_pem)
        .file("tls.key", &pair.key_pem)
        .file("clients.pem", &clients.pem)
        .start(&format!(
            r#"
stateDir: "@DIR@"
store: {{ url: "sqlite::memory:" }}
issuer:
  url: https://127.0.0.1:{port}
  listen: 127.0.0.1:{port}
  tls: {tls}
  clients:
    - {{ id: legacy, tlsClientAuth: {{ sanDNS: gw.test }}, certificateBoundAccessTokens: true }}
authorities: {{ self: {{ issuer: "https://127.0.0.1:{port}" }} }}
inbound:
  - name: api
    listen: 127.0.0.1:0
    tls: {tls}
    upstream: "{}"
    authorities: [self]
    audiences: any
    rules: [{{ paths: ["/**"] }}]
"#,
            upstream.url()
        ))
        .await;
    let api = protecting.address("api");
    let certificate = clients.issue(&[], gateway);
    let attaching = async |upstream_tls: &str| {
        Sidecar::builder()
            .file("ca.pem", &servers.pem)
            .file("client.pem", &certificate.cert_pem)
            .key_file("client.key", &certificate.key_pem)
            .start(&format!(
                r#"
stateDir: "@DIR@"
credentials:
  hub:
    tokenUrl: "https://127.0.0.1:{port}/oauth/token"
    clientID: legacy
    authMethod: tls_client_auth
    certFile: "@DIR@/client.pem"
    keyFile: "@DIR@/client.key"
    caFile: "@DIR@/ca.pem"
outbound:
  - name: hub
    listen: 127.0.0.1:0
    upstream: "https://{api}"
    upstreamTls: {{ caFile: "@DIR@/ca.pem"{upstream_tls} }}
    credential: hub
"#
            ))
            .await
    };
    let showing = attaching(r#", certFile: "@DIR@/client.pem", keyFile: "@DIR@/client.key""#).await;
    for _ in 0..2 {
        let answer = get(showing.address("hub"), "/a", &[]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let silent = attaching("").await;
    let answer = get(silent.address("hub"), "/a", &[]).await;
    assert_eq!(answer.status, 401, "{}", answer.text());
    let seen = upstream.received();
    assert_eq!(seen.len(), 2);
    // The stolen token is useless on other connections.
    let token = seen[0].bearer().expect("a bearer token").to_owned();
    logs::remember_secret(&token);
    let request =
        format!("GET /a HTTP/1.1\r\nHost: {NAME}\r\nAuthorization: Bearer {token}\r\n\r\n");
    let other = clients.client("another");
    let own: &Issued = &certificate;
    for (client, status) in [
        (TlsClient::trusting(&servers.pem), 401),
        (TlsClient::showing(&servers.pem, &other), 401),
        (TlsClient::showing(&servers.pem, own), 200),
    ] {
        let mut connection = client.open(api, NAME).await;
        connection.send(&request).await;
        let answer = connection.answer().await;
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    silent.stop().await;
    showing.stop().await;
    protecting.stop().await;
}
