//! A fake authority: metadata, keys and tokens. Each endpoint misbehaves on command.

mod endpoints;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::sync::watch;

pub use endpoints::{Endpoint, ExpiresIn, RevocationQuestion, TokenAnswer, TokenRequest};

use super::behave::{After, Behave, write_reply};
use super::http1::Wire;
use super::keys::{Alg, TestKey};
use super::net::{Server, Stream};
use super::tls::{ClientCertificate, TestTls};
use super::tokens::TokenBuilder;
use super::{AUDIENCE, WAIT_LIMIT, lock, logs, now};
use endpoints::State;

struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

/// The fake authority. A drop ends its connections.
pub struct Authority {
    server: Server,
    shared: Arc<Shared>,
    ca_pem: Option<String>,
}

impl Authority {
    /// An authority with one ES256 key, named `es256-1`.
    pub fn start() -> Self {
        Self::start_with("", None)
    }

    /// One whose issuer has a path, such as `/realms/iot`.
    pub fn start_at_path(path: &str) -> Self {
        Self::start_with(path, None)
    }

    /// One behind TLS, at `https://localhost:PORT`.
    pub fn start_tls() -> Self {
        Self::start_with("", Some(TestTls::for_names(&["localhost", "127.0.0.1"])))
    }

    /// The same; clients must show this certificate.
    pub fn start_mtls(client: &ClientCertificate) -> Self {
        Self::start_with(
            "",
            Some(TestTls::with_clients(
                &["localhost", "127.0.0.1"],
                Some(client),
            )),
        )
    }

