//! A fake authority: metadata, keys and tokens, each endpoint of which misbehaves on command.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::behave::{After, Behave, Reply, write_reply};
use super::http1::{self, Head, Wire};
use super::keys::{Alg, TestKey};
use super::net::{Server, Stream};
use super::tls::TestTls;
use super::tokens::TokenBuilder;
use super::{AUDIENCE, PATIENCE, lock, logs};

/// An endpoint of the authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// OpenID Connect Discovery 1.0 §4, after the issuer's path.
    OpenidConfiguration,
    /// RFC 8414 §3.1, before the issuer's path.
    AuthorizationServer,
    /// The key set.
    Jwks,
    /// The token endpoint.
    Token,
    /// Everything that is not there.
    Other,
}

/// A request to the token endpoint.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    /// Header fields in order.
    pub headers: Vec<(String, String)>,
    /// The form, in order.
    pub form: Vec<(String, String)>,
}

impl TokenRequest {
    /// Every value of a form parameter.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.form
            .iter()
            .filter(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// Client id and secret, by whatever method they came.
    pub fn client(&self) -> Option<(String, String)> {
        let post = (self.all("client_id"), self.all("client_secret"));
        if let (&[id], &[secret]) = (&post.0[..], &post.1[..]) {
            return Some((id.to_owned(), secret.to_owned()));
        }
        let header = http1::all(&self.headers, "authorization")
            .pop()?
            .strip_prefix("Basic ")?;
        let text = String::from_utf8(STANDARD.decode(header).ok()?).ok()?;
        let (id, secret) = text.split_once(':')?;
        // RFC 6749 §2.3.1: both are form-encoded before they are joined.
        let decoded = |text: &str| {
            form_urlencoded::parse(format!("v={text}").as_bytes())
                .next()
                .map(|(_, v)| v.into_owned())
        };
        Some((decoded(id)?, decoded(secret)?))
    }
}

/// What the token endpoint says of a token's life.
#[derive(Clone, Debug)]
pub enum ExpiresIn {
    /// The lifetime, as it should.
    Lifetime,
    /// Nothing.
    Missing,
    /// This.
    Is(Value),
}

/// How the token endpoint answers when it answers.
#[derive(Clone, Debug)]
pub struct TokenAnswer {
    /// How long the tokens live.
    pub lifetime: Duration,
    /// What the answer says of it.
    pub expires_in: ExpiresIn,
    /// The answer's `token_type`; `None`: the member is missing.
    pub token_type: Option<Value>,
    /// This text instead of a signed token.
    pub token: Option<String>,
    /// Whether the tokens themselves have an `exp`.
    pub with_exp: bool,
    /// Further members of the answer; they win over the usual ones.
    pub extra: Map<String, Value>,
}

impl Default for TokenAnswer {
    fn default() -> Self {
        Self {
            lifetime: Duration::from_secs(3600),
            expires_in: ExpiresIn::Lifetime,
            token_type: Some("Bearer".into()),
            token: None,
            with_exp: true,
            extra: Map::new(),
        }
    }
}

#[derive(Default)]
struct State {
    issuer: String,
    /// The issuer's path: empty, or with a leading and no trailing slash.
    path: String,
    /// Every key there ever was, and whether it is published.
    keys: Vec<(TestKey, bool)>,
    /// Published beside them as they are.
    foreign_jwks: Vec<Value>,
    standing: HashMap<Endpoint, Behave>,
    once: HashMap<Endpoint, VecDeque<Behave>>,
    fetches: HashMap<Endpoint, usize>,
    token_answer: TokenAnswer,
    clients: HashMap<String, String>,
    token_requests: Vec<TokenRequest>,
    issued: Vec<String>,
}

struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

/// The fake authority. Gone with its connections when it is dropped.
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

