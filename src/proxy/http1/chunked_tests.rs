use proptest::prelude::*;

use super::*;
use crate::proxy::http1::outgoing::Outgoing;

/// The result of a whole body: its data, whether it is complete, and the bytes behind it.
type Outcome = Result<(Vec<u8>, bool, Vec<u8>), ChunkFault>;

/// Reads a body that arrives in these pieces.
fn read<'a>(decoder: &mut ChunkDecoder, pieces: impl Iterator<Item = &'a [u8]>) -> Outcome {
    let (mut buffer, mut data) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut buffer)? {
                Decoded::Data(part) => {
                    assert!(!part.is_empty());
                    data.extend_from_slice(&part);
                }
                Decoded::NeedMore => {
                    assert!(buffer.is_empty());
                    break;
                }
                Decoded::End => break,
            }
        }
    }
    Ok((data, decoder.is_ended(), buffer.to_vec()))
}

fn whole(mut decoder: ChunkDecoder, body: &[u8]) -> Outcome {
    read(&mut decoder, [body].into_iter())
}

fn request(body: &[u8]) -> Outcome {
    whole(ChunkDecoder::new(), body)
}

fn response(body: &[u8]) -> Outcome {
    whole(ChunkDecoder::of_response(), body)
}

#[test]
fn zeros_before_a_size_are_accepted_in_responses_only() {
    let body = b"0000000000000003\r\nabc\r\n00000000000000000000\r\n\r\n";
    assert_eq!(response(body), Ok((b"abc".to_vec(), true, Vec::new())));
    assert_eq!(request(body), Err(ChunkFault::Size));
    let endless = b"0".repeat(MAX_RESPONSE_EXTRAS + 2);
    assert_eq!(response(&endless), Err(ChunkFault::TooLong));
}

#[test]
fn chunks_are_joined_and_the_rest_is_left() {
    let body = b"3\r\nabc\r\n0A;x=\"y\"\r\n0123456789\r\n0\r\nT: 1\r\n\r\nGET";
    let expected = (b"abc0123456789".to_vec(), true, b"GET".to_vec());
    assert_eq!(request(body), Ok(expected.clone()));
    assert_eq!(response(body), Ok(expected));
    assert_eq!(request(b"3\r\nab"), Ok((b"ab".to_vec(), false, vec![])));
}

#[test]
fn ambiguous_bodies_are_refused() {
    for (body, fault) in [
        (&b"\r\n"[..], ChunkFault::Size),
        (b";x\r\n", ChunkFault::Size),
        (b"+3\r\n", ChunkFault::Size),
        (b"0x3\r\n", ChunkFault::Size),
        (b"3\n", ChunkFault::Size),
        (b"3\rx", ChunkFault::Size),
        (b"1000000000000000\r\n", ChunkFault::Size),
        (b"3\r\nabcd", ChunkFault::End),
        (b"3\r\nabc\n", ChunkFault::End),
        (b"3;\0", ChunkFault::Extension),
        (b"3;a\n", ChunkFault::Extension),
        (b"0\r\n\n", ChunkFault::LineEnd),
        (b"0\r\nT: 1\n\r\n", ChunkFault::LineEnd),
    ] {
        assert_eq!(request(body), Err(fault), "{}", body.escape_ascii());
    }
    for trailer in ["T 1", " T: 1", "T : 1", "T: \u{1}"] {
        let body = format!("0\r\n{trailer}\r\n\r\n");
        let refused = request(body.as_bytes());
        assert!(matches!(refused, Err(ChunkFault::Trailer(_))), "{trailer}");
        assert!(response(body.as_bytes()).is_ok(), "{trailer}");
    }
    let spaces = b"3 \t\r\nabc\r\n0 ;x\r\n\r\n";
    assert_eq!(request(spaces), Err(ChunkFault::Size));
    assert_eq!(response(spaces), Ok((b"abc".to_vec(), true, vec![])));
    assert_eq!(response(b"3 a\r\n"), Err(ChunkFault::Size));
}