    /// One whose issuer has a path, with this TLS side.
    pub fn start_with(path: &str, tls: Option<TestTls>) -> Self {
        logs::start();
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: watch::Sender::new(()),
        });
        let serving = shared.clone();
        let (ca_pem, acceptor) = tls.map(|tls| (tls.ca_pem, tls.acceptor)).unzip();
        let server = Server::start(acceptor, move |stream, _| serve(stream, serving.clone()));
        let origin = match ca_pem {
            Some(_) => format!("https://localhost:{}", server.address().port()),
            None => format!("http://{}", server.address()),
        };
        {
            let mut state = lock(&shared.state);
            state.issuer = format!("{origin}{path}");
            path.clone_into(&mut state.path);
            state
                .keys
                .push((TestKey::generate("es256-1", Alg::ES256), true));
        }
        Self {
            server,
            shared,
            ca_pem,
        }
    }

    /// Its issuer URL.
    pub fn issuer(&self) -> String {
        lock(&self.shared.state).issuer.clone()
    }

    /// Its key set's URL.
    pub fn jwks_url(&self) -> String {
        format!("{}/jwks.json", self.issuer())
    }

    /// Its token endpoint's URL.
    pub fn token_url(&self) -> String {
        format!("{}/oauth/token", self.issuer())
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The certificate to trust for it, when it was started with TLS.
    pub fn ca_pem(&self) -> &str {
        self.ca_pem.as_deref().expect("started with TLS")
    }

    /// Its published key set.
    pub fn jwks(&self) -> Value {
        lock(&self.shared.state).jwks()
    }

    /// Publishes a new key, which signs from now on.
    pub fn add_key(&self, kid: &str, alg: Alg) -> TestKey {
        let key = TestKey::generate(kid, alg);
        lock(&self.shared.state).keys.push((key.clone(), true));
        key
    }

    /// Replaces all published keys by a new one of the last key's algorithm; returns its id. Tests
    /// can still sign with the old ones.
    pub fn rotate(&self) -> String {
        let (alg, number) = {
            let state = lock(&self.shared.state);
            (
                state.keys.last().map_or(Alg::ES256, |(key, _)| key.alg),
                state.keys.len() + 1,
            )
        };
        let kid = format!("{}-{number}", alg.name().to_ascii_lowercase());
        let key = TestKey::generate(&kid, alg);
        let mut state = lock(&self.shared.state);
        state
            .keys
            .iter_mut()
            .for_each(|(_, published)| *published = false);
        state.keys.push((key, true));
        kid
    }

    /// No longer publishes a key.
    pub fn remove_key(&self, kid: &str) {
        let mut state = lock(&self.shared.state);
        state
            .keys
            .iter_mut()
            .filter(|(key, _)| key.kid == kid)
            .for_each(|(_, published)| *published = false);
    }

    /// Publishes this JWK too, unchanged: a duplicate, a symmetric key, nonsense.
    pub fn publish_jwk(&self, jwk: Value) {
        lock(&self.shared.state).foreign_jwks.push(jwk);
    }

    /// A key of this id.
    pub fn key(&self, kid: &str) -> TestKey {
        let state = lock(&self.shared.state);
        let found = state.keys.iter().rev().find(|(key, _)| key.kid == kid);
        found.unwrap_or_else(|| panic!("no key {kid}")).0.clone()
    }

    /// A valid token, which a test then changes.
    pub fn token(&self) -> TokenBuilder {
        lock(&self.shared.state).token()
    }

    /// These texts as header and payload, signed by the newest key.
    pub fn sign_raw(&self, header_json: &str, payload_json: &str) -> String {
        self.token().sign_raw(header_json, payload_json)
    }

    /// Sets how the endpoint behaves.
    pub fn behave(&self, endpoint: Endpoint, behave: Behave) {
        lock(&self.shared.state).standing.insert(endpoint, behave);
    }

    /// Sets how the next requests to the endpoint are answered, before [`behave`](Self::behave)
    /// applies.
    pub fn behave_next(&self, endpoint: Endpoint, behaves: impl IntoIterator<Item = Behave>) {
        lock(&self.shared.state)
            .once
            .entry(endpoint)
            .or_default()
            .extend(behaves);
    }

    /// Changes the answers of the token endpoint.
    pub fn answer_tokens(&self, change: impl FnOnce(&mut TokenAnswer)) {
        let answer = {
            let mut state = lock(&self.shared.state);
            change(&mut state.token_answer);
            state.token_answer.clone()
        };
        if let Some(token) = answer.token.filter(|token| !token.is_empty()) {
            logs::remember_secret(&token);
        }
    }

    /// Registers a client. From then on the token endpoint refuses unregistered clients.
    pub fn register_client(&self, id: &str, secret: &str) {
        logs::remember_client_secret(id, secret);
        lock(&self.shared.state)
            .clients
            .insert(id.to_owned(), secret.to_owned());
    }

    /// How many requests an endpoint has seen, answered or not.
    pub fn fetches(&self, endpoint: Endpoint) -> usize {
        lock(&self.shared.state)
            .fetches
            .get(&endpoint)
            .copied()
            .unwrap_or(0)
    }

    /// Waits until an endpoint has seen so many requests.
    pub async fn wait_for_fetches(&self, endpoint: Endpoint, count: usize) {
        let mut changed = self.shared.changed.subscribe();
        let reached = async {
            while self.fetches(endpoint) < count {
                changed.changed().await.expect("the sender is ours");
            }
        };
        let waited = tokio::time::timeout(WAIT_LIMIT, reached).await;
        waited.unwrap_or_else(|_| {
            panic!(
                "{endpoint:?}: {} of {count} requests came",
                self.fetches(endpoint)
            )
        });
    }

    /// Adds a URL of its own to its metadata: `("revocation_list_uri", "/revocations")`.
    pub fn advertise(&self, member: &str, path: &str) {
        let mut state = lock(&self.shared.state);
        let url = format!("{}{path}", state.issuer);
        state.advertised.insert(member.to_owned(), url.into());
    }

    /// Adds a member to its metadata.
    pub fn advertise_value(&self, member: &str, value: impl Into<Value>) {
        lock(&self.shared.state)
            .advertised
            .insert(member.to_owned(), value.into());
    }

    /// Revokes the token with this `jti`.
    pub fn revoke(&self, jti: &str) {
        lock(&self.shared.state).revoked.push(jti.to_owned());
    }

    /// Sets the payload of its list of revoked tokens.
    pub fn publish_list(&self, payload: Value) {
        lock(&self.shared.state).list_payload = Some(payload);
    }

    /// Issues an opaque token that is active with these members, beside those of a valid token.
    pub fn opaque(&self, token: &str, members: Value) {
        logs::remember_secret(token);
        let mut state = lock(&self.shared.state);
        let mut answer = json!({
            "active": true,
            "iss": state.issuer,
            "sub": "tester",
            "aud": [AUDIENCE],
            "client_id": "tester",
            "scope": "devices:read",
            "iat": now() - 10,
            "exp": now() + 3600,
            "token_type": "Bearer",
        });
        if let (Some(answer), Value::Object(members)) = (answer.as_object_mut(), members) {
            answer.extend(members);
            answer.retain(|_, value| !value.is_null());
        }
        state.opaque.insert(token.to_owned(), answer);
    }

    /// Ends an opaque token.
    pub fn end_opaque(&self, token: &str) {
        lock(&self.shared.state).opaque.remove(token);
    }

    /// The questions about revoked tokens.
    pub fn revocation_questions(&self) -> Vec<RevocationQuestion> {
        lock(&self.shared.state).revocation_questions.clone()
    }

    /// The requests to the token endpoint.
    pub fn token_requests(&self) -> Vec<TokenRequest> {
        lock(&self.shared.state).token_requests.clone()
    }

    /// The tokens that the token endpoint issued, in order.
    pub fn issued(&self) -> Vec<String> {
        lock(&self.shared.state).issued.clone()
    }

    /// Lets its TLS handshakes fail, or succeed again. Open connections stay.
    pub fn break_tls(&self, broken: bool) {
        self.server.break_tls(broken);
    }

    /// Stops listening; connections are refused.
    pub async fn down(&self) {
        self.server.down().await;
    }

    /// Listens again, on the same port.
    pub fn up(&self) {
        self.server.up();
    }
}

async fn serve(stream: Stream, shared: Arc<Shared>) {
    let mut wire = Wire::new(stream);
    // An error here is a client that went away.
    while let Ok(Some(head)) = wire.head().await {
        let mut body = Vec::new();
        if wire.request_body(&head, &mut body).await.is_err() {
            return;
        }
        let (behave, reply) = lock(&shared.state).answer(&head, &body);
        shared.changed.send_replace(());
        match write_reply(&mut wire.stream, &behave, reply).await {
            Ok(After::Continue) => {}
            Ok(After::Reset) => return wire.stream.reset(),
            Ok(After::Close) | Err(_) => return,
        }
    }
}
