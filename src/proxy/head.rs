//! What every listener does first with a request.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType};

use super::connection::{Connection, ConnectionState};
use super::failure::UPGRADED;
use super::fault::Fault;
use super::framing::Unread;
use crate::domain::reason::Reason;

const KEEP_ALIVE: &str = "Keep-Alive";
/// How much of a request's body is read and discarded behind its answer so that the connection can
/// carry another request. Reading more would take longer than a new connection.
const MOST_DISCARDED: u64 = 256 * 1024;
/// How long that may take.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(10);

/// Takes the head over from Pingora: from here on answers are ours.
///
/// What the head says was judged before Pingora saw it: see [`framing`](super::framing).
///
/// # Errors
/// [`Reason::Internal`] when the connection is none of ours.
pub fn accept(session: &mut Session) -> Result<Arc<ConnectionState>, Reason> {
    // RFC 9110 §15.2: HTTP/1.0 has no interim answers, and takes one for the answer itself.
    if session.req_header().version == Version::HTTP_10 {
        session.as_downstream_mut().set_ignore_info_resp(true);
    }
    let state = connection(session).ok_or(Reason::Internal)?;
    // Pingora keeps a connection without a limit after its first request, except where it has
    // decided to close it.
    if session.get_keepalive().is_some() {
        session.set_keepalive(Some(state.keep_alive()));
    }
    state.head_is_read();
    session.set_read_timeout(Some(state.timeouts().read));
    // Pingora would close every connection whose client asked for `100 Continue`: see
    // `settle_connection`.
    session.set_close_on_response_before_downstream_finish(false);
    Ok(state)
}

/// Has the time for which the upstream's answer is awaited begin at the end of the request's body,
/// however long the client takes to send it.
pub fn await_answer(session: &mut Session, connection: &ConnectionState, peer: &mut HttpPeer) {
    if session.as_mut().is_body_done() {
        return connection.await_answer(None, false);
    }
    let read = peer.options.read_timeout;
    connection.await_answer(read, expects_continue(session));
    // While the body is sent the client's own limit holds, and comes first.
    peer.options.read_timeout = read.map(|read| read.saturating_add(connection.timeouts().read));
}

/// Decides, before an answer that may come ahead of its request's end, whether the connection can
/// carry another request. It can when the rest of the body is small enough to be discarded, and
/// certain to come.
pub fn settle_connection(session: &mut Session) {
    if session.as_mut().is_body_done() {
        return;
    }
    let connection = connection_of(session);
    let (unread, has_begun) = connection.map_or((Unread::Unknown, false), |connection| {
        (connection.unread(), connection.has_begun_body())
    });
    // RFC 9110 §10.1.1: a client that was to wait may keep its body back now. What follows could be
    // either.
    let may_keep_back = expects_continue(session) && !has_begun;
    if may_keep_back || matches!(unread, Unread::Bytes(bytes) if bytes > MOST_DISCARDED) {
        session.set_keepalive(None);
    }
}

/// Says in an answer how long the connection is kept for another request, so that the client does
/// not use it too late. What the upstream says there is about its own connection.
///
/// # Errors
/// When the answer can hold no further header.
pub fn announce_keep_alive(session: &Session, answer: &mut ResponseHeader) -> pingora::Result<()> {
    answer.remove_header(KEEP_ALIVE);
    match session.get_keepalive() {
        Some(seconds) => answer.insert_header(KEEP_ALIVE, format!("timeout={seconds}")),
        None => Ok(()),
    }
}

