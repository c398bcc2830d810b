//! Extended CONNECT (RFC 8441): only the handshake of a WebSocket reaches the upstream.

use super::{Arena, Around, BAD, End, MALFORMED, begin};
use crate::support::http2::{DATA, END_HEADERS, PADDED, data, frame, headers};

type Field = (&'static str, &'static str);

const C: Field = (":method", "CONNECT");
const W: Field = (":protocol", "websocket");
const S: Field = (":scheme", "http");
const A: Field = (":authority", "a");
const P: Field = (":path", "{p}");
const V: Field = ("sec-websocket-version", "13");
const REFUSED: End = End::Answer(400, "websocket");

/// A head of these fields, in which `{p}` is an open path. The stream stays open.
const HEADS: &[(&str, &[Field], End)] = &[
    ("no protocol", &[C, A], End::Answer(405, "tunnel")),
    ("no protocol, with all", &[C, S, A, P, V], MALFORMED),
    ("no path", &[C, W, S, A, V], MALFORMED),
    ("an empty path", &[C, W, S, A, (":path", ""), V], MALFORMED),
    ("no scheme", &[C, W, A, P, V], MALFORMED),
    ("no authority", &[C, W, S, P, V], BAD),
    (
        "an authority and another host",
        &[C, W, S, A, P, V, ("host", "b")],
        BAD,
    ),
    (
        "a scheme of WebSockets",
        &[C, W, (":scheme", "ws"), A, P, V],
        BAD,
    ),
    ("two protocols", &[C, W, W, S, A, P, V], MALFORMED),
    ("a protocol behind a field", &[C, S, A, P, V, W], MALFORMED),
    (
        "an unknown protocol",
        &[C, (":protocol", "connect-udp"), S, A, P, V],
        REFUSED,
    ),
    (
        "an empty protocol",
        &[C, (":protocol", ""), S, A, P, V],
        REFUSED,
    ),
    (
        "a list of protocols",
        &[C, (":protocol", "websocket, h2c"), S, A, P, V],
        REFUSED,
    ),
    (
        "a protocol with a space",
        &[C, (":protocol", "websocket "), S, A, P, V],
        REFUSED,
    ),
    ("no version", &[C, W, S, A, P], REFUSED),
    (
        "another version",
        &[C, W, S, A, P, ("sec-websocket-version", "8")],
        REFUSED,
    ),
    ("two versions", &[C, W, S, A, P, V, V], REFUSED),
    (
        "a length of 0",
        &[C, W, S, A, P, V, ("content-length", "0")],
        REFUSED,
    ),
    (
        "a length",
        &[C, W, S, A, P, V, ("content-length", "9")],
        REFUSED,
    ),
    (
        "a huge length",
        &[C, W, S, A, P, V, ("content-length", "99999999999999999999")],
        MALFORMED,
    ),
    (
        "an upgrade",
        &[C, W, S, A, P, V, ("upgrade", "websocket")],
        MALFORMED,
    ),
    (
        "a connection",
        &[C, W, S, A, P, V, ("connection", "upgrade")],
        MALFORMED,
    ),
    (
        "a coding",
        &[C, W, S, A, P, V, ("transfer-encoding", "chunked")],
        MALFORMED,
    ),
    ("a GET", &[(":method", "GET"), W, S, A, P, V], MALFORMED),
    ("a POST", &[(":method", "POST"), W, S, A, P, V], MALFORMED),
    (
        "a method in small letters",
        &[(":method", "connect"), W, S, A, P, V],
        MALFORMED,
    ),
    (
        "a path of two readings",
        &[C, W, S, A, (":path", "{p}/%2e%2e%2fadmin"), V],
        End::Answer(400, "ambiguous_path"),
    ),
    (
        "a path of another",
        &[C, W, S, A, (":path", "/admin/smuggled"), V],
        End::Answer(401, "no_token"),
    ),
    (
        "a path beyond the root",
        &[C, W, S, A, (":path", "/public/../admin/smuggled"), V],
        End::Answer(401, "no_token"),
    ),
    ("an asterisk", &[C, W, S, A, (":path", "*"), V], BAD),
    (
        "another target",
        &[C, W, S, A, (":path", "a:443"), V],
        MALFORMED,
    ),
    (
        "another protocol, as a call of gRPC",
        &[
            C,
            (":protocol", "x"),
            S,
            A,
            P,
            V,
            ("content-type", "application/grpc"),
        ],
        REFUSED,
    ),
    (
        "no protocol, as a call of gRPC",
        &[C, A, ("content-type", "application/grpc")],
        End::Answer(405, "tunnel"),
    ),
    (
        "a call of gRPC",
        &[C, W, S, A, P, ("content-type", "application/grpc")],
        REFUSED,
    ),
    (
        "an expectation",
        &[C, W, S, A, P, V, ("expect", "x")],
        End::Answer(417, "expectation"),
    ),
];

fn head(around: &Around<'_>, flags: u8, fields: &[Field]) -> Vec<u8> {
    let fields: Vec<(&str, String)> = fields
        .iter()
        .map(|(name, value)| (*name, value.replace("{p}", &around.path)))
        .collect();
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    headers(flags, 1, &fields)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_handshake_of_a_websocket_is_an_extended_connect() {
    let mut arena = Arena::new().await;
    for (name, fields, expected) in HEADS {
        let make = |around: &Around<'_>| head(around, END_HEADERS, fields);
        arena.run(name, make, *expected).await;
        // The frames behind a refused handshake are no request.
        let make = |around: &Around<'_>| {
            let smuggled = b"GET /admin/smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
            let padded = frame(DATA, PADDED, 1, &[&[3][..], smuggled, &[0; 3]].concat());
            [
                head(around, END_HEADERS, fields),
                data(0, 1, smuggled),
                padded,
            ]
            .concat()
        };
        let has_length = fields.iter().any(|(name, _)| *name == "content-length");
        let name = format!("{name}, with frames");
        let make = |around: &Around<'_>| [begin(), make(around)].concat();
        // They are more than the announced length, if they arrive before the answer.
        let ends = [*expected, MALFORMED];
        let ends = if has_length { &ends[..] } else { &ends[..1] };
        arena.run_for(&name, make, ends).await;
    }
    arena.finish().await;
}
