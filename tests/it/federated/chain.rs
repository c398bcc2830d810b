//! From a program through its sidecar to a service, without a secret anywhere: one sidecar gets its
//! identity from the platform, one issues tokens, one protects.

use std::net::TcpListener;

use super::{JWT, client_of};
use crate::support::certificates::CertificateAuthority;
use crate::support::client::get;
use crate::support::logs;
use crate::support::sidecar::Sidecar;
use crate::support::tokens::TokenBuilder;
use crate::support::until;
use crate::support::upstream::Upstream;
use crate::support::workloads::{ApiServer, CLUSTER, TrustDomain};

/// The token by which the issuer reads the cluster's keys.
const READER: &str = "reader-token-of-the-issuer-pod";

/// A port that is free now: the issuer's URL names it.
fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("bound").port()
}

struct Chain {
    issuer: Sidecar,
    protecting: Sidecar,
    attaching: Sidecar,
    upstream: Upstream,
    url: String,
}

impl Chain {
    /// `authority` is the issuer's entry for the platform, `federated` that of the client, and
    /// `method` the outbound sidecar's; `files` are those of the issuer.
    async fn start(
        authority: &str,
        federated: &str,
        method: &str,
        files: &[(&str, String)],
        first: TokenBuilder,
    ) -> Self {
        let (upstream, port) = (Upstream::start(), free_port());
        let url = format!("http://127.0.0.1:{port}");
        let mut builder = Sidecar::builder();
        for (name, content) in files {
            builder = builder.file(name, content);
        }
        let issuer = builder
            .start(&format!(
                r#"
stateDir: "@DIR@"
store: {{ url: "sqlite::memory:" }}
issuer:
  url: {url}
  listen: 127.0.0.1:{port}
  clients:
    - {{ id: legacy, federated: [{federated}], allowedAudiences: ["https://api.test"],
        accessTokenLifetime: 2s }}
authorities:
  platform: {authority}
"#
            ))
            .await;
        let protecting = Sidecar::builder()
            .start(&format!(
                r#"
stateDir: "@DIR@"
authorities: {{ issuer: {{ issuer: "{url}", jwksUri: "{url}/.well-known/jwks.json" }} }}
inbound:
  - {{ name: api, listen: 127.0.0.1:0, upstream: "{}", authorities: [issuer],
      audiences: ["https://api.test"], rules: [{{ paths: ["/**"] }}] }}
"#,
                upstream.url()
            ))
            .await;
        let first = first.claim("aud", vec![url.as_str()]).sign();
        logs::remember_secret(&first);
        let attaching = Sidecar::builder()
            .file("token", &first)
            .start(&format!(
                r#"
stateDir: "@DIR@"
credentials:
  hub: {{ tokenUrl: "{url}/oauth/token", clientID: legacy, authMethod: {method},
    assertionFile: "@DIR@/token" }}
outbound:
  - {{ name: hub, listen: 127.0.0.1:0, upstream: "http://{}", credential: hub }}
"#,
                protecting.address("api")
            ))
            .await;
        Self {
            issuer,
            protecting,
            attaching,
            upstream,
            url,
        }
    }

    /// Puts another assertion into the file of the outbound sidecar.
    fn renew(&self, assertion: TokenBuilder) {
        let assertion = assertion.claim("aud", vec![self.url.as_str()]).sign();
        logs::remember_secret(&assertion);
        let (new, file) = (self.attaching.path("new"), self.attaching.path("token"));
        std::fs::write(&new, assertion).expect("a writable directory");
        std::fs::rename(new, file).expect("a writable directory");
    }

    async fn call(&self) -> u16 {
        get(self.attaching.address("hub"), "/devices", &[])
            .await
            .status
    }

