//! `POST /introspect`: whether a token is valid, for programs that verify none themselves.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::Api;
use super::parameters::Parameters;
use crate::domain::claims::Claims;
use crate::domain::reason::Reason;
use crate::domain::secret::SecretString;
use crate::endpoints::{JSON, NO_CACHE, NO_STORE, error_answer, line};

/// Verifies a token with the authority of this name, or with any of the configured ones. Gives its
/// claims. `None`: no authority has this name.
pub type Introspect = Arc<
    dyn Fn(
            Option<String>,
            SecretString,
        ) -> Pin<Box<dyn Future<Output = Option<Result<Claims, Reason>>> + Send>>
        + Send
        + Sync,
>;

/// `POST /introspect`, and `POST /api/v1/introspect` as NAIS Texas has it.
pub(super) async fn introspect(
    State(api): State<Api>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(introspect) = &api.introspect else {
        let text = "tokens are not introspected here: `localApi.audiences` is missing";
        return error_answer(StatusCode::NOT_FOUND, "not_found", text);
    };
    let parameters = match Parameters::parse(&headers, &body) {
        Ok(parameters) => parameters,
        Err(text) => return error_answer(StatusCode::BAD_REQUEST, "invalid_request", text),
    };
    let Some(token) = parameters.token else {
        let text = "`token` is missing: the token to verify";
        return error_answer(StatusCode::BAD_REQUEST, "invalid_request", text);
    };
    let verified = introspect(parameters.identity_provider, token).await;
    let Some(verified) = verified else {
        let text = "no authority has the name in `identity_provider`";
        return error_answer(StatusCode::NOT_FOUND, "not_found", text);
    };
    let body = match verified {
        Ok(claims) => {
            let mut members = claims.as_map().clone();
            // A claim never replaces it.
            members.insert("active".to_owned(), Value::Bool(true));
            Value::Object(members)
        }
        Err(
            Reason::Busy
            | Reason::KeysUnavailable
            | Reason::RevocationUnavailable
            | Reason::IntrospectionUnavailable
            | Reason::IntrospectionCredentials
            | Reason::IntrospectionAnswer
            | Reason::IntrospectionLimited
            | Reason::Internal,
        ) => {
            let text = "the token cannot be verified now: the keys or the revocations of its \
                        authority are not available";
            let status = StatusCode::SERVICE_UNAVAILABLE;
            return error_answer(status, "temporarily_unavailable", text);
        }
        Err(reason) => json!({ "active": false, "error": reason.code() }),
    };
    ([JSON, NO_STORE, NO_CACHE], line(body.to_string())).into_response()
}