#[test]
fn extensions_and_trailers_together_are_limited() {
    let body = |extension: usize, trailer: usize| {
        let (extension, trailer) = ("x".repeat(extension), "y".repeat(trailer));
        format!("0;{extension}\r\nT:{trailer}\r\n\r\n").into_bytes()
    };
    // Six bytes: `T:` and two line ends belong to the trailers as well.
    assert!(request(&body(4000, MAX_EXTRAS - 4006)).is_ok());
    assert_eq!(
        request(&body(4000, MAX_EXTRAS - 4005)),
        Err(ChunkFault::TooLong)
    );
    assert_eq!(request(&body(MAX_EXTRAS + 1, 0)), Err(ChunkFault::TooLong));
    assert_eq!(
        request(&[b"0\r\nT:", &[b'y'; MAX_EXTRAS][..]].concat()),
        Err(ChunkFault::TooLong)
    );
    assert!(response(&body(MAX_EXTRAS, MAX_EXTRAS)).is_ok());
    assert_eq!(
        response(&body(MAX_RESPONSE_EXTRAS, 0)),
        Err(ChunkFault::TooLong)
    );
}

#[test]
fn the_trailers_of_a_response_are_kept_except_forbidden_ones() {
    let body = b"0\r\nGrpc-Status: 0\r\nContent-Length: 5\r\nbad\r\nX: 1\r\nX: 2\r\n\r\n";
    for piece in [1, 7, body.len()] {
        let mut decoder = ChunkDecoder::of_response();
        read(&mut decoder, body.chunks(piece)).unwrap();
        let trailers = decoder.trailers().unwrap();
        let mut lines: Vec<String> = trailers
            .iter()
            .map(|(name, value)| format!("{name}={}", value.to_str().unwrap()))
            .collect();
        lines.sort();
        assert_eq!(lines, ["grpc-status=0", "x=1", "x=2"]);
        assert_eq!(decoder.trailers(), None, "they are given once");
    }
    let mut decoder = ChunkDecoder::new();
    read(&mut decoder, [&body[..16]].into_iter()).unwrap();
    assert_eq!(decoder.trailers(), None);
}

#[test]
fn a_fault_says_what_a_request_breaks() {
    let description = |fault: ChunkFault| fault.into_fault().detail().unwrap().into_owned();
    let faults = [
        ChunkFault::Size,
        ChunkFault::End,
        ChunkFault::Extension,
        ChunkFault::TooLong,
        ChunkFault::LineEnd,
        request(b"0\r\nT 1\r\n").unwrap_err(),
    ];
    for fault in faults {
        assert!(description(fault).ends_with(" (in the body)"));
    }
}

fn chunky() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"\r\n".to_vec()),
        Just(b"0\r\n\r\n".to_vec()),
        Just(b"0\r\n".to_vec()),
        Just(b"1\r\nx\r\n".to_vec()),
        Just(b"T: 1\r\n".to_vec()),
        proptest::sample::select(&b"0123aF;\r\n x:\t\x01"[..]).prop_map(|byte| vec![byte]),
        proptest::collection::vec(any::<u8>(), 0..4),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// `bytes` in pieces that end at these places.
fn cut<'a>(bytes: &'a [u8], places: &[usize]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = places.iter().map(|at| at % (bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places
        .windows(2)
        .map(|pair| &bytes[pair[0]..pair[1]])
        .collect()
}

proptest! {
    #[test]
    fn cuts_do_not_matter(body in chunky(), places in proptest::collection::vec(any::<usize>(), 0..9)) {
        for decoder in [ChunkDecoder::new, ChunkDecoder::of_response] {
            let expected = whole(decoder(), &body);
            let pieces = cut(&body, &places);
            prop_assert_eq!(&read(&mut decoder(), pieces.into_iter()), &expected);
            prop_assert_eq!(&read(&mut decoder(), body.chunks(1)), &expected);
        }
    }

    #[test]
    fn written_chunks_are_read_again(
        parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..6000), 0..5),
        size in 1_usize..5000,
    ) {
        let mut outgoing = Outgoing::default();
        for part in &parts {
            outgoing.put_chunk(Bytes::copy_from_slice(part));
        }
        outgoing.put_last_chunk(None);
        let mut wire = Vec::new();
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        prop_assert!(outgoing.poll_write(&mut cx, &mut wire).is_ready());
        let found = read(&mut ChunkDecoder::new(), wire.chunks(size));
        prop_assert_eq!(found, Ok((parts.concat(), true, vec![])));
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = request(&body);
        let _ = response(&body);
    }
}
