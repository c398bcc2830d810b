//! The opening handshake of a WebSocket (RFC 6455 §4), and the tokens that it can carry.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::hash::sha1;

/// The supported version of the protocol.
pub const VERSION: HeaderValue = HeaderValue::from_static("13");
/// The name of the protocol in `Upgrade`.
pub const PROTOCOL: &[u8] = b"websocket";
/// The subprotocol that announces a token as the next one.
pub const BEARER: HeaderValue = HeaderValue::from_static("Bearer");

/// RFC 6455 §1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const METHOD: &str = "the method of its handshake is not GET";
/// The rule for the version of HTTP.
pub const HTTP_1_1: &str = "its handshake is not HTTP/1.1";
const ALONE: &str = "`Upgrade` must be exactly `websocket`";
const BODY: &str = "its handshake has a body";
const WRONG_VERSION: &str = "`Sec-WebSocket-Version` must be exactly `13`";
const KEY: &str = "`Sec-WebSocket-Key` must be exactly one key of 16 bytes in base64";

/// Whether a request asks for a WebSocket (RFC 6455 §4.2.1). Other upgrades, such as `h2c`, are
/// optional for the client and are ignored.
#[must_use]
pub fn asks(headers: &HeaderMap) -> bool {
    let names = |header: HeaderName, wanted: &[u8]| {
        let mut items = items(headers, &header);
        items.any(|item| item.eq_ignore_ascii_case(wanted))
    };
    names(UPGRADE, PROTOCOL) && names(CONNECTION, b"upgrade")
}

/// Checks the handshake of a request that asks for a WebSocket.
///
/// # Errors
/// The rule that it breaks.
pub fn check(method: &Method, headers: &HeaderMap) -> Result<(), &'static str> {
    let only = |name: HeaderName| {
        let mut values = headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none())
    };
    let is_alone = only(UPGRADE).is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(PROTOCOL));
    let has_body = headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING);
    let key = only(SEC_WEBSOCKET_KEY).and_then(|key| STANDARD.decode(key).ok());
    let rules = [
        (*method == Method::GET, METHOD),
        (is_alone, ALONE),
        (!has_body, BODY),
        (only(SEC_WEBSOCKET_VERSION) == Some(&VERSION), WRONG_VERSION),
        (key.is_some_and(|key| key.len() == 16), KEY),
    ];
    let broken = rules.into_iter().find(|(holds, _)| !holds);
    broken.map_or(Ok(()), |(_, rule)| Err(rule))
}

/// The key of a request with this nonce (RFC 6455 §4.1).
#[must_use]
pub fn key(nonce: [u8; 16]) -> Option<HeaderValue> {
    HeaderValue::try_from(STANDARD.encode(nonce)).ok()
}

/// The `Sec-WebSocket-Accept` of a server that accepts a request with this key (RFC 6455 §4.2.2).
#[must_use]
pub fn accept(key: &HeaderValue) -> String {
    STANDARD.encode(sha1(&[key.as_bytes(), GUID]))
}

/// Whether a response accepts the WebSocket of a request with this key (RFC 6455 §4.1). An HTTP
/// server that is no WebSocket server cannot give this answer by accident.
#[must_use]
pub fn is_accepted(key: &HeaderValue, response: &HeaderMap) -> bool {
    let mut accepted = response.get_all(SEC_WEBSOCKET_ACCEPT).iter();
    let expected = accept(key);
    accepted.next().is_some_and(|it| it == expected.as_str()) && accepted.next().is_none()
}

/// The token that follows the subprotocol `Bearer`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Offered<'r> {
    /// `Bearer` is not offered.
    Nothing,
    /// The token, or nothing behind `Bearer`.
    Token(&'r [u8]),
    /// `Bearer` is offered twice.
    Two,
}

/// The token among the offered subprotocols: `Bearer, <token>`.
#[must_use]
pub fn offered_token(headers: &HeaderMap) -> Offered<'_> {
    let mut items = items(headers, &SEC_WEBSOCKET_PROTOCOL);
    if !items.any(|item| BEARER == *item) {
        return Offered::Nothing;
    }
    let token = items.next().unwrap_or_default();
    if items.any(|item| BEARER == *item) {
        return Offered::Two;
    }
    Offered::Token(token)
}

/// The offered subprotocols without `Bearer` and its token; `None` if nothing is left.
#[must_use]
pub fn protocols_without_token(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut left: Vec<&[u8]> = Vec::new();
    let mut items = items(headers, &SEC_WEBSOCKET_PROTOCOL);
    while let Some(item) = items.next() {
        if BEARER == *item {
            items.next();
        } else {
            left.push(item);
        }
    }
    let left = (!left.is_empty()).then(|| left.join(&b", "[..]));
    left.and_then(|left| HeaderValue::from_bytes(&left).ok())
}

