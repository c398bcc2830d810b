//! Tokens that are bound to the client's certificate (RFC 8705 §3).

use http::Request;
use m2m_sidecar::for_tests::domain::hash::sha256;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use super::proof::{Draft, thumbprint};
use crate::support::authority::{Authority, Endpoint};
use crate::support::certificates::{CertificateAuthority, Issued, TlsClient};
use crate::support::keys::{Alg, TestKey, base64url};
use crate::support::sidecar::Sidecar;
use crate::support::upstream::Upstream;
use crate::support::{AUDIENCE, now};

const NAME: &str = "api.test";

/// A listener `api` with TLS that asks for client certificates, and `plain` without TLS.
struct World {
    ca: CertificateAuthority,
    authority: Authority,
    upstream: Upstream,
    sidecar: Sidecar,
}

impl World {
    async fn new() -> Self {
        let ca = CertificateAuthority::new("the authority of both sides");
        let pair = ca.server(&[NAME]);
        let (authority, upstream) = (Authority::start(), Upstream::start());
        let listener = |name: &str, more: &str| {
            format!(
                "  - name: {name}\n    listen: 127.0.0.1:0\n    upstream: \"{}\"\n    authorities: \
                 [users]\n    audiences: [{AUDIENCE}]\n    rules: [{{ paths: [\"/**\"] }}]\n{more}",
                upstream.url()
            )
        };
        let tls = "    publicUrl: https://api.test
    trustedProxies: [127.0.0.1]
    tls:
      certFile: \"@DIR@/tls.crt\"
      keyFile: \"@DIR@/tls.key\"
      clientCertificate: optional
      clientCaFile: \"@DIR@/ca.pem\"
";
        let yaml = format!(
            "stateDir: \"@DIR@\"\nauthorities: {{ users: {{ issuer: \"{}\" }} }}\ninbound:\n{}{}",
            authority.issuer(),
            listener("api", tls),
            listener("plain", ""),
        );
        let builder = Sidecar::builder()
            .file("tls.crt", &pair.cert_pem)
            .file("tls.key", &pair.key_pem)
            .file("ca.pem", &ca.pem);
        let sidecar = builder.start(&yaml).await;
        authority.wait_for_fetches(Endpoint::Jwks, 1).await;
        Self {
            ca,
            authority,
            upstream,
            sidecar,
        }
    }

    fn client(&self, certificate: Option<&Issued>, protocol: &str) -> TlsClient {
        TlsClient::with(&self.ca.pem, certificate, rustls::ALL_VERSIONS, &[protocol])
    }

    /// The status and the reason of a GET with these fields, over HTTP/1.1 and over HTTP/2.
    async fn outcomes(&self, certificate: Option<&Issued>, fields: &[[&str; 2]]) -> [String; 2] {
        let client = self.client(certificate, "http/1.1");
        let mut connection = client.open(self.sidecar.address("api"), NAME).await;
        let lines: String = fields
            .iter()
            .map(|[name, value]| format!("{name}: {value}\r\n"))
            .collect();
        connection
            .send(format!("GET /x HTTP/1.1\r\nHost: {NAME}\r\n{lines}\r\n"))
            .await;
        let answer = connection.answer().await;
        let reason = answer.header("x-m2m-reason").unwrap_or("-");
        let first = format!("{} {reason}", answer.status);
        let client = self.client(certificate, "h2");
        let mut connection = client.open(self.sidecar.address("api"), NAME).await;
        let handshake = h2::client::handshake(connection.stream());
        let (mut client, h2) = handshake.await.expect("HTTP/2");
        let exchange = async {
            let mut request = Request::builder().uri(format!("https://{NAME}/x"));
            for [name, value] in fields {
                request = request.header(*name, *value);
            }
            let request = request.body(()).expect("a request");
            let (response, _) = client.send_request(request, true).expect("it is open");
            let response = response.await.expect("a response");
            let reason = response.headers().get("x-m2m-reason");
            let reason = reason.map_or("-", |it| it.to_str().expect("a code"));
            format!("{} {reason}", response.status().as_u16())
        };
        let second = tokio::select! {
            second = exchange => second,
            end = h2 => panic!("{end:?}"),
        };
        [first, second]
    }

    fn token(&self, cnf: Value) -> String {
        self.authority.token().claim("cnf", cnf).sign()
    }
}

