//! Platforms that give workloads their identity: Kubernetes' API server, and a SPIFFE trust domain.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{ExtendedKeyUsagePurpose, SanType};
use serde_json::{Value, json};
use uuid::Uuid;

use super::behave::{Behave, Reply, write_reply};
use super::certificates::{CertificateAuthority, Issued};
use super::http1::{Wire, all};
use super::keys::{Alg, TestKey};
use super::net::{Server, Stream};
use super::tls::TestTls;
use super::tokens::TokenBuilder;
use super::{lock, logs, now};

/// The issuer of a cluster's service account tokens, which has no address.
pub const CLUSTER: &str = "https://kubernetes.default.svc.cluster.local";

/// One document over TLS; perhaps only with a bearer token.
pub struct KeyEndpoint {
    server: Server,
    state: Arc<Mutex<State>>,
    /// For a `caFile`.
    pub ca_pem: String,
}

#[derive(Default)]
struct State {
    document: Value,
    token: Option<String>,
    seen: Vec<(String, Vec<String>)>,
    redirect: Option<String>,
}

impl KeyEndpoint {
    fn start() -> Self {
        logs::start();
        let TestTls { ca_pem, acceptor } = TestTls::for_names(&["localhost", "127.0.0.1"]);
        let state: Arc<Mutex<State>> = Arc::default();
        let serving = state.clone();
        let server = Server::start(Some(acceptor), move |stream, _| {
            serve(stream, serving.clone())
        });
        Self {
            server,
            state,
            ca_pem,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address().port())
    }

    /// Answers 401 to requests without this token.
    pub fn require(&self, token: &str) {
        logs::remember_secret(token);
        lock(&self.state).token = Some(token.to_owned());
    }

    /// Answers with a redirect to this URL.
    pub fn redirect_to(&self, url: &str) {
        lock(&self.state).redirect = Some(url.to_owned());
    }

    /// The paths of the requests, each with its `Authorization` values.
    pub fn seen(&self) -> Vec<(String, Vec<String>)> {
        lock(&self.state).seen.clone()
    }

    fn publish(&self, document: Value) {
        lock(&self.state).document = document;
    }
}

async fn serve(stream: Stream, state: Arc<Mutex<State>>) {
    let mut wire = Wire::new(stream);
    while let Ok(Some(head)) = wire.head().await {
        let authorization = all(&head.headers, "authorization");
        let authorization: Vec<_> = authorization.into_iter().map(str::to_owned).collect();
        let path = head.start_line.split(' ').nth(1).unwrap_or_default();
        let reply = {
            let mut state = lock(&state);
            state.seen.push((path.to_owned(), authorization.clone()));
            let expected = state.token.as_ref().map(|token| format!("Bearer {token}"));
            if let Some(url) = &state.redirect {
                Reply {
                    headers: vec![("Location".to_owned(), url.clone())],
                    ..Reply::json(307, &json!({}))
                }
            } else if expected.is_some_and(|expected| authorization != [expected]) {
                // As the API server does, and it repeats what it got.
                let message = format!("Unauthorized: {authorization:?}");
                Reply::json(
                    401,
                    &json!({ "kind": "Status", "code": 401, "message": message }),
                )
            } else {
                Reply::json(200, &state.document)
            }
        };
        if write_reply(&mut wire.stream, &Behave::Normal, reply)
            .await
            .is_err()
        {
            return;
        }
    }
}

/// Keys that sign tokens, the newest last.
struct Signer {
    keys: Mutex<Vec<TestKey>>,
}

impl Signer {
    fn new(kid: &str) -> Self {
        Self {
            keys: Mutex::new(vec![TestKey::generate(kid, Alg::ES256)]),
        }
    }

    /// A new key in place of the others, which tests can still use.
    fn rotate(&self) -> Value {
        let mut keys = lock(&self.keys);
        let kid = format!("key-{}", keys.len() + 1);
        keys.push(TestKey::generate(&kid, Alg::ES256));
        keys[keys.len() - 1].public_jwk()
    }

    fn jwk(&self) -> Value {
        lock(&self.keys).last().expect("a key").public_jwk()
    }

    fn token(&self, claims: &Value) -> TokenBuilder {
        let mut token = TokenBuilder::new("", lock(&self.keys).clone()).without_header("typ");
        for name in ["iss", "sub", "aud", "client_id", "scope", "jti"] {
            token = token.without(name);
        }
        for (name, value) in claims.as_object().expect("an object") {
            token = token.claim(name, value.clone());
        }
        token
    }
}

/// The API server of a cluster: it publishes its keys to holders of a token.
pub struct ApiServer {
    pub endpoint: KeyEndpoint,
    signer: Signer,
}

