use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};

use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use pingora::http::RequestHeader;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::super::body::RequestBody;
use super::super::error::{EndedBy, Processed, Spoken};
use super::super::pool::{Opening, Pool};
use super::*;

const IDLE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

fn key() -> PoolKey {
    let address = "10.0.0.1:80".parse().unwrap();
    PoolKey {
        address,
        settings: 1,
    }
}

type Server = Connection<DuplexStream, Bytes>;

/// A connection, and the upstream's end of it.
async fn pair_with(server: &mut h2::server::Builder) -> (Http2Connection, Server) {
    let (near, far) = tokio::io::duplex(1 << 20);
    let near = UpstreamStream::Plain(Box::new(near));
    let (near, far) = tokio::join!(
        Http2Connection::begin(near, key(), IDLE),
        server.handshake(far)
    );
    (near.unwrap(), far.unwrap())
}

async fn pair() -> (Http2Connection, Server) {
    pair_with(&mut h2::server::Builder::new()).await
}

fn head(method: &str) -> RequestHeader {
    let mut head = RequestHeader::build(method, b"/a?b", None).unwrap();
    head.append_header("Host", "a.example").unwrap();
    head
}

fn begin(connection: &Http2Connection, method: &str, body: RequestBody) -> Http2Stream {
    let mut stream = connection.stream();
    stream.begin(&head(method), &[], body).unwrap();
    stream
}

async fn receive_head(stream: &mut Http2Stream) -> Result<u16, UpstreamError> {
    let head = poll_fn(|cx| stream.poll_head(cx)).await?;
    Ok(head.status.as_u16())
}

async fn receive_body(stream: &mut Http2Stream) -> Result<Vec<u8>, UpstreamError> {
    let mut body = Vec::new();
    while let Some(part) = poll_fn(|cx| stream.poll_body(cx)).await? {
        body.extend_from_slice(&part);
    }
    Ok(body)
}

async fn send(stream: &mut Http2Stream) -> Result<(), UpstreamError> {
    poll_fn(|cx| stream.poll_send(cx)).await
}

type Asked = (Request<RecvStream>, SendResponse<Bytes>);

async fn accept(server: &mut Server) -> Asked {
    server.accept().await.unwrap().unwrap()
}

/// Moves the frames of a server that has nothing more to accept.
fn run(mut server: Server) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move { while let Some(Ok(_)) = server.accept().await {} })
}

fn ok() -> Response<()> {
    Response::new(())
}

