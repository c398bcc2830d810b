//! The issuer's endpoints: which paths answer, and the token endpoint itself.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Extension, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;

use super::metadata::{jwks, metadata};
use super::revocation::{revocations, revoke};
use super::{JSON, NO_CACHE, NO_STORE, PeerAddress, error_answer, method_not_allowed, not_found};
use crate::domain::oauth::{ErrorCode, GrantType};
use crate::domain::secret::ExposeSecret;
use crate::issuer::metadata::{
    AUTHORIZATION_SERVER_PATH, JWKS_PATH, OPENID_CONFIGURATION_PATH, REVOCATIONS_PATH, REVOKE_PATH,
    TOKEN_PATH,
};
use crate::issuer::{Issuer, Outcome, TokenError, TokenRequest, TokenResponse};

/// The largest token request.
const MAX_BODY: usize = 64 * 1024;

/// Under which paths the endpoints answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Below the path of the issuer's URL only: an inbound listener whose root belongs to its upstream.
    BasePath,
    /// At the root too: an inbound listener that is told to.
    BasePathAndRoot,
    /// At the root too, and with the token endpoint's other names: the issuer's own listener.
    OwnListener,
}

/// Is told how each token request ended.
pub type Observer = Arc<dyn Fn(&Outcome) + Send + Sync>;

/// The issuer's endpoints as a router: exactly [`issuer_paths`].
pub fn issuer_router(issuer: Arc<Issuer>, at: Placement, observer: Observer) -> Router {
    // The paths are literal: an issuer's URL may well hold what axum 0.7 took for a capture.
    let mut router = Router::new().without_v07_checks();
    for (path, endpoint) in endpoints(issuer.base_path(), at) {
        let method_router = match endpoint {
            Endpoint::Revoke => revoke_endpoint(Arc::clone(&issuer)),
            Endpoint::Revocations => get(revocations).with_state(Arc::clone(&issuer)),
            Endpoint::Token => token_endpoint(Arc::clone(&issuer), Arc::clone(&observer)),
            Endpoint::Jwks => get(jwks).with_state(Arc::clone(&issuer)),
            Endpoint::Metadata => get(metadata).with_state(Arc::clone(&issuer)),
        };
        router = router.route(&path, method_router.fallback(method_not_allowed));
    }
    router.fallback(not_found)
}

/// The exact paths, in normal form, that [`issuer_router`] answers.
#[must_use]
pub fn issuer_paths(issuer: &Issuer, at: Placement) -> Vec<String> {
    paths_below(issuer.base_path(), at)
}

/// The same, known only by the path of the issuer's URL (without a slash at its end).
#[must_use]
pub fn paths_below(base_path: &str, at: Placement) -> Vec<String> {
    endpoints(base_path, at).into_keys().collect()
}

#[derive(Clone, Copy)]
enum Endpoint {
    Token,
    Revoke,
    Revocations,
    Jwks,
    Metadata,
}

/// A map, because the base path and the root may be the same.
fn endpoints(base: &str, at: Placement) -> BTreeMap<String, Endpoint> {
    let mut endpoints = BTreeMap::new();
    let bases = if at == Placement::BasePath { vec![base] } else { vec![base, ""] };
    for base in bases {
        endpoints.insert(format!("{base}{TOKEN_PATH}"), Endpoint::Token);
        endpoints.insert(format!("{base}{REVOKE_PATH}"), Endpoint::Revoke);
        endpoints.insert(format!("{base}{REVOCATIONS_PATH}"), Endpoint::Revocations);
        endpoints.insert(format!("{base}{JWKS_PATH}"), Endpoint::Jwks);
        endpoints.insert(format!("{base}{OPENID_CONFIGURATION_PATH}"), Endpoint::Metadata);
        endpoints.insert(format!("{base}{AUTHORIZATION_SERVER_PATH}"), Endpoint::Metadata);
        if at == Placement::OwnListener {
            endpoints.insert(format!("{base}/token"), Endpoint::Token);
            endpoints.insert(format!("{base}/oauth2/token"), Endpoint::Token);
        }
    }
    endpoints.insert(format!("{AUTHORIZATION_SERVER_PATH}{base}"), Endpoint::Metadata);
    endpoints
}

#[derive(Clone)]
struct TokenEndpoint {
    issuer: Arc<Issuer>,
    observer: Observer,
}

fn token_endpoint(issuer: Arc<Issuer>, observer: Observer) -> MethodRouter {
    // Whoever hands the body over bounds it too; here it is a promise of the endpoint, wherever it is mounted.
    post(token).layer(DefaultBodyLimit::max(MAX_BODY)).with_state(TokenEndpoint { issuer, observer })
}

