use pingora::protocols::http::v1::client::HttpSession;
use proptest::prelude::*;
use tokio::io::AsyncWriteExt;

use super::*;

fn read(head: &[u8], method: &Method) -> Result<Option<Parsed>, HeadFault> {
    parse(&mut BytesMut::from(head), method)
}

fn get(head: &str) -> Parsed {
    read(head.as_bytes(), &Method::GET).unwrap().unwrap()
}

fn fault_of(head: &[u8]) -> HeadFault {
    read(head, &Method::GET).unwrap_err()
}

#[test]
fn a_head_is_taken_from_the_front_and_keeps_its_bytes() {
    let text = b"HTTP/1.1 404 Nope\r\nX-One: a\r\nx-one:  b \r\nContent-Length: 3\r\n\r\nabc";
    let mut bytes = BytesMut::from(&text[..]);
    let memory = bytes.as_ptr_range();
    let parsed = parse(&mut bytes, &Method::GET).unwrap().unwrap();
    assert_eq!(&bytes[..], b"abc");
    let head = parsed.head;
    assert_eq!(head.status.as_u16(), 404);
    assert_eq!(head.get_reason_phrase(), Some("Nope"));
    assert_eq!(head.version, Version::HTTP_11);
    assert_eq!(parsed.body, ResponseBody::Length(3));
    let mut wire = Vec::new();
    head.header_to_h1_wire(&mut wire);
    assert_eq!(wire, b"X-One: a\r\nx-one: b\r\nContent-Length: 3\r\n");
    for value in head.headers.values() {
        assert!(memory.contains(&value.as_bytes().as_ptr()), "it is copied");
    }
}

#[test]
fn a_head_cut_at_any_byte_is_incomplete() {
    for head in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX: a\r\n b\r\n\r\n"[..],
        b"\r\n\r\nHTTP/1.0 200\r\n\r\n",
        b"HTTP/1.1 200 OK\nA: b\n\n",
    ] {
        for cut in 0..head.len() {
            let mut bytes = BytesMut::from(&head[..cut]);
            assert!(parse(&mut bytes, &Method::GET).unwrap().is_none(), "{cut}");
            assert_eq!(&bytes[..], &head[..cut]);
        }
        assert!(read(head, &Method::GET).unwrap().is_some());
    }
}

#[test]
fn each_fault_is_told_apart() {
    assert_eq!(fault_of(b"\x15\x03\x03\x00\x02\x02\x46"), HeadFault::Tls);
    assert_eq!(fault_of(b"\x00\x00\x12\x04\x00"), HeadFault::Http2);
    assert_eq!(fault_of(b"SSH-2.0-x\r\n"), HeadFault::Malformed);
    assert_eq!(fault_of(b"HTTP/1.1 099 x\r\n\r\n"), HeadFault::Malformed);
    assert_eq!(fault_of(b"HTTP/2.0 200 OK\r\n\r\n"), HeadFault::Malformed);
    assert_eq!(
        fault_of(b"HTTP/1.1 200 OK\r\na\x01: b\r\n\r\n"),
        HeadFault::Malformed
    );
    assert_eq!(
        fault_of(b"HTTP/1.1 200 OK\r\na: \x7f\r\n\r\n"),
        HeadFault::Malformed
    );
    let long = format!("HTTP/1.1 200 OK\r\n{}: b\r\n\r\n", "a".repeat(70_000));
    assert_eq!(fault_of(long.as_bytes()), HeadFault::Malformed);
    for lengths in [
        "",
        "-1",
        "+1",
        "1x",
        "1, 2",
        "18446744073709551616",
        "1\r\nContent-Length: 2",
    ] {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {lengths}\r\n\r\n");
        assert_eq!(fault_of(head.as_bytes()), HeadFault::Length, "{lengths}");
        for method in [Method::HEAD, Method::GET] {
            let head = head.replace("200 OK", "304 Not Modified");
            assert_eq!(
                read(head.as_bytes(), &method).unwrap_err(),
                HeadFault::Length
            );
        }
    }
}

#[test]
fn up_to_256_fields_are_read() {
    for (count, is_read) in [(0, true), (48, true), (49, true), (256, true), (257, false)] {
        let fields: String = (0..count).map(|n| format!("X-{n}: {n}\r\n")).collect();
        let head = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
        match read(head.as_bytes(), &Method::GET) {
            Ok(parsed) => {
                assert!(is_read);
                assert_eq!(parsed.unwrap().head.headers.len(), count);
            }
            Err(fault) => assert_eq!((is_read, fault), (false, HeadFault::TooManyFields)),
        }
    }
}

