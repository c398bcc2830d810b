//! Pseudo-header fields, field names and values, HPACK, and the limits of heads.

use super::{Arena, BAD, ENHANCE_YOUR_CALM, End, MALFORMED, PASSES, PROTOCOL_ERROR};
use crate::support::http2::hpack::{indexed_literal, integer, literal, text};
use crate::support::http2::{
    CONTINUATION, END_HEADERS, END_STREAM, HEADERS, WHOLE, block, data, frame, pseudo,
};

const LARGE: End = End::Answer(431, "head_too_large");
/// The `h2` crate ends the connection of a request with such a field.
const ENDS: End = End::Goaway(PROTOCOL_ERROR);
const TUNNEL: End = End::Answer(405, "tunnel");

type Field = (&'static str, &'static str);
/// A head of these fields, in which `{p}` is an open path and `{t}` a valid token.
type Head = (&'static str, &'static [Field], End);

const M: Field = (":method", "GET");
const S: Field = (":scheme", "http");
const A: Field = (":authority", "a");
const P: Field = (":path", "{p}");

const PSEUDO: &[Head] = &[
    ("an ordinary request", &[M, S, A, P], PASSES),
    ("another order", &[P, A, S, M], PASSES),
    ("no field at all", &[], MALFORMED),
    ("no method", &[S, A, P], MALFORMED),
    ("no scheme", &[M, A, P], MALFORMED),
    ("no path", &[M, S, A], MALFORMED),
    ("an empty path", &[M, S, A, (":path", "")], MALFORMED),
    ("an empty method", &[(":method", ""), S, A, P], ENDS),
    ("an empty scheme", &[M, (":scheme", ""), A, P], BAD),
    (
        "an empty authority",
        &[M, S, (":authority", ""), P],
        MALFORMED,
    ),
    ("no authority and no host", &[M, S, P], BAD),
    (
        "a host instead of an authority",
        &[M, S, P, ("host", "a")],
        PASSES,
    ),
    ("two methods", &[M, (":method", "POST"), S, A, P], MALFORMED),
    ("two equal methods", &[M, M, S, A, P], MALFORMED),
    (
        "two paths",
        &[M, S, A, P, (":path", "/admin/smuggled")],
        MALFORMED,
    ),
    (
        "two schemes",
        &[M, S, (":scheme", "https"), A, P],
        MALFORMED,
    ),
    (
        "two authorities",
        &[M, S, A, (":authority", "b"), P],
        MALFORMED,
    ),
    ("a status", &[M, S, A, P, (":status", "200")], MALFORMED),
    (
        "an unknown pseudo-header",
        &[M, S, A, P, (":forged", "x")],
        ENDS,
    ),
    (
        "a pseudo-header in capitals",
        &[M, S, A, P, (":Path", "/admin/smuggled")],
        ENDS,
    ),
    (
        "a pseudo-header without a name",
        &[M, S, A, P, (":", "x")],
        ENDS,
    ),
    (
        "a pseudo-header behind a field",
        &[M, S, A, ("x", "y"), P],
        MALFORMED,
    ),
    (
        "a method behind a field",
        &[S, A, P, ("x", "y"), M],
        MALFORMED,
    ),
    (
        "CONNECT",
        &[(":method", "CONNECT"), (":authority", "a:443")],
        TUNNEL,
    ),
    (
        "CONNECT with a path",
        &[(":method", "CONNECT"), A, P],
        MALFORMED,
    ),
    (
        "CONNECT with all",
        &[(":method", "CONNECT"), S, A, P],
        MALFORMED,
    ),
    (
        "an extended CONNECT",
        &[(":method", "CONNECT"), (":protocol", "websocket"), S, A, P],
        End::Answer(400, "websocket"),
    ),
    (
        "a protocol of a GET",
        &[M, (":protocol", "websocket"), S, A, P],
        MALFORMED,
    ),
    (
        "a method in small letters",
        &[(":method", "get"), S, A, P],
        BAD,
    ),
    (
        "a method with a space",
        &[(":method", "GET /admin/smuggled HTTP/1.1"), S, A, P],
        ENDS,
    ),
    (
        "a method with a line end",
        &[(":method", "GET\r\n"), S, A, P],
        ENDS,
    ),
    ("PRI", &[(":method", "PRI"), S, A, P], BAD),
    (
        "a long method",
        &[(":method", "GETGETGETGETGETGETGETGETGETGETGET"), S, A, P],
        BAD,
    ),
    (
        "an asterisk",
        &[(":method", "OPTIONS"), S, A, (":path", "*")],
        BAD,
    ),
    (
        "a path without a slash",
        &[M, S, A, (":path", "public/x")],
        MALFORMED,
    ),
    (
        "a URL as a path",
        &[M, S, A, (":path", "http://a/public/x")],
        MALFORMED,
    ),
    ("a query as a path", &[M, S, A, (":path", "?x")], BAD),
    (
        "a path with a space",
        &[M, S, A, (":path", "/public/a b")],
        MALFORMED,
    ),
    (
        "a path with a line end",
        &[M, S, A, (":path", "/public/a HTTP/1.1\r\nx: forged")],
        MALFORMED,
    ),
    (
        "a path with NUL",
        &[M, S, A, (":path", "/public/a\0")],
        MALFORMED,
    ),
    ("https", &[M, (":scheme", "https"), A, P], PASSES),
    ("another scheme", &[M, (":scheme", "ftp"), A, P], BAD),
    (
        "a scheme with a line end",
        &[M, (":scheme", "http\r\nx: forged"), A, P],
        MALFORMED,
    ),
    (
        "a scheme with a host",
        &[M, (":scheme", "http://a/?"), A, P],
        MALFORMED,
    ),
    (
        "authority and an equal host",
        &[M, S, A, P, ("host", "a")],
        PASSES,
    ),
    (
        "authority and host in capitals",
        &[M, S, A, P, ("host", "A")],
        PASSES,
    ),
    (
        "authority and another host",
        &[M, S, A, P, ("host", "forged")],
        BAD,
    ),
    (
        "authority and an empty host",
        &[M, S, A, P, ("host", "")],
        BAD,
    ),
    (
        "authority and host with a port",
        &[M, S, A, P, ("host", "a:80")],
        BAD,
    ),
    ("two hosts", &[M, S, P, ("host", "a"), ("host", "b")], BAD),
    (
        "two equal hosts",
        &[M, S, A, P, ("host", "a"), ("host", "a")],
        BAD,
    ),
    (
        "a user in the authority",
        &[M, S, (":authority", "forged@a"), P],
        BAD,
    ),
    (
        "a path in the authority",
        &[M, S, (":authority", "a/forged"), P],
        MALFORMED,
    ),
    (
        "a list as authority",
        &[M, S, (":authority", "a,b"), P],
        BAD,
    ),
    (
        "a space in the authority",
        &[M, S, (":authority", "a b"), P],
        MALFORMED,
    ),
    (
        "a line end in the authority",
        &[M, S, (":authority", "a\r\nx: forged"), P],
        MALFORMED,
    ),
    (
        "a line end in the host",
        &[M, S, P, ("host", "a\r\nx: forged")],
        ENDS,
    ),
    (
        "a long port",
        &[M, S, (":authority", "a:8080808080"), P],
        BAD,
    ),
];

