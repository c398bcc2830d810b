//! The revocation endpoint (RFC 7009), and the signed list of revoked tokens.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::body::WholeBody;
use super::error::token_error_answer;
use crate::endpoints::{JSON, NO_CACHE, NO_STORE, Peer, as_plain_error, line, shown};
use crate::issuer::{Attempt, Issuer};

/// Verifiers fetch the list every few seconds.
const REVALIDATE: (HeaderName, HeaderValue) = (CACHE_CONTROL, HeaderValue::from_static("no-cache"));
const JWT: (HeaderName, HeaderValue) = (CONTENT_TYPE, HeaderValue::from_static("application/jwt"));

/// `POST /oauth/revoke`
pub(super) async fn revoke(
    State(issuer): State<Arc<Issuer>>,
    peer: Peer,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    WholeBody(body): WholeBody,
) -> Response {
    let revocation = issuer.revocation();
    let attempt = revocation
        .answer(&headers, query.as_deref(), &body, &peer.connection)
        .await;
    record(&attempt, &peer);
    match attempt.result {
        // RFC 7009 §2.2: even if nothing was revoked. The body has no meaning, but some clients
        // parse it.
        Ok(_) => ([JSON, NO_STORE, NO_CACHE], line("{}")).into_response(),
        Err(error) => token_error_answer(error),
    }
}

/// Writes the audit line.
fn record(attempt: &Attempt<Option<String>>, peer: &Peer) {
    let refused = attempt.refused.as_ref();
    let (outcome, jti) = match &attempt.result {
        Ok(Some(jti)) => ("revoked", Some(jti.as_str())),
        Ok(None) => ("nothing_to_revoke", None),
        Err(error) => (error.code().as_str(), None),
    };
    tracing::info!(
        target: "audit",
        client_id = attempt.client_id(),
        presented_id = refused.and_then(|refused| refused.presented_id.as_deref()),
        outcome,
        reason = refused.map(|refused| refused.reason.as_str()),
        jti,
        peer = shown(peer),
        "revocation request"
    );
}

/// `GET /oauth/revocations`
pub(super) async fn revocations(State(issuer): State<Arc<Issuer>>, headers: HeaderMap) -> Response {
    let list = match issuer.revocation().list().await {
        Ok(list) => list,
        Err(error) => return as_plain_error(token_error_answer(error)),
    };
    let etag = (ETAG, list.etag.clone());
    if headers.get(IF_NONE_MATCH) == Some(&list.etag) {
        return (StatusCode::NOT_MODIFIED, [REVALIDATE, etag]).into_response();
    }
    ([JWT, REVALIDATE, etag], list.jwt).into_response()
}
