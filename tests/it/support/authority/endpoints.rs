//! The correct answers of the authority's endpoints.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::support::behave::{Behave, Reply};
use crate::support::http1::{self, Head};
use crate::support::keys::TestKey;
use crate::support::tokens::TokenBuilder;
use crate::support::{AUDIENCE, logs};

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
    /// The signed list of revoked tokens.
    Revocations,
    /// plgd's tokens endpoint.
    PlgdTokens,
    /// The introspection endpoint.
    Introspection,
    /// Any other path.
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

    /// The client id and secret, from Basic or the form.
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

/// A question about revoked tokens.
#[derive(Clone, Debug)]
pub struct RevocationQuestion {
    /// Method and target.
    pub start_line: String,
    /// Header fields in order.
    pub headers: Vec<(String, String)>,
    /// The form, in order.
    pub form: Vec<(String, String)>,
}

/// The `expires_in` of the token endpoint's answers.
#[derive(Clone, Debug)]
pub enum ExpiresIn {
    /// The lifetime of the token.
    Lifetime,
    /// No member.
    Missing,
    /// This value.
    Is(Value),
}

/// The answers of the token endpoint.
#[derive(Clone, Debug)]
pub struct TokenAnswer {
    /// The lifetime of the tokens.
    pub lifetime: Duration,
    /// The `expires_in` of the answer.
    pub expires_in: ExpiresIn,
    /// The answer's `token_type`; `None`: the member is missing.
    pub token_type: Option<Value>,
    /// The text to send instead of a signed token.
    pub token: Option<String>,
    /// Whether the tokens themselves have an `exp`.
    pub with_exp: bool,
    /// Further members of the answer; they replace the usual ones.
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

/// The authority's state.
#[derive(Default)]
pub(super) struct State {
    pub(super) issuer: String,
    /// The issuer's path: empty, or with a leading and no trailing slash.
    pub(super) path: String,
    /// All present and former keys, and whether each is published.
    pub(super) keys: Vec<(TestKey, bool)>,
    /// JWKs that are published beside them, unchanged.
    pub(super) foreign_jwks: Vec<Value>,
    pub(super) standing: HashMap<Endpoint, Behave>,
    pub(super) once: HashMap<Endpoint, VecDeque<Behave>>,
    pub(super) fetches: HashMap<Endpoint, usize>,
    pub(super) token_answer: TokenAnswer,
    pub(super) clients: HashMap<String, String>,
    pub(super) token_requests: Vec<TokenRequest>,
    pub(super) issued: Vec<String>,
    /// Further members of the metadata.
    pub(super) advertised: Map<String, Value>,
    /// The `jti`s that were revoked.
    pub(super) revoked: Vec<String>,
    /// The payload of the list, if a test sets it.
    pub(super) list_payload: Option<Value>,
    pub(super) revocation_questions: Vec<RevocationQuestion>,
    /// The opaque tokens, and the answers about them.
    pub(super) opaque: HashMap<String, Value>,
}

impl State {
    /// The correct answer, and how to change it.
    pub(super) fn answer(&mut self, head: &Head, body: &[u8]) -> (Behave, Reply) {
        let mut words = head.start_line.split(' ');
        let (method, target) = (
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
        );
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
            Endpoint::Revocations | Endpoint::PlgdTokens | Endpoint::Introspection => {
                self.answer_revocation_question(endpoint, head, body)
            }
            Endpoint::Other => Reply::json(404, &json!({"error": "not_found"})),
        };
        (behave, reply)
    }

    fn endpoint(&self, method: &str, target: &str) -> Endpoint {
        let path = &self.path;
        if method == "GET" && target == format!("{path}/.well-known/openid-configuration") {
            Endpoint::OpenidConfiguration
        } else if method == "GET"
            && target == format!("/.well-known/oauth-authorization-server{path}")
        {
            Endpoint::AuthorizationServer
        } else if method == "GET" && target == format!("{path}/jwks.json") {
            Endpoint::Jwks
        } else if method == "POST" && target == format!("{path}/oauth/token") {
            Endpoint::Token
        } else if method == "GET" && target == format!("{path}/revocations") {
            Endpoint::Revocations
        } else if method == "GET"
            && target.split('?').next() == Some(&format!("{path}/api/v1/tokens"))
        {
            Endpoint::PlgdTokens
        } else if method == "POST" && target == format!("{path}/introspect") {
            Endpoint::Introspection
        } else {
            Endpoint::Other
        }
    }