const FIELDS: &[Head] = &[
    ("a name in capitals", &[M, S, A, P, ("X-Forged", "y")], ENDS),
    (
        "a name with one capital",
        &[M, S, A, P, ("x-m2m-Subject", "forged")],
        ENDS,
    ),
    ("an empty name", &[M, S, A, P, ("", "forged")], ENDS),
    (
        "a name with a space",
        &[M, S, A, P, ("x y", "forged")],
        ENDS,
    ),
    (
        "a name with a colon",
        &[M, S, A, P, ("x:y", "forged")],
        ENDS,
    ),
    (
        "a name with a line end",
        &[M, S, A, P, ("x\r\ny", "forged")],
        ENDS,
    ),
    ("a name with NUL", &[M, S, A, P, ("x\0", "forged")], ENDS),
    (
        "a name beyond ASCII",
        &[M, S, A, P, ("x\u{e9}", "forged")],
        ENDS,
    ),
    ("a value with CR", &[M, S, A, P, ("x", "a\rforged")], ENDS),
    ("a value with LF", &[M, S, A, P, ("x", "a\nforged")], ENDS),
    (
        "a value with a request",
        &[M, S, A, P, ("x", "a\r\n\r\nGET /admin/smuggled HTTP/1.1")],
        ENDS,
    ),
    ("a value with NUL", &[M, S, A, P, ("x", "a\0forged")], ENDS),
    ("a value with DEL", &[M, S, A, P, ("x", "a\u{7f}")], ENDS),
    (
        "a value with an escape",
        &[M, S, A, P, ("x", "a\u{1b}")],
        ENDS,
    ),
    (
        "a value with a tab inside",
        &[M, S, A, P, ("x", "a\tb")],
        PASSES,
    ),
    (
        "a value beyond ASCII",
        &[M, S, A, P, ("x", "\u{e9}")],
        PASSES,
    ),
    ("an empty value", &[M, S, A, P, ("x", "")], PASSES),
    (
        "a value that begins with a space",
        &[M, S, A, P, ("x", " forged")],
        BAD,
    ),
    (
        "a value that ends with a tab",
        &[M, S, A, P, ("x", "forged\t")],
        BAD,
    ),
    (
        "connection",
        &[M, S, A, P, ("connection", "close")],
        MALFORMED,
    ),
    (
        "connection that names identity",
        &[M, S, A, P, ("connection", "x-m2m-subject")],
        MALFORMED,
    ),
    (
        "keep-alive",
        &[M, S, A, P, ("keep-alive", "timeout=9")],
        MALFORMED,
    ),
    (
        "proxy-connection",
        &[M, S, A, P, ("proxy-connection", "close")],
        MALFORMED,
    ),
    (
        "transfer-encoding",
        &[M, S, A, P, ("transfer-encoding", "chunked")],
        MALFORMED,
    ),
    (
        "transfer-encoding: identity",
        &[M, S, A, P, ("transfer-encoding", "identity")],
        MALFORMED,
    ),
    ("upgrade", &[M, S, A, P, ("upgrade", "h2c")], MALFORMED),
    (
        "upgrade to WebSocket",
        &[M, S, A, P, ("upgrade", "websocket")],
        MALFORMED,
    ),
    (
        "http2-settings",
        &[M, S, A, P, ("http2-settings", "forged")],
        PASSES,
    ),
    ("te", &[M, S, A, P, ("te", "trailers")], PASSES),
    (
        "te with more",
        &[M, S, A, P, ("te", "trailers, gzip")],
        MALFORMED,
    ),
    ("te: gzip", &[M, S, A, P, ("te", "gzip")], MALFORMED),
    ("trailer", &[M, S, A, P, ("trailer", "forged")], PASSES),
    ("expect", &[M, S, A, P, ("expect", "100-continue")], PASSES),
    (
        "another expectation",
        &[M, S, A, P, ("expect", "forged")],
        End::Answer(417, "expectation"),
    ),
    (
        "cookies in parts",
        &[M, S, A, P, ("cookie", "a=b"), ("cookie", "c=d")],
        PASSES,
    ),
    ("a range", &[M, S, A, P, ("range", "bytes=0-1")], PASSES),
];

