//! The sidecar's own HTTP endpoints, as axum handlers. They do not depend on pingora: the proxy's
//! bridge passes them the requests of every kind of listener.

pub mod admin;
pub mod local_api;
pub mod oauth;
pub mod plgd;
pub mod probes;
pub mod protected_resource;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, PRAGMA, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode};

use crate::domain::client_certificate::{ClientCertificate, ClientConnection};
use crate::domain::error_form::{ErrorForm, ErrorForms};

/// The client's address, as a request extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddress(pub SocketAddr);

/// The certificate that the client showed, as a request extension.
#[derive(Clone, Debug)]
pub struct PeerCertificate(pub Arc<ClientCertificate>);

/// Marks a request from a socket in the file system, whose permissions have admitted its client.
#[derive(Clone, Copy, Debug)]
pub struct FromSocketFile;

/// The client's connection, if the request came through the proxy's bridge.
struct Peer {
    address: Option<SocketAddr>,
    connection: ClientConnection,
}

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let address = parts.extensions.get::<PeerAddress>().map(|it| it.0);
        let certificate = parts.extensions.get::<PeerCertificate>();
        let connection = ClientConnection {
            address: address.map(|address| address.ip()),
            certificate: certificate.map(|it| it.0.clone()),
        };
        Ok(Self {
            address,
            connection,
        })
    }
}

/// The address for an audit line.
fn shown(peer: &Peer) -> Option<tracing::field::DisplayValue<SocketAddr>> {
    peer.address.map(tracing::field::display)
}

const JSON: (HeaderName, HeaderValue) =
    (CONTENT_TYPE, HeaderValue::from_static("application/json"));
/// Tokens and errors are never cached (RFC 6749 §5.1).
const NO_STORE: (HeaderName, HeaderValue) = (CACHE_CONTROL, HeaderValue::from_static("no-store"));
/// RFC 6749 §5.1 requires it too, for caches of HTTP/1.0.
const NO_CACHE: (HeaderName, HeaderValue) = (PRAGMA, HeaderValue::from_static("no-cache"));

/// plgd's server sends it with every answer.
const NO_SNIFF: (HeaderName, HeaderValue) =
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));

/// The content of an error, as an extension of its answer: [`in_form_of_path`] writes it again if
/// the path needs another form.
#[derive(Clone)]
struct ErrorContent {
    error: &'static str,
    description: String,
    /// Whether the members of RFC 6749 §5.2 are required on every path (RFC 7009 §2.2.1, RFC 7662
    /// §2.3).
    is_oauth: bool,
}

/// An error in the form of RFC 6749 §5.2. The description has at most excerpts of the request,
/// without secrets.
fn error_answer(status: StatusCode, error: &'static str, description: &str) -> Response {
    let description = description.to_owned();
    answer_with(
        status,
        ErrorContent {
            error,
            description,
            is_oauth: true,
        },
    )
}

/// An error about the path, the method or the body of a request, which OAuth does not define.
fn plain_error_answer(status: StatusCode, error: &'static str, description: &str) -> Response {
    let description = description.to_owned();
    answer_with(
        status,
        ErrorContent {
            error,
            description,
            is_oauth: false,
        },
    )
}

/// The same error from an endpoint that OAuth does not define.
fn as_plain_error(mut answer: Response) -> Response {
    if let Some(content) = answer.extensions_mut().get_mut::<ErrorContent>() {
        content.is_oauth = false;
    }
    answer
}

fn answer_with(status: StatusCode, content: ErrorContent) -> Response {
    let body = error_body(ErrorForm::OAuth, status, &content);
    (status, [JSON, NO_STORE, NO_CACHE], Extension(content), body).into_response()
}

fn error_body(form: ErrorForm, status: StatusCode, content: &ErrorContent) -> String {
    let members = form.members(status.as_u16(), content.error, &content.description);
    line(serde_json::Value::from(members).to_string())
}

/// A layer that gives each error the form of its path.
async fn in_form_of_path(
    State(forms): State<ErrorForms>,
    request: Request,
    next: Next,
) -> Response {
    let form = forms.of_path(request.uri().path());
    let mut answer = next.run(request).await;
    let content = answer.extensions_mut().remove::<ErrorContent>();
    if let Some(content) = content.filter(|_| form != ErrorForm::OAuth) {
        let form = if content.is_oauth {
            ErrorForm::Both
        } else {
            form
        };
        let body = error_body(form, answer.status(), &content);
        answer.headers_mut().remove(CONTENT_LENGTH);
        let (name, value) = NO_SNIFF;
        answer.headers_mut().insert(name, value);
        *answer.body_mut() = body.into();
    }
    answer
}

/// JSON with a newline, so that a shell's prompt starts on its own line.
fn line(json: impl Into<String>) -> String {
    let mut json = json.into();
    json.push('\n');
    json
}

/// For methods that an endpoint does not support; axum adds `Allow`.
async fn method_not_allowed() -> Response {
    plain_error_answer(
        StatusCode::METHOD_NOT_ALLOWED,
        "invalid_request",
        "this endpoint does not have this method",
    )
}

/// For paths without an endpoint.
async fn not_found() -> Response {
    plain_error_answer(
        StatusCode::NOT_FOUND,
        "not_found",
        "there is no such endpoint",
    )
}
