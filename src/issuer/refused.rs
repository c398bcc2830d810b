//! Why a client's request is refused: for the audit log, which says more than the client is told.

use std::sync::Arc;

use http::HeaderMap;
use serde_json::Value;

use super::client::Authentication;
use super::client_secret::is_generated;
use super::token_request::{Candidate, Credentials, Presented, SecretCredentials};
use super::{Client, Issuer, RevocationRequest, TokenError, TokenRequest, uri};
use crate::domain::clock::UnixTime;
use crate::domain::oauth::ErrorCode;
use crate::domain::printable::excerpt;
use crate::domain::secret::{ExposeSecret, SecretString};
use crate::jose::verify::CompactJws;

/// How much of a text of the request is shown, in bytes.
const LONGEST: usize = 128;
/// What is shown of an id that may be a secret in the wrong place.
const LIKE_A_SECRET: &str = "[not shown: it looks like a secret]";

/// What the audit line of a refused request says. The texts of the request are escaped and cut.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// The registered client that the request names, whether or not it proves to be that client.
    pub client_id: Option<String>,
    /// The id in the request, where no client has it.
    pub presented_id: Option<String>,
    /// The cause.
    pub reason: String,
    /// The scopes that the client may not have, when that is why.
    pub scope: Option<String>,
    /// The audiences that the client may not have, when that is why.
    pub audience: Option<String>,
}

impl Issuer {
    /// Why a token request is refused.
    #[must_use]
    pub fn refused_token_request(&self, request: &TokenRequest, error: TokenError) -> Refused {
        let (client, refused) = self.refused(request.credentials(), error);
        let allowed_scopes = client.as_ref().map(|client| &client.allowed_scopes);
        let scopes = request.scope().iter().collect();
        let is_allowed = |scope: &str| {
            allowed_scopes.is_some_and(|allowed| allowed.iter().any(|it| it == scope))
        };
        let allowed = client
            .as_ref()
            .map(|client| client.allowed_audiences.as_slice())
            .unwrap_or_default();
        let audiences = request
            .audiences(allowed)
            .unwrap_or_default()
            .iter()
            .map(String::as_str)
            .collect();
        Refused {
            scope: listed(error, ErrorCode::InvalidScope, scopes, is_allowed),
            audience: listed(error, ErrorCode::InvalidTarget, audiences, |it| {
                allowed.iter().any(|one| one == it || uri::is_same(one, it))
            }),
            ..refused
        }
    }

    /// Why a revocation or introspection request is refused.
    #[must_use]
    pub fn refused_request(&self, request: &RevocationRequest, error: TokenError) -> Refused {
        self.refused(request.credentials(), error).1
    }

    /// Why a request is refused that could not be read: of what it holds, what can be found.
    #[must_use]
    pub fn refused_unread(&self, headers: &HeaderMap, body: &[u8], error: TokenError) -> Refused {
        let presented = Presented::find(headers, body);
        let client = presented
            .client_id
            .as_deref()
            .and_then(|id| self.clients.get(id));
        let reason = match error {
            TokenError::InvalidClient { .. } => {
                "the Authorization header is not Basic with id and secret in base64".to_owned()
            }
            other => other.reason(),
        };
        let unknown = presented.client_id.filter(|_| client.is_none());
        Refused {
            client_id: client.map(|client| client.id.clone()),
            presented_id: unknown.map(|id| self.shown_id(&id, None)),
            reason,
            scope: listed(
                error,
                ErrorCode::InvalidScope,
                presented.scope.iter().map(String::as_str).collect(),
                |_| false,
            ),
            audience: listed(
                error,
                ErrorCode::InvalidTarget,
                presented.audiences.iter().map(String::as_str).collect(),
                |_| false,
            ),
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
        let client = named.iter().find_map(|id| self.clients.get(id));
        let reason = match error {
            TokenError::InvalidClient { .. } => {
                why_not_authenticated(credentials, client.as_deref(), self.clock.now()).to_owned()
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

    /// An id that no client has. People put secrets and tokens into its place, and those are not
    /// written down.
    fn shown_id(&self, id: &str, credentials: Option<&Credentials>) -> String {
        // A program that reads the secret's file as it is sends the line end behind it too.
        let text = SecretString::from(id.trim_end_matches(['\r', '\n']));
        let is_secret_of =
            |client: &Client| client.secrets.iter().any(|it| it.expected.is_plain(&text));
        let is_swapped =
            |candidate: &Candidate| self.clients.get(candidate.secret.expose_secret()).is_some();
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

/// Why presented credentials let nobody in.
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
    if !matches!(client.authentication, Authentication::Secret) {
        return "the client is registered to authenticate by an assertion, not by a secret";
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

/// What of a list is why a request is refused; all of it where each one may be had.
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

/// The members of a JSON body that a line shows, whatever their form.
pub(super) fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(items)) => items
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        _ => Vec::new(),
    }
}
