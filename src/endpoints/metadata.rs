//! What the issuer publishes: its keys and its metadata.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CACHE_CONTROL;
use http::{HeaderName, HeaderValue};

use super::{JSON, line};
use crate::issuer::Issuer;

/// Short enough that a verifier learns of a new key soon, long enough that it need not ask for every token.
const FIVE_MINUTES: (HeaderName, HeaderValue) =
    (CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));

/// `GET /.well-known/jwks.json`
pub(super) async fn jwks(State(issuer): State<Arc<Issuer>>) -> Response {
    ([JSON, FIVE_MINUTES], line(&*issuer.public_keys())).into_response()
}

/// `GET /.well-known/openid-configuration` and `/.well-known/oauth-authorization-server`
pub(super) async fn metadata(State(issuer): State<Arc<Issuer>>) -> Response {
    ([JSON, FIVE_MINUTES], line(issuer.metadata().to_string())).into_response()
}