impl Arena {
    async fn run_heads(&mut self, heads: &[Head]) {
        for (name, fields, expected) in heads {
            let make = |around: &super::Around<'_>| {
                let literals = fields.iter().map(|(name, value)| {
                    literal(
                        name.as_bytes(),
                        value.replace("{p}", &around.path).as_bytes(),
                    )
                });
                frame(HEADERS, WHOLE, 1, &literals.collect::<Vec<_>>().concat())
            };
            self.run(name, make, *expected).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_each_pseudo_header_field_once_and_first() {
    let mut arena = Arena::new().await;
    arena.run_heads(PSEUDO).await;
    for request in arena.finish().await.recorder.requests() {
        assert!(["a", "canary"].contains(&&request.all("host")[0].to_lowercase()[..]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_have_plain_names_and_values_and_none_of_a_connection() {
    let mut arena = Arena::new().await;
    arena.run_heads(FIELDS).await;
    let recorded = arena.finish().await.recorder.requests();
    let cookies = recorded.iter().flat_map(|request| request.all("cookie"));
    assert!(cookies.eq(["a=b; c=d"; 2]));
}

fn with(path: &str, more: &[u8]) -> Vec<u8> {
    [&block(&pseudo("GET", path))[..], more].concat()
}

/// A head in frames of 16 KiB.
fn in_frames(block: &[u8]) -> Vec<u8> {
    let parts: Vec<_> = block.chunks(16_384).collect();
    let mut out = Vec::new();
    for (number, part) in parts.iter().enumerate() {
        let is_last = number + 1 == parts.len();
        let ends = if is_last { END_HEADERS } else { 0 };
        let (kind, flags) = match number {
            0 => (HEADERS, ends | END_STREAM),
            _ => (CONTINUATION, ends),
        };
        out.extend(frame(kind, flags, 1, part));
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_block_that_is_no_hpack_ends_the_connection() {
    let broken = ENDS;
    let mut arena = Arena::new().await;
    for (name, tail) in [
        ("index 0", vec![0x80]),
        ("an index beyond both tables", integer(100, 7, 0x80)),
        ("an endless index", vec![0xff; 12]),
        (
            "a name beyond both tables",
            [integer(90, 4, 0), text(b"x")].concat(),
        ),
        (
            "a literal without a value",
            [&[0][..], &text(b"x")].concat(),
        ),
        ("a string longer than its block", vec![0, 1, b'x', 0x7f, 9]),
        ("a table larger than agreed", integer(5000, 5, 0x20)),
        ("a new table size behind a field", integer(0, 5, 0x20)),
        (
            "a broken Huffman code",
            vec![0, 1, b'x', 0x84, 0xff, 0xff, 0xff, 0xff],
        ),
        ("Huffman padding of zeroes", vec![0, 1, b'x', 0x81, 0x00]),
    ] {
        let make =
            |around: &super::Around<'_>| frame(HEADERS, WHOLE, 1, &with(&around.path, &tail));
        arena.run(name, make, broken).await;
    }
    arena.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_has_32_kib_and_200_fields_however_few_bytes_say_it() {
    let mut arena = Arena::new().await;
    let value = vec![b'v'; 3000];
    let large = indexed_literal(b"x", &value);
    let small = |count: usize| literal(b"x", b"").repeat(count);
    for (name, more, expected) in [
        (
            "nine references to a large entry",
            [&large[..], &[0xbe; 9]].concat(),
            PASSES,
        ),
        (
            "twelve references",
            [&large[..], &[0xbe; 12]].concat(),
            LARGE,
        ),
        (
            "a bomb of references",
            [&large[..], &[0xbe; 15_000]].concat(),
            End::Goaway(ENHANCE_YOUR_CALM),
        ),
        ("190 fields", small(190), PASSES),
        ("201 fields", small(201), LARGE),
        ("many fields", small(5000), End::Answer(431, "")),
        ("a value of 30 KiB", literal(b"x", &[b'v'; 30_000]), PASSES),
        ("a value of 33 KiB", literal(b"x", &[b'v'; 33_000]), LARGE),
        (
            "a value of 60 KiB",
            literal(b"x", &[b'v'; 60_000]),
            End::Answer(431, ""),
        ),
        (
            "300 cookies",
            literal(b"cookie", b"a=b").repeat(300),
            PASSES,
        ),
    ] {
        let make = |around: &super::Around<'_>| in_frames(&with(&around.path, &more));
        arena.run(name, make, expected).await;
    }
    let target = |around: &super::Around<'_>| {
        let path = format!("{}/{}", around.path, "x".repeat(33_000));
        in_frames(&block(&pseudo("GET", &path)))
    };
    arena.run("a long path", target, LARGE).await;
    arena.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_frames_of_a_head_follow_each_other() {
    let mut arena = Arena::new().await;
    let begun =
        |around: &super::Around<'_>| frame(HEADERS, END_STREAM, 1, &with(&around.path, &[]));
    let broken = End::Goaway(PROTOCOL_ERROR);
    let continued = |flags, stream| frame(CONTINUATION, flags, stream, &[]);
    for (name, then, expected) in [
        ("an empty last part", continued(END_HEADERS, 1), PASSES),
        (
            "an empty part and the last",
            [continued(0, 1), continued(END_HEADERS, 1)].concat(),
            PASSES,
        ),
        (
            "a part of another stream",
            continued(END_HEADERS, 3),
            broken,
        ),
        ("DATA inside", data(0, 1, b"x"), broken),
        ("PING inside", crate::support::http2::ping(1), broken),
        (
            "SETTINGS inside",
            crate::support::http2::settings(&[]),
            broken,
        ),
        (
            "another head inside",
            crate::support::http2::get(3, "/admin/smuggled"),
            broken,
        ),
        ("a reset inside", crate::support::http2::reset(1, 8), broken),
        ("an unknown frame inside", frame(200, 0, 1, b"x"), broken),
    ] {
        let make = |around: &super::Around<'_>| [begun(around), then.clone()].concat();
        arena.run(name, make, expected).await;
    }
    let alone = |_: &super::Around<'_>| continued(END_HEADERS, 1);
    arena.run("a part without a begin", alone, broken).await;
    arena.finish().await;
}
