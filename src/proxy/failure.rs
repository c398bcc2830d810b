//! Maps a proxy error to its reason, and answers the failed request.

use pingora::proxy::{FailToProxy, Session};
use pingora::{Error, ErrorSource, ErrorType};

use super::access::Access;
use super::answer::Answer;
use super::connection::ConnectionState;
use super::fault::{Fault, Place};
use super::head::{self, UPGRADED};
use super::upstream::tls_alert;
use crate::domain::reason::Reason;

/// Pingora's error context for a response with too many header fields.
const TOO_MANY: &str = "too many headers";
/// Pingora's error types for invalid chunks and trailers.
const BROKEN_CHUNKS: [&str; 2] = ["InvalidChunk", "InvalidTrailerEnd"];

const BODY: &str = "the body framing is not valid HTTP/1.1";
const NOMINATIONS: &str =
    "the Connection header names a required field, more than nine fields, or an invalid name";

/// The listener that received the request.
#[derive(Clone, Copy, Default)]
pub struct Asked<'a> {
    /// The listener's name, for challenges.
    pub realm: &'a str,
    /// Whether pages of other sites may read its error responses.
    pub for_pages: bool,
}

/// The reason for a proxy error, with the known detail.
#[must_use]
pub fn fault_of(error: &Error) -> Fault {
    let reason = reason_of(error);
    match (reason, error.etype()) {
        (Reason::MalformedRequest, ErrorType::InvalidHTTPHeader) => Fault::malformed(NOMINATIONS),
        (Reason::MalformedRequest, _) => Fault::malformed(BODY).at(Place::Body),
        (Reason::UpstreamBroken, _) => Fault::because(reason, broken_answer(error)),
        (Reason::UpstreamTls, kind) => Fault::because(reason, broken_tls(kind, tls_alert(error))),
        _ => reason.into(),
    }
}

/// Describes why the TLS connection to an upstream failed.
fn broken_tls(kind: &ErrorType, alert: Option<&'static str>) -> &'static str {
    match kind {
        ErrorType::InvalidCert => "its certificate or name could not be verified",
        _ => alert
            .unwrap_or("its certificate or name could not be verified, or the handshake broke off"),
    }
}

/// Describes the defect of an upstream's response.
fn broken_answer(error: &Error) -> &'static str {
    // The context of a parse error begins with the upstream's bytes, which could contain any text.
    let context = error
        .context
        .as_ref()
        .map_or("", |context| context.as_str());
    let says = |text: &str| !context.starts_with("buf: ") && context.contains(text);
    match error.etype() {
        ErrorType::InvalidHTTPHeader if context == UPGRADED => {
            "it agrees to an upgrade that was not asked for"
        }
        ErrorType::InvalidHTTPHeader if error.root_cause().to_string() == TOO_MANY => {
            "it has more than 256 header fields"
        }
        ErrorType::InvalidHTTPHeader if says("Content-Length") => {
            "its Content-Length is no plain number, or there are two that differ"
        }
        ErrorType::InvalidHTTPHeader if says("larger than") => "its head is larger than 1 MiB",
        ErrorType::InvalidHTTPHeader => "its head is not HTTP/1.1",
        ErrorType::WriteError => "the connection ended while the request was sent",
        ErrorType::ConnectionClosed | ErrorType::ReadError => {
            "the connection ended before the answer was complete"
        }
        _ => "its body framing is not valid HTTP/1.1",
    }
}

#[must_use]
pub fn reason_of(error: &Error) -> Reason {
    match (error.esource(), error.etype()) {
        (ErrorSource::Downstream, ErrorType::ReadTimedout) => Reason::BodyTimeout,
        (ErrorSource::Downstream, ErrorType::InvalidHTTPHeader | ErrorType::H1Error) => {
            Reason::MalformedRequest
        }
        // Pingora parses some chunks before `framing` does.
        (ErrorSource::Downstream, error) if BROKEN_CHUNKS.contains(&error.as_str()) => {
            Reason::MalformedRequest
        }
        (ErrorSource::Downstream, _) => Reason::ClientGone,
        _ if tls_alert(error).is_some() => Reason::UpstreamTls,
        (
            _,
            ErrorType::ConnectTimedout
            | ErrorType::TLSHandshakeTimedout
            | ErrorType::ReadTimedout
            | ErrorType::WriteTimedout,
        ) => Reason::UpstreamTimeout,
        (
            _,
            ErrorType::ConnectRefused
            | ErrorType::ConnectNoRoute
            | ErrorType::ConnectError
            | ErrorType::SocketError
            | ErrorType::BindError,
        ) => Reason::UpstreamUnreachable,
        (
            _,
            ErrorType::TLSHandshakeFailure | ErrorType::InvalidCert | ErrorType::HandshakeError,
        ) => Reason::UpstreamTls,
        // Pingora refuses a `Connection` header that names protected fields while it builds the
        // upstream request.
        (ErrorSource::Unset | ErrorSource::Internal, ErrorType::InvalidHTTPHeader) => {
            Reason::MalformedRequest
        }
        (ErrorSource::Upstream, _) => Reason::UpstreamBroken,
        _ => Reason::Internal,
    }
}

/// The fault that the connection recorded, or [`Reason::ClientGone`].
fn gone_or(connection: &ConnectionState) -> Fault {
    if let Some(fault) = connection.broken_body() {
        fault.clone()
    } else if connection.is_answer_late() {
        Reason::UpstreamTimeout.into()
    } else if connection.has_stalled() {
        Reason::ClientStalled.into()
    } else {
        Reason::ClientGone.into()
    }
}

/// Answers a request that a proxy error ended, unless its response has begun or its client is gone.
/// `ours` is the fault that one of our phases recorded when it raised the error.
pub async fn answer(
    session: &mut Session,
    error: &Error,
    ours: Option<Fault>,
    access: &mut Access,
    asked: Asked<'_>,
) -> FailToProxy {
    let mut fault = ours.unwrap_or_else(|| fault_of(error));
    match (fault.reason, head::connection(session)) {
        // The connection has recorded why reading from or writing to the client failed.
        (Reason::ClientGone, Some(connection)) => fault = gone_or(&connection),
        // The client sent nothing because it waited for the upstream's `100 Continue`.
        (Reason::BodyTimeout, Some(connection)) if connection.awaits_continue() => {
            fault = Reason::UpstreamTimeout.into();
        }
        _ => {}
    }
    let reason = fault.reason;
    access.refuse(&fault);
    session.set_keepalive(None);
    let answer = Answer::to_fault(&fault, asked.realm).for_pages(asked.for_pages);
    let error_code = answer.status();
    // An interim response does not count.
    let has_begun = session
        .response_written()
        .is_some_and(|answer| !answer.status.is_informational());
    if !matches!(reason, Reason::ClientGone | Reason::ClientStalled) && !has_begun {
        // The write fails when the client has disconnected; nothing is left to do then.
        let _ = answer.write(session).await;
    }
    FailToProxy {
        error_code,
        can_reuse_downstream: false,
    }
}

/// Ends a request. After an error it closes the connection so that the response still arrives (see
/// [`connection`](super::connection)); otherwise it discards the rest of the body. Call it last,
/// because it can take seconds.
pub async fn close(session: &mut Session, error: Option<&Error>) {
    if error.is_some() {
        session.as_downstream_mut().shutdown().await;
    } else {
        head::discard_body(session).await;
    }
}
