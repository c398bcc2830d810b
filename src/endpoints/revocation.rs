//! Revocation: the endpoint of RFC 7009, and the signed list of what was revoked.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::oauth::{WholeBody, token_error_answer};
use super::{JSON, NO_CACHE, NO_STORE, Peer, address, as_plain_error, line, shown};
use crate::issuer::{Issuer, Refused, RevocationRequest, TokenError};

/// A list is looked at again within seconds.
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
    let request = RevocationRequest::parse(&headers, query.as_deref(), &body);
    let mut asker = None;
    let result = match &request {
        Ok(request) => issuer.revoke(request, address(&peer), &mut asker).await,
        Err(error) => Err(*error),
    };
    let refused = result.as_ref().err().map(|error| match &request {
        Ok(request) => issuer.refused_request(request, *error),
        Err(_) => issuer.refused_unread(&headers, &body, *error),
    });
    let named = || {
        request
            .as_ref()
            .ok()
            .and_then(|request| issuer.revoking_client(request))
    };
    let client_id = asker.map(|asker| asker.client_id).or_else(named);
    record(client_id.as_deref(), &result, refused, &peer);
    match result {
        // RFC 7009 §2.2: also when there was nothing to revoke. The body means nothing; some
        // clients parse it.
        Ok(_) => ([JSON, NO_STORE, NO_CACHE], line("{}")).into_response(),
        Err(error) => token_error_answer(error),
    }
}

/// The audit line.
fn record(
    client_id: Option<&str>,
    result: &Result<Option<String>, TokenError>,
    refused: Option<Refused>,
    peer: &Peer,
) {
    let outcome = match result {
        Ok(Some(_)) => "revoked",
        Ok(None) => "nothing_to_revoke",
        Err(error) => error.code().as_str(),
    };
    let jti = result.as_ref().ok().and_then(Option::as_deref);
    let refused = refused.unwrap_or_default();
    tracing::info!(
        target: "audit",
        client_id = client_id.or(refused.client_id.as_deref()),
        presented_id = refused.presented_id,
        outcome,
        reason = Some(refused.reason).filter(|reason| !reason.is_empty()),
        jti,
        peer = shown(peer),
        "revocation request"
    );
}

/// `GET /oauth/revocations`
pub(super) async fn revocations(State(issuer): State<Arc<Issuer>>, headers: HeaderMap) -> Response {
    let list = match issuer.revocation_list().await {
        Ok(list) => list,
        Err(error) => return as_plain_error(token_error_answer(error)),
    };
    let etag = (ETAG, list.etag.clone());
    if headers.get(IF_NONE_MATCH) == Some(&list.etag) {
        return (StatusCode::NOT_MODIFIED, [REVALIDATE, etag]).into_response();
    }
    ([JWT, REVALIDATE, etag], list.jwt).into_response()
}
