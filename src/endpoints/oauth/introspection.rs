//! The introspection endpoint (RFC 7662).

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use serde_json::json;

use super::body::WholeBody;
use super::error::token_error_answer;
use crate::endpoints::{JSON, NO_CACHE, NO_STORE, Peer, line, shown};
use crate::issuer::{Attempt, Introspected, Issuer};

const NOT_ALLOWED: &str = "the token was issued to another client and not for this one, which has \
                           no `allowIntrospection`";

/// `POST /oauth/introspect`
pub(super) async fn introspect(
    State(issuer): State<Arc<Issuer>>,
    peer: Peer,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    WholeBody(body): WholeBody,
) -> Response {
    let introspection = issuer.introspection();
    let attempt = introspection
        .answer(&headers, query.as_deref(), &body, &peer.connection)
        .await;
    record(&attempt, &peer);
    let members = match attempt.result {
        Ok(Introspected::Active(members)) => json!(members),
        // RFC 7662 §2.2: without a reason.
        Ok(Introspected::Inactive | Introspected::NotAllowed(_)) => json!({ "active": false }),
        Err(error) => return token_error_answer(error),
    };
    ([JSON, NO_STORE, NO_CACHE], line(members.to_string())).into_response()
}

/// Writes the audit line of a refusal. Answers are not logged: resource servers may ask once per
/// request.
fn record(attempt: &Attempt<Introspected>, peer: &Peer) {
    let refused = attempt.refused.as_ref();
    let (outcome, reason, jti) = match &attempt.result {
        Ok(Introspected::NotAllowed(jti)) => ("not_allowed", Some(NOT_ALLOWED), jti.as_deref()),
        Ok(Introspected::Active(_) | Introspected::Inactive) => return,
        Err(error) => (
            error.code().as_str(),
            refused.map(|it| it.reason.as_str()),
            None,
        ),
    };
    tracing::info!(
        target: "audit",
        client_id = attempt.client_id(),
        presented_id = refused.and_then(|refused| refused.presented_id.as_deref()),
        outcome,
        reason,
        jti,
        peer = shown(peer),
        "introspection request"
    );
}
