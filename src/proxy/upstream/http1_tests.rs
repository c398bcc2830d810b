use std::task::Waker;

use proptest::prelude::*;
use tokio::io::{AsyncWriteExt, DuplexStream};

use super::super::pool::Pool;
use super::*;
use crate::proxy::http1::chunked::ChunkFault;
use crate::proxy::http1::response::HeadFault;

fn key() -> PoolKey {
    let address = "10.0.0.1:80".parse().unwrap();
    PoolKey {
        address,
        settings: 1,
    }
}

/// A connection, and the upstream's end of it.
fn pair(size: usize) -> (Http1Connection, DuplexStream) {
    let (near, far) = tokio::io::duplex(size);
    let idle = Duration::from_secs(60);
    (Http1Connection::new(Box::new(near), key(), idle), far)
}

fn head(method: &str, fields: &[(&'static str, &str)]) -> RequestHeader {
    let mut head = RequestHeader::build(method, b"/a?b", None).unwrap();
    for (name, value) in fields {
        head.append_header(*name, *value).unwrap();
    }
    head
}

fn get() -> RequestHeader {
    head("GET", &[("Host", "a")])
}

async fn send(connection: &mut Http1Connection) -> Result<(), UpstreamError> {
    std::future::poll_fn(|cx| connection.poll_send(cx)).await
}

/// A response as the relay sees it.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    statuses: Vec<u16>,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
}

async fn receive(connection: &mut Http1Connection) -> Result<Seen, UpstreamError> {
    let mut seen = Seen::default();
    loop {
        let head = std::future::poll_fn(|cx| connection.poll_head(cx)).await?;
        seen.statuses.push(head.status.as_u16());
        if !head.status.is_informational() {
            break;
        }
    }
    while let Some(part) = std::future::poll_fn(|cx| connection.poll_body(cx)).await? {
        seen.body.extend_from_slice(&part);
    }
    assert!(connection.is_answer_complete());
    seen.trailers = connection.trailers();
    Ok(seen)
}

/// The result of a request whose upstream sends these pieces, and whether the connection is kept.
async fn exchange<'a>(
    request: RequestHeader,
    pieces: impl Iterator<Item = &'a [u8]>,
    is_closed: bool,
) -> (Result<Seen, UpstreamError>, bool) {
    let (mut connection, mut far) = pair(1 << 20);
    connection.begin(&request, &[], RequestBody::None).unwrap();
    send(&mut connection).await.unwrap();
    let write = async {
        for piece in pieces {
            far.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        if is_closed {
            drop(far);
            return None;
        }
        Some(far)
    };
    let (seen, _far) = tokio::join!(receive(&mut connection), write);
    let pool = Pool::new(1);
    connection.release(&pool);
    (seen, pool.len() == 1)
}

async fn answer(request: RequestHeader, bytes: &[u8]) -> (Result<Seen, UpstreamError>, bool) {
    exchange(request, [bytes].into_iter(), false).await
}

async fn answer_and_end(bytes: &[u8]) -> (Result<Seen, UpstreamError>, bool) {
    exchange(get(), [bytes].into_iter(), true).await
}

fn seen(statuses: &[u16], body: &[u8]) -> Seen {
    Seen {
        statuses: statuses.to_vec(),
        body: body.to_vec(),
        trailers: None,
    }
}

#[tokio::test]
async fn two_requests_use_one_connection() {
    let (mut connection, mut far) = pair(4096);
    let pool = Pool::new(1);
    for number in 0..2 {
        assert_eq!(connection.is_reused(), number > 0);
        connection.begin(&get(), &[], RequestBody::None).unwrap();
        assert!(connection.has_unsent());
        send(&mut connection).await.unwrap();
        assert!(!connection.has_unsent() && connection.is_request_complete());
        let mut request = [0; 64];
        let length = far.read(&mut request).await.unwrap();
        assert_eq!(&request[..length], b"GET /a?b HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(connection.sent(), (length * (number + 1)) as u64);
        far.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await
            .unwrap();
        assert_eq!(receive(&mut connection).await.unwrap(), seen(&[200], b"ok"));
        connection.release(&pool);
        connection = pool.take_idle(&key()).unwrap();
    }
}

#[tokio::test]
async fn a_body_is_framed_as_its_head_says() {
    for (body, parts, expected, is_complete) in [
        (RequestBody::None, &[&b"x"[..]][..], "", true),
        (RequestBody::Length(3), &[b"ab", b"c"], "abc", true),
        (RequestBody::Length(3), &[b"ab"], "ab", false),
        (RequestBody::Length(3), &[b"ab", b"cd", b"e"], "abc", true),
        (RequestBody::Length(0), &[b"ab"], "", true),
        (
            RequestBody::Chunked,
            &[b"ab", b"", b"c"],
            "2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
            true,
        ),
        (RequestBody::Chunked, &[], "0\r\n\r\n", true),
    ] {
        let (mut connection, mut far) = pair(4096);
        connection.begin(&get(), &[], body).unwrap();
        for part in parts {
            connection.send(Bytes::copy_from_slice(part));
        }
        connection.end(None);
        connection.end(None);
        send(&mut connection).await.unwrap();
        assert_eq!(
            connection.is_request_complete(),
            is_complete,
            "{body:?} {parts:?}"
        );
        far.write_all(b"HTTP/1.1 204 x\r\n\r\n").await.unwrap();
        receive(&mut connection).await.unwrap();
        let pool = Pool::new(1);
        connection.release(&pool);
        assert_eq!(pool.len() == 1, is_complete);
        let mut request = vec![0; 1024];
        let length = far.read(&mut request).await.unwrap();
        let wire = String::from_utf8_lossy(&request[..length]).into_owned();
        let (_, sent) = wire.split_once("\r\n\r\n").unwrap();
        assert_eq!(sent, expected);
    }
}

#[test]
fn a_target_that_would_split_the_request_line_is_not_sent() {
    let (mut connection, _far) = pair(16);
    let mut request = get();
    for target in [&b"*\r\nX: y"[..], b"/a b", b"/\0"] {
        // A URI cannot hold these; the raw target can.
        request.set_raw_path(&[b"x:", target].concat()).unwrap();
        let begun = connection.begin(&request, &[], RequestBody::None);
        assert!(matches!(begun, Err(UpstreamError::Target)));
        assert!(!connection.has_unsent());
    }
}

#[tokio::test]
async fn interim_heads_come_one_by_one_also_with_the_final_one_in_one_read() {
    let bytes = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n\r\n\
        HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    for size in [1, 5, bytes.len()] {
        let (found, is_kept) = exchange(get(), bytes.chunks(size), false).await;
        assert_eq!(found.unwrap(), seen(&[100, 103, 200], b"ok"));
        assert!(is_kept);
    }
}

#[tokio::test]
async fn a_response_without_a_body_ends_with_its_head() {
    for (method, bytes) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        ("HEAD", "HTTP/1.1 200 OK\r\n\r\n"),
        ("GET", "HTTP/1.1 204 x\r\n\r\n"),
        ("GET", "HTTP/1.1 304 x\r\nContent-Length: 5\r\n\r\n"),
        ("GET", "HTTP/1.1 200 x\r\nContent-Length: 0\r\n\r\n"),
    ] {
        let (found, is_kept) = answer(head(method, &[]), bytes.as_bytes()).await;
        assert_eq!(found.unwrap().body, b"", "{method} {bytes}");
        assert!(is_kept, "{method} {bytes}");
        let (found, is_kept) = answer(head(method, &[]), format!("{bytes}x").as_bytes()).await;
        assert!(
            found.is_ok() && !is_kept,
            "a byte too many: {method} {bytes}"
        );
    }
}

#[tokio::test]
async fn the_trailers_of_a_response_are_given() {
    let bytes =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nT: 1\r\n\r\n";
    for size in [1, 50, bytes.len()] {
        let (found, is_kept) = exchange(get(), bytes.chunks(size), false).await;
        let found = found.unwrap();
        assert_eq!(found.body, b"ok");
        assert_eq!(found.trailers.unwrap()["t"], "1");
        assert!(is_kept);
    }
}

#[tokio::test]
async fn the_end_of_the_connection_ends_a_response_only_without_a_length() {
    let (found, is_kept) = answer_and_end(b"HTTP/1.1 200 OK\r\n\r\nall of it").await;
    assert_eq!(found.unwrap(), seen(&[200], b"all of it"));
    assert!(!is_kept);
    let (found, _) = answer_and_end(b"HTTP/1.1 200 OK\r\n\r\n").await;
    assert_eq!(found.unwrap(), seen(&[200], b""));
    for (bytes, has_begun) in [
        ("", false),
        ("H", true),
        ("HTTP/1.1 200 OK\r\n", true),
        ("HTTP/1.1 100 x\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", true),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            true,
        ),
    ] {
        let (found, is_kept) = answer_and_end(bytes.as_bytes()).await;
        let error = found.unwrap_err();
        assert!(
            matches!(error, UpstreamError::Closed { begun } if begun == has_begun),
            "{bytes}: {error:?}"
        );
        assert_eq!(error.has_swallowed(), !has_begun);
        assert!(!is_kept);
    }
}

