//! The issuer's endpoints: which paths answer, and the token endpoint itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, RawQuery, Request, State};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{self, MethodRouter, get, post};
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;

use super::introspection::introspect;
use super::metadata::{jwks, metadata, no_login};
use super::plgd::{self, TokensApi, VerifyCaller};
use super::revocation::{revocations, revoke};
use super::{
    JSON, NO_CACHE, NO_STORE, Peer, address, error_answer, in_its_form, line, method_not_allowed,
    not_found, plain_error_answer, shown,
};
use crate::domain::error_form::ErrorForms;
use crate::domain::oauth::{ErrorCode, GrantType};
use crate::domain::printable::excerpt;
use crate::domain::secret::ExposeSecret;
use crate::issuer::metadata::{
    AUTHORIZATION_SERVER_PATH, AUTHORIZE_PATH, INTROSPECT_PATH, JWKS_PATH,
    OPENID_CONFIGURATION_PATH, REVOCATIONS_PATH, REVOKE_PATH, TOKEN_PATH, TOKENS_PATH,
};
use crate::issuer::{
    Issuer, Outcome, ProfilePolicy, Refused, TokenError, TokenRequest, TokenResponse,
};

/// How much of an owner is shown in audit lines, in bytes.
const LONGEST_OWNER: usize = 128;

/// The largest token request.
const MAX_BODY: usize = 64 * 1024;

/// Under which paths the endpoints answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Below the path of the issuer's URL only: an inbound listener whose root belongs to its
    /// upstream.
    BasePath,
    /// At the root too: an inbound listener that is told to.
    BasePathAndRoot,
    /// At the root too, and with the token endpoint's other names: the issuer's own listener.
    OwnListener,
}

/// Is told how each token request ended.
pub type Observer = Arc<dyn Fn(&Outcome) + Send + Sync>;

/// The issuer's endpoints as a router: exactly [`issuer_paths`]. `callers` says who calls plgd's
/// tokens API.
pub fn issuer_router(
    issuer: Arc<Issuer>,
    at: Placement,
    observer: Observer,
    callers: VerifyCaller,
) -> Router {
    // The paths are literal: an issuer's URL may well hold what axum 0.7 took for a capture.
    let mut router = Router::new().without_v07_checks();
    for (path, endpoint) in endpoints(issuer.base_path(), issuer.profile(), at) {
        let method_router = match endpoint {
            Endpoint::Revoke => revoke_endpoint(Arc::clone(&issuer)),
            Endpoint::Revocations => get(revocations).with_state(Arc::clone(&issuer)),
            Endpoint::Introspect => introspect_endpoint(Arc::clone(&issuer)),
            Endpoint::Token(profile) => token_endpoint(TokenEndpoint {
                issuer: Arc::clone(&issuer),
                observer: Arc::clone(&observer),
                profile,
            }),
            Endpoint::Tokens => {
                let (issuer, observer) = (Arc::clone(&issuer), Arc::clone(&observer));
                let tokens = TokenEndpoint {
                    issuer,
                    observer,
                    profile: ProfilePolicy::PLGD,
                };
                let api = plgd::tokens_api(TokensApi {
                    tokens,
                    callers: Arc::clone(&callers),
                });
                router = router.route(&path, api.layer(DefaultBodyLimit::max(MAX_BODY)));
                continue;
            }
            Endpoint::Jwks => get(jwks).with_state(Arc::clone(&issuer)),
            Endpoint::Metadata => get(metadata).with_state(Arc::clone(&issuer)),
            Endpoint::Authorize => {
                // It has every method.
                router = router.route(&path, routing::any(no_login));
                continue;
            }
        };
        router = router.route(&path, method_router.fallback(method_not_allowed));
    }
    let forms = error_forms(issuer.base_path(), issuer.profile(), at);
    router
        .fallback(not_found)
        .layer(from_fn_with_state(forms, in_its_form))
}

/// Which errors of a listener with these endpoints have the form that plgd's clients read.
#[must_use]
pub fn error_forms(base_path: &str, profile: ProfilePolicy, at: Placement) -> ErrorForms {
    match (profile.status_errors, at) {
        (false, _) => ErrorForms::default(),
        (true, Placement::OwnListener) => ErrorForms::of_issuer(base_path),
        (true, Placement::BasePath | Placement::BasePathAndRoot) => {
            let paths = paths_below(base_path, profile, Placement::BasePath)
                .into_iter()
                .collect();
            ErrorForms::of_shared(base_path, &paths)
        }
    }
}

/// The exact paths, in normal form, that [`issuer_router`] answers.
#[must_use]
pub fn issuer_paths(issuer: &Issuer, at: Placement) -> Vec<String> {
    paths_below(issuer.base_path(), issuer.profile(), at)
}

