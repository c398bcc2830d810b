//! Makes the upstream request of a client's request: removes the fields of the client's connection
//! (RFC 9110 §7.6.1) and settles the framing.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};
use pingora::http::RequestHeader;

use super::Broken;
use crate::proxy::client::Client;
use crate::proxy::fault::Fault;
use crate::proxy::http1::chunked::may_be_trailer;
use crate::proxy::loop_mark::LOOP;
use crate::proxy::upstream::RequestBody;

/// Most fields that `Connection` may name, which bounds the work for them.
const MOST_NOMINATED: usize = 9;

/// Most trailers that a request may announce.
const MOST_ANNOUNCED: usize = 16;

/// Fields that count only in the head, where they were checked (RFC 9110 §6.5.1).
const OF_HEAD: [&str; 18] = [
    "cache-control",
    "cookie",
    "dpop",
    "expect",
    "forwarded",
    "http2-settings",
    "max-forwards",
    "origin",
    "pragma",
    "range",
    "via",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-real-ip",
    "x-request-id",
    "x-rewrite-url",
];
/// The beginnings of the names of further ones.
const BEGINNINGS: [&str; 7] = [
    "access-control-",
    "grpc-",
    "if-",
    "proxy-",
    "sec-",
    "x-forwarded-",
    "x-m2m-",
];

const NOMINATIONS: &str =
    "the Connection header names a required field, more than nine fields, or an invalid name";

/// Removes the fields of the client's connection.
///
/// # Errors
/// [`MalformedRequest`](crate::domain::reason::Reason) for a `Connection` header that names too
/// much.
pub(super) fn prepare(head: &mut RequestHeader, client: &Client<'_>) -> Result<(), Broken> {
    remove_hop_by_hop(head)?;
    head.set_version(Version::HTTP_11);
    // RFC 9110 §10.1.1: `Expect` has no meaning in HTTP/1.0, and such a client cannot read an
    // interim response.
    if client.version() == Version::HTTP_10 {
        head.remove_header(&header::EXPECT);
    }
    Ok(())
}

/// Sets the fields that announce how the body is framed. Nothing may change them afterwards: a body
/// that no field announces would be the next request.
///
/// # Errors
/// When the head cannot hold another field.
pub(super) fn frame(head: &mut RequestHeader, body: RequestBody) -> pingora::Result<()> {
    match body {
        RequestBody::None => return Ok(()),
        RequestBody::Length(length) => {
            // `Connection` may have named it.
            if !head.headers.contains_key(header::CONTENT_LENGTH) {
                head.insert_header(header::CONTENT_LENGTH, HeaderValue::from(length))?;
            }
        }
        RequestBody::Chunked => {
            let chunked = HeaderValue::from_static("chunked");
            head.insert_header(header::TRANSFER_ENCODING, chunked)?;
        }
    }
    // A server that ignores bodies of these methods would parse the body as the next request and
    // answer it to another client. `Connection: close` prevents that.
    let is_unexpected = matches!(
        head.method,
        Method::GET | Method::HEAD | Method::DELETE | Method::OPTIONS
    );
    if is_unexpected {
        head.insert_header(header::CONNECTION, HeaderValue::from_static("close"))?;
    }
    Ok(())
}

/// Whether a field of a request may be a trailer. Names with unusual marks are refused, because
/// some upstreams read them as other names.
pub(super) fn may_trail(name: &HeaderName) -> bool {
    let text = name.as_str();
    let is_usual = |byte: u8| byte == b'-' || byte.is_ascii_alphanumeric();
    text.bytes().all(is_usual)
        && may_be_trailer(name)
        && *name != LOOP
        && !OF_HEAD.contains(&text)
        && !BEGINNINGS
            .iter()
            .any(|beginning| text.starts_with(beginning))
}

/// The trailers that a head announces (RFC 9110 §6.6.2).
pub(super) fn announced(head: &HeaderMap) -> Vec<HeaderName> {
    let values = head.get_all(header::TRAILER).iter();
    let names = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    names
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .take(MOST_ANNOUNCED)
        .collect()
}

/// Announces trailers.
///
/// # Errors
/// When the head cannot hold another field.
pub(super) fn announce(head: &mut RequestHeader, names: &[HeaderName]) -> pingora::Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = names.iter().map(HeaderName::as_str).collect();
    head.insert_header(header::TRAILER, names.join(", "))
}

fn remove_hop_by_hop(head: &mut RequestHeader) -> Result<(), Broken> {
    let nominated = nominated(&head.headers)?;
    let own = head
        .headers
        .keys()
        .filter(|name| is_hop_by_hop(name.as_str()))
        .cloned();
    // Requests hold few of them, mostly one.
    let own: Vec<HeaderName> = own.collect();
    for name in nominated.iter().chain(&own) {
        head.remove_header(name);
    }
    Ok(())
}

/// Whether a field belongs to one connection.
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "http2-settings"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// The fields that `Connection` names. A client must not remove the fields that a listener checks
/// or that name the client.
fn nominated(headers: &HeaderMap) -> Result<Vec<HeaderName>, Broken> {
    let mut names = Vec::new();
    let values = headers.get_all(header::CONNECTION).iter();
    for name in values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')) {
        let name = name.trim_ascii();
        if name.is_empty() {
            continue;
        }
        let refused = || Broken::from(Fault::malformed(NOMINATIONS));
        let is_token = name
            .iter()
            .all(|byte| crate::proxy::framing::is_token(*byte));
        let name = HeaderName::from_bytes(name).map_err(|_| refused())?;
        let is_required = matches!(
            name.as_str(),
            "host" | "x-forwarded-for" | "x-forwarded-host" | "x-forwarded-proto"
        );
        if !is_token || is_required || names.len() == MOST_NOMINATED {
            return Err(refused());
        }
        // Without `Expect`, upstream and client would wait for each other.
        if name != header::EXPECT {
            names.push(name);
        }
    }
    Ok(names)
}
