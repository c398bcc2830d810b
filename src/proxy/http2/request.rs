//! The head of a stream's request in the normal form of HTTP/1.1 heads, by the same rules as
//! [`framing`].
//!
//! The `h2` crate has refused upper-case names, connection-specific fields, pseudo-header fields
//! that are repeated, unknown or out of place, and `te` other than `trailers` (RFC 9113 §8.2,
//! §8.3).

use bytes::Bytes;
use h2::ext::Protocol;
use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderValue, Method, Request, Version, header};
use pingora::http::RequestHeader;

use crate::domain::reason::Reason;
use crate::domain::websocket;
use crate::proxy::fault::Fault;
use crate::proxy::framing::{self, is_host};
use crate::proxy::upstream::RequestBody;

/// Most header fields of a request.
const MAX_FIELDS: usize = 200;

const NO_AUTHORITY: &str = "there is neither :authority nor Host; send one";
const TWO_HOSTS: &str = "there are two Host headers; send one";
const TWO_AUTHORITIES: &str = ":authority and Host differ; send one of them";
const HOST: &str = "the authority is not a host name or address with an optional port";
const PRI: &str = "the method PRI is the beginning of a connection";
const PROTOCOL: &str = ":protocol is not `websocket`, the only one that is served";
const ENDED: &str = "its handshake ends the stream, which carries the frames";
const SCHEME: &str = ":scheme is neither http nor https";
const LENGTH: &str = "Content-Length is not one plain decimal number";
const NAME: &str = "a header name has an invalid character";
const SPACE: &str = "a header value begins or ends with a space or tab";
const FIELDS: &str = "the head has more than 200 fields";
const UNUSABLE: &str = "the head holds more than a proxy can forward";

/// A request in normal form.
pub(super) struct Head {
    pub request: RequestHeader,
    pub body: RequestBody,
    /// Whether it is a CONNECT, whose DATA frames are no body.
    pub is_connect: bool,
    /// Bytes of the received head in its HTTP/1.1 form; 0 for a refused one.
    pub size: usize,
}

impl Head {
    /// A stand-in for a head that is perhaps refused: its method, its target if a request can hold
    /// it, and its media type, which select the form of the refusal.
    pub fn of_refused(parts: &Parts) -> Self {
        let target = parts.uri.path_and_query().map_or("/", |it| it.as_str());
        let build = |target: &str| RequestHeader::build("GET", target.as_bytes(), Some(1));
        let mut request = build(target)
            .or_else(|_| build("/"))
            .unwrap_or_else(|_| RequestHeader::from(Request::new(()).into_parts().0));
        request.set_method(parts.method.clone());
        request.set_version(Version::HTTP_2);
        if let Some(media_type) = parts.headers.get(header::CONTENT_TYPE) {
            // A failure means that the head has no room, and then the type is missing.
            let _ = request.insert_header(header::CONTENT_TYPE, media_type.clone());
        }
        Self {
            request,
            body: RequestBody::None,
            is_connect: parts.method == Method::CONNECT,
            size: 0,
        }
    }
}

/// Brings a request into its normal form. `is_whole`: the stream has no body. An extended CONNECT
/// (RFC 8441) becomes the handshake that asks for the same in HTTP/1.1.
///
/// # Errors
/// As [`HeadReader::read`](crate::proxy::framing::HeadReader::read).
pub(super) fn head(parts: Parts, is_whole: bool, max_head: usize) -> Result<Head, Fault> {
    let Parts {
        method,
        uri,
        mut headers,
        extensions,
        ..
    } = parts;
    let is_websocket = asks_for_websocket(&method, &extensions, is_whole)?;
    let method = if is_websocket { Method::GET } else { method };
    if method.as_str() == "PRI" {
        return Err(Fault::malformed(PRI));
    }
    framing::check_method(method.as_str().as_bytes())?;
    // The `h2` crate wants a scheme, and drops it beside `Host`.
    if !matches!(uri.scheme_str(), None | Some("http" | "https")) {
        return Err(Fault::malformed(SCHEME));
    }
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let target = framing::normal_target(target.as_bytes())?;
    let of_target = |fault: Fault| fault.of_target(&target);
    let authority = uri
        .authority()
        .map(|authority| authority.as_str().as_bytes());
    let host = host(&headers, authority).map_err(of_target)?;
    let body = body(&headers, is_whole || is_websocket).map_err(of_target)?;
    join_cookies(&mut headers);
    let size = check_size(&headers, target.len(), max_head).map_err(of_target)?;
    check_expect(&headers).map_err(of_target)?;
    check_fields(&headers).map_err(of_target)?;
    headers.insert(header::HOST, host);
    announce_no_body(&method, is_whole, &mut headers);
    if is_websocket {
        ask_for_websocket(&mut headers);
    }
    let unusable = |_| of_target(Fault::malformed(UNUSABLE));
    let mut request =
        RequestHeader::build(method, &target, Some(headers.len())).map_err(unusable)?;
    request.set_version(Version::HTTP_2);
    for (name, value) in &headers {
        request
            .append_header(name.clone(), value.clone())
            .map_err(unusable)?;
    }
    Ok(Head {
        request,
        body,
        is_connect: is_websocket,
        size,
    })
}

