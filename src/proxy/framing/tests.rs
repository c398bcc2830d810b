//! Tests of `framing`.

use proptest::prelude::*;

use super::*;

/// Whether the request is complete, the bytes after it, and its body.
type Rest = (bool, Vec<u8>, Vec<u8>);

/// Reads the bytes as one piece, or the refusal.
fn rest_of(bytes: &[u8]) -> Result<Rest, Fault> {
    rest_of_pieces(bytes, &[])
}

/// Reads the same bytes in pieces that end at these positions.
fn rest_of_pieces(bytes: &[u8], ends: &[usize]) -> Result<Rest, Fault> {
    let mut heads = HeadReader::new(ErrorForms::default(), MAX_HEAD);
    let (mut received, mut at) = (BytesMut::new(), 0);
    let (mut reader, mut body) = (None, Vec::new());
    for end in ends.iter().copied().chain([bytes.len()]) {
        let end = end.clamp(at, bytes.len());
        received.extend_from_slice(&bytes[at..end]);
        at = end;
        if reader.is_none() {
            reader = heads.read(&mut received)?.map(|head| head.body);
        }
        while let Some(reader) = &mut reader {
            match reader.read(&mut received)? {
                Some(part) => body.extend_from_slice(&part),
                None => break,
            }
        }
    }
    let is_ended = reader.is_some_and(|reader| reader.is_ended());
    // Bytes that are not read as a part of a request may be held in either buffer.
    let rest = if is_ended {
        received.to_vec()
    } else {
        Vec::new()
    };
    Ok((is_ended, rest, body))
}

#[test]
fn a_request_ends_where_its_framing_says() {
    for (request, rest, body) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "", ""),
        ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "", ""),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /2", "GET /2", ""),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET",
            "GET",
            "abc",
        ),
        (
            "POST / HTTP/1.0\r\nHost: a:80\r\nContent-Length: 0\r\n\r\nx",
            "x",
            "",
        ),
        (
            "POST / HTTP/1.1\r\nHost: [::1]:8080\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nx",
            "x",
            "",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding:Chunked \
             \r\n\r\n3;a=\"b\"\r\nabc\r\n00\r\nT: v\r\n\r\nx",
            "x",
            "abc",
        ),
    ] {
        assert_eq!(
            rest_of(request.as_bytes()),
            Ok((true, rest.as_bytes().to_vec(), body.as_bytes().to_vec())),
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
fn each_reader_keeps_its_limit_for_later_requests() {
    let mut heads = HeadReader::new(ErrorForms::default(), 100);
    let head = |length: usize| {
        format!(
            "GET /{} HTTP/1.1\r\nHost: a\r\n\r\n",
            "x".repeat(length - 27)
        )
    };
    let bytes = |text: &str| BytesMut::from(text.as_bytes());
    for _ in 0..2 {
        assert!(heads.read(&mut bytes(&head(100))).unwrap().is_some());
    }
    let fault = heads.read(&mut bytes(&head(101))).err().unwrap();
    assert_eq!(fault.reason, Reason::HeadTooLarge);
    assert_eq!(
        fault.detail().as_deref(),
        Some("the head has more than 100 bytes, the limit of this listener")
    );
    // Also when the head arrives in pieces, as soon as the limit is passed.
    let mut heads = HeadReader::new(ErrorForms::default(), 100);
    let mut received = bytes(&head(200)[..100]);
    assert!(heads.read(&mut received).unwrap().is_none());
    assert_eq!(heads.held(), 100);
    received.extend_from_slice(b"x");
    let fault = heads.read(&mut received).err().unwrap();
    assert_eq!(fault.reason, Reason::HeadTooLarge);
}

#[test]
fn a_target_that_is_no_uri_for_its_length_is_too_large() {
    let read = |length: usize| {
        let head = format!(
            "GET /{} HTTP/1.1\r\nHost: a\r\n\r\n",
            "x".repeat(length - 1)
        );
        HeadReader::new(ErrorForms::default(), 100_000)
            .read(&mut BytesMut::from(head.as_bytes()))
            .map(|_| ())
            .map_err(|fault| fault.reason)
    };
    assert_eq!(read(MAX_TARGET), Ok(()));
    assert_eq!(read(MAX_TARGET + 1), Err(Reason::HeadTooLarge));
    assert!(http::uri::PathAndQuery::try_from(format!("/{}", "x".repeat(MAX_TARGET - 1))).is_ok());
}

/// A repeated request is made from the received bytes again.
#[test]
fn a_head_that_is_parsed_again_is_the_same() {
    let head = "GET http://v:80/\" HTTP/1.1\r\nhOst: x\r\nA-b: c\r\nA-B:  d \r\n\r\n";
    let mut heads = HeadReader::new(ErrorForms::default(), MAX_HEAD);
    let read = heads.read(&mut BytesMut::from(head.as_bytes()));
    let head = read.unwrap().unwrap();
    let again = parse_again(&head.raw).unwrap();
    assert_eq!(again.raw_path(), b"http://v:80/%22");
    assert_eq!(again.raw_path(), head.request.raw_path());
    assert_eq!(again.headers, head.request.headers);
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
