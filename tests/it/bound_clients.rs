//! Clients that authenticate by a certificate (RFC 8705), and their bound tokens.

mod authentication;
mod dpop;
mod end_to_end;
mod tokens;

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{CertificateParams, DistinguishedName, DnType, SanType};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::support::certificates::{CertificateAuthority, Issued, TlsClient};
use crate::support::client::{Connection, RawAnswer};
use crate::support::logs;
use crate::support::sidecar::{Sidecar, SidecarBuilder};

/// The name of the issuer's certificate.
const NAME: &str = "issuer.test";
const SECRET: &str = "a-secret-of-sixteen-bytes-or-more";
const GRANT: (&str, &str) = ("grant_type", "client_credentials");

/// An issuer that requests certificates of an authority and self-signed ones, and answers on a
/// plain inbound listener too.
const YAML: &str = r#"
stateDir: "@DIR@"
store: { url: "sqlite::memory:" }
admin: { listen: 127.0.0.1:0, tokenFile: "@DIR@/admin" }
issuer:
  url: https://issuer.test
  listen: 127.0.0.1:0
  tls:
    certFile: "@DIR@/tls.crt"
    keyFile: "@DIR@/tls.key"
    clientCertificate: optional
    clientCaFile: "@DIR@/clients.pem"
    selfSignedClients: true
  clients:
    - { id: by-subject, tlsClientAuth: { subjectDN: "cn=Gateway  one, o=Example" } }
    - { id: by-dns, tlsClientAuth: { sanDNS: GW.test } }
    - { id: by-uri, tlsClientAuth: { sanURI: "spiffe://test/gateway" } }
    - { id: by-ip, tlsClientAuth: { sanIP: "10.0.0.7" } }
    - { id: by-email, tlsClientAuth: { sanEmail: gw@mail.test } }
    - { id: disabled, tlsClientAuth: { sanDNS: gw.test }, disabled: true }
    - { id: by-key, tlsClientAuth: { selfSigned: true }, jwksFile: "@DIR@/jwks" }
    - { id: bound, tlsClientAuth: { sanDNS: gw.test }, certificateBoundAccessTokens: true,
        allowedGrantTypes: [client_credentials, refresh_token] }
    - { id: bound-secret, secretFile: "@DIR@/secret", certificateBoundAccessTokens: true }
    - { id: secret, secretFile: "@DIR@/secret", allowIntrospection: true }
authorities: { self: { issuer: "https://issuer.test" } }
inbound:
  - { name: api, listen: 127.0.0.1:0, issuer: true, upstream: "http://127.0.0.1:9",
      authorities: [self], audiences: any, rules: [{ paths: ["/**"] }] }
  - name: behind
    listen: 127.0.0.1:0
    issuer: true
    upstream: "http://127.0.0.1:9"
    authorities: [self]
    audiences: any
    rules: [{ paths: ["/**"] }]
    trustedProxies: [127.0.0.1/32]
    tls:
      certFile: "@DIR@/tls.crt"
      keyFile: "@DIR@/tls.key"
      clientCertificate: optional
      clientCaFile: "@DIR@/clients.pem"
"#;

struct World {
    servers: CertificateAuthority,
    clients: CertificateAuthority,
    sidecar: Sidecar,
}

/// A client certificate with all names that a client is registered with.
fn gateway(params: &mut CertificateParams) {
    // In this order: the parts of a name have one.
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "Example");
    params
        .distinguished_name
        .push(DnType::CommonName, "Gateway one");
    let text = |text: &str| text.try_into().expect("an ASCII text");
    params.subject_alt_names = vec![
        SanType::DnsName(text("gw.test")),
        SanType::URI(text("spiffe://test/gateway")),
        SanType::IpAddress([10, 0, 0, 7].into()),
        SanType::Rfc822Name(text("gw@mail.test")),
    ];
}

impl World {
    async fn start(jwks: &Value) -> Self {
        let servers = CertificateAuthority::new("the servers' authority");
        let clients = CertificateAuthority::new("the clients' authority");
        let pair = servers.server(&[NAME]);
        let builder = Sidecar::builder()
            .file("tls.crt", &pair.cert_pem)
            .file("tls.key", &pair.key_pem)
            .file("clients.pem", &clients.pem)
            .file("jwks", jwks.to_string());
        let sidecar = secrets(builder).start(YAML).await;
        Self {
            servers,
            clients,
            sidecar,
        }
    }

    fn showing(&self, certificate: &Issued) -> TlsClient {
        TlsClient::showing(&self.servers.pem, certificate)
    }

    fn without_certificate(&self) -> TlsClient {
        TlsClient::trusting(&self.servers.pem)
    }

    fn address(&self) -> SocketAddr {
        self.sidecar.address("issuer")
    }

    /// A token request of a client that names itself.
    async fn ask(&self, client: &TlsClient, id: &str) -> RawAnswer {
        let fields = [GRANT, ("client_id", id)];
        self.post(client, "/oauth/token", &fields).await
    }

    async fn post(&self, client: &TlsClient, path: &str, fields: &[(&str, &str)]) -> RawAnswer {
        let connection = client.open(self.address(), NAME).await;
        post_over(connection, (path, ""), fields).await
    }
}

/// Posts a form with more header lines.
async fn post_over(
    mut connection: Connection<TlsStream<TcpStream>>,
    (path, lines): (&str, &str),
    fields: &[(&str, &str)],
) -> RawAnswer {
    let form = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {NAME}\r\n{lines}Content-Type: \
         application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    );
    connection.send(request).await;
    let answer = connection.answer().await;
    for secret in ["access_token", "refresh_token"] {
        if let (200, Some(secret)) = (answer.status, answer.json()[secret].as_str()) {
            logs::remember_secret(secret);
        }
    }
    answer
}

fn secrets(builder: SidecarBuilder) -> SidecarBuilder {
    builder.secret_file("secret", "secret", SECRET).secret_file(
        "admin",
        "admin",
        "an-admin-token-of-the-tests",
    )
}

/// The claims of the token in an answer.
fn claims(answer: &RawAnswer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    let token = answer["access_token"].as_str().expect("a token");
    let payload = token.split('.').nth(1).expect("a payload");
    let payload = URL_SAFE_NO_PAD.decode(payload).expect("base64url");
    serde_json::from_slice(&payload).expect("claims")
}

fn error(answer: &RawAnswer) -> (u16, String) {
    let error = answer.json()["error"].as_str().map(str::to_owned);
    (answer.status, error.unwrap_or_default())
}
