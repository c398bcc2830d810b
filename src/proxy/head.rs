//! The steps that every listener applies to a request head and to an upstream's response head.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType};

use super::connection::{Connection, ConnectionState};
use super::fault::Fault;
use super::framing::Unread;
use crate::domain::reason::Reason;

/// The error context for a response that upgrades the connection.
pub const UPGRADED: &str = "an upgrade that was not requested";
const KEEP_ALIVE: &str = "Keep-Alive";
/// How many bytes of an unread request body are discarded after the response, so that the
/// connection can carry another request. Beyond this, a new connection is cheaper.
const MOST_DISCARDED: u64 = 256 * 1024;
/// How long discarding may take.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(10);

/// Takes over a request whose head Pingora has parsed. [`framing`](super::framing) has checked the
/// bytes of the head before.
///
/// # Errors
/// [`Reason::Internal`] when the session's stream is not a [`Connection`].
pub fn accept(session: &mut Session) -> Result<Arc<ConnectionState>, Reason> {
    // RFC 9110 §15.2: an HTTP/1.0 client would take an interim response for the final one.
    if session.req_header().version == Version::HTTP_10 {
        session.as_downstream_mut().set_ignore_info_resp(true);
    }
    let state = connection(session).ok_or(Reason::Internal)?;
    // Without this, Pingora keeps the connection open without a time limit after its first request.
    if session.get_keepalive().is_some() {
        session.set_keepalive(Some(state.keep_alive()));
    }
    state.head_is_read();
    session.set_read_timeout(Some(state.timeouts().read));
    // By default Pingora closes every connection whose client sent `Expect: 100-continue`;
    // `settle_connection` decides instead.
    session.set_close_on_response_before_downstream_finish(false);
    Ok(state)
}

/// Starts the upstream's response timeout at the end of the request body, however long the client
/// takes to send it.
pub fn await_answer(session: &mut Session, connection: &ConnectionState, peer: &mut HttpPeer) {
    if session.as_mut().is_body_done() {
        return connection.await_answer(None, false);
    }
    let read = peer.options.read_timeout;
    connection.await_answer(read, expects_continue(session));
    // While the client sends the body, its own (shorter) timeout applies.
    peer.options.read_timeout = read.map(|read| read.saturating_add(connection.timeouts().read));
}

/// Decides whether the connection can carry another request when the response may precede the end
/// of the request. It can when the rest of the body is small enough to discard and certain to
/// arrive.
pub fn settle_connection(session: &mut Session) {
    if session.as_mut().is_body_done() {
        return;
    }
    let connection = connection_of(session);
    let (unread, has_begun) = connection.map_or((Unread::Unknown, false), |connection| {
        (connection.unread(), connection.has_begun_body())
    });
    // RFC 9110 §10.1.1: a client that waits for `100 Continue` may now omit its body, so the next
    // bytes could be a body or a request.
    let may_keep_back = expects_continue(session) && !has_begun;
    if may_keep_back || matches!(unread, Unread::Bytes(bytes) if bytes > MOST_DISCARDED) {
        session.set_keepalive(None);
    }
}

/// Announces in a response how long the connection stays open for another request. The upstream's
/// own `Keep-Alive` describes a different connection and is replaced.
///
/// # Errors
/// When the response cannot hold another header.
pub fn announce_keep_alive(session: &Session, answer: &mut ResponseHeader) -> pingora::Result<()> {
    answer.remove_header(KEEP_ALIVE);
    match session.get_keepalive() {
        Some(seconds) => answer.insert_header(KEEP_ALIVE, format!("timeout={seconds}")),
        None => Ok(()),
    }
}

/// Whether the client waits for `100 Continue` (RFC 9110 §10.1.1) and has received none.
#[must_use]
pub fn expects_continue(session: &Session) -> bool {
    let expect = session.get_header(header::EXPECT);
    session.req_header().version == Version::HTTP_11
        && session.response_written().is_none()
        && expect.is_some_and(|expect| expect.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Discards the rest of an answered request's body, so that the connection can carry another
/// request. Closes the connection when that takes too long or the body is broken.
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

/// Waits until the client resets the connection. Does not read the body.
pub async fn client_gone(session: &mut Session) {
    if !session.as_mut().is_body_done() {
        let reset = connection_of(session).map(Connection::until_reset);
        return match reset {
            Some(reset) => drop(reset.await),
            None => std::future::pending().await,
        };
    }
    // Only a reset ends this wait: the next request is held back until this one is answered, and a
    // half-closed connection still expects its response.
    let _ = session.as_downstream_mut().read_body_or_idle(true).await;
}

/// The state that the session's connection shares with the phases.
#[must_use]
pub fn connection(session: &Session) -> Option<Arc<ConnectionState>> {
    connection_of(session).map(Connection::state)
}

fn connection_of(session: &Session) -> Option<&Connection> {
    let stream = session.as_downstream().stream()?;
    (**stream).as_any().downcast_ref()
}

/// Whether a request asks for a WebSocket (RFC 6455 §4.2.1). Other upgrades, such as `h2c`, are
/// optional for the client and are ignored.
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

/// Path and query of the request target, in origin form (RFC 9112 §3.2.1) or absolute form
/// (§3.2.2).
///
/// # Errors
/// [`Reason::MalformedRequest`] for any other form. `framing` has already refused such targets.
pub fn target(head: &RequestHeader) -> Result<(&str, Option<&str>), Fault> {
    read_target(head.raw_path())
}

/// [`target`] for a target outside a Pingora head.
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

/// The part of an absolute target after scheme and authority. `framing` has already copied the
/// authority into `Host`.
fn behind_authority(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    rest.find(['/', '?'])
        .map_or(Some(""), |end| rest.get(end..))
}

/// Normalizes the upstream request so that every server parses it identically.
///
/// # Errors
/// When the request cannot hold another header.
pub fn settle_request(session: &Session, request: &mut RequestHeader) -> pingora::Result<()> {
    let client = session.req_header();
    // RFC 9110 §10.1.1: `Expect` has no meaning in HTTP/1.0, and such a client cannot read an
    // interim response.
    if client.version == Version::HTTP_10 {
        request.remove_header(&header::EXPECT);
    }
    // A server that ignores bodies of these methods would parse the body as the next request and
    // answer it to another client. `Connection: close` prevents that.
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

/// Turns the upstream's response into an HTTP/1.1 response that the client can read.
///
/// # Errors
/// When the upstream switches protocols: no request asked for it, and the following bytes are not
/// HTTP.
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
    // RFC 9112 §6.1: HTTP/1.0 has no chunked encoding. The end of the connection ends the response.
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

/// Removes the hop-by-hop fields of the upstream connection (RFC 9110 §7.6.1), from interim
/// responses too. `Transfer-Encoding` stays, because Pingora frames the body by it.
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

/// Merges equal lengths into one, and removes the length of a response without a body (RFC 9110
/// §8.6, RFC 9112 §6.1). Pingora has already refused lengths that differ.
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