impl ApiServer {
    pub fn start() -> Self {
        let (endpoint, signer) = (KeyEndpoint::start(), Signer::new("cluster-1"));
        endpoint.publish(json!({ "keys": [signer.jwk()] }));
        Self { endpoint, signer }
    }

    pub fn jwks_url(&self) -> String {
        self.endpoint.url("/openid/v1/jwks")
    }

    /// Replaces its key.
    pub fn rotate(&self) {
        let jwk = self.signer.rotate();
        self.endpoint.publish(json!({ "keys": [jwk] }));
    }

    /// The answer to a TokenRequest, for the service account of a namespace.
    pub fn token(&self, namespace: &str, account: &str, audience: &str) -> TokenBuilder {
        self.signer.token(&json!({
            "iss": CLUSTER,
            "sub": format!("system:serviceaccount:{namespace}:{account}"),
            "aud": [audience],
            "iat": now(),
            "nbf": now(),
            "exp": now() + 3607,
            "jti": Uuid::new_v4().to_string(),
            "kubernetes.io": {
                "namespace": namespace,
                "node": { "name": "node-1", "uid": Uuid::new_v4().to_string() },
                "pod": { "name": "legacy-0", "uid": Uuid::new_v4().to_string() },
                "serviceaccount": { "name": account, "uid": Uuid::new_v4().to_string() },
            },
        }))
    }
}

/// A trust domain: its bundle, its JWT-SVIDs and its X.509-SVIDs.
pub struct TrustDomain {
    pub name: String,
    endpoint: Option<KeyEndpoint>,
    pub authority: CertificateAuthority,
    signer: Signer,
}

impl TrustDomain {
    /// One that serves its bundle.
    pub fn start(name: &str) -> Self {
        let domain = Self {
            endpoint: Some(KeyEndpoint::start()),
            ..Self::named(name)
        };
        domain.endpoint().publish(domain.bundle());
        domain
    }

    /// One without a server.
    pub fn named(name: &str) -> Self {
        logs::start();
        Self {
            name: name.to_owned(),
            endpoint: None,
            authority: CertificateAuthority::new(name),
            signer: Signer::new(&format!("{name}-1")),
        }
    }

    /// The server of its bundle.
    pub fn endpoint(&self) -> &KeyEndpoint {
        self.endpoint.as_ref().expect("started")
    }

    pub fn bundle_url(&self) -> String {
        self.endpoint().url("/bundle")
    }

    /// The bundle, with a key for certificates, which is not for tokens.
    pub fn bundle(&self) -> Value {
        let mut for_tokens = self.signer.jwk();
        let members = for_tokens.as_object_mut().expect("an object");
        members.remove("alg");
        members.insert("use".to_owned(), "jwt-svid".into());
        let mut for_certificates = TestKey::generate("x", Alg::ES256).public_jwk();
        for_certificates["use"] = "x509-svid".into();
        json!({
            "keys": [for_certificates, for_tokens],
            "spiffe_sequence": 1,
            "spiffe_refresh_hint": 300,
        })
    }

    /// The file in which spiffe-helper writes the bundles of several trust domains.
    pub fn helper_file(&self) -> Value {
        let mut jwk = self.signer.jwk();
        let members = jwk.as_object_mut().expect("an object");
        members.remove("alg");
        members.remove("use");
        let set = STANDARD.encode(json!({ "keys": [jwk] }).to_string());
        json!({ "other.example": STANDARD.encode("{\"keys\":[]}"), &self.name: set })
    }

    /// Replaces the key of its JWT-SVIDs.
    pub fn rotate(&self) {
        self.signer.rotate();
        if let Some(endpoint) = &self.endpoint {
            endpoint.publish(self.bundle());
        }
    }

    /// A JWT-SVID.
    pub fn svid(&self, path: &str, audience: &str) -> TokenBuilder {
        let claims = json!({
            "sub": format!("spiffe://{}{path}", self.name),
            "aud": [audience],
            "iat": now(),
            "exp": now() + 300,
        });
        self.signer.token(&claims).header("typ", "JWT")
    }

    /// An X.509-SVID.
    pub fn x509_svid(&self, path: &str) -> Issued {
        let id = format!("spiffe://{}{path}", self.name);
        self.authority.issue(&[], |params| {
            let id = id.as_str().try_into().expect("an ASCII text");
            params.subject_alt_names = vec![SanType::URI(id)];
            params.extended_key_usages = vec![
                ExtendedKeyUsagePurpose::ClientAuth,
                ExtendedKeyUsagePurpose::ServerAuth,
            ];
        })
    }
}
