//! What went wrong between client and upstream, as a reason.

use pingora::proxy::{FailToProxy, Session};
use pingora::{Error, ErrorSource, ErrorType};

use super::access::Access;
use super::connection::ConnectionState;
use super::fault::{Fault, Place};
use super::head;
use super::respond::Answer;
use super::upstream::tls_alert;
use crate::domain::reason::Reason;

/// The context of the error for an answer that upgrades the connection.
pub const UPGRADED: &str = "an upgrade that was not asked for";
/// What Pingora's parser calls an answer with more fields than it takes.
const TOO_MANY: &str = "too many headers";
/// What Pingora calls chunks and trailers that are none.
const BROKEN_CHUNKS: [&str; 2] = ["InvalidChunk", "InvalidTrailerEnd"];

const BODY: &str = "the body is not framed as HTTP wants it";
const NOMINATIONS: &str = "the Connection header names a field that every hop needs, or more than nine fields, or what is no name";

/// Which listener was asked.
#[derive(Clone, Copy, Default)]
pub struct Asked<'a> {
    /// Its name, for challenges.
    pub realm: &'a str,
    /// Whether pages of other sites may read its refusals.
    pub for_pages: bool,
}

/// The reason for a proxy error, and what is known beside it.
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

/// What ended the TLS connection to an upstream.
fn broken_tls(kind: &ErrorType, alert: Option<&'static str>) -> &'static str {
    match kind {
        ErrorType::InvalidCert => "its certificate or name could not be verified",
        _ => alert
            .unwrap_or("its certificate or name could not be verified, or the handshake broke off"),
    }
}

/// What is wrong with an upstream's answer.
fn broken_answer(error: &Error) -> &'static str {
    // The context of what cannot be parsed begins with the bytes themselves, which may say
    // anything.
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
        _ => "its body is not framed as HTTP/1.1 wants it",
    }
}

/// The reason for a proxy error.
#[must_use]
pub fn reason_of(error: &Error) -> Reason {
    match (error.esource(), error.etype()) {
        (ErrorSource::Downstream, ErrorType::ReadTimedout) => Reason::BodyTimeout,
        (ErrorSource::Downstream, ErrorType::InvalidHTTPHeader | ErrorType::H1Error) => {
            Reason::MalformedRequest
        }
        // Pingora's own reading of chunks, where it comes before ours.
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
        // upstream's request.
        (ErrorSource::Unset | ErrorSource::Internal, ErrorType::InvalidHTTPHeader) => {
            Reason::MalformedRequest
        }
        (ErrorSource::Upstream, _) => Reason::UpstreamBroken,
        _ => Reason::Internal,
    }
}

/// What it was if not the client that went away.
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

/// Answers a request that a proxy error ended, unless its answer has begun or its client is gone.
/// `ours` is what a phase of ours noted when it made the error.
pub async fn answer(
    session: &mut Session,
    error: &Error,
    ours: Option<Fault>,
    access: &mut Access,
    asked: Asked<'_>,
) -> FailToProxy {
    let mut fault = ours.unwrap_or_else(|| fault_of(error));
    match (fault.reason, head::connection(session)) {
        // The connection knows better why reading from the client, or writing to it, failed.
        (Reason::ClientGone, Some(connection)) => fault = gone_or(&connection),
        // The client sent nothing because it waited for the upstream.
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
    // An interim answer is none yet.
    let has_begun = session
        .response_written()
        .is_some_and(|answer| !answer.status.is_informational());
    if !matches!(reason, Reason::ClientGone | Reason::ClientStalled) && !has_begun {
        // A client that is gone by now has no use for the answer.
        let _ = answer.write(session).await;
    }
    FailToProxy {
        error_code,
        can_reuse_downstream: false,
    }
}

/// Ends a request. One that failed takes its connection along, in a way that lets the answer arrive
/// (see [`connection`](super::connection)); else the rest of its body is discarded. Call it last:
/// it takes a while.
pub async fn close(session: &mut Session, error: Option<&Error>) {
    if error.is_some() {
        session.as_downstream_mut().shutdown().await;
    } else {
        head::discard_body(session).await;
    }
}