#[tokio::test]
async fn a_broken_response_is_refused_with_its_kind() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (found, _) = answer(get(), b"SSH-2.0-x").await;
    assert!(matches!(
        found,
        Err(UpstreamError::Head(HeadFault::Malformed))
    ));
    let (found, _) = answer(get(), b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n").await;
    assert!(matches!(found, Err(UpstreamError::Head(HeadFault::Length))));
    let (found, is_kept) = answer(get(), format!("{chunked}x\r\n").as_bytes()).await;
    assert!(matches!(found, Err(UpstreamError::Body(ChunkFault::Size))));
    assert!(!is_kept);
    // The unfinished line grows without an end.
    let large = [b"HTTP/1.1 200 OK\r\nX: ", &vec![b'x'; 1 << 20][..]].concat();
    let (found, _) = exchange(get(), large.chunks(1 << 16), false).await;
    assert!(matches!(
        found,
        Err(UpstreamError::Head(HeadFault::TooLarge))
    ));
}

#[tokio::test]
async fn only_a_connection_that_both_sides_keep_open_is_kept() {
    let request = |connection| head("GET", &[("Connection", connection)]);
    let kept = async |request, bytes: &str| {
        let (found, is_kept) = answer(request, bytes.as_bytes()).await;
        assert!(found.is_ok(), "{bytes}");
        is_kept
    };
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n";
    assert!(kept(get(), &format!("{ok}\r\n")).await);
    assert!(!kept(request("close"), &format!("{ok}\r\n")).await);
    assert!(kept(request("keep-alive"), &format!("{ok}\r\n")).await);
    assert!(!kept(get(), &format!("{ok}Connection: close\r\n\r\n")).await);
    assert!(!kept(get(), &format!("{ok}Keep-Alive: timeout=0\r\n\r\n")).await);
    let old = "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n";
    assert!(!kept(get(), &format!("{old}\r\n")).await);
    assert!(kept(get(), &format!("{old}Connection: keep-alive\r\n\r\n")).await);
}

