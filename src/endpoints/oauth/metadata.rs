//! The issuer's keys and metadata, and the page that says that it has no login.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::endpoints::{JSON, NO_STORE, line, plain_error_answer};
use crate::issuer::Issuer;
use crate::issuer::metadata::RequestedCertificates;

/// Verifiers see a new key soon, and do not fetch the keys for every token.
const FIVE_MINUTES: (HeaderName, HeaderValue) = (
    CACHE_CONTROL,
    HeaderValue::from_static("public, max-age=300"),
);

const HTML: (HeaderName, HeaderValue) = (
    CONTENT_TYPE,
    HeaderValue::from_static("text/html; charset=utf-8"),
);
/// The page loads and runs nothing.
const NO_CONTENT_FROM_ANYWHERE: (HeaderName, HeaderValue) = (
    CONTENT_SECURITY_POLICY,
    HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; form-action 'none'"),
);
const NO_LOGIN: &str = "this server has no login: it issues tokens to programs, which ask the \
                        token endpoint with grant_type=client_credentials";
const NO_LOGIN_PAGE: &str = "<!doctype html>
<html lang=\"en\">
<title>No login</title>
<h1>No login</h1>
<p>This server has no login. It issues tokens to programs, which ask the token endpoint with
<code>grant_type=client_credentials</code>.</p>
<p>A program that sent you here uses a login flow. Change its settings to client credentials.</p>
</html>
";

/// Any request to `/oauth/authorize`. The answer is never a redirect: no registered `redirect_uri`
/// makes it safe (RFC 6749 §4.1.2.1).
pub(super) async fn no_login(headers: HeaderMap) -> Response {
    let accepted = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|accept| accept.to_str().ok());
    if accepted
        .into_iter()
        .any(|accept| accept.to_ascii_lowercase().contains("text/html"))
    {
        let headers = [HTML, NO_STORE, NO_CONTENT_FROM_ANYWHERE];
        return (StatusCode::BAD_REQUEST, headers, NO_LOGIN_PAGE).into_response();
    }
    plain_error_answer(
        StatusCode::BAD_REQUEST,
        "unsupported_response_type",
        NO_LOGIN,
    )
}

/// `GET /.well-known/jwks.json`
pub(super) async fn jwks(State(issuer): State<Arc<Issuer>>) -> Response {
    ([JSON, FIVE_MINUTES], line(&*issuer.public_keys())).into_response()
}

/// `GET /.well-known/openid-configuration` and `/.well-known/oauth-authorization-server`
pub(super) async fn metadata(
    State((issuer, certificates)): State<(Arc<Issuer>, RequestedCertificates)>,
) -> Response {
    let document = issuer.metadata(certificates).to_string();
    ([JSON, FIVE_MINUTES], line(document)).into_response()
}