/// `x5t#S256` of a certificate.
fn x5t(certificate: &Issued) -> String {
    let der = CertificateDer::from_pem_slice(certificate.cert_pem.as_bytes());
    base64url(sha256(&der.expect("a certificate")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_passes_on_the_connection_of_its_certificate_only() {
    let world = World::new().await;
    let (own, other) = (world.ca.client("meter-7"), world.ca.client("meter-7"));
    let token = world.token(json!({ "x5t#S256": x5t(&own) }));
    let bearer = format!("Bearer {token}");
    let fields = [["Authorization", bearer.as_str()]];
    let both = |text: &str| [text.to_owned(), text.to_owned()];
    assert_eq!(world.outcomes(Some(&own), &fields).await, both("200 -"));
    // The token is cached by now.
    let refused = both("401 certificate_binding");
    assert_eq!(world.outcomes(Some(&other), &fields).await, refused);
    assert_eq!(world.outcomes(None, &fields).await, refused);
    assert_eq!(world.outcomes(Some(&own), &fields).await, both("200 -"));
    let plain = world.sidecar.address("plain");
    let answer = crate::support::client::get(plain, "/x", &[("Authorization", &bearer)]).await;
    assert_eq!(answer.header("x-m2m-reason"), Some("certificate_binding"));
    let challenge = answer.header("www-authenticate").expect("a challenge");
    assert!(
        challenge.starts_with("Bearer realm=\"plain\", error=\"invalid_token\""),
        "{challenge}"
    );
    // A certificate is no proof of DPoP.
    let dpop = format!("DPoP {token}");
    let fields = [["Authorization", dpop.as_str()]];
    assert_eq!(
        world.outcomes(Some(&own), &fields).await,
        both("401 token_binding")
    );
    assert_eq!(world.upstream.received().len(), 4);
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_of_a_proxy_is_not_that_of_its_clients() {
    let world = World::new().await;
    let proxy = world.ca.client("proxy");
    let bearer = format!("Bearer {}", world.token(json!({ "x5t#S256": x5t(&proxy) })));
    let own = ["Authorization", bearer.as_str()];
    for (name, value) in [
        ("X-Forwarded-For", "192.0.2.7"),
        ("Forwarded", "for=192.0.2.7"),
        ("X-Forwarded-For", "unreadable"),
    ] {
        let outcomes = world.outcomes(Some(&proxy), &[own, [name, value]]).await;
        let refused = "401 certificate_binding";
        assert_eq!(outcomes, [refused, refused], "{name}: {value}");
    }
    assert_eq!(
        world.outcomes(Some(&proxy), &[own]).await,
        ["200 -", "200 -"]
    );
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_with_both_bindings_needs_both() {
    let world = World::new().await;
    let own = world.ca.client("meter-7");
    let key = TestKey::generate("client", Alg::ES256);
    let token = world.token(json!({ "x5t#S256": x5t(&own), "jkt": thumbprint(&key) }));
    let proof = || Draft::new(&key, "GET", "https://api.test/x", &token, now()).sign();
    let dpop = format!("DPoP {token}");
    for (certificate, has_proof, expected) in [
        (Some(&own), false, "401 proof_missing"),
        (None, true, "401 certificate_binding"),
        (None, false, "401 certificate_binding"),
    ] {
        let proof = proof();
        let fields = [["Authorization", dpop.as_str()], ["DPoP", proof.as_str()]];
        let fields = if has_proof { &fields[..] } else { &fields[..1] };
        let outcomes = world.outcomes(certificate, fields).await;
        assert_eq!(outcomes, [expected, expected]);
    }
    let proof = proof();
    let fields = [["Authorization", dpop.as_str()], ["DPoP", proof.as_str()]];
    let outcomes = world.outcomes(Some(&own), &fields).await;
    assert_eq!(outcomes, ["200 -", "401 proof_replayed"]);
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_of_a_listener_with_client_certificates_says_so() {
    let world = World::new().await;
    let client = world.client(None, "http/1.1");
    let mut connection = client.open(world.sidecar.address("api"), NAME).await;
    let path = "/.well-known/oauth-protected-resource";
    connection
        .send(format!("GET {path} HTTP/1.1\r\nHost: {NAME}\r\n\r\n"))
        .await;
    let described = connection.answer().await.json();
    assert_eq!(
        described["tls_client_certificate_bound_access_tokens"],
        true
    );
    world.sidecar.stop().await;
}
