//! Tests of `framing`.

use proptest::prelude::*;

use super::*;

/// Parses all bytes as one piece; returns the remainder or the refusal.
fn rest_of(bytes: &[u8]) -> Result<(bool, Vec<u8>), Fault> {
    let mut framing = Framing::default();
    let read = framing.read(bytes)?;
    Ok((framing.is_ended(), bytes[read.taken..].to_vec()))
}

/// Parses the same bytes in pieces that end at these positions.
fn rest_of_pieces(bytes: &[u8], ends: &[usize]) -> Result<(bool, Vec<u8>), Fault> {
    let mut framing = Framing::default();
    let mut at = 0;
    for end in ends.iter().copied().chain([bytes.len()]) {
        let end = end.clamp(at, bytes.len());
        while at < end && !framing.is_ended() {
            at += framing.read(&bytes[at..end])?.taken;
        }
    }
    Ok((framing.is_ended(), bytes[at..].to_vec()))
}

#[test]
fn a_request_ends_where_its_framing_says() {
    for (request, rest) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", ""),
        ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", ""),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /2", "GET /2"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET",
            "GET",
        ),
        (
            "POST / HTTP/1.0\r\nHost: a:80\r\nContent-Length: 0\r\n\r\nx",
            "x",
        ),
        (
            "POST / HTTP/1.1\r\nHost: [::1]:8080\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nx",
            "x",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding:Chunked \
             \r\n\r\n3;a=\"b\"\r\nabc\r\n00\r\nT: v\r\n\r\nx",
            "x",
        ),
    ] {
        assert_eq!(
            rest_of(request.as_bytes()),
            Ok((true, rest.as_bytes().to_vec())),
            "{request}"
        );
    }
}

#[test]
fn a_tls_handshake_is_recognised_by_its_first_byte() {
    assert_eq!(rest_of(b"\x16\x03\x01\x02\x00"), Err(Fault::malformed(TLS)));
}

#[test]
fn a_head_that_grows_too_large_in_its_normal_form_is_too_large() {
    let head = format!(
        "GET /{} HTTP/1.1\r\nHost: a\r\n\r\n",
        "\"".repeat(MAX_HEAD / 2)
    );
    assert_eq!(
        rest_of(head.as_bytes()).unwrap_err().reason,
        Reason::HeadTooLarge
    );
}

#[test]
fn each_parser_keeps_its_limit_for_later_requests() {
    let mut framing = Framing::with_heads_up_to(100);
    let head = |length: usize| {
        format!(
            "GET /{} HTTP/1.1\r\nHost: a\r\n\r\n",
            "x".repeat(length - 27)
        )
    };
    for _ in 0..2 {
        assert_eq!(
            framing.read(head(100).as_bytes()).map(|read| read.taken),
            Ok(100)
        );
        framing.next_request();
    }
    let fault = framing.read(head(101).as_bytes()).unwrap_err();
    assert_eq!(fault.reason, Reason::HeadTooLarge);
    assert_eq!(
        fault.detail().as_deref(),
        Some("the head has more than 100 bytes, the limit of this listener")
    );
    // Also when the head arrives in pieces, as soon as the limit is passed.
    let mut framing = Framing::with_heads_up_to(100);
    assert!(framing.read(&head(200).as_bytes()[..100]).is_ok());
    assert_eq!(framing.held(), 100);
    assert_eq!(framing.read(b"x").unwrap_err().reason, Reason::HeadTooLarge);
}

#[test]
fn a_target_that_is_no_uri_for_its_length_is_too_large() {
    let read = |length: usize| {
        let head = format!(
            "GET /{} HTTP/1.1\r\nHost: a\r\n\r\n",
            "x".repeat(length - 1)
        );
        Framing::with_heads_up_to(100_000)
            .read(head.as_bytes())
            .map(|_| ())
            .map_err(|fault| fault.reason)
    };
    assert_eq!(read(MAX_TARGET), Ok(()));
    assert_eq!(read(MAX_TARGET + 1), Err(Reason::HeadTooLarge));
    assert!(http::uri::PathAndQuery::try_from(format!("/{}", "x".repeat(MAX_TARGET - 1))).is_ok());
}

proptest! {
    /// The result does not depend on how the bytes are split into packets.
    #[test]
    fn pieces_do_not_matter(
        bytes in "(GET|POST) /x HTTP/1.1\r\nHost: a\r\n(Content-Length: \
            [0-9]\r\n|Transfer-Encoding: chunked\r\n|X: [ \
            -~]{0,5}\r?\n){0,3}\r\n([0-4](;[a-z]{0,3})?\r\n[a-z]{0,4}\r\n|0\r\n(T: \
            v\r\n)?\r\n|[a-z0-9\r\n;]{0,8}){0,4}",
        ends in proptest::collection::vec(0_usize..200, 0..6),
    ) {
        let mut ends = ends;
        ends.sort_unstable();
        prop_assert_eq!(rest_of(bytes.as_bytes()), rest_of_pieces(bytes.as_bytes(), &ends));
    }

    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = rest_of(&bytes);
    }
}