#[tokio::test]
async fn an_early_answer_is_read_and_its_connection_closed() {
    let (mut connection, mut far) = pair(8);
    let large = Bytes::from(vec![b'x'; 10_000]);
    connection
        .begin(&head("POST", &[]), &[], RequestBody::Length(10_000))
        .unwrap();
    connection.send(large);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(
        connection.poll_send(&mut cx).is_pending(),
        "the upstream reads nothing"
    );
    assert!(connection.has_unsent() && connection.unsent() > 9000);
    let write = far.write_all(b"HTTP/1.1 413 x\r\nContent-Length: 0\r\n\r\n");
    let (found, written) = tokio::join!(receive(&mut connection), write);
    written.unwrap();
    assert_eq!(found.unwrap().statuses, [413]);
    let pool = Pool::new(1);
    connection.release(&pool);
    assert_eq!(pool.len(), 0);
}

#[tokio::test]
async fn an_answer_is_readable_after_writing_has_failed() {
    let (near, mut far) = tokio::io::duplex(1024);
    far.write_all(b"HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n")
        .await
        .unwrap();
    drop(far);
    let mut connection = Http1Connection::new(Box::new(near), key(), Duration::from_secs(1));
    connection
        .begin(&head("POST", &[]), &[], RequestBody::Chunked)
        .unwrap();
    let error = send(&mut connection).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Write(_)) && error.has_swallowed());
    assert!(!connection.has_unsent());
    connection.send(Bytes::from_static(b"dropped"));
    assert!(!connection.has_unsent());
    assert_eq!(receive(&mut connection).await.unwrap().statuses, [503]);
    let pool = Pool::new(1);
    connection.release(&pool);
    assert_eq!(pool.len(), 0);
}

