//! The token endpoint.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, Uri};
use serde::Serialize;

use super::body::body_error;
use crate::domain::oauth::{ErrorCode, GrantType};
use crate::domain::printable::excerpt;
use crate::domain::secret::ExposeSecret;
use crate::endpoints::{JSON, NO_CACHE, NO_STORE, Peer, line, plain_error_answer, shown};
use crate::issuer::{
    Attempt, ExchangedFor, Issuer, ProfilePolicy, Refused, TokenError, TokenRequest, TokenResponse,
};

/// The longest owner or device in an audit line, in bytes.
const LONGEST_OWNER: usize = 128;

/// How a token request ended, for metrics. It has no text that an unauthenticated client chooses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The client, if the request names a registered one.
    pub client_id: Option<String>,
    /// The grant, if the request names a supported one.
    pub grant_type: Option<GrantType>,
    /// `None`: a token was issued.
    pub error: Option<ErrorCode>,
}

/// The parties that an issued token names beside its client.
#[derive(Default)]
struct Named<'a> {
    /// The owner of an exchanged JWT, or the one that the request chose.
    owner: Option<String>,
    /// The device that the request chose.
    device_id: Option<String>,
    issued: Option<&'a TokenResponse>,
}

/// Gets the outcome of each token request.
pub type Observer = Arc<dyn Fn(&Outcome) + Send + Sync>;

/// Issues tokens, and records the outcome.
#[derive(Clone)]
pub(in crate::endpoints) struct TokenEndpoint {
    pub(in crate::endpoints) issuer: Arc<Issuer>,
    pub(super) observer: Observer,
    /// The profile of requests and answers.
    pub(super) profile: ProfilePolicy,
    pub(super) error_answer: fn(TokenError) -> Response,
}

/// `POST /oauth/token`
pub(super) async fn token(
    State(endpoint): State<TokenEndpoint>,
    peer: Peer,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return endpoint.refuse_body(rejection.status(), &peer),
    };
    let form = (&endpoint.profile, endpoint.issuer.claim_parameters());
    let request = TokenRequest::parse_in(form, &headers, uri.query(), &body);
    let at = (uri.path(), &peer);
    match endpoint.issue(&request, &headers, &body, at).await {
        Ok(response) => endpoint.answer(&response),
        Err(error) => (endpoint.error_answer)(error),
    }
}

impl TokenEndpoint {
    /// Answers a request for this path that was parsed from `headers` and `body`.
    pub(in crate::endpoints) async fn issue(
        &self,
        request: &Result<TokenRequest, TokenError>,
        headers: &HeaderMap,
        body: &[u8],
        (path, peer): (&str, &Peer),
    ) -> Result<TokenResponse, TokenError> {
        let tokens = self.issuer.tokens();
        let attempt = tokens
            .answer(request, headers, body, (path, &peer.connection))
            .await;
        let Attempt {
            client,
            result,
            refused,
        } = attempt;
        let refused = refused.unwrap_or_default();
        let request = request.as_ref().ok();
        let (client_id, owner) = client
            .map(|client| (client.client_id, client.owner))
            .unzip();
        let outcome = Outcome {
            // The request may name another client beside the authenticated one.
            client_id: client_id
                .or_else(|| refused.client_id.clone().filter(|_| request.is_some())),
            grant_type: request.and_then(TokenRequest::grant_type),
            error: result.as_ref().err().map(|error| error.code()),
        };
        let issued = result.as_ref().ok();
        let chosen = issued.map(|response| response.chosen.clone());
        let chosen = chosen.unwrap_or_default();
        let named = Named {
            owner: owner.flatten().or(chosen.owner),
            device_id: chosen.device_id,
            issued,
        };
        self.record(&outcome, named, refused, peer);
        result
    }

    /// Writes the audit line, and calls the observer.
    fn record(&self, outcome: &Outcome, named: Named<'_>, refused: Refused, peer: &Peer) {
        let exchanged = named.issued.and_then(|issued| issued.exchanged.as_ref());
        let text = |text: &str| excerpt(text.as_bytes(), LONGEST_OWNER).into_owned();
        tracing::info!(
            target: "audit",
            client_id = outcome.client_id.as_deref().or(refused.client_id.as_deref()),
            owner = named.owner.as_deref().map(text),
            device_id = named.device_id.as_deref().map(text),
            subject = exchanged.map(|it| text(&it.subject)),
            subject_jti = exchanged.and_then(|it| it.subject_jti.as_deref()).map(text),
            act = exchanged.and_then(|it| it.actors.as_deref()),
            presented_id = refused.presented_id,
            grant_type = outcome.grant_type.map(GrantType::as_str),
            outcome = outcome.error.map_or("issued", ErrorCode::as_str),
            reason = Some(refused.reason).filter(|reason| !reason.is_empty()),
            refused_scope = refused.scope,
            refused_audience = refused.audience,
            jti = named.issued.map(|issued| issued.jti.as_str()),
            peer = shown(peer),
            "token request"
        );
        (self.observer)(outcome);
    }

    /// Refuses a body that is too large or incomplete.
    pub(in crate::endpoints) fn refuse_body(&self, status: StatusCode, peer: &Peer) -> Response {
        let (error, description) = (ErrorCode::InvalidRequest, body_error(status));
        let outcome = Outcome {
            client_id: None,
            grant_type: None,
            error: Some(error),
        };
        let refused = Refused {
            reason: description.to_owned(),
            ..Refused::default()
        };
        self.record(&outcome, Named::default(), refused, peer);
        plain_error_answer(status, error.as_str(), description)
    }

    /// RFC 6749 §5.1.
    fn answer(&self, response: &TokenResponse) -> Response {
        #[derive(Serialize)]
        struct Body<'a> {
            access_token: &'a str,
            token_type: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            expires_in: Option<u64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            scope: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            refresh_token: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            issued_token_type: Option<&'static str>,
        }
        let expires_in = response.expires_in.map(|left| left.as_secs());
        let scope = Some(response.scope.to_string());
        let exchanged: Option<&ExchangedFor> = response.exchanged.as_ref();
        let body = Body {
            access_token: response.access_token.expose_secret(),
            token_type: response.token_type,
            // plgd's clients take zero for endless.
            expires_in: expires_in.filter(|left| *left > 0 || !self.profile.endless),
            scope: scope.filter(|scope| !scope.is_empty() || self.profile.empty_scope),
            refresh_token: response
                .refresh_token
                .as_ref()
                .map(ExposeSecret::expose_secret),
            issued_token_type: exchanged.map(|it| it.issued_token_type),
        };
        match serde_json::to_string(&body) {
            Ok(body) => ([JSON, NO_STORE, NO_CACHE], line(body)).into_response(),
            Err(_) => (self.error_answer)(TokenError::Signing),
        }
    }
}
