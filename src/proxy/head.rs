//! What every listener does first with a request.

use std::sync::Arc;
use std::time::Duration;

use http::header;
use pingora::http::RequestHeader;
use pingora::proxy::Session;

use super::connection::{Connection, ConnectionState};
use super::listener::KEEP_ALIVE;
use crate::domain::reason::Reason;

/// How long a write to the client may make no progress.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the rest of a request's body is read after its answer.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest request head that is served.
const MAX_HEAD: usize = 32 * 1024;

/// Takes the head over from Pingora: from here on answers are ours.
///
/// # Errors
/// [`Reason::HeadTooLarge`], or [`Reason::MalformedRequest`] when there is no `Host` (RFC 9112 §3.2).
pub fn accept(session: &mut Session) -> Result<Arc<ConnectionState>, Reason> {
    // Pingora keeps a connection for ever after its first request, except where it has decided to close it.
    if session.get_keepalive().is_some() {
        session.set_keepalive(Some(KEEP_ALIVE.as_secs()));
    }
    let state = session
        .as_downstream()
        .stream()
        .and_then(|stream| (**stream).as_any().downcast_ref::<Connection>())
        .map(Connection::state)
        .ok_or(Reason::Internal)?;
    state.head_is_read();
    // A client that stops reading, or stops sending a body that nobody wants, would hold its connection for ever.
    session.set_write_timeout(Some(WRITE_TIMEOUT));
    session.set_total_drain_timeout(Some(DRAIN_TIMEOUT));
    let head = session.req_header();
    let size = head
        .headers
        .iter()
        .fold(head.raw_path().len(), |size, (name, value)| size + name.as_str().len() + value.len() + 4);
    if size > MAX_HEAD {
        return Err(Reason::HeadTooLarge);
    }
    // Pingora has refused two `Host`s already, and one that differs from an absolute target.
    match head.headers.get(header::HOST) {
        Some(host) if !host.is_empty() => Ok(state),
        _ => Err(Reason::MalformedRequest),
    }
}

/// Path and query of the request's target, in origin form (RFC 9112 §3.2.1) or out of the absolute form (§3.2.2).
///
/// # Errors
/// [`Reason::AmbiguousPath`] when the target is not UTF-8, [`Reason::MalformedRequest`] when it is of another form.
pub fn target(head: &RequestHeader) -> Result<(&str, Option<&str>), Reason> {
    if !head.raw_path_is_utf8() {
        return Err(Reason::AmbiguousPath);
    }
    let raw = head.raw_path();
    let absolute =
        |scheme: &[u8]| raw.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    if raw.first() == Some(&b'/') || absolute(b"http://") || absolute(b"https://") {
        Ok((head.uri.path(), head.uri.query()))
    } else {
        Err(Reason::MalformedRequest)
    }
}