/// Whether a request is the extended CONNECT of a WebSocket (RFC 8441 §4).
fn asks_for_websocket(
    method: &Method,
    extensions: &Extensions,
    is_whole: bool,
) -> Result<bool, Fault> {
    if *method != Method::CONNECT {
        return Ok(false);
    }
    let broken = |rule| Err(Fault::because(Reason::WebSocket, rule));
    match extensions.get::<Protocol>().map(AsRef::<[u8]>::as_ref) {
        None => Err(Reason::Tunnel.into()),
        Some(name) if !name.eq_ignore_ascii_case(websocket::PROTOCOL) => broken(PROTOCOL),
        Some(_) if is_whole => broken(ENDED),
        Some(_) => Ok(true),
    }
}

/// Adds the fields that HTTP/2 does not use (RFC 8441 §5).
fn ask_for_websocket(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    let mut nonce = [0; 16];
    fastrand::fill(&mut nonce);
    if let Some(key) = websocket::key(nonce) {
        headers.insert(header::SEC_WEBSOCKET_KEY, key);
    }
}

/// The one host of a request (RFC 9113 §8.3.1).
fn host(headers: &HeaderMap, authority: Option<&[u8]>) -> Result<HeaderValue, Fault> {
    let mut fields = headers.get_all(header::HOST).iter();
    let (field, second) = (fields.next(), fields.next());
    if second.is_some() {
        return Err(Fault::malformed(TWO_HOSTS));
    }
    let host = match (authority, field) {
        (None, None) => return Err(Fault::malformed(NO_AUTHORITY)),
        (None, Some(field)) => field.as_bytes(),
        (Some(authority), Some(field)) if !field.as_bytes().eq_ignore_ascii_case(authority) => {
            return Err(Fault::malformed(TWO_AUTHORITIES));
        }
        (Some(authority), _) => authority,
    };
    if !is_host(host) {
        return Err(Fault::malformed(HOST));
    }
    HeaderValue::from_bytes(host).map_err(|_| Fault::malformed(HOST))
}

/// How an upstream request frames the body. The `h2` crate compares the length with the DATA
/// frames.
fn body(headers: &HeaderMap, is_whole: bool) -> Result<RequestBody, Fault> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let length = match (lengths.next(), lengths.next()) {
        (None, _) => None,
        (Some(length), None) => {
            Some(framing::length(length.as_bytes()).ok_or_else(|| Fault::malformed(LENGTH))?)
        }
        (Some(_), Some(_)) => return Err(Fault::malformed(LENGTH)),
    };
    Ok(match length {
        _ if is_whole => RequestBody::None,
        Some(0) => RequestBody::None,
        Some(length) => RequestBody::Length(length),
        None => RequestBody::Chunked,
    })
}

/// Says that there is no body where servers expect one (RFC 9110 §8.6). Some answer 411 otherwise.
fn announce_no_body(method: &Method, is_whole: bool, headers: &mut HeaderMap) {
    let has_usually = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
    if is_whole && has_usually {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
    }
}

/// RFC 9113 §8.2.1: names are tokens, and no value begins or ends with white space.
fn check_fields(headers: &HeaderMap) -> Result<(), Fault> {
    if headers
        .keys()
        .any(|name| !name.as_str().bytes().all(framing::is_token))
    {
        return Err(Fault::malformed(NAME));
    }
    let is_trimmed = |value: &HeaderValue| value.as_bytes().trim_ascii() == value.as_bytes();
    if headers.values().all(is_trimmed) {
        Ok(())
    } else {
        Err(Fault::malformed(SPACE))
    }
}

fn check_expect(headers: &HeaderMap) -> Result<(), Fault> {
    let mut expected = headers.get_all(header::EXPECT).iter();
    let is_known = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if expected.all(is_known) {
        Ok(())
    } else {
        Err(Reason::Expectation.into())
    }
}

/// The size of a head is that of its HTTP/1.1 form.
fn check_size(headers: &HeaderMap, target: usize, max_head: usize) -> Result<usize, Fault> {
    if headers.len() > MAX_FIELDS {
        return Err(Fault::because(Reason::HeadTooLarge, FIELDS));
    }
    let fields: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if target + fields <= max_head {
        return Ok(target + fields);
    }
    let rule = format!("the head has more than {max_head} bytes, the limit of this listener");
    Err(Fault::because(Reason::HeadTooLarge, rule))
}

/// Joins the parts of `Cookie`, which only HTTP/2 may split (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut parts = headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(second)) = (parts.next(), parts.next()) else {
        return;
    };
    let mut joined = first.as_bytes().to_vec();
    for part in std::iter::once(second).chain(parts) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(part.as_bytes());
    }
    // Its parts are valid values, so the whole is.
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(joined)) {
        headers.insert(header::COOKIE, value);
    }
}