#[tokio::test]
async fn the_end_after_a_failed_write_completes_no_response_without_a_length() {
    let (mut connection, mut far) = pair(1 << 20);
    let post = head("POST", &[("Host", "a"), ("Content-Length", "2")]);
    connection
        .begin(&post, &[], RequestBody::Length(2))
        .unwrap();
    send(&mut connection).await.unwrap();
    far.write_all(b"HTTP/1.1 200 OK\r\n\r\npart").await.unwrap();
    drop(far);
    connection.send(Bytes::from_static(b"hi"));
    let failed = send(&mut connection).await;
    assert!(matches!(failed, Err(UpstreamError::Write(_))));
    let cut_off = receive(&mut connection).await;
    let is_closed = matches!(cut_off, Err(UpstreamError::Closed { begun: true }));
    assert!(is_closed, "{cut_off:?}");
}

#[tokio::test]
async fn an_upgrade_gives_the_stream_and_only_when_it_was_asked_for() {
    let switched = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nearly";
    let (mut connection, mut far) = pair(1024);
    let asks = head("GET", &[("Upgrade", "x"), ("Connection", "upgrade")]);
    connection.begin(&asks, &[], RequestBody::None).unwrap();
    send(&mut connection).await.unwrap();
    far.write_all(switched).await.unwrap();
    let found = std::future::poll_fn(|cx| connection.poll_head(cx))
        .await
        .unwrap();
    assert_eq!(found.status, 101);
    assert!(!connection.is_answer_complete());
    let (mut stream, early) = connection.into_stream();
    assert_eq!(&early[..], b"early");
    far.write_all(b"later").await.unwrap();
    let mut later = [0; 5];
    stream.read_exact(&mut later).await.unwrap();
    assert_eq!(&later, b"later");

    let (mut connection, mut far) = pair(1024);
    connection.begin(&get(), &[], RequestBody::None).unwrap();
    far.write_all(switched).await.unwrap();
    let found = std::future::poll_fn(|cx| connection.poll_head(cx)).await;
    assert!(matches!(found, Err(UpstreamError::Upgrade)));
}