#[test]
fn the_body_follows_from_status_method_and_fields() {
    let chunked = "Transfer-Encoding: gzip, Chunked\r\n";
    let other = "Transfer-Encoding: chunked, gzip\r\n";
    let five = "Content-Length: 5\r\n";
    for (status, method, fields, body) in [
        (200, Method::GET, "", ResponseBody::UntilClose),
        (200, Method::GET, five, ResponseBody::Length(5)),
        (
            200,
            Method::GET,
            "Content-Length: 05, 5\r\n",
            ResponseBody::Length(5),
        ),
        (200, Method::GET, chunked, ResponseBody::Chunked),
        (
            200,
            Method::GET,
            &format!("{five}{chunked}"),
            ResponseBody::Chunked,
        ),
        (200, Method::GET, other, ResponseBody::UntilClose),
        (
            200,
            Method::GET,
            &format!("Transfer-Encoding: gzip\r\n{chunked}"),
            ResponseBody::Chunked,
        ),
        (200, Method::HEAD, five, ResponseBody::None),
        (200, Method::HEAD, chunked, ResponseBody::None),
        (204, Method::GET, chunked, ResponseBody::None),
        (304, Method::GET, five, ResponseBody::None),
        (103, Method::GET, five, ResponseBody::None),
    ] {
        let head = format!("HTTP/1.1 {status} x\r\n{fields}\r\n");
        let parsed = read(head.as_bytes(), &method).unwrap().unwrap();
        assert_eq!(parsed.body, body, "{head}");
    }
}

#[test]
fn a_length_that_is_sent_twice_becomes_one_and_loses_to_chunks() {
    let parsed = get("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\ncontent-length: 5\r\n\r\n");
    let lengths: Vec<_> = parsed
        .head
        .headers
        .get_all("content-length")
        .iter()
        .collect();
    assert_eq!(lengths, ["5"]);
    let parsed = get("HTTP/1.1 200 OK\r\nContent-Length: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert!(!parsed.head.headers.contains_key("content-length"));
    assert!(!parsed.keeps_alive);
}

#[test]
fn the_connection_is_kept_when_the_server_keeps_it() {
    let length = "Content-Length: 5";
    for (version, fields, keeps_alive) in [
        ("1.1", length, true),
        ("1.1", "Content-Length: 5\r\nConnection: keep-alive", true),
        ("1.1", "Content-Length: 5\r\nConnection: close", false),
        ("1.1", "Content-Length: 5\r\nConnection: x, Close", false),
        (
            "1.1",
            "Content-Length: 5\r\nConnection: keep-alive\r\nConnection: close",
            false,
        ),
        ("1.1", "Transfer-Encoding: chunked", true),
        ("1.1", "X: y", false),
        ("1.0", length, false),
        ("1.0", "Content-Length: 5\r\nConnection: Keep-Alive", true),
        (
            "1.0",
            "Transfer-Encoding: chunked\r\nConnection: keep-alive",
            false,
        ),
    ] {
        let head = format!("HTTP/{version} 200 OK\r\n{fields}\r\n\r\n");
        assert_eq!(get(&head).keeps_alive, keeps_alive, "{head}");
    }
    assert!(!get("HTTP/1.1 101 x\r\n\r\n").keeps_alive);
}

#[test]
fn the_shortest_announced_idle_time_counts() {
    let seconds = |values: &[&str]| {
        let fields: String = values
            .iter()
            .map(|value| format!("Keep-Alive: {value}\r\n"))
            .collect();
        get(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n")).idle_seconds
    };
    assert_eq!(seconds(&[]), None);
    assert_eq!(seconds(&["timeout=5"]), Some(5));
    assert_eq!(seconds(&["timeout=5, max=100"]), Some(5));
    assert_eq!(seconds(&["max=100,Timeout = \"2\""]), Some(2));
    assert_eq!(seconds(&["timeout=60", "timeout=15"]), Some(15));
    assert_eq!(seconds(&["timeout=0"]), Some(0));
    for nothing in [
        "timeout=",
        "timeout=x",
        "timeout=-1",
        "timeout=99999999999999999999",
        "5",
        "max=1",
    ] {
        assert_eq!(seconds(&[nothing]), None, "{nothing}");
    }
}

#[test]
fn a_folded_field_becomes_one_line() {
    let parsed = get("HTTP/1.1 200 OK\r\nX : a\r\n\t b\r\n  c\r\n\r\n");
    assert_eq!(parsed.head.headers["x"], "a b c");
}

/// Heads near the border between valid and invalid.
fn heads() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        Just("HTTP/1.1 200 OK\r\n"),
        Just("HTTP/1.0 404 Not Found\n"),
        Just("\r\nHTTP/1.1 204 \r\n"),
        Just("HTTP/1.1 500\r\n"),
        Just("HTTP/1.1 99 x\r\n"),
        Just("http/1.1 200 OK\r\n"),
    ];
    let field = prop_oneof![
        Just(b"Server: x\r\n".to_vec()),
        Just(b"Content-Length: 3\r\n".to_vec()),
        Just(b"Content-Length: 4, 4\n".to_vec()),
        Just(b"Transfer-Encoding: chunked\r\n".to_vec()),
        Just(b"X: a\r\n b\r\n".to_vec()),
        Just(b"X :b\r\n".to_vec()),
        Just(b" X: b\r\n".to_vec()),
        Just(b"X\r\n".to_vec()),
        Just(b": x\r\n".to_vec()),
        Just("X: \u{e9}\r\n".as_bytes().to_vec()),
        proptest::collection::vec(any::<u8>(), 0..6),
        proptest::sample::select(&b"\r\n :\t\x00a"[..]).prop_map(|byte| vec![byte]),
    ];
    let fields = proptest::collection::vec(field, 0..6);
    (line, fields, any::<bool>()).prop_map(|(line, fields, ends)| {
        let end: &[u8] = if ends { b"\r\n" } else { b"" };
        [line.as_bytes(), &fields.concat(), end].concat()
    })
}

