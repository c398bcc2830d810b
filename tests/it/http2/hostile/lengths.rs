//! Content-Length against the DATA frames, padding, trailers, and bodies where none is expected.

use super::{Arena, BAD, End, MALFORMED, PASSES, PROTOCOL_ERROR};
use crate::support::http2::{
    DATA, END_HEADERS, END_STREAM, HEADERS, PADDED, PRIORITIZED, WHOLE, block, data, frame,
    headers, pseudo,
};

/// Content-Length fields, the DATA frames (the last one ends the stream), and the end.
type Case = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
    End,
);

const CASES: &[Case] = &[
    ("the announced length", &["5"], &["ab", "cde"], PASSES),
    (
        "the announced length and an empty end",
        &["5"],
        &["abcde", ""],
        PASSES,
    ),
    ("no length", &[], &["abcde"], PASSES),
    ("no length and no byte", &[], &[""], PASSES),
    ("length 0 and no byte", &["0"], &[""], PASSES),
    ("too short", &["6"], &["abcde"], MALFORMED),
    ("nothing of the length", &["6"], &[""], MALFORMED),
    ("too long", &["4"], &["abcde"], MALFORMED),
    ("a negative length", &["-1"], &["abcde"], MALFORMED),
    ("a sign", &["+5"], &["abcde"], MALFORMED),
    ("a list", &["5, 5"], &["abcde"], MALFORMED),
    ("a leading zero", &["05"], &["abcde"], BAD),
    ("a hexadecimal length", &["0x5"], &["abcde"], MALFORMED),
    ("a fraction", &["5.0"], &["abcde"], MALFORMED),
    (
        "a huge length",
        &["99999999999999999999999"],
        &["abcde"],
        MALFORMED,
    ),
    ("two equal lengths", &["5", "5"], &["abcde"], BAD),
    ("two lengths", &["5", "4"], &["abcde"], MALFORMED),
    ("a space before the length", &[" 5"], &["abcde"], MALFORMED),
];

fn post(path: &str, lengths: &[&str], flags: u8) -> Vec<u8> {
    let mut fields = pseudo("POST", path).to_vec();
    fields.extend(lengths.iter().map(|length| ("content-length", *length)));
    headers(flags, 1, &fields)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_has_the_length_that_its_head_announces() {
    let mut arena = Arena::new().await;
    for (name, lengths, parts, expected) in CASES {
        let make = |around: &super::Around<'_>| {
            let mut out = post(&around.path, lengths, END_HEADERS);
            for (number, part) in parts.iter().enumerate() {
                let is_last = number + 1 == parts.len();
                let flags = if is_last { END_STREAM } else { 0 };
                out.extend(data(flags, 1, part.as_bytes()));
            }
            out
        };
        arena.run(name, make, *expected).await;
    }
    for request in arena.finish().await.recorder.requests() {
        if request.target.starts_with("/public/c") && !request.target.contains("canary") {
            assert!(["abcde", ""].contains(&&*String::from_utf8_lossy(&request.body)));
        }
    }
}