    async fn stop(self) {
        self.attaching.stop().await;
        self.protecting.stop().await;
        self.issuer.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_token_replaces_the_secret() {
    let cluster = ApiServer::start();
    cluster.endpoint.require(READER);
    let authority = format!(
        "{{ issuer: \"{CLUSTER}\", jwksUri: \"{}\", caFile: \"@DIR@/ca.pem\", keyTokenFile: \
         \"@DIR@/reader\" }}",
        cluster.jwks_url()
    );
    let federated = "{ authority: platform, subject: \"system:serviceaccount:prod:legacy\", \
                     claims: { kubernetes.io.namespace: prod } }";
    let files = [
        ("ca.pem", cluster.endpoint.ca_pem.clone()),
        ("reader", format!("{READER}\n")),
    ];
    let first = cluster.token("prod", "legacy", "");
    let chain = Chain::start(&authority, federated, "private_key_jwt", &files, first).await;
    assert_eq!(chain.call().await, 200);
    let received = chain.upstream.received();
    assert_eq!(received[0].header("x-m2m-client-id"), Some("legacy"));
    // The key endpoint, and nothing else, got the reader's token.
    let seen = cluster.endpoint.seen();
    assert!(
        seen.iter().all(|(path, _)| path == "/openid/v1/jwks"),
        "{seen:?}"
    );
    assert_eq!(seen[0].1, [format!("Bearer {READER}")]);
    // Both tokens and the cluster's key are renewed without a restart.
    cluster.rotate();
    let renewed = "another-reader-token-of-the-pod";
    cluster.endpoint.require(renewed);
    std::fs::write(chain.issuer.path("reader"), renewed).expect("a writable directory");
    chain.renew(cluster.token("prod", "legacy", ""));
    until("a token for the renewed assertion", async || {
        let new = cluster.token("prod", "legacy", &chain.url);
        client_of(&chain.issuer, JWT, new, None).await == "legacy"
    })
    .await;
    let mark = logs::mark();
    until(
        "a call with a token for the renewed assertion",
        async || {
            chain.call().await == 200
                && !logs::lines_since(mark, &["outcome=\"issued\""]).is_empty()
        },
    )
    .await;
    // Other pods of the cluster are other clients.
    for token in [
        cluster.token("prod", "other", &chain.url),
        cluster.token("dev", "legacy", &chain.url),
        cluster
            .token("dev", "legacy", &chain.url)
            .claim("sub", "system:serviceaccount:prod:legacy"),
        cluster.token("prod", "legacy", "https://kubernetes.default.svc"),
    ] {
        assert_eq!(
            client_of(&chain.issuer, JWT, token, None).await,
            "401 invalid_client"
        );
    }
    // An assertion that is not renewed is not sent, and the log says so.
    let mark = logs::mark();
    chain.renew(cluster.token("prod", "legacy", "").expires_in(-10));
    until("the outbound sidecar has no token", async || {
        chain.call().await == 503
    })
    .await;
    logs::wait_for_line(mark, &["the assertion in `assertionFile` has expired"]).await;
    chain.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jwt_svid_replaces_the_secret() {
    let (own, other) = (
        TrustDomain::start("example.org"),
        TrustDomain::start("other.test"),
    );
    let authority = format!(
        "{{ issuer: \"spiffe://example.org\", jwksUri: \"{}\", caFile: \"@DIR@/ca.pem\" }}",
        own.bundle_url()
    );
    let federated = "{ authority: platform, subject: \"spiffe://example.org/ns/prod/sa/*\" }";
    let files = [("ca.pem", own.endpoint().ca_pem.clone())];
    let first = own.svid("/ns/prod/sa/legacy", "");
    let chain = Chain::start(&authority, federated, "spiffe_jwt", &files, first).await;
    assert_eq!(chain.call().await, 200);
    // A trust domain without a bundle here, with the same path.
    chain.renew(other.svid("/ns/prod/sa/legacy", ""));
    until("the other trust domain is refused", async || {
        chain.call().await == 503
    })
    .await;
    own.rotate();
    chain.renew(own.svid("/ns/prod/sa/legacy", ""));
    until("the new key is found", async || chain.call().await == 200).await;
    chain.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_x509_svid_replaces_the_secret() {
    let (own, other) = (
        TrustDomain::named("example.org"),
        TrustDomain::named("other.test"),
    );
    let (upstream, port) = (Upstream::start(), free_port());
    let servers = CertificateAuthority::new("the servers' authority");
    let pair = servers.server(&["127.0.0.1"]);
    let issuing = Sidecar::builder()
        .file("tls.crt", &pair.cert_pem)
        .file("tls.key", &pair.key_pem)
        .file("bundle.pem", &own.authority.pem)
        .start(&format!(
            r#"
stateDir: "@DIR@"
store: {{ url: "sqlite::memory:" }}
issuer:
  url: https://127.0.0.1:{port}
  listen: 127.0.0.1:{port}
  accessTokenLifetime: 2s
  tls: {{ certFile: "@DIR@/tls.crt", keyFile: "@DIR@/tls.key", clientCertificate: optional,
    clientCaFile: "@DIR@/bundle.pem" }}
  clients: [{{ id: legacy, tlsClientAuth: {{ sanURI: "spiffe://example.org/ns/prod/**" }} }}]
authorities: {{ self: {{ issuer: "https://127.0.0.1:{port}" }} }}
inbound:
  - {{ name: api, listen: 127.0.0.1:0, upstream: "{}", authorities: [self], audiences: any,
      rules: [{{ paths: ["/**"] }}] }}
"#,
            upstream.url()
        ))
        .await;
    let svid = own.x509_svid("/ns/prod/sa/legacy");
    let attaching = Sidecar::builder()
        .file("ca.pem", &servers.pem)
        .file("svid.pem", &svid.cert_pem)
        .file("svid_key.pem", &svid.key_pem)
        .start(&format!(
            r#"
stateDir: "@DIR@"
credentials:
  hub: {{ tokenUrl: "https://127.0.0.1:{port}/oauth/token", clientID: legacy,
    authMethod: tls_client_auth, certFile: "@DIR@/svid.pem", keyFile: "@DIR@/svid_key.pem",
    caFile: "@DIR@/ca.pem" }}
outbound:
  - {{ name: hub, listen: 127.0.0.1:0, upstream: "http://{}", credential: hub }}
"#,
            issuing.address("api")
        ))
        .await;
    let call = async || get(attaching.address("hub"), "/devices", &[]).await.status;
    assert_eq!(call().await, 200);
    for (svid, expected) in [
        (other.x509_svid("/ns/prod/sa/legacy"), 503),
        (own.x509_svid("/ns/prod/sa/renewed"), 200),
        (own.x509_svid("/ns/dev/sa/legacy"), 503),
    ] {
        for (name, pem) in [
            ("svid.pem", &svid.cert_pem),
            ("svid_key.pem", &svid.key_pem),
        ] {
            std::fs::write(attaching.path(name), pem).expect("a writable directory");
        }
        until("the new SVID counts", async || call().await == expected).await;
    }
    attaching.stop().await;
    issuing.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_token_never_follows_a_redirect_or_appears_in_an_error() {
    let (cluster, thief) = (ApiServer::start(), ApiServer::start());
    cluster.endpoint.require("the-right-token-of-the-cluster");
    let mark = logs::mark();
    let yaml = format!(
        r#"
stateDir: "@DIR@"
authorities:
  platform: {{ issuer: "{CLUSTER}", jwksUri: "{}", caFile: "@DIR@/ca.pem",
    keyTokenFile: "@DIR@/reader" }}
inbound:
  - {{ name: api, listen: 127.0.0.1:0, upstream: "http://127.0.0.1:9", authorities: [platform],
      audiences: any, rules: [{{ paths: ["/**"] }}] }}
"#,
        cluster.jwks_url()
    );
    // The server repeats the wrong token in its answer; the sidecar does not.
    logs::remember_secret(READER);
    let sidecar = Sidecar::builder()
        .file(
            "ca.pem",
            format!("{}{}", cluster.endpoint.ca_pem, thief.endpoint.ca_pem),
        )
        .file("reader", READER)
        .start(&yaml)
        .await;
    logs::wait_for_line(mark, &["cannot fetch the key set", "401"]).await;
    cluster.endpoint.redirect_to(&thief.jwks_url());
    logs::wait_for_line(mark, &["cannot fetch the key set", "redirect"]).await;
    assert_eq!(thief.endpoint.seen(), []);
    sidecar.stop().await;
}