/// The same, known only by the issuer's profile and the path of its URL (without a slash at its
/// end).
#[must_use]
pub fn paths_below(base_path: &str, profile: ProfilePolicy, at: Placement) -> Vec<String> {
    endpoints(base_path, profile, at).into_keys().collect()
}

#[derive(Clone, Copy)]
enum Endpoint {
    /// In the shape of this profile.
    Token(ProfilePolicy),
    Introspect,
    /// plgd's tokens API.
    Tokens,
    Revoke,
    Revocations,
    Jwks,
    Metadata,
    Authorize,
}

/// A map, because the base path and the root may be the same: then the base path's profile holds.
/// Elsewhere the root has the RFCs' shapes, whatever the profile.
fn endpoints(base: &str, profile: ProfilePolicy, at: Placement) -> BTreeMap<String, Endpoint> {
    let mut endpoints = BTreeMap::new();
    let below_base = (base, profile);
    let bases = match at {
        Placement::BasePath => vec![below_base],
        Placement::BasePathAndRoot | Placement::OwnListener => {
            vec![("", ProfilePolicy::STANDARD), below_base]
        }
    };
    for (base, profile) in bases {
        endpoints.insert(format!("{base}{TOKEN_PATH}"), Endpoint::Token(profile));
        endpoints.insert(format!("{base}{INTROSPECT_PATH}"), Endpoint::Introspect);
        endpoints.insert(format!("{base}{REVOKE_PATH}"), Endpoint::Revoke);
        endpoints.insert(format!("{base}{REVOCATIONS_PATH}"), Endpoint::Revocations);
        endpoints.insert(format!("{base}{JWKS_PATH}"), Endpoint::Jwks);
        endpoints.insert(format!("{base}{AUTHORIZE_PATH}"), Endpoint::Authorize);
        endpoints.insert(
            format!("{base}{OPENID_CONFIGURATION_PATH}"),
            Endpoint::Metadata,
        );
        endpoints.insert(
            format!("{base}{AUTHORIZATION_SERVER_PATH}"),
            Endpoint::Metadata,
        );
        if at == Placement::OwnListener {
            endpoints.insert(format!("{base}/token"), Endpoint::Token(profile));
            endpoints.insert(format!("{base}/oauth2/token"), Endpoint::Token(profile));
        }
        if profile.tokens_api {
            endpoints.insert(format!("{base}{TOKENS_PATH}"), Endpoint::Tokens);
            // plgd's server takes one slash at the end of any path.
            let is_below = |path: &str| {
                path.strip_prefix(base)
                    .is_some_and(|below| below.starts_with('/'))
            };
            let with_slash = endpoints.iter().filter(|(path, _)| is_below(path));
            let with_slash: Vec<_> = with_slash
                .map(|(path, endpoint)| (format!("{path}/"), *endpoint))
                .collect();
            endpoints.extend(with_slash);
        }
    }
    endpoints.insert(
        format!("{AUTHORIZATION_SERVER_PATH}{base}"),
        Endpoint::Metadata,
    );
    endpoints
}

/// What issues tokens and tells how that ended.
#[derive(Clone)]
pub(super) struct TokenEndpoint {
    pub(super) issuer: Arc<Issuer>,
    observer: Observer,
    /// The shape of its requests and errors.
    profile: ProfilePolicy,
}

fn token_endpoint(endpoint: TokenEndpoint) -> MethodRouter {
    // Whoever hands the body over bounds it too; here it is a promise of the endpoint, wherever it
    // is mounted.
    post(token)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(endpoint)
}

fn introspect_endpoint(issuer: Arc<Issuer>) -> MethodRouter {
    post(introspect)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(issuer)
}

fn revoke_endpoint(issuer: Arc<Issuer>) -> MethodRouter {
    post(revoke)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(issuer)
}

/// `POST /oauth/token`
async fn token(
    State(endpoint): State<TokenEndpoint>,
    peer: Peer,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return endpoint.refuse_body(rejection.status(), &peer),
    };
    let request = TokenRequest::parse_in(&endpoint.profile, &headers, query.as_deref(), &body);
    match endpoint.issue(request, (&headers, &body), &peer).await {
        Ok(response) => token_answer(&response, &endpoint.profile),
        Err(error) if endpoint.profile.status_errors => plgd::token_error_answer(error),
        Err(error) => token_error_answer(error),
    }
}

