//! Why a client's request is refused, for the audit log: it says more than the answer.

use std::sync::Arc;

use http::HeaderMap;

use super::client::{Authentication, Client};
use super::client_auth::ClientIdentity;
use super::client_secret::is_generated;
use super::error::TokenError;
use super::state::State;
use super::token::request::{Candidate, Credentials, Presented, SecretCredentials, TokenRequest};
use super::uri;
use crate::domain::clock::UnixTime;
use crate::domain::oauth::ErrorCode;
use crate::domain::printable::excerpt;
use crate::domain::secret::{ExposeSecret, SecretString};
use crate::jose::verify::CompactJws;

/// The longest shown text of a request, in bytes.
const LONGEST: usize = 128;
/// Shown instead of an id that may be a secret in the wrong place.
const LIKE_A_SECRET: &str = "[not shown: it looks like a secret]";

/// The reason of a refusal. Texts of the request are escaped and truncated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// The registered client that the request names, authenticated or not.
    pub client_id: Option<String>,
    /// The id in the request, if no client has it.
    pub presented_id: Option<String>,
    pub reason: String,
    /// The scopes that are not allowed, if they are the reason.
    pub scope: Option<String>,
    /// The audiences that are not allowed, if they are the reason.
    pub audience: Option<String>,
}

/// How a client's request ended.
#[derive(Debug)]
pub struct Attempt<T> {
    /// The client, if it authenticated.
    pub client: Option<ClientIdentity>,
    /// The answer.
    pub result: Result<T, TokenError>,
    /// For the audit log: why there is no answer.
    pub refused: Option<Refused>,
}

impl<T> Attempt<T> {
    /// The client that authenticated, or else the registered client that the request names.
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        let named = || self.refused.as_ref()?.client_id.as_deref();
        self.client
            .as_ref()
            .map(|client| client.client_id.as_str())
            .or_else(named)
    }
}

/// Explains refusals for the audit log.
pub(super) struct Refusals {
    pub(super) state: Arc<State>,
}

impl Refusals {
    /// A token request that was parsed.
    pub(super) fn token_attempt<T>(
        &self,
        client: Option<ClientIdentity>,
        request: &TokenRequest,
        result: Result<T, TokenError>,
    ) -> Attempt<T> {
        let refused = result
            .as_ref()
            .err()
            .map(|error| self.token_request(request, *error));
        Attempt {
            client,
            result,
            refused,
        }
    }

    /// A revocation or introspection request that was parsed.
    pub(super) fn attempt<T>(
        &self,
        client: Option<ClientIdentity>,
        credentials: Option<&Credentials>,
        result: Result<T, TokenError>,
    ) -> Attempt<T> {
        let refused = result
            .as_ref()
            .err()
            .map(|error| self.refused(credentials, *error).1);
        Attempt {
            client,
            result,
            refused,
        }
    }

    /// A request that could not be parsed. The audit log gets what can be found in it.
    pub(super) fn unread<T>(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        error: TokenError,
    ) -> Attempt<T> {
        let presented = Presented::find(headers, body);
        let client = presented
            .client_id
            .as_deref()
            .and_then(|id| self.state.clients.get(id));
        let reason = match error {
            TokenError::InvalidClient { .. } => {
                "the Authorization header is not Basic with id and secret in base64".to_owned()
            }
            other => other.reason(),
        };
        let unknown = presented.client_id.filter(|_| client.is_none());
        let listed = |code, asked: &[String]| {
            let asked = asked.iter().map(String::as_str).collect();
            listed(error, code, asked, |_| false)
        };
        let refused = Refused {
            client_id: client.map(|client| client.id.clone()),
            presented_id: unknown.map(|id| self.shown_id(&id, None)),
            reason,
            scope: listed(ErrorCode::InvalidScope, &presented.scope),
            audience: listed(ErrorCode::InvalidTarget, &presented.audiences),
        };
        Attempt {
            client: None,
            result: Err(error),
            refused: Some(refused),
        }
    }

    fn token_request(&self, request: &TokenRequest, error: TokenError) -> Refused {
        let (client, refused) = self.refused(request.credentials(), error);
        let allowed = client
            .as_ref()
            .map(|client| client.allowed_audiences.as_slice());
        let allowed = allowed.unwrap_or_default();
        let audiences = request.audiences(allowed).unwrap_or_default();
        let is_scope = |scope: &str| {
            client
                .as_ref()
                .is_some_and(|client| client.allowed_scopes.contains(scope))
        };
        let is_audience = |it: &str| allowed.iter().any(|one| one == it || uri::is_same(one, it));
        let audiences = audiences.iter().map(String::as_str).collect();
        let scopes = request.scope().iter().collect();
        Refused {
            scope: listed(error, ErrorCode::InvalidScope, scopes, is_scope),
            audience: listed(error, ErrorCode::InvalidTarget, audiences, is_audience),
            ..refused
        }
    }

