//! HTTP answers of our own, as axum handlers. They know no pingora: the proxy's bridge hands them
//! requests, whatever kind of listener those came in on.

pub mod admin;
mod introspection;
pub mod local_api;
pub mod metadata;
pub mod oauth;
pub mod plgd;
pub mod probes;
mod revocation;

use std::net::{IpAddr, SocketAddr};

use axum::Extension;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, PRAGMA};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::json;

/// The client's address, as a request extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddress(pub SocketAddr);

/// The client's address as a handler gets it: none when the proxy's bridge is not in between.
type Peer = Option<Extension<PeerAddress>>;

/// The address alone, by which failures are counted.
fn address(peer: &Peer) -> Option<IpAddr> {
    peer.as_ref().map(|Extension(PeerAddress(address))| address.ip())
}

/// The same for an audit line.
fn shown(peer: &Peer) -> Option<tracing::field::DisplayValue<SocketAddr>> {
    peer.as_ref().map(|Extension(PeerAddress(address))| tracing::field::display(*address))
}

const JSON: (HeaderName, HeaderValue) = (CONTENT_TYPE, HeaderValue::from_static("application/json"));
/// Tokens and errors are never kept (RFC 6749 §5.1).
const NO_STORE: (HeaderName, HeaderValue) = (CACHE_CONTROL, HeaderValue::from_static("no-store"));
/// The same for caches of HTTP/1.0, which RFC 6749 §5.1 asks for as well.
const NO_CACHE: (HeaderName, HeaderValue) = (PRAGMA, HeaderValue::from_static("no-cache"));

/// An error as RFC 6749 §5.2 writes it. Of a request the description has excerpts at most, which hold no secret.
fn error_answer(status: StatusCode, error: &'static str, description: &str) -> Response {
    let body = json!({ "error": error, "error_description": description }).to_string();
    (status, [JSON, NO_STORE, NO_CACHE], line(body)).into_response()
}

/// A body of JSON as it is sent: a shell's prompt stands below it, not behind it.
fn line(json: impl Into<String>) -> String {
    let mut json = json.into();
    json.push('\n');
    json
}

/// For methods an endpoint does not have; axum adds `Allow`.
async fn method_not_allowed() -> Response {
    error_answer(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", "this endpoint does not have this method")
}

/// For paths that no endpoint has.
async fn not_found() -> Response {
    error_answer(StatusCode::NOT_FOUND, "not_found", "there is no such endpoint")
}