fn revoke_endpoint(issuer: Arc<Issuer>) -> MethodRouter {
    post(revoke).layer(DefaultBodyLimit::max(MAX_BODY)).with_state(issuer)
}

/// `POST /oauth/token`
async fn token(
    State(endpoint): State<TokenEndpoint>,
    from: Option<Extension<PeerAddress>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return endpoint.refuse_body(rejection.status()),
    };
    let request = TokenRequest::parse(&headers, &body);
    let result = match &request {
        Ok(request) => endpoint.issuer.issue(request, peer(from)).await,
        Err(error) => Err(*error),
    };
    endpoint.record(request.as_ref().ok(), &result);
    match result {
        Ok(response) => token_answer(&response),
        Err(error) => token_error_answer(error),
    }
}

impl TokenEndpoint {
    /// Tells the audit log and the observer how a request ended: never with what a stranger wrote into it.
    fn record(&self, request: Option<&TokenRequest>, result: &Result<TokenResponse, TokenError>) {
        let outcome = Outcome {
            client_id: request.and_then(|request| self.issuer.named_client(request)),
            grant_type: request.and_then(TokenRequest::grant_type),
            error: result.as_ref().err().map(|error| error.code()),
        };
        let reason = result.as_ref().err().map(|error| error.reason());
        let jti = result.as_ref().ok().map(|response| response.jti.as_str());
        self.report(&outcome, jti, reason.as_deref());
    }

    fn report(&self, outcome: &Outcome, jti: Option<&str>, reason: Option<impl tracing::Value>) {
        tracing::info!(
            target: "audit",
            client_id = outcome.client_id.as_deref(),
            grant_type = outcome.grant_type.map(GrantType::as_str),
            outcome = outcome.error.map_or("issued", ErrorCode::as_str),
            reason,
            jti,
            "token request"
        );
        (self.observer)(outcome);
    }

    /// A body that is too large, or that broke off.
    fn refuse_body(&self, status: StatusCode) -> Response {
        let description = why_no_body(status);
        let error = ErrorCode::InvalidRequest;
        self.report(
            &Outcome { client_id: None, grant_type: None, error: Some(error) },
            None,
            Some(description),
        );
        error_answer(status, error.as_str(), description)
    }
}

/// The address that a request comes from, where the listener says so.
pub(super) fn peer(from: Option<Extension<PeerAddress>>) -> Option<IpAddr> {
    from.map(|Extension(PeerAddress(address))| address.ip())
}

pub(super) fn why_no_body(status: StatusCode) -> &'static str {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => "the request body is larger than 64 KiB",
        _ => "the request body could not be read",
    }
}

/// RFC 6749 §5.1.
fn token_answer(response: &TokenResponse) -> Response {
    #[derive(Serialize)]
    struct Body<'a> {
        access_token: &'a str,
        token_type: &'static str,
        expires_in: u64,
        #[serde(skip_serializing_if = "String::is_empty")]
        scope: String,
    }
    let body = Body {
        access_token: response.access_token.expose_secret(),
        token_type: "Bearer",
        expires_in: response.expires_in.as_secs(),
        scope: response.scope.to_string(),
    };
    match serde_json::to_string(&body) {
        Ok(body) => ([JSON, NO_STORE, NO_CACHE], body).into_response(),
        Err(_) => token_error_answer(TokenError::Signing),
    }
}

pub(super) fn token_error_answer(error: TokenError) -> Response {
    let mut answer = code_answer(error.code(), &error.to_string());
    if let TokenError::TooManyFailures { retry_after } = error {
        // RFC 6585 §4. RFC 6749 has no code for it, so it is the one that asks to come back later.
        *answer.status_mut() = StatusCode::TOO_MANY_REQUESTS;
        answer.headers_mut().insert(RETRY_AFTER, retry_after.into());
    }
    if error == (TokenError::InvalidClient { basic: true }) {
        let challenge = HeaderValue::from_static(r#"Basic realm="m2m-sidecar""#);
        answer.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    answer
}

fn code_answer(code: ErrorCode, description: &str) -> Response {
    let mut answer = error_answer(status(code), code.as_str(), description);
    if code == ErrorCode::TemporarilyUnavailable {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    answer
}

fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::InvalidClient => StatusCode::UNAUTHORIZED,
        ErrorCode::TemporarilyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::ServerError => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorCode::InvalidRequest
        | ErrorCode::UnauthorizedClient
        | ErrorCode::UnsupportedGrantType
        | ErrorCode::InvalidScope
        | ErrorCode::InvalidTarget => StatusCode::BAD_REQUEST,
    }
}

#[cfg(test)]
mod tests;