#[tokio::test]
async fn a_request_and_its_answer_cross_whole() {
    let (connection, mut server) = pair().await;
    let mut stream = begin(&connection, "POST", RequestBody::Chunked);
    assert!(!stream.is_reused() && !stream.is_request_complete());
    stream.send(Bytes::from_static(b"hello "));
    stream.send(Bytes::from_static(b"you"));
    assert_eq!(stream.unsent(), 9);
    let serve = async {
        let (request, mut respond) = accept(&mut server).await;
        assert_eq!(request.uri().to_string(), "http://a.example/a?b");
        let running = run(server);
        let mut body = request.into_body();
        let mut received = Vec::new();
        while let Some(part) = body.data().await {
            received.extend_from_slice(&part.unwrap());
        }
        assert_eq!(received, b"hello you");
        let trailers = body.trailers().await.unwrap().unwrap();
        assert_eq!(trailers["x-sum"], "9");
        let mut out = respond.send_response(ok(), false).unwrap();
        out.send_data(Bytes::from_static(b"fine"), false).unwrap();
        let trailers = [("grpc-status", "0"), ("content-length", "3")];
        let trailers = trailers.map(|(name, value)| {
            (
                http::HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        out.send_trailers(HeaderMap::from_iter(trailers)).unwrap();
        Some(running)
    };
    let ask = async {
        let trailers = HeaderMap::from_iter([(
            http::HeaderName::from_static("x-sum"),
            HeaderValue::from_static("9"),
        )]);
        stream.end(Some(trailers));
        assert!(stream.has_unsent());
        send(&mut stream).await.unwrap();
        assert!(stream.is_request_complete() && !stream.has_unsent());
        assert_eq!((stream.sent(), stream.unsent()), (9, 0));
        assert_eq!(receive_head(&mut stream).await.unwrap(), 200);
        let body = receive_body(&mut stream).await.unwrap();
        (body, stream.trailers())
    };
    let (_running, (body, trailers)) = tokio::join!(serve, ask);
    assert_eq!(body, b"fine");
    // RFC 9110 §6.5.1: a length is no trailer.
    let trailers = trailers.unwrap();
    assert_eq!(trailers.len(), 1);
    assert_eq!(trailers["grpc-status"], "0");
}

#[tokio::test]
async fn an_answer_of_trailers_only_is_one_head() {
    let (connection, mut server) = pair().await;
    let mut stream = begin(&connection, "GET", RequestBody::None);
    assert!(stream.is_request_complete() && !stream.has_unsent());
    let (_, mut respond) = accept(&mut server).await;
    let _running = run(server);
    let mut answer = ok();
    let status = HeaderValue::from_static("7");
    answer.headers_mut().insert("grpc-status", status);
    respond.send_response(answer, true).unwrap();
    let head = poll_fn(|cx| stream.poll_head(cx)).await.unwrap();
    assert_eq!(head.headers["grpc-status"], "7");
    assert_eq!(receive_body(&mut stream).await.unwrap(), b"");
    assert_eq!(stream.trailers(), None);
}

#[tokio::test]
async fn every_interim_answer_precedes_the_final_one() {
    let (connection, mut server) = pair().await;
    let mut stream = begin(&connection, "GET", RequestBody::None);
    let (_, mut respond) = accept(&mut server).await;
    let _running = run(server);
    for _ in 0..3 {
        let mut interim = ok();
        *interim.status_mut() = StatusCode::EARLY_HINTS;
        respond.send_informational(interim).unwrap();
    }
    respond.send_response(ok(), true).unwrap();
    for expected in [103, 103, 103, 200] {
        assert_eq!(receive_head(&mut stream).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn a_body_has_no_more_than_its_length() {
    let (connection, mut server) = pair().await;
    let mut stream = begin(&connection, "POST", RequestBody::Length(3));
    stream.send(Bytes::from_static(b"ab"));
    stream.end(None);
    send(&mut stream).await.unwrap();
    assert!(!stream.is_request_complete());
    stream.send(Bytes::from_static(b"cd"));
    send(&mut stream).await.unwrap();
    assert!(stream.is_request_complete());
    let (request, _respond) = accept(&mut server).await;
    let _running = run(server);
    let mut body = request.into_body();
    let mut received = Vec::new();
    while let Some(part) = body.data().await {
        received.extend_from_slice(&part.unwrap());
    }
    assert_eq!(received, b"abc");
}

#[tokio::test(start_paused = true)]
async fn the_upstreams_window_stops_the_request() {
    let mut small = h2::server::Builder::new();
    small.initial_window_size(10);
    let (connection, mut server) = pair_with(&mut small).await;
    let mut stream = begin(&connection, "POST", RequestBody::Chunked);
    stream.send(Bytes::from_static(b"twenty bytes or more"));
    let (request, _respond) = accept(&mut server).await;
    let _running = run(server);
    let stopped = tokio::time::timeout(SECOND, send(&mut stream)).await;
    assert!(stopped.is_err());
    assert_eq!((stream.sent(), stream.unsent()), (10, 10));
    let mut body = request.into_body();
    let part = body.data().await.unwrap().unwrap();
    body.flow_control().release_capacity(part.len()).unwrap();
    send(&mut stream).await.unwrap();
    assert_eq!(stream.sent(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_stops_the_answer() {
    let (connection, mut server) = pair().await;
    let mut stream = begin(&connection, "GET", RequestBody::None);
    let (_, mut respond) = accept(&mut server).await;
    let _running = run(server);
    let mut out = respond.send_response(ok(), false).unwrap();
    let sent = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let write = tokio::spawn(async move {
        let whole = 4 * STREAM_WINDOW as usize;
        while counted.load(Ordering::Relaxed) < whole {
            out.reserve_capacity(16 * 1024);
            let taken = poll_fn(|cx| out.poll_capacity(cx)).await.unwrap().unwrap();
            out.send_data(vec![0; taken].into(), false).unwrap();
            counted.fetch_add(taken, Ordering::Relaxed);
        }
        out.send_data(Bytes::new(), true).unwrap();
    });
    assert_eq!(receive_head(&mut stream).await.unwrap(), 200);
    tokio::time::sleep(SECOND).await;
    assert_eq!(sent.load(Ordering::Relaxed), STREAM_WINDOW as usize);
    let body = receive_body(&mut stream).await.unwrap();
    assert_eq!(body.len(), 4 * STREAM_WINDOW as usize);
    write.await.unwrap();
}

#[tokio::test]
async fn a_refused_stream_was_not_processed_and_another_reset_perhaps_was() {
    for (code, processed) in [
        (Reason::REFUSED_STREAM, Processed::No),
        (Reason::INTERNAL_ERROR, Processed::Perhaps),
        (Reason::CANCEL, Processed::Perhaps),
    ] {
        let (connection, mut server) = pair().await;
        let mut stream = begin(&connection, "POST", RequestBody::None);
        let (_, mut respond) = accept(&mut server).await;
        let _running = run(server);
        respond.send_reset(code);
        let error = receive_head(&mut stream).await.unwrap_err();
        let UpstreamError::Http2(EndedBy::Stream, is, was) = error else {
            panic!("{error:?}");
        };
        assert_eq!((is, was), (code, processed));
        assert_eq!(error.is_unprocessed(), processed == Processed::No);
        assert!(!error.has_swallowed());
    }
}

#[tokio::test]
async fn a_reset_amid_the_body_is_an_error_and_one_behind_the_answer_is_not() {
    for is_whole in [false, true] {
        let (connection, mut server) = pair().await;
        let mut stream = begin(&connection, "POST", RequestBody::Chunked);
        let (_, mut respond) = accept(&mut server).await;
        let _running = run(server);
        let mut out = respond.send_response(ok(), false).unwrap();
        out.send_data(Bytes::from_static(b"part"), is_whole)
            .unwrap();
        assert_eq!(receive_head(&mut stream).await.unwrap(), 200);
        let first = poll_fn(|cx| stream.poll_body(cx)).await.unwrap().unwrap();
        assert_eq!(&first[..], b"part");
        respond.send_reset(Reason::NO_ERROR);
        tokio::task::yield_now().await;
        let rest = receive_body(&mut stream).await;
        if is_whole {
            assert_eq!(rest.unwrap(), b"");
        } else {
            let error = rest.unwrap_err();
            assert!(!error.is_unprocessed() && !error.has_swallowed());
        }
    }
}

#[tokio::test]
async fn after_a_goaway_no_request_begins_and_those_within_it_end() {
    let pool = Pool::new(1);
    let (connection, mut server) = pair().await;
    let mut old = begin(&connection, "GET", RequestBody::None);
    pool.share(connection);
    let (_, mut respond) = accept(&mut server).await;
    server.graceful_shutdown();
    let running = run(server);
    while pool.take_stream(&key(), false).is_some() {
        tokio::task::yield_now().await;
    }
    assert_eq!(pool.shared(), 0);
    respond.send_response(ok(), true).unwrap();
    assert_eq!(receive_head(&mut old).await.unwrap(), 200);
    drop(old);
    running.await.unwrap();
}

/// A server that sends these bytes behind its empty settings.
async fn raw(frames: &[u8]) -> (Http2Connection, DuplexStream) {
    let (near, mut far) = tokio::io::duplex(1 << 20);
    let near = UpstreamStream::Plain(Box::new(near));
    far.write_all(b"\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let connection = Http2Connection::begin(near, key(), IDLE).await.unwrap();
    far.write_all(frames).await.unwrap();
    (connection, far)
}

#[tokio::test]
async fn streams_beyond_the_last_one_of_a_goaway_were_not_processed() {
    let (connection, mut far) = raw(b"").await;
    let mut within = begin(&connection, "POST", RequestBody::None);
    let mut beyond = begin(&connection, "POST", RequestBody::None);
    let goaway = b"\0\0\x08\x07\0\0\0\0\0\0\0\0\x01\0\0\0\x0b";
    far.write_all(goaway).await.unwrap();
    let error = receive_head(&mut beyond).await.unwrap_err();
    assert!(error.is_unprocessed(), "{error:?}");
    // One that begins after it has not been sent at all.
    let mut late = begin(&connection, "POST", RequestBody::None);
    assert!(receive_head(&mut late).await.unwrap_err().is_unprocessed());
    drop(far);
    let error = receive_head(&mut within).await.unwrap_err();
    assert!(
        !error.is_unprocessed() && error.has_swallowed(),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_request_on_a_dead_connection_has_not_left() {
    let (connection, far) = raw(b"").await;
    drop(far);
    let mut stream = begin(&connection, "POST", RequestBody::None);
    let error = receive_head(&mut stream).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Unsent(_)), "{error:?}");
    assert!(error.is_unprocessed());
}

#[tokio::test(start_paused = true)]
async fn a_silent_upstream_with_open_streams_is_noticed() {
    let (connection, far) = raw(b"").await;
    let mut stream = begin(&connection, "GET", RequestBody::None);
    let began = Instant::now();
    let error = receive_head(&mut stream).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Read { begun: false, .. }));
    let after = began.elapsed();
    assert!(after >= 25 * SECOND && after <= 40 * SECOND, "{after:?}");
    drop(far);
}

#[tokio::test(start_paused = true)]
async fn pings_to_a_living_upstream_grow_rare() {
    let (connection, mut server) = pair().await;
    let mut stream = begin(&connection, "GET", RequestBody::None);
    let (_, mut respond) = accept(&mut server).await;
    let _running = run(server);
    let load = connection.load.clone();
    let before = load.written();
    tokio::time::sleep(400 * SECOND).await;
    // Each PING has 17 bytes. gRPC's servers count those within five minutes.
    assert_eq!(load.written() - before, 3 * 17);
    respond.send_response(ok(), true).unwrap();
    assert_eq!(receive_head(&mut stream).await.unwrap(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_requests_gets_no_pings_and_ends_when_idle() {
    let pool = std::sync::Arc::new(Pool::new(1));
    let (connection, mut server) = pair().await;
    let load = connection.load.clone();
    let mut stream = begin(&connection, "GET", RequestBody::None);
    pool.share(connection);
    let (_, mut respond) = accept(&mut server).await;
    let serving = run(server);
    respond.send_response(ok(), true).unwrap();
    assert_eq!(receive_head(&mut stream).await.unwrap(), 200);
    let running = tokio::spawn(pool.clone().run());
    tokio::time::sleep(2 * IDLE).await;
    assert_eq!(pool.shared(), 1, "a request uses it");
    drop(stream);
    let written = load.written();
    tokio::time::sleep(IDLE - 2 * SECOND).await;
    assert_eq!(pool.shared(), 1);
    assert_eq!(load.written(), written);
    tokio::time::sleep(4 * SECOND).await;
    assert_eq!(pool.shared(), 0);
    serving.await.expect("it is closed");
    pool.close();
    running.await.unwrap();
}

#[tokio::test]
async fn a_full_connection_takes_no_further_request() {
    let mut one = h2::server::Builder::new();
    one.max_concurrent_streams(1);
    let (connection, _server) = pair_with(&mut one).await;
    let pool = Pool::new(1);
    assert_eq!(connection.most_streams(), 1);
    pool.share(connection);
    let first = pool.take_stream(&key(), false).unwrap();
    assert!(pool.take_stream(&key(), false).is_none());
    drop(first);
    assert!(pool.take_stream(&key(), false).unwrap().is_reused());
    let other = PoolKey {
        settings: 2,
        ..key()
    };
    assert!(pool.take_stream(&other, false).is_none());
}

#[tokio::test]
async fn a_dropped_request_cancels_its_stream_only() {
    let (connection, mut server) = pair().await;
    let given_up = begin(&connection, "GET", RequestBody::None);
    let mut other = begin(&connection, "GET", RequestBody::None);
    let (_, mut cancelled) = accept(&mut server).await;
    let (_, mut respond) = accept(&mut server).await;
    let _running = run(server);
    drop(given_up);
    let code = poll_fn(|cx| cancelled.poll_reset(cx)).await.unwrap();
    assert_eq!(code, Reason::CANCEL);
    respond.send_response(ok(), true).unwrap();
    assert_eq!(receive_head(&mut other).await.unwrap(), 200);
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_request_ends_it_without_an_error() {
    let (connection, mut server) = pair().await;
    let mut stream = begin(&connection, "POST", RequestBody::Chunked);
    let (_, mut respond) = accept(&mut server).await;
    let _running = run(server);
    let mut out = respond.send_response(ok(), true).unwrap();
    assert_eq!(receive_head(&mut stream).await.unwrap(), 200);
    assert_eq!(receive_body(&mut stream).await.unwrap(), b"");
    drop(stream);
    let code = poll_fn(|cx| out.poll_reset(cx)).await.unwrap();
    assert_eq!(code, Reason::NO_ERROR);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_was_silent_until_its_request_was_given_up_is_not_used_again() {
    let pool = Pool::new(1);
    let (connection, _far) = raw(b"").await;
    let quick = begin(&connection, "GET", RequestBody::None);
    pool.share(connection);
    drop(quick);
    let slow = pool.take_stream(&key(), false).unwrap();
    tokio::time::sleep(3 * SECOND).await;
    drop(slow);
    assert!(pool.take_stream(&key(), false).is_none());
}

#[tokio::test]
async fn lengths_that_differ_reach_no_client() {
    let (connection, mut server) = pair().await;
    let mut stream = begin(&connection, "GET", RequestBody::None);
    let (_, mut respond) = accept(&mut server).await;
    let _running = run(server);
    let mut answer = ok();
    for length in ["2", "3"] {
        let length = HeaderValue::from_static(length);
        answer.headers_mut().append("content-length", length);
    }
    let mut out = respond.send_response(answer, false).unwrap();
    out.send_data(Bytes::from_static(b"ab"), true).unwrap();
    let error = receive_head(&mut stream).await.unwrap_err();
    let is_refused = matches!(error, UpstreamError::Http2(EndedBy::Rules, ..));
    assert!(is_refused, "{error:?}");
}

#[tokio::test]
async fn another_protocol_is_named() {
    for (bytes, expected) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], Spoken::Http1),
        (b"\x15\x03\x01\0\x02\x02\x16", Spoken::Tls),
        (b"SSH-2.0-OpenSSH_9.6 and more\r\n", Spoken::Other),
    ] {
        let (near, mut far) = tokio::io::duplex(1 << 16);
        far.write_all(bytes).await.unwrap();
        let mut preface = [0; 24];
        let near = UpstreamStream::Plain(Box::new(near));
        let begun = Http2Connection::begin(near, key(), IDLE);
        let far = async {
            far.read_exact(&mut preface).await.unwrap();
            far.shutdown().await.unwrap();
        };
        let (begun, ()) = tokio::join!(begun, far);
        let error = begun.err().unwrap();
        let UpstreamError::NoHttp2(spoken) = error else {
            panic!("{error:?}");
        };
        assert_eq!(spoken, expected);
    }
}

#[tokio::test]
async fn requests_that_come_together_wait_for_one_connection() {
    let pool = Pool::new(1);
    assert!(matches!(pool.opening(key(), 0), Opening::Alone));
    let leading = pool.opening(key(), 3);
    assert!(matches!(leading, Opening::Leading(_)));
    let mut waiting = Vec::new();
    for _ in 0..2 {
        match pool.opening(key(), 3) {
            Opening::ByAnother(ended) => waiting.push(ended),
            _ => panic!("the connection has room"),
        }
    }
    // There is no room for more.
    assert!(matches!(pool.opening(key(), 3), Opening::Leading(_)));
    assert!(waiting.iter().all(|ended| !ended.is_cancelled()));
    drop(leading);
    assert!(waiting.iter().all(|ended| ended.is_cancelled()));
    assert!(matches!(pool.opening(key(), 3), Opening::Leading(_)));
}
