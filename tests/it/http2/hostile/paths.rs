//! The targets of the HTTP/1.1 table as `:path`.

use super::{Arena, End, MALFORMED, PASSES, PROTOCOL_ERROR};
use crate::hostile::targets::TARGETS;
use crate::support::http2::hpack::literal;
use crate::support::http2::{HEADERS, WHOLE, frame};

/// Targets that differ in HTTP/2: the `h2` crate accepts only characters of URIs, and cuts
/// a fragment off before any rule is looked at.
const OTHERWISE: &[(&str, End)] = &[
    ("a fragment", PASSES),
    ("a fragment behind a query", PASSES),
    ("backslashes all over", MALFORMED),
    ("a tab", MALFORMED),
    ("raw bytes", End::Goaway(PROTOCOL_ERROR)),
    ("raw bytes in the query", End::Goaway(PROTOCOL_ERROR)),
    ("PromQL", MALFORMED),
    ("angle brackets", MALFORMED),
];

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_an_open_path_reaches_a_closed_one() {
    let mut arena = Arena::new().await;
    for (name, target, expected) in TARGETS {
        let (status, reason) = expected[0];
        let otherwise = OTHERWISE.iter().find(|(it, _)| it == name);
        let expected = otherwise.map_or(End::Answer(status, reason), |(_, end)| *end);
        // Bytes beyond ASCII are `{NN}` in the table.
        let parts = |marker: &str| arena_bytes(target, marker);
        let make = |around: &super::Around<'_>| {
            let marker = around.path.trim_start_matches("/public/");
            let fields = [
                literal(b":method", b"GET"),
                literal(b":scheme", b"http"),
                literal(b":authority", b"a"),
                literal(b":path", &parts(marker)),
            ];
            frame(HEADERS, WHOLE, 1, &fields.concat())
        };
        arena.run(name, make, expected).await;
    }
    for request in arena.finish().await.recorder.requests() {
        assert!(request.target.starts_with("/public/"), "{}", request.target);
    }
}

fn arena_bytes(target: &str, marker: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let target = target.replace("{m}", marker);
    let mut rest = target.as_str();
    while let Some((before, after)) = rest.split_once('{') {
        bytes.extend_from_slice(before.as_bytes());
        let byte = after
            .get(..2)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match byte.filter(|_| after.get(2..3) == Some("}")) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(b'{');
                rest = after;
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}
