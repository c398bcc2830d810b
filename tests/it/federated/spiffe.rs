//! SPIFFE: JWT-SVIDs by the bundle of their trust domain, X.509-SVIDs by their URI.

use serde_json::json;

use super::{ISSUER, JWT, SVID, client_of, yaml};
use crate::support::certificates::TlsClient;
use crate::support::client::get;
use crate::support::keys::{Alg, TestKey};
use crate::support::logs;
use crate::support::sidecar::Sidecar;
use crate::support::upstream::Upstream;
use crate::support::workloads::TrustDomain;

const REFUSED: &str = "401 invalid_client";

const CLIENTS: [&str; 3] = [
    "id: prod, federated: [{ authority: spire, subject: \"spiffe://example.org/ns/prod/sa/*\" }]",
    "id: batch, federated: [{ authority: spire, subject: \"spiffe://example.org/batch/**\" }]",
    "id: partner, federated: [{ authority: partner, \
     subject: \"spiffe://partner.test/ns/prod/sa/*\" }]",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_jwt_svid_is_verified_by_the_bundle_of_its_own_trust_domain() {
    let (own, partner) = (
        TrustDomain::start("example.org"),
        TrustDomain::start("partner.test"),
    );
    let authorities = [
        &format!(
            "spire: {{ issuer: \"spiffe://example.org\", jwksUri: \"{}\", caFile: \
             \"@DIR@/ca.pem\" }}",
            own.bundle_url()
        ),
        "partner: { issuer: \"spiffe://partner.test\", jwksFile: \"@DIR@/bundles.json\" }",
    ];
    let builder = Sidecar::builder()
        .file("ca.pem", &own.endpoint().ca_pem)
        .file("bundles.json", partner.helper_file().to_string());
    let sidecar = builder.start(&yaml(&CLIENTS, &authorities)).await;
    let metadata = get(
        sidecar.address("issuer"),
        "/.well-known/openid-configuration",
        &[],
    )
    .await;
    let methods = metadata.json()["token_endpoint_auth_methods_supported"].clone();
    assert!(
        methods
            .as_array()
            .is_some_and(|it| it.contains(&json!("spiffe_jwt"))),
        "{methods}"
    );
    let svid = || own.svid("/ns/prod/sa/api", ISSUER);
    for (jwt, expected) in [
        (svid(), "prod"),
        (svid().header("typ", "JOSE"), "prod"),
        (svid().without_header("typ"), "prod"),
        // SPIRE may set it; it is not the authority.
        (svid().claim("iss", "https://oidc.example.org"), "prod"),
        (own.svid("/batch/nightly/1", ISSUER), "batch"),
        (partner.svid("/ns/prod/sa/api", ISSUER), "partner"),
    ] {
        for of_type in [SVID, JWT] {
            assert_eq!(
                client_of(&sidecar, of_type, jwt.clone(), None).await,
                expected
            );
        }
    }
    // The SPIFFE ID is a name of the client.
    for (id, expected) in [
        ("spiffe://example.org/ns/prod/sa/api", "prod"),
        ("prod", "prod"),
        ("spiffe://example.org/ns/prod/sa/other", REFUSED),
        ("partner", REFUSED),
    ] {
        assert_eq!(
            client_of(&sidecar, SVID, svid(), Some(id)).await,
            expected,
            "{id}"
        );
    }
    let foreign = TestKey::generate("example.org-1", Alg::ES256);
    for (jwt, why) in [
        (own.svid("/ns/dev/sa/api", ISSUER), "another path"),
        (own.svid("/ns/prod/sa/api/x", ISSUER), "a longer path"),
        (own.svid("/ns/prod/sa/../sa/x", ISSUER), "no SPIFFE ID"),
        (own.svid("", ISSUER), "the trust domain itself"),
        (
            svid().claim("sub", "spiffe://partner.test/ns/prod/sa/api"),
            "the partner's name",
        ),
        (
            svid().claim("sub", "spiffe://unknown.test/ns/prod/sa/api"),
            "an unknown domain",
        ),
        (
            svid().claim("sub", json!(["spiffe://example.org/ns/prod/sa/api"])),
            "a list",
        ),
        (
            svid().claim("aud", json!([ISSUER, "other"])),
            "two audiences",
        ),
        (svid().claim("aud", "other"), "another audience"),
        (svid().without("exp"), "no end"),
        (svid().expires_in(-120), "expired"),
        (svid().signed_by(&foreign), "another key"),
        (svid().header("typ", "wit+jwt"), "another type"),
        (svid().unsigned(), "unsigned"),
    ] {
        assert_eq!(client_of(&sidecar, SVID, jwt, None).await, REFUSED, "{why}");
    }
    // The key set of a federated trust domain changes in its file.
    let old = partner.svid("/ns/prod/sa/api", ISSUER);
    partner.rotate();
    std::fs::write(
        sidecar.path("bundles.json"),
        partner.helper_file().to_string(),
    )
    .expect("a writable directory");
    crate::support::until("the new bundle is read", async || {
        let new = partner.svid("/ns/prod/sa/api", ISSUER);
        client_of(&sidecar, SVID, new, None).await == "partner"
    })
    .await;
    assert_ne!(client_of(&sidecar, SVID, old, None).await, "partner");
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inbound_listener_takes_jwt_svids_as_bearer_tokens() {
    let (own, partner) = (
        TrustDomain::start("example.org"),
        TrustDomain::start("partner.test"),
    );
    let upstream = Upstream::start();
    let builder = Sidecar::builder().file("bundle.json", own.bundle().to_string());
    let sidecar = builder
        .start(&format!(
            r#"
stateDir: "@DIR@"
authorities: {{ spire: {{ issuer: "spiffe://example.org", jwksFile: "@DIR@/bundle.json" }} }}
inbound:
  - {{ name: api, listen: 127.0.0.1:0, upstream: "{}", authorities: [spire],
      audiences: ["https://api.test"], rules: [{{ paths: ["/**"] }}] }}
"#,
            upstream.url()
        ))
        .await;
    for (jwt, status) in [
        (own.svid("/ns/prod/sa/api", "https://api.test"), 200),
        (own.svid("/ns/prod/sa/api", "https://other.test"), 401),
        (partner.svid("/ns/prod/sa/api", "https://api.test"), 401),
        (
            partner
                .svid("/x", "https://api.test")
                .claim("sub", "spiffe://example.org/ns/prod/sa/api"),
            401,
        ),
    ] {
        let jwt = jwt.sign();
        logs::remember_secret(&jwt);
        let value = format!("Bearer {jwt}");
        let answer = get(sidecar.address("api"), "/", &[("Authorization", &value)]).await;
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    let subject = upstream.received()[0]
        .header("x-m2m-subject")
        .map(str::to_owned);
    assert_eq!(
        subject.as_deref(),
        Some("spiffe://example.org/ns/prod/sa/api")
    );
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_x509_svid_authenticates_by_a_pattern_of_its_uri() {
    let (own, servers) = (
        TrustDomain::start("example.org"),
        TrustDomain::start("servers.test"),
    );
    let pair = servers.authority.server(&["issuer.test"]);
    let sidecar = Sidecar::builder()
        .file("tls.crt", &pair.cert_pem)
        .file("tls.key", &pair.key_pem)
        .file("clients.pem", &own.authority.pem)
        .start(
            r#"
stateDir: "@DIR@"
store: { url: "sqlite::memory:" }
issuer:
  url: https://issuer.test
  listen: 127.0.0.1:0
  tls: { certFile: "@DIR@/tls.crt", keyFile: "@DIR@/tls.key", clientCertificate: optional,
    clientCaFile: "@DIR@/clients.pem" }
  clients:
    - { id: prod, tlsClientAuth: { sanURI: "spiffe://example.org/ns/prod/**" } }
    - { id: api, tlsClientAuth: { sanURI: "spiffe://example.org/ns/prod/sa/api" } }
    - { id: other, tlsClientAuth: { sanURI: "spiffe://other.test/ns/prod/**" } }
"#,
        )
        .await;
    let (api, web) = (
        own.x509_svid("/ns/prod/sa/api"),
        own.x509_svid("/ns/prod/sa/web"),
    );
    let two = own.authority.issue(&[], |params| {
        let uri = |text: &str| rcgen::SanType::URI(text.try_into().expect("an ASCII text"));
        params.subject_alt_names = vec![
            uri("spiffe://example.org/ns/prod/sa/web"),
            uri("spiffe://example.org/ns/dev/sa/web"),
        ];
    });
    for (svid, id, expected) in [
        (&web, "prod", 200),
        (&web, "spiffe://example.org/ns/prod/sa/web", 200),
        (&web, "api", 401),
        (&web, "other", 401),
        (&web, "spiffe://example.org/ns/prod/sa/api", 401),
        (&api, "api", 200),
        // Both `prod` and `api` fit.
        (&api, "spiffe://example.org/ns/prod/sa/api", 401),
        (&two, "prod", 401),
        (&two, "spiffe://example.org/ns/prod/sa/web", 401),
    ] {
        let client = TlsClient::showing(&servers.authority.pem, svid);
        let mut connection = client.open(sidecar.address("issuer"), "issuer.test").await;
        let form = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("grant_type", "client_credentials"), ("client_id", id)])
            .finish();
        let request = format!(
            "POST /oauth/token HTTP/1.1\r\nHost: issuer.test\r\nContent-Type: \
             application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        );
        connection.send(request).await;
        let answer = connection.answer().await;
        assert_eq!(answer.status, expected, "{id} {}", answer.text());
        if let Some(token) = answer.json()["access_token"].as_str() {
            logs::remember_secret(token);
        }
    }
    sidecar.stop().await;
}