/// The stream of a socket collects small writes until it is flushed.
#[tokio::test]
async fn a_part_that_waits_for_a_flush_is_unsent() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = tokio::net::TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (mut far, _) = listener.accept().await.unwrap();
    let near = Box::new(pingora::protocols::l4::stream::Stream::from(near));
    let mut connection = Http1Connection::new(near, key(), Duration::from_secs(60));
    connection.begin(&get(), &[], RequestBody::Chunked).unwrap();
    let mut parts = 0;
    loop {
        let sent = tokio::time::timeout(Duration::from_millis(200), send(&mut connection));
        if sent.await.is_err() {
            break;
        }
        connection.send(vec![b'x'; 1000].into());
        parts += 1;
    }
    assert!(
        connection.has_unsent(),
        "{} bytes wait",
        connection.unsent()
    );
    connection.end(None);
    let reading = tokio::spawn(async move {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"0\r\n\r\n") {
            far.read_buf(&mut bytes).await.unwrap();
        }
        bytes.windows(4).filter(|bytes| bytes == b"3e8\r").count()
    });
    while connection.has_unsent() {
        send(&mut connection).await.unwrap();
    }
    assert!(connection.is_request_complete());
    assert_eq!(reading.await.unwrap(), parts);
}

#[tokio::test]
async fn a_large_body_arrives_over_a_socket_in_large_reads() {
    const LENGTH: usize = 16 << 20;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = tokio::net::TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (mut far, _) = listener.accept().await.unwrap();
    let near = Box::new(pingora::protocols::l4::stream::Stream::from(near));
    let mut connection = Http1Connection::new(near, key(), Duration::from_secs(60));
    connection.begin(&get(), &[], RequestBody::None).unwrap();
    send(&mut connection).await.unwrap();
    let write = tokio::spawn(async move {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n");
        far.write_all(head.as_bytes()).await.unwrap();
        let part = vec![b'x'; 1 << 20];
        for _ in 0..LENGTH >> 20 {
            far.write_all(&part).await.unwrap();
        }
        far
    });
    std::future::poll_fn(|cx| connection.poll_head(cx))
        .await
        .unwrap();
    let (mut length, mut largest) = (0, 0);
    while let Some(part) = std::future::poll_fn(|cx| connection.poll_body(cx))
        .await
        .unwrap()
    {
        length += part.len();
        largest = largest.max(part.len());
        assert!(connection.incoming.capacity() <= 2 * MAX_READ);
    }
    assert_eq!(length, LENGTH);
    assert!(largest > FIRST_READ && largest <= 2 * MAX_READ, "{largest}");
    let pool = Pool::new(1);
    connection.release(&pool);
    let kept = pool.take_idle(&key()).unwrap();
    assert!(
        kept.incoming.capacity() <= KEPT,
        "an idle connection holds little memory"
    );
    write.await.unwrap();
}

/// The kind of a result, for comparisons.
fn summary(found: &Result<Seen, UpstreamError>) -> String {
    match found {
        Ok(seen) => format!("{seen:?}"),
        Err(UpstreamError::Closed { begun }) => format!("closed {begun}"),
        Err(UpstreamError::Head(HeadFault::Tls | HeadFault::Http2)) => {
            // The first byte alone does not tell them apart.
            format!("{:?}", UpstreamError::Head(HeadFault::Malformed))
        }
        Err(error) => format!("{error:?}"),
    }
}

fn responses() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"HTTP/1.1 200 OK\r\n".to_vec()),
        Just(b"HTTP/1.1 100 x\r\n\r\n".to_vec()),
        Just(b"Transfer-Encoding: chunked\r\n\r\n".to_vec()),
        Just(b"Content-Length: 4\r\n\r\n".to_vec()),
        Just(b"Content-Length: 4\r\nConnection: close\r\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"2\r\nok\r\n".to_vec()),
        Just(b"0\r\n\r\n".to_vec()),
        Just(b"body".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..5),
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn cuts_and_arbitrary_bytes_do_no_harm(bytes in responses(), size in 1_usize..40) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (whole, pieces) = runtime.block_on(async {
            let whole = exchange(get(), [&bytes[..]].into_iter(), true).await;
            (whole, exchange(get(), bytes.chunks(size), true).await)
        });
        prop_assert_eq!(summary(&whole.0), summary(&pieces.0));
        // Bytes behind the response are seen in one read only.
        prop_assert!(!whole.1 || pieces.1);
    }
}