    fn start_with(path: &str, tls: Option<TestTls>) -> Self {
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
            state.keys.push((TestKey::generate("es256-1", Alg::ES256), true));
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

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The certificate to trust for it, when it was started with TLS.
    pub fn ca_pem(&self) -> &str {
        self.ca_pem.as_deref().expect("started with TLS")
    }

    /// Its key set as it is published.
    pub fn jwks(&self) -> Value {
        lock(&self.shared.state).jwks()
    }

    /// Publishes a new key, which signs from now on.
    pub fn add_key(&self, kid: &str, alg: Alg) -> TestKey {
        let key = TestKey::generate(kid, alg);
        lock(&self.shared.state).keys.push((key.clone(), true));
        key
    }

    /// Replaces all published keys by a new one of the last key's algorithm; returns its id. Tests can still sign with
    /// the old ones.
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

    /// Publishes this JWK too, as it is: twice the same key, a symmetric one, nonsense.
    pub fn publish_jwk(&self, jwk: Value) {
        lock(&self.shared.state).foreign_jwks.push(jwk);
    }

    /// A key of this id.
    pub fn key(&self, kid: &str) -> TestKey {
        let state = lock(&self.shared.state);
        let found = state.keys.iter().rev().find(|(key, _)| key.kid == kid);
        found.unwrap_or_else(|| panic!("no key {kid}")).0.clone()
    }

    /// A valid token, to be made wrong.
    pub fn token(&self) -> TokenBuilder {
        lock(&self.shared.state).token()
    }

    /// Header and payload as they are, signed by the newest key.
    pub fn sign_raw(&self, header_json: &str, payload_json: &str) -> String {
        self.token().sign_raw(header_json, payload_json)
    }

    /// From now on the endpoint behaves so.
    pub fn behave(&self, endpoint: Endpoint, behave: Behave) {
        lock(&self.shared.state).standing.insert(endpoint, behave);
    }

    /// The endpoint's next answers, one each, before it behaves as set with [`behave`](Self::behave).
    pub fn behave_next(&self, endpoint: Endpoint, behaves: impl IntoIterator<Item = Behave>) {
        lock(&self.shared.state)
            .once
            .entry(endpoint)
            .or_default()
            .extend(behaves);
    }

    /// From now on the token endpoint answers with this.
    pub fn answer_tokens(&self, change: impl FnOnce(&mut TokenAnswer)) {
        let answer = {
            let mut state = lock(&self.shared.state);
            change(&mut state.token_answer);
            state.token_answer.clone()
        };
        if let Some(token) = answer.token {
            logs::remember_secret(&token);
        }
    }

    /// Once there is a client, the token endpoint answers only to registered ones.
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
        let waited = tokio::time::timeout(PATIENCE, reached).await;
        waited.unwrap_or_else(|_| {
            panic!(
                "{endpoint:?}: {} of {count} requests came",
                self.fetches(endpoint)
            )
        });
    }

    /// The requests to the token endpoint.
    pub fn token_requests(&self) -> Vec<TokenRequest> {
        lock(&self.shared.state).token_requests.clone()
    }