    fn metadata(&self, wrong_issuer: bool) -> Value {
        let issuer = &self.issuer;
        let mut metadata = json!({
            "issuer": if wrong_issuer { "https://other.example" } else { issuer },
            "jwks_uri": format!("{issuer}/jwks.json"),
            "token_endpoint": format!("{issuer}/oauth/token"),
            "grant_types_supported": ["client_credentials"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "response_types_supported": [],
        });
        let members = metadata.as_object_mut().expect("an object literal");
        members.extend(self.advertised.clone());
        metadata
    }

    fn answer_revocation_question(
        &mut self,
        endpoint: Endpoint,
        head: &Head,
        body: &[u8],
    ) -> Reply {
        let form: Vec<(String, String)> = form_urlencoded::parse(body).into_owned().collect();
        let (start_line, headers) = (head.start_line.clone(), head.headers.clone());
        let question = RevocationQuestion {
            start_line,
            headers,
            form,
        };
        self.revocation_questions.push(question.clone());
        match endpoint {
            Endpoint::PlgdTokens => self.answer_plgd(&question),
            Endpoint::Introspection => self.answer_introspection(&question),
            _ => self.answer_list(&question),
        }
    }

    /// The list, signed by the newest published key.
    fn answer_list(&self, question: &RevocationQuestion) -> Reply {
        let etag = format!("\"{}\"", self.revoked.len());
        if http1::all(&question.headers, "if-none-match") == [etag.as_str()]
            && self.list_payload.is_none()
        {
            return Reply {
                status: 304,
                headers: vec![("ETag".to_owned(), etag)],
                body: Vec::new(),
            };
        }
        let payload =
            json!({"iss": self.issuer, "iat": crate::support::now(), "revoked": self.revoked});
        let payload = self.list_payload.clone().unwrap_or(payload);
        let kid = self
            .keys
            .iter()
            .rev()
            .find(|(_, published)| *published)
            .map(|(key, _)| key.kid.clone());
        let token = self
            .token()
            .kid(&kid.expect("a published key"))
            .header("typ", "m2m-revocations+jwt");
        let headers = vec![
            ("ETag".to_owned(), etag),
            ("Content-Type".to_owned(), "application/jwt".to_owned()),
        ];
        Reply {
            status: 200,
            headers,
            body: token.sign_payload(&payload).into_bytes(),
        }
    }

    /// The entry of the queried token, as a stream of one.
    fn answer_plgd(&self, question: &RevocationQuestion) -> Reply {
        let target = question.start_line.split(' ').nth(1).unwrap_or_default();
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let id = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "idFilter");
        let id = id.map(|(_, id)| id.into_owned()).unwrap_or_default();
        let blacklisted = self.revoked.contains(&id);
        let entry = json!({"result": {
            "id": id, "version": "0", "owner": "1", "blacklisted": {"flag": blacklisted},
        }});
        Reply::json(200, &entry)
    }

    fn answer_introspection(&self, question: &RevocationQuestion) -> Reply {
        let form: HashMap<_, _> = question.form.iter().cloned().collect();
        let request = TokenRequest {
            headers: question.headers.clone(),
            form: question.form.clone(),
        };
        let known = request
            .client()
            .is_some_and(|(id, secret)| self.clients.get(&id) == Some(&secret));
        if !known {
            return Reply::json(401, &json!({"error": "invalid_client"}));
        }
        let token = form.get("token").map(String::as_str).unwrap_or_default();
        if let Some(answer) = self.opaque.get(token) {
            return Reply::json(200, answer);
        }
        if token.split('.').count() != 3 {
            return Reply::json(200, &json!({"active": false}));
        }
        let payload = form
            .get("token")
            .and_then(|token| token.split('.').nth(1))
            .unwrap_or_default();
        let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(payload)
            .unwrap_or_default();
        let claims: Value = serde_json::from_slice(&payload).unwrap_or_default();
        let revoked = self.revoked.iter().any(|jti| claims["jti"] == jti.as_str());
        Reply::json(200, &json!({"active": !revoked}))
    }

    /// The published keys.
    pub(super) fn jwks(&self) -> Value {
        let own = self
            .keys
            .iter()
            .filter(|(_, published)| *published)
            .map(|(key, _)| key.public_jwk());
        json!({"keys": own.chain(self.foreign_jwks.iter().cloned()).collect::<Vec<_>>()})
    }

    /// A valid token.
    pub(super) fn token(&self) -> TokenBuilder {
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
        // A broken answer issues no token.
        if matches!(
            behave,
            Behave::Normal
                | Behave::Delay(_)
                | Behave::Hold(_)
                | Behave::Slow(_)
                | Behave::WithHeaders(_)
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
        let audience = if asked.is_empty() {
            vec![AUDIENCE]
        } else {
            asked
        };
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