/// Whether the client waits for `100 Continue` (RFC 9110 §10.1.1) and got none.
#[must_use]
pub fn expects_continue(session: &Session) -> bool {
    let expect = session.get_header(header::EXPECT);
    session.req_header().version == Version::HTTP_11
        && session.response_written().is_none()
        && expect.is_some_and(|expect| expect.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Reads and discards the rest of an answered request's body, so that the connection can carry
/// another request. Where that takes too long, or the body is broken, the connection is closed.
pub async fn discard_body(session: &mut Session) {
    if session.get_keepalive().is_none() || session.as_mut().is_body_done() {
        return;
    }
    let discard = async {
        let mut left = MOST_DISCARDED;
        loop {
            match session.as_downstream_mut().read_request_body().await {
                Ok(None) => return true,
                Ok(Some(chunk)) if chunk.len() as u64 <= left => left -= chunk.len() as u64,
                Ok(Some(_)) | Err(_) => return false,
            }
        }
    };
    if !tokio::time::timeout(DISCARD_TIMEOUT, discard)
        .await
        .unwrap_or(false)
    {
        session.set_keepalive(None);
    }
}

/// Waits until the client goes away. Nothing of its body is read for that.
pub async fn client_gone(session: &mut Session) {
    if !session.as_mut().is_body_done() {
        let reset = connection_of(session).map(Connection::until_reset);
        return match reset {
            Some(reset) => drop(reset.await),
            None => std::future::pending().await,
        };
    }
    // A reset: the next request is held back until this one is answered, and the end of the
    // client's sending side is no departure.
    let _ = session.as_downstream_mut().read_body_or_idle(true).await;
}

/// What the connection of a session and the phases tell each other.
#[must_use]
pub fn connection(session: &Session) -> Option<Arc<ConnectionState>> {
    connection_of(session).map(Connection::state)
}

fn connection_of(session: &Session) -> Option<&Connection> {
    let stream = session.as_downstream().stream()?;
    (**stream).as_any().downcast_ref()
}

/// Whether a request asks for a WebSocket (RFC 6455 §4.2.1). Other offers, such as `Upgrade: h2c`,
/// ask for nothing that the client cannot do without.
#[must_use]
pub fn asks_for_websocket(headers: &HeaderMap) -> bool {
    let names = |header, wanted: &str| {
        let values = headers
            .get_all(header)
            .iter()
            .filter_map(|value| value.to_str().ok());
        values
            .flat_map(|value| value.split(','))
            .any(|token| token.trim().eq_ignore_ascii_case(wanted))
    };
    names(header::UPGRADE, "websocket") && names(header::CONNECTION, "upgrade")
}

/// Path and query of the request's target, in origin form (RFC 9112 §3.2.1) or out of the absolute
/// form (§3.2.2).
///
/// # Errors
/// [`Reason::MalformedRequest`] when it is of another form; our own reading of the head has refused
/// such a target already.
pub fn target(head: &RequestHeader) -> Result<(&str, Option<&str>), Fault> {
    read_target(head.raw_path())
}

/// The same of a target that stands in no head of Pingora's.
///
/// # Errors
/// As [`target`].
pub fn read_target(target: &[u8]) -> Result<(&str, Option<&str>), Fault> {
    let malformed = || Fault::malformed("the target is neither a path nor an http URL");
    let raw = std::str::from_utf8(target).map_err(|_| malformed())?;
    let origin = if raw.starts_with('/') {
        raw
    } else {
        behind_authority(raw).ok_or_else(malformed)?
    };
    let (path, query) = origin
        .split_once('?')
        .map_or((origin, None), |(path, query)| (path, Some(query)));
    Ok((if path.is_empty() { "/" } else { path }, query))
}

/// What stands behind scheme and authority of an absolute target. Our own reading of the head has
/// made the authority the `Host`.
fn behind_authority(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    rest.find(['/', '?'])
        .map_or(Some(""), |end| rest.get(end..))
}

/// Makes of a request on its way to the upstream what every server reads in one way.
///
/// # Errors
/// When the request can hold no further header.
pub fn settle_request(session: &Session, request: &mut RequestHeader) -> pingora::Result<()> {
    let client = session.req_header();
    // RFC 9110 §10.1.1: an expectation of HTTP/1.0 means nothing, and such a client could not read
    // the interim answer.
    if client.version == Version::HTTP_10 {
        request.remove_header(&header::EXPECT);
    }
    // A server that does not look for a body with these methods would take it for the next request,
    // and answer it to somebody else: what follows on that connection must be its end.
    let is_expected = !matches!(
        client.method,
        Method::GET | Method::HEAD | Method::DELETE | Method::OPTIONS
    );
    let length = client
        .headers
        .get(header::CONTENT_LENGTH)
        .is_some_and(|length| length != "0");
    if !is_expected && (length || client.headers.contains_key(header::TRANSFER_ENCODING)) {
        request.insert_header(header::CONNECTION, HeaderValue::from_static("close"))?;
    }
    Ok(())
}

/// Makes of the upstream's answer one of HTTP/1.1 that its client can read.
///
/// # Errors
/// When it agrees to an upgrade: nobody asked it to, and what followed would be no HTTP.
pub fn settle_answer(session: &mut Session, answer: &mut ResponseHeader) -> pingora::Result<()> {
    if answer.status == StatusCode::SWITCHING_PROTOCOLS {
        let mut error = Error::new_up(ErrorType::InvalidHTTPHeader);
        error.set_context(UPGRADED);
        return Err(error);
    }
    if !answer.status.is_informational() {
        settle_connection(session);
    }
    answer.set_version(Version::HTTP_11);
    strip_hop_by_hop(answer);
    settle_length(answer)?;
    // RFC 9112 §6.1: no chunks for HTTP/1.0. The end of the connection ends the answer.
    if session.req_header().version == Version::HTTP_10
        && answer.remove_header(&header::TRANSFER_ENCODING).is_some()
    {
        session.set_keepalive(None);
    }
    if answer.status.is_informational() {
        return Ok(());
    }
    announce_keep_alive(session, answer)
}

/// Removes the fields that are the connection's to the upstream (RFC 9110 §7.6.1), also from
/// interim answers. `Transfer-Encoding` stays: Pingora frames the body by it.
fn strip_hop_by_hop(answer: &mut ResponseHeader) {
    const OWN: [HeaderName; 4] = [
        header::CONNECTION,
        header::TE,
        header::TRAILER,
        header::UPGRADE,
    ];
    let nominated: Vec<HeaderName> = answer
        .headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .filter(|name| ![header::CONTENT_LENGTH, header::TRANSFER_ENCODING].contains(name))
        .collect();
    for name in nominated.iter().chain(&OWN) {
        answer.remove_header(name);
    }
    for name in ["keep-alive", "proxy-connection"] {
        answer.remove_header(name);
    }
}

/// Makes one of several equal lengths, and none of an answer that has no body (RFC 9110 §8.6, RFC
/// 9112 §6.1). Pingora has refused lengths that differ.
fn settle_length(answer: &mut ResponseHeader) -> pingora::Result<()> {
    if answer.status.is_informational() || answer.status == StatusCode::NO_CONTENT {
        answer.remove_header(&header::CONTENT_LENGTH);
        answer.remove_header(&header::TRANSFER_ENCODING);
        return Ok(());
    }
    let mut lengths = answer.headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else {
        return Ok(());
    };
    if lengths.next().is_none() && !length.as_bytes().contains(&b',') {
        return Ok(());
    }
    let length = length
        .as_bytes()
        .split(|byte| *byte == b',')
        .next()
        .unwrap_or_default()
        .trim_ascii()
        .to_vec();
    answer.insert_header(header::CONTENT_LENGTH, length)
}
