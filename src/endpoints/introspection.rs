//! Introspection: the endpoint of RFC 7662.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use serde_json::json;

use super::oauth::{WholeBody, token_error_answer};
use super::{JSON, NO_CACHE, NO_STORE, Peer, address, line, shown};
use crate::issuer::{Introspection, IntrospectionRequest, Issuer, Refused, TokenError};

/// `POST /oauth/introspect`
pub(super) async fn introspect(
    State(issuer): State<Arc<Issuer>>,
    peer: Peer,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    WholeBody(body): WholeBody,
) -> Response {
    let request = IntrospectionRequest::parse(&headers, query.as_deref(), &body);
    let mut asker = None;
    let result = match &request {
        Ok(request) => issuer.introspect(request, address(&peer), &mut asker).await,
        Err(error) => Err(*error),
    };
    let named = || {
        request
            .as_ref()
            .ok()
            .and_then(|request| issuer.revoking_client(request))
    };
    let client_id = asker.map(|asker| asker.client_id).or_else(named);
    let refused = result.as_ref().err().map(|error| match &request {
        Ok(request) => issuer.refused_request(request, *error),
        Err(_) => issuer.refused_unread(&headers, &body, *error),
    });
    record(client_id.as_deref(), &result, refused, &peer);
    let members = match result {
        Ok(Introspection::Active(members)) => json!(members),
        // RFC 7662 §2.2: nothing that tells why.
        Ok(Introspection::Inactive | Introspection::NotAllowed(_)) => json!({ "active": false }),
        Err(error) => return token_error_answer(error),
    };
    ([JSON, NO_STORE, NO_CACHE], line(members.to_string())).into_response()
}

/// The audit line of a refusal. What is answered is not written down: resource servers may ask for
/// each request.
fn record(
    client_id: Option<&str>,
    result: &Result<Introspection, TokenError>,
    refused: Option<Refused>,
    peer: &Peer,
) {
    let not_allowed = "the token was issued to another client and not for this one, which has no `allowIntrospection`";
    let (outcome, reason, jti) = match result {
        Ok(Introspection::NotAllowed(jti)) => ("not_allowed", Some(not_allowed), jti.as_deref()),
        Ok(Introspection::Active(_) | Introspection::Inactive) => return,
        Err(error) => (
            error.code().as_str(),
            refused.as_ref().map(|refused| refused.reason.as_str()),
            None,
        ),
    };
    let refused_id = refused
        .as_ref()
        .and_then(|refused| refused.client_id.as_deref());
    tracing::info!(
        target: "audit",
        client_id = client_id.or(refused_id),
        presented_id = refused.as_ref().and_then(|refused| refused.presented_id.as_deref()),
        outcome,
        reason,
        jti,
        peer = shown(peer),
        "introspection request"
    );
}
