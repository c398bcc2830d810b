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
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, PRAGMA, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue, StatusCode};

use crate::domain::error_form::{ErrorForm, ErrorForms};

/// The client's address, as a request extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddress(pub SocketAddr);

/// The client's address as a handler gets it: none when the proxy's bridge is not in between.
type Peer = Option<Extension<PeerAddress>>;

/// The address alone, by which failures are counted.
fn address(peer: &Peer) -> Option<IpAddr> {
    peer.as_ref()
        .map(|Extension(PeerAddress(address))| address.ip())
}

/// The same for an audit line.
fn shown(peer: &Peer) -> Option<tracing::field::DisplayValue<SocketAddr>> {
    peer.as_ref()
        .map(|Extension(PeerAddress(address))| tracing::field::display(*address))
}

const JSON: (HeaderName, HeaderValue) =
    (CONTENT_TYPE, HeaderValue::from_static("application/json"));
/// Tokens and errors are never kept (RFC 6749 §5.1).
const NO_STORE: (HeaderName, HeaderValue) = (CACHE_CONTROL, HeaderValue::from_static("no-store"));
/// The same for caches of HTTP/1.0, which RFC 6749 §5.1 asks for as well.
const NO_CACHE: (HeaderName, HeaderValue) = (PRAGMA, HeaderValue::from_static("no-cache"));

/// For answers that plgd's clients read, as its server has it.
const NO_SNIFF: (HeaderName, HeaderValue) =
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));

/// What an error says, as an extension of its answer: [`in_its_form`] writes it anew where the path
/// wants another form.
#[derive(Clone)]
struct Said {
    error: &'static str,
    description: String,
    /// Whether RFC 6749 §5.2 wants its members, wherever the endpoint is (RFC 7009 §2.2.1, RFC 7662
    /// §2.3).
    is_oauths: bool,
}

/// An error as RFC 6749 §5.2 writes it. Of a request the description has excerpts at most, which
/// hold no secret.
fn error_answer(status: StatusCode, error: &'static str, description: &str) -> Response {
    answer_saying(
        status,
        Said {
            error,
            description: description.to_owned(),
            is_oauths: true,
        },
    )
}

/// An error that is about the path, the method or the body of a request: no matter of OAuth's.
fn plain_error_answer(status: StatusCode, error: &'static str, description: &str) -> Response {
    answer_saying(
        status,
        Said {
            error,
            description: description.to_owned(),
            is_oauths: false,
        },
    )
}

/// The same error from an endpoint that is none of OAuth's.
fn as_plain_error(mut answer: Response) -> Response {
    if let Some(said) = answer.extensions_mut().get_mut::<Said>() {
        said.is_oauths = false;
    }
    answer
}

fn answer_saying(status: StatusCode, said: Said) -> Response {
    let body = error_body(ErrorForm::OAuth, status, said.error, &said.description);
    (status, [JSON, NO_STORE, NO_CACHE], Extension(said), body).into_response()
}

fn error_body(form: ErrorForm, status: StatusCode, error: &str, description: &str) -> String {
    line(serde_json::Value::from(form.members(status.as_u16(), error, description)).to_string())
}

/// A layer that gives each error the form that its path wants.
async fn in_its_form(State(forms): State<ErrorForms>, request: Request, next: Next) -> Response {
    let form = forms.of_path(request.uri().path());
    let mut answer = next.run(request).await;
    if let Some(said) = answer
        .extensions_mut()
        .remove::<Said>()
        .filter(|_| form != ErrorForm::OAuth)
    {
        let form = if said.is_oauths {
            ErrorForm::Both
        } else {
            form
        };
        let body = error_body(form, answer.status(), said.error, &said.description);
        answer.headers_mut().remove(CONTENT_LENGTH);
        let (name, value) = NO_SNIFF;
        answer.headers_mut().insert(name, value);
        *answer.body_mut() = body.into();
    }
    answer
}

/// A body of JSON as it is sent: a shell's prompt stands below it, not behind it.
fn line(json: impl Into<String>) -> String {
    let mut json = json.into();
    json.push('\n');
    json
}

/// For methods an endpoint does not have; axum adds `Allow`.
async fn method_not_allowed() -> Response {
    plain_error_answer(
        StatusCode::METHOD_NOT_ALLOWED,
        "invalid_request",
        "this endpoint does not have this method",
    )
}

/// For paths that no endpoint has.
async fn not_found() -> Response {
    plain_error_answer(
        StatusCode::NOT_FOUND,
        "not_found",
        "there is no such endpoint",
    )
}