impl TokenEndpoint {
    /// Issues what a request asks for, and records how that ended. `raw` is what the request was
    /// read from.
    pub(super) async fn issue(
        &self,
        request: Result<TokenRequest, TokenError>,
        raw: (&HeaderMap, &[u8]),
        peer: &Peer,
    ) -> Result<TokenResponse, TokenError> {
        let mut asker = None;
        let result = match &request {
            Ok(request) => {
                self.issuer
                    .issue_to(request, address(peer), &mut asker)
                    .await
            }
            Err(error) => Err(*error),
        };
        let refused = match (&request, &result) {
            (_, Ok(_)) => None,
            (Ok(request), Err(error)) => Some(self.issuer.refused_token_request(request, *error)),
            (Err(_), Err(error)) => Some(self.issuer.refused_unread(raw.0, raw.1, *error)),
        };
        let request = request.as_ref().ok();
        let (proven, owner) = asker.map(|asker| (asker.client_id, asker.owner)).unzip();
        let outcome = Outcome {
            // The one that proved who it is: the request's text may name another one as well.
            client_id: proven.or_else(|| self.issuer.named_client(request?)),
            grant_type: request.and_then(TokenRequest::grant_type),
            error: result.as_ref().err().map(|error| error.code()),
        };
        let jti = result.as_ref().ok().map(|response| response.jti.as_str());
        self.report(
            &outcome,
            (owner.flatten().as_deref(), jti),
            refused.unwrap_or_default(),
            peer,
        );
        result
    }

    /// Tells the audit log and the observer how a request ended.
    fn report(
        &self,
        outcome: &Outcome,
        (owner, jti): (Option<&str>, Option<&str>),
        refused: Refused,
        peer: &Peer,
    ) {
        tracing::info!(
            target: "audit",
            client_id = outcome.client_id.as_deref().or(refused.client_id.as_deref()),
            owner = owner.map(|owner| excerpt(owner.as_bytes(), LONGEST_OWNER).into_owned()),
            presented_id = refused.presented_id,
            grant_type = outcome.grant_type.map(GrantType::as_str),
            outcome = outcome.error.map_or("issued", ErrorCode::as_str),
            reason = Some(refused.reason).filter(|reason| !reason.is_empty()),
            refused_scope = refused.scope,
            refused_audience = refused.audience,
            jti,
            peer = shown(peer),
            "token request"
        );
        (self.observer)(outcome);
    }

    /// A body that is too large, or that broke off.
    pub(super) fn refuse_body(&self, status: StatusCode, peer: &Peer) -> Response {
        let description = why_no_body(status);
        let error = ErrorCode::InvalidRequest;
        self.report(
            &Outcome {
                client_id: None,
                grant_type: None,
                error: Some(error),
            },
            (None, None),
            Refused {
                reason: description.to_owned(),
                ..Refused::default()
            },
            peer,
        );
        plain_error_answer(status, error.as_str(), description)
    }
}

/// A request's body, where one that is too large or broke off needs no more than an answer.
pub(super) struct WholeBody(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for WholeBody {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        Bytes::from_request(request, state)
            .await
            .map(Self)
            .map_err(|rejection| {
                let status = rejection.status();
                plain_error_answer(
                    status,
                    ErrorCode::InvalidRequest.as_str(),
                    why_no_body(status),
                )
            })
    }
}

pub(super) fn why_no_body(status: StatusCode) -> &'static str {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => "the request body is larger than 64 KiB",
        _ => "the request body could not be read",
    }
}

/// RFC 6749 §5.1.
fn token_answer(response: &TokenResponse, profile: &ProfilePolicy) -> Response {
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
    }
    // plgd's clients find a scope even when it is empty.
    let scope = Some(response.scope.to_string()).filter(|it| !it.is_empty() || profile.empty_scope);
    let body = Body {
        access_token: response.access_token.expose_secret(),
        token_type: "Bearer",
        expires_in: response
            .expires_in
            .map(|it| it.as_secs())
            .filter(|it| *it > 0 || !profile.endless),
        scope,
        refresh_token: response
            .refresh_token
            .as_ref()
            .map(ExposeSecret::expose_secret),
    };
    match serde_json::to_string(&body) {
        Ok(body) => ([JSON, NO_STORE, NO_CACHE], line(body)).into_response(),
        Err(_) => token_error_answer(TokenError::Signing),
    }
}

pub(super) fn token_error_answer(error: TokenError) -> Response {
    let mut answer = code_answer(error.code(), &error.to_string());
    if let TokenError::TooManyFailures { retry_after } | TokenError::TooManyTokens { retry_after } =
        error
    {
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
        answer
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    answer
}

fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::InvalidClient => StatusCode::UNAUTHORIZED,
        ErrorCode::TemporarilyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::ServerError => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorCode::InvalidRequest
        | ErrorCode::InvalidGrant
        | ErrorCode::UnauthorizedClient
        | ErrorCode::UnsupportedGrantType
        | ErrorCode::InvalidScope
        | ErrorCode::InvalidTarget => StatusCode::BAD_REQUEST,
    }
}

#[cfg(test)]
mod tests;