/// The result of pingora's reader: the head if it is valid, `None` if it is incomplete or invalid.
fn of_pingora(head: &[u8]) -> Option<ResponseHeader> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (near, mut far) = tokio::io::duplex(head.len() + 1);
        far.write_all(head).await.unwrap();
        drop(far);
        let mut session = HttpSession::new(Box::new(near));
        session.read_response().await.ok()?;
        session.resp_header().cloned()
    })
}

fn lines(head: &ResponseHeader) -> Vec<u8> {
    let mut wire = format!(
        "{:?} {} {:?}\n",
        head.version,
        head.status,
        head.get_reason_phrase()
    )
    .into_bytes();
    head.header_to_h1_wire(&mut wire);
    wire
}

proptest! {
    #[test]
    fn the_same_heads_are_valid_as_for_pingora(head in heads()) {
        // Pingora takes `chunked` twice for once.
        prop_assume!(memchr::memmem::find_iter(&head, b"Transfer-Encoding").count() < 2);
        let ours = read(&head, &Method::GET).ok().flatten().map(|parsed| parsed.head);
        let theirs = of_pingora(&head).map(|mut head| {
            // Pingora leaves the joining of equal lengths to others.
            if let Some(length) = content_length(&head) {
                head.insert_header(header::CONTENT_LENGTH, length).unwrap();
            }
            head
        });
        let ours = ours.map(|mut head| {
            if let Some(length) = content_length(&head) {
                head.insert_header(header::CONTENT_LENGTH, length).unwrap();
            }
            head
        });
        prop_assert_eq!(ours.as_ref().map(lines), theirs.as_ref().map(lines));
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&bytes, &Method::GET);
        let _ = read(&[b"HTTP/1.1 200 OK\r\n", &bytes[..]].concat(), &Method::HEAD);
    }
}

/// The first length of a head.
fn content_length(head: &ResponseHeader) -> Option<u64> {
    let value = head.headers.get(header::CONTENT_LENGTH)?;
    let first = value.as_bytes().split(|byte| *byte == b',').next()?;
    number(first.trim_ascii())
}

#[test]
fn a_whole_head_has_the_same_limit_as_an_incomplete_one() {
    let head = |length: usize| {
        let rest = length - "HTTP/1.1 200 OK\r\nX: \r\n\r\n".len();
        format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "a".repeat(rest))
    };
    assert!(read(head(MAX_HEAD).as_bytes(), &Method::GET).is_ok());
    assert_eq!(fault_of(head(MAX_HEAD + 1).as_bytes()), HeadFault::TooLarge);
}

#[test]
fn repeated_codings_are_one_list_and_chunked_is_in_it_once() {
    let codings = |fields: &str| {
        let parsed = get(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"));
        let values = parsed.head.headers.get_all("transfer-encoding").iter();
        let values: Vec<_> = values
            .map(|value| value.to_str().unwrap().to_owned())
            .collect();
        (values, parsed.body)
    };
    let joined = codings("Transfer-Encoding: gzip\r\ntransfer-encoding: chunked\r\n");
    assert_eq!(
        joined,
        (vec!["gzip, chunked".to_owned()], ResponseBody::Chunked)
    );
    let until_close = codings("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n");
    let expected = vec!["chunked, identity".to_owned()];
    assert_eq!(until_close, (expected, ResponseBody::UntilClose));
    for twice in [
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, Chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip, chunked\r\n",
    ] {
        let head = format!("HTTP/1.1 200 OK\r\n{twice}\r\n");
        assert_eq!(fault_of(head.as_bytes()), HeadFault::Coding, "{twice}");
    }
}