    fn refused(
        &self,
        credentials: Option<&Credentials>,
        error: TokenError,
    ) -> (Option<Arc<Client>>, Refused) {
        let named: Vec<_> = credentials
            .into_iter()
            .flat_map(Credentials::named)
            .collect();
        let client = named.iter().find_map(|id| self.state.clients.get(id));
        let reason = match error {
            TokenError::InvalidClient { .. } => {
                why_not_authenticated(credentials, client.as_deref(), self.state.clock.now())
                    .to_owned()
            }
            other => other.reason(),
        };
        let unknown = named.first().filter(|_| client.is_none());
        let refused = Refused {
            client_id: client.as_ref().map(|client| client.id.clone()),
            presented_id: unknown.map(|id| self.shown_id(id, credentials)),
            reason,
            ..Refused::default()
        };
        (client, refused)
    }

    /// An id that no client has. Secrets and tokens are sent as ids by mistake: they are not
    /// logged.
    fn shown_id(&self, id: &str, credentials: Option<&Credentials>) -> String {
        // A client may send its secret's file with the line end.
        let text = SecretString::from(id.trim_end_matches(['\r', '\n']));
        let is_secret_of =
            |client: &Client| client.secrets.iter().any(|it| it.expected.is_plain(&text));
        let is_swapped = |candidate: &Candidate| {
            self.state
                .clients
                .get(candidate.secret.expose_secret())
                .is_some()
        };
        let candidates = match credentials {
            Some(Credentials::Secret(credentials)) => Some(credentials),
            _ => None,
        };
        let is_secret = is_generated(&text)
            || CompactJws::parse(id).is_ok()
            || candidates
                .into_iter()
                .flat_map(SecretCredentials::candidates)
                .any(is_swapped)
            || self
                .state
                .clients
                .all_configured()
                .values()
                .any(|client| is_secret_of(client));
        if is_secret {
            LIKE_A_SECRET.to_owned()
        } else {
            excerpt(id.as_bytes(), LONGEST).into_owned()
        }
    }
}

/// Why credentials do not authenticate a client.
fn why_not_authenticated(
    credentials: Option<&Credentials>,
    client: Option<&Client>,
    now: UnixTime,
) -> &'static str {
    let Some(Credentials::Secret(credentials)) = credentials else {
        return "the request has no client authentication";
    };
    if !credentials.candidates().any(Candidate::has_secret) {
        return "the client secret is missing";
    }
    let Some(client) = client else {
        return "no client has this id";
    };
    if client.disabled {
        return "the client is disabled";
    }
    if !client.is_usable(now) {
        return "the client has expired";
    }
    match client.authentication {
        Authentication::Secret => {}
        Authentication::TlsClientAuth(_) | Authentication::SelfSignedTls(_) => {
            return "the client is registered to authenticate by a certificate, not by a secret";
        }
        Authentication::PrivateKeyJwt(_)
        | Authentication::Federated(_)
        | Authentication::Exchange(_) => {
            return "the client is registered to authenticate by an assertion, not by a secret";
        }
    }
    let is_presented = |secret: &super::client::Secret| {
        credentials
            .candidates()
            .any(|candidate| secret.is_at_once(&candidate.secret))
    };
    if client
        .secrets
        .iter()
        .any(|secret| !secret.is_live(now) && is_presented(secret))
    {
        return "the client secret has expired";
    }
    if !client.secrets.iter().any(|secret| secret.is_live(now)) {
        return "the client has no secret that is valid now";
    }
    let has_space = |candidate: &Candidate| {
        let secret = candidate.secret.expose_secret();
        secret.trim() != secret
    };
    if credentials.candidates().all(has_space) {
        return "the client secret is wrong: it begins or ends with white space";
    }
    "the client secret is wrong"
}

/// The items of a list that are not allowed; all of them if each one is allowed.
fn listed(
    error: TokenError,
    code: ErrorCode,
    asked: Vec<&str>,
    is_allowed: impl Fn(&str) -> bool,
) -> Option<String> {
    if error.code() != code {
        return None;
    }
    let refused: Vec<_> = asked
        .iter()
        .copied()
        .filter(|item| !is_allowed(item))
        .collect();
    let refused = if refused.is_empty() { asked } else { refused };
    (!refused.is_empty()).then(|| excerpt(refused.join(" ").as_bytes(), LONGEST).into_owned())
}