    /// The tokens that the token endpoint made, in order.
    pub fn issued(&self) -> Vec<String> {
        lock(&self.shared.state).issued.clone()
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
    // An error here is a client that went away: nobody is left to tell.
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

impl State {
    fn answer(&mut self, head: &Head, body: &[u8]) -> (Behave, Reply) {
        let mut words = head.start_line.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let endpoint = self.endpoint(method, target);
        *self.fetches.entry(endpoint).or_default() += 1;
        let once = self.once.get_mut(&endpoint).and_then(VecDeque::pop_front);
        let behave = once
            .or_else(|| self.standing.get(&endpoint).cloned())
            .unwrap_or_default();
        let reply = match endpoint {
            Endpoint::OpenidConfiguration | Endpoint::AuthorizationServer => {
                Reply::json(200, &self.metadata(matches!(behave, Behave::WrongIssuer)))
            }
            Endpoint::Jwks => Reply::json(200, &self.jwks()),
            Endpoint::Token => self.answer_token_request(head, body, &behave),
            Endpoint::Other => Reply::json(404, &json!({"error": "not_found"})),
        };
        (behave, reply)
    }

    fn endpoint(&self, method: &str, target: &str) -> Endpoint {
        let path = &self.path;
        if method == "GET" && target == format!("{path}/.well-known/openid-configuration") {
            Endpoint::OpenidConfiguration
        } else if method == "GET" && target == format!("/.well-known/oauth-authorization-server{path}") {
            Endpoint::AuthorizationServer
        } else if method == "GET" && target == format!("{path}/jwks.json") {
            Endpoint::Jwks
        } else if method == "POST" && target == format!("{path}/oauth/token") {
            Endpoint::Token
        } else {
            Endpoint::Other
        }
    }

    fn metadata(&self, wrong_issuer: bool) -> Value {
        let issuer = &self.issuer;
        json!({
            "issuer": if wrong_issuer { "https://somebody.else.example" } else { issuer },
            "jwks_uri": format!("{issuer}/jwks.json"),
            "token_endpoint": format!("{issuer}/oauth/token"),
            "grant_types_supported": ["client_credentials"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "response_types_supported": [],
        })
    }

    fn jwks(&self) -> Value {
        let own = self
            .keys
            .iter()
            .filter(|(_, published)| *published)
            .map(|(key, _)| key.public_jwk());
        json!({"keys": own.chain(self.foreign_jwks.iter().cloned()).collect::<Vec<_>>()})
    }

    fn token(&self) -> TokenBuilder {
        TokenBuilder::new(
            &self.issuer,
            self.keys.iter().map(|(key, _)| key.clone()).collect(),
        )
    }

    fn answer_token_request(&mut self, head: &Head, body: &[u8], behave: &Behave) -> Reply {
        let form = form_urlencoded::parse(body).into_owned().collect();
        let request = TokenRequest {
            headers: head.headers.clone(),
            form,
        };
        let client = request.client();
        if let Some((id, secret)) = &client {
            logs::remember_client_secret(id, secret);
        }
        self.token_requests.push(request.clone());
        let known = client
            .as_ref()
            .is_some_and(|(id, secret)| self.clients.get(id) == Some(secret));
        if !self.clients.is_empty() && !known {
            return Reply::json(401, &json!({"error": "invalid_client"}));
        }
        let answer = self.token_answer.clone();
        let token = answer
            .token
            .clone()
            .unwrap_or_else(|| self.mint(&request, &answer));
        // A broken answer has issued nothing that anyone could know.
        if matches!(
            behave,
            Behave::Normal | Behave::Delay(_) | Behave::Hold(_) | Behave::Slow(_) | Behave::WithHeaders(_)
        ) {
            self.issued.push(token.clone());
        }
        Reply::json(200, &answer.members(&token))
    }

    fn mint(&self, request: &TokenRequest, answer: &TokenAnswer) -> String {
        let client_id = request
            .client()
            .map_or_else(|| "anonymous".to_owned(), |(id, _)| id);
        let asked: Vec<&str> = request
            .all("audience")
            .into_iter()
            .chain(request.all("resource"))
            .collect();
        let audience = if asked.is_empty() { vec![AUDIENCE] } else { asked };
        let lifetime = i64::try_from(answer.lifetime.as_secs()).unwrap_or(i64::MAX / 2);
        let mut token = self
            .token()
            .claim("sub", client_id.clone())
            .claim("client_id", client_id);
        token = token.claim("aud", audience).expires_in(lifetime);
        if let &[scope] = &request.all("scope")[..] {
            token = token.claim("scope", scope);
        }
        if !answer.with_exp {
            token = token.without("exp");
        }
        token.sign()
    }
}

impl TokenAnswer {
    fn members(&self, token: &str) -> Value {
        let mut members = Map::new();
        members.insert("access_token".to_owned(), token.into());
        if let Some(token_type) = &self.token_type {
            members.insert("token_type".to_owned(), token_type.clone());
        }
        match &self.expires_in {
            ExpiresIn::Lifetime => {
                members.insert("expires_in".to_owned(), self.lifetime.as_secs().into());
            }
            ExpiresIn::Missing => {}
            ExpiresIn::Is(value) => {
                members.insert("expires_in".to_owned(), value.clone());
            }
        }
        members.extend(self.extra.clone());
        Value::Object(members)
    }
}
