//! The head of a request in HTTP/2 (RFC 9113 §8.3.1).

use bytes::Bytes;
use h2::ext::Protocol;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header};
use pingora::http::RequestHeader;

use super::super::error::UpstreamError;
use crate::domain::websocket;

/// Translates a head whose framing is settled. `added` follows its own fields. With `websocket`,
/// the request becomes an extended CONNECT (RFC 8441 §4).
///
/// # Errors
/// [`UpstreamError::Target`] when a pseudo-header cannot carry it.
pub(super) fn translate(
    head: &RequestHeader,
    added: &[(HeaderName, HeaderValue)],
    is_tls: bool,
    websocket: bool,
) -> Result<Request<()>, UpstreamError> {
    let mut request = Request::new(());
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = uri(head, is_tls).ok_or(UpstreamError::Target)?;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = fields(&head.headers, added);
    if websocket {
        *request.method_mut() = Method::CONNECT;
        let protocol = Protocol::from_static("websocket");
        request.extensions_mut().insert(protocol);
        // RFC 8441 §5: the key proves nothing in HTTP/2.
        request.headers_mut().remove(header::SEC_WEBSOCKET_KEY);
    }
    Ok(request)
}

/// The key of a request that asks for a WebSocket.
pub(super) fn websocket_key(head: &RequestHeader) -> Option<&HeaderValue> {
    let asked = head.headers.get(header::UPGRADE)?.as_bytes();
    let is_websocket = asked.eq_ignore_ascii_case(websocket::PROTOCOL);
    let key = head.headers.get(header::SEC_WEBSOCKET_KEY);
    key.filter(|_| is_websocket)
}

/// `:scheme`, `:authority` and `:path`.
fn uri(head: &RequestHeader, is_tls: bool) -> Option<Uri> {
    let host = head.headers.get(header::HOST)?;
    let path = match head.raw_path() {
        b"*" if head.method == Method::OPTIONS => PathAndQuery::from_static("*"),
        path if path.starts_with(b"/") => {
            PathAndQuery::from_maybe_shared(Bytes::copy_from_slice(path)).ok()?
        }
        _ => return None,
    };
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(if is_tls { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = Some(Authority::try_from(host.as_bytes()).ok()?);
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).ok()
}

fn fields(own: &HeaderMap, added: &[(HeaderName, HeaderValue)]) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(own.len() + added.len() + 1);
    let own = own.iter().filter(|(name, _)| !is_of_http1(name.as_str()));
    let added = added.iter().map(|(name, value)| (name, value));
    for (name, value) in own.chain(added) {
        // Fails only for more fields than a client may send.
        let _ = fields.try_append(name, value.clone());
    }
    if takes_trailers(&fields) {
        let _ = fields.try_insert(header::TE, HeaderValue::from_static("trailers"));
    }
    fields
}

/// Whether a field is a pseudo-header in HTTP/2, or has no place there (RFC 9113 §8.2.2).
fn is_of_http1(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "host"
            | "http2-settings"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Whether the request is gRPC, whose servers demand `te: trailers`.
fn takes_trailers(fields: &HeaderMap) -> bool {
    let kind = fields.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = kind.and_then(|kind| {
        let (beginning, rest) = kind.split_at_checked(b"application/grpc".len())?;
        let is_grpc = beginning.eq_ignore_ascii_case(b"application/grpc");
        is_grpc.then_some(rest)
    });
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: &str, target: &[u8], fields: &[(&'static str, &str)]) -> RequestHeader {
        let mut head = RequestHeader::build(method, target, None).unwrap();
        for (name, value) in fields {
            head.append_header(*name, *value).unwrap();
        }
        head
    }

    fn written(request: &Request<()>) -> Vec<String> {
        let fields = request.headers().iter();
        fields
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect()
    }

    #[test]
    fn fields_of_the_connection_become_pseudo_headers_or_go() {
        let head = head(
            "POST",
            b"/a%2Fb?c=d{e}",
            &[
                ("Host", "a.example:8080"),
                ("Connection", "close, x"),
                ("Transfer-Encoding", "chunked"),
                ("Upgrade", "websocket"),
                ("Keep-Alive", "timeout=5"),
                ("TE", "gzip, trailers"),
                ("HTTP2-Settings", "AAMAAABkAAQAAP__"),
                ("X-One", "1"),
                ("X-One", "2"),
                ("Cookie", "a=b; c=d"),
            ],
        );
        let added = [(
            HeaderName::from_static("x-two"),
            HeaderValue::from_static("3"),
        )];
        let request = translate(&head, &added, true, false).unwrap();
        assert_eq!(
            request.uri().to_string(),
            "https://a.example:8080/a%2Fb?c=d{e}"
        );
        assert_eq!(request.method(), Method::POST);
        assert_eq!(
            written(&request),
            ["x-one: 1", "x-one: 2", "cookie: a=b; c=d", "x-two: 3"]
        );
    }

    #[test]
    fn only_grpc_takes_trailers() {
        for (kind, expected) in [
            ("application/grpc", true),
            ("Application/gRPC+proto", true),
            ("application/grpc; charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            let head = head("POST", b"/", &[("Host", "a"), ("Content-Type", kind)]);
            let request = translate(&head, &[], false, false).unwrap();
            assert_eq!(
                request.headers().contains_key(header::TE),
                expected,
                "{kind}"
            );
        }
    }

    #[test]
    fn a_target_without_a_pseudo_header_is_refused() {
        let options = head("OPTIONS", b"*", &[("Host", "a")]);
        let request = translate(&options, &[], false, false).unwrap();
        assert_eq!(request.uri().path(), "*");
        for (method, target, host) in [
            ("GET", &b"*"[..], "a"),
            ("GET", b"http://a/b", "a"),
            ("GET", b"/", "a b"),
            ("GET", b"/", "a/b"),
        ] {
            let head = head(method, target, &[("Host", host)]);
            let refused = translate(&head, &[], false, false);
            assert!(matches!(refused, Err(UpstreamError::Target)), "{target:?}");
        }
        let without = head("GET", b"/", &[]);
        assert!(translate(&without, &[], false, false).is_err());
    }
}