/// The items of a header that is a list (RFC 9110 §5.6.1). Empty ones do not count.
fn items<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h [u8]> {
    let values = headers.get_all(name).iter();
    values
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY_OF_RFC: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn handshake(changed: &[(&'static str, &str)]) -> HeaderMap {
        let mut fields = vec![
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", KEY_OF_RFC),
        ];
        fields.retain(|(name, _)| changed.iter().all(|(other, _)| name != other));
        fields.extend(changed.iter().filter(|(_, value)| !value.is_empty()));
        headers(&fields)
    }

    #[test]
    fn a_handshake_keeps_every_rule() {
        let valid = handshake(&[]);
        assert!(asks(&valid));
        assert_eq!(check(&Method::GET, &valid), Ok(()));
        for method in [Method::POST, Method::HEAD] {
            assert_eq!(check(&method, &valid), Err(METHOD), "{method}");
        }
        for (changed, rule) in [
            (&[("upgrade", "h2c, websocket")][..], ALONE),
            (&[("upgrade", "websocket"), ("upgrade", "h2c")], ALONE),
            (&[("content-length", "0")], BODY),
            (&[("transfer-encoding", "chunked")], BODY),
            (&[("sec-websocket-version", "")], WRONG_VERSION),
            (&[("sec-websocket-version", "8")], WRONG_VERSION),
            (&[("sec-websocket-version", "13, 8")], WRONG_VERSION),
            (&[("sec-websocket-key", "")], KEY),
            (&[("sec-websocket-key", "dGhl")], KEY),
            (&[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ")], KEY),
            (
                &[
                    ("sec-websocket-key", KEY_OF_RFC),
                    ("sec-websocket-key", KEY_OF_RFC),
                ],
                KEY,
            ),
        ] {
            let headers = handshake(changed);
            assert!(asks(&headers), "{changed:?}");
            let checked = check(&Method::GET, &headers);
            assert_eq!(checked, Err(rule), "{changed:?}");
        }
    }

    #[test]
    fn other_requests_ask_for_no_websocket() {
        for (connection, upgrade) in [
            ("keep-alive", "websocket"),
            ("Upgrade", "websockets"),
            ("Upgrade, HTTP2-Settings", "h2c"),
            ("upgraded", "websocket"),
        ] {
            let headers = headers(&[("connection", connection), ("upgrade", upgrade)]);
            assert!(!asks(&headers), "{connection} {upgrade}");
        }
    }

    #[test]
    fn only_the_answer_to_the_key_accepts() {
        let key = HeaderValue::from_static(KEY_OF_RFC);
        let right = ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(is_accepted(&key, &headers(&[right])));
        for wrong in [
            &[][..],
            &[("sec-websocket-accept", "S3pPLMBiTxaQ9kYGzzhZRbK+xOo=")],
            &[("sec-websocket-accept", KEY_OF_RFC)],
            &[right, right],
        ] {
            assert!(!is_accepted(&key, &headers(wrong)), "{wrong:?}");
        }
    }

    #[test]
    fn the_token_follows_bearer_wherever_that_stands() {
        let protocol = "sec-websocket-protocol";
        for (values, offered, left) in [
            (&[][..], Offered::Nothing, None),
            (&["json"], Offered::Nothing, Some("json")),
            (&["bearer, a.b.c"], Offered::Nothing, Some("bearer, a.b.c")),
            (&["Bearer, a.b.c"], Offered::Token(b"a.b.c"), None),
            (&["Bearer,a.b.c"], Offered::Token(b"a.b.c"), None),
            (&["Bearer", "a.b.c"], Offered::Token(b"a.b.c"), None),
            (&["x, Bearer, a, y"], Offered::Token(b"a"), Some("x, y")),
            (&["Bearer"], Offered::Token(b""), None),
            (&["Bearer, a, Bearer, b"], Offered::Two, None),
            (&["Bearer, a", "Bearer"], Offered::Two, None),
            // The second one is the token of the first.
            (&["Bearer, Bearer"], Offered::Token(b"Bearer"), None),
        ] {
            let fields: Vec<_> = values.iter().map(|value| (protocol, *value)).collect();
            let headers = headers(&fields);
            assert!(offered_token(&headers) == offered, "{values:?}");
            let found = protocols_without_token(&headers);
            assert_eq!(found, left.map(HeaderValue::from_static), "{values:?}");
        }
    }
}