/// The request is whole before its excess arrives, so it may have been served then. No byte of the
/// excess reaches the upstream, whose recorder refuses it.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_behind_the_announced_length_reach_no_upstream() {
    let mut arena = Arena::new().await;
    for (name, length, parts, served) in [
        (
            "a frame",
            "5",
            &["abcde", "GET /admin/smuggled"][..],
            PASSES,
        ),
        (
            "length 0",
            "0",
            &["GET /admin/smuggled HTTP/1.1\r\n\r\n"],
            PASSES,
        ),
        ("an empty length", "", &["abcde"], BAD),
    ] {
        let make = |around: &super::Around<'_>| {
            let mut out = super::begin();
            out.extend(post(&around.path, &[length], END_HEADERS));
            for (number, part) in parts.iter().enumerate() {
                let is_last = number + 1 == parts.len();
                let flags = if is_last { END_STREAM } else { 0 };
                out.extend(data(flags, 1, part.as_bytes()));
            }
            out
        };
        arena.run_for(name, make, &[MALFORMED, served]).await;
    }
    arena.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_ends_its_stream_has_no_body() {
    let mut arena = Arena::new().await;
    for (name, lengths, expected) in [
        ("no length", &[][..], PASSES),
        ("length 0", &["0"], PASSES),
        ("a length", &["5"], MALFORMED),
        ("two lengths", &["0", "0"], BAD),
    ] {
        let make = |around: &super::Around<'_>| post(&around.path, lengths, WHOLE);
        arena.run(name, make, expected).await;
    }
    let recorded = arena.finish().await.recorder.requests();
    for request in recorded.iter().filter(|it| it.head.starts_with("POST")) {
        assert_eq!(request.all("content-length"), ["0"], "{}", request.head);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn padding_is_no_part_of_a_body_and_is_no_longer_than_its_frame() {
    let mut arena = Arena::new().await;
    let padded = |length: u8, rest: &[u8]| {
        frame(
            DATA,
            PADDED | END_STREAM,
            1,
            &[&[length][..], rest].concat(),
        )
    };
    let broken = End::Goaway(PROTOCOL_ERROR);
    for (name, body, expected) in [
        ("padding", padded(3, b"abcde\0\0\0"), PASSES),
        ("no padding", padded(0, b"abcde"), PASSES),
        ("padding that is not zero", padded(3, b"abcdexyz"), PASSES),
        ("padding beyond the frame", padded(9, b"abcde"), broken),
        ("padding as long as the frame", padded(6, b"abcde"), broken),
        (
            "no length of the padding",
            frame(DATA, PADDED | END_STREAM, 1, b""),
            broken,
        ),
        ("only padding", padded(5, b"\0\0\0\0\0"), MALFORMED),
    ] {
        let make = |around: &super::Around<'_>| {
            [post(&around.path, &["5"], END_HEADERS), body.clone()].concat()
        };
        arena.run(name, make, expected).await;
    }
    let head = |flags: u8, before: &[u8], path: &str| {
        let block = block(&pseudo("GET", path));
        frame(HEADERS, WHOLE | flags, 1, &[before, &block].concat())
    };
    for (name, flags, before, expected) in [
        (
            "a head with priority",
            PRIORITIZED,
            &[0, 0, 0, 0, 9][..],
            PASSES,
        ),
        (
            "a head that depends on itself",
            PRIORITIZED,
            &[0, 0, 0, 1, 9],
            MALFORMED,
        ),
        ("a head with all of it as padding", PADDED, &[255], broken),
    ] {
        let make = |around: &super::Around<'_>| head(flags, before, &around.path);
        arena.run(name, make, expected).await;
    }
    arena.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_of_a_request_are_checked() {
    let mut arena = Arena::new().await;
    for (name, trailers, flags, expected) in [
        ("trailers", &[("x-forged", "forged")][..], WHOLE, PASSES),
        (
            "framing and identity",
            &[("x-m2m-subject", "forged"), ("content-length", "9")],
            WHOLE,
            PASSES,
        ),
        (
            "a token",
            &[("authorization", "Bearer forged")],
            WHOLE,
            PASSES,
        ),
        (
            "a pseudo-header field",
            &[(":path", "/admin/smuggled")],
            WHOLE,
            PASSES,
        ),
        (
            "a field of a connection",
            &[("connection", "forged")],
            WHOLE,
            MALFORMED,
        ),
        (
            "capitals",
            &[("X-Forged", "forged")],
            WHOLE,
            End::Goaway(PROTOCOL_ERROR),
        ),
        (
            "no end of the stream",
            &[("x-forged", "forged")],
            END_HEADERS,
            MALFORMED,
        ),
    ] {
        let make = |around: &super::Around<'_>| {
            let head = post(&around.path, &[], END_HEADERS);
            [head, data(0, 1, b"abcde"), headers(flags, 1, trailers)].concat()
        };
        arena.run(name, make, expected).await;
    }
    arena.finish().await;
}
