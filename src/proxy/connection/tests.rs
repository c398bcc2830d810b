//! Tests of `connection`.

use std::future::poll_fn;

use http::HeaderValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::domain::error_form::ErrorForms;
use crate::domain::reason::Reason;

/// A connection as a listener creates it, and its client.
async fn connected() -> (Connection, TcpStream) {
    connected_to(Clients::default()).await
}

async fn connected_to(clients: Clients) -> (Connection, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (stream, peer) = listener.accept().await.unwrap();
    let clients = Arc::new(clients);
    (made(stream, peer, &clients).await, client)
}

async fn made(stream: TcpStream, peer: SocketAddr, clients: &Arc<Clients>) -> Connection {
    let seat = clients.admit(peer.ip(), || ()).await.unwrap();
    let addresses = (peer, stream.local_addr().unwrap());
    let ending = CancellationToken::new();
    Connection::new(Box::new(stream), addresses, clients.clone(), seat, ending)
}

/// The refusal of the next head.
async fn refused(connection: &mut Connection) -> Fault {
    match connection.next_request().await {
        Next::Refused(fault) => fault,
        _ => panic!("no refusal"),
    }
}

fn is_end(next: &Next) -> bool {
    matches!(next, Next::End)
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_has_ten_seconds_until_its_first_byte() {
    let (mut connection, _client) = connected().await;
    let began = Instant::now();
    assert!(
        is_end(&connection.next_request().await),
        "it ends as if the client had closed it"
    );
    assert_eq!(began.elapsed().as_secs(), 10);
    assert!(connection.was_silent());
    // No time passes while further input is awaited.
    connection.close().await;
    assert_eq!(began.elapsed().as_secs(), 10);
}

/// A flood of connections must not end one whose request has arrived but is unread.
#[tokio::test]
async fn an_unread_request_saves_its_dismissed_connection() {
    let (mut connection, mut client) = connected().await;
    let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    client.write_all(head).await.unwrap();
    assert!(connection.seat.dismiss());
    let next = connection.next_request().await;
    assert!(matches!(next, Next::Request(_)));
    // A silent connection ends.
    let (mut silent, _client) = connected().await;
    assert!(silent.seat.dismiss());
    assert!(is_end(&silent.next_request().await));
    // So does one that has sent the beginning of a head, however much of it follows.
    let (mut slow, mut client) = connected().await;
    client.write_all(b"GET / HT").await.unwrap();
    let reading = tokio::time::timeout(Duration::from_millis(50), slow.next_request());
    assert!(reading.await.is_err());
    assert!(slow.seat.dismiss());
    client.write_all(b"TP/1.1").await.unwrap();
    assert!(is_end(&slow.next_request().await));
}

#[tokio::test(start_paused = true)]
async fn a_head_has_ten_seconds_from_its_first_byte() {
    let (mut connection, mut client) = connected().await;
    client.write_all(b"GET / HT").await.unwrap();
    let began = Instant::now();
    let fault = refused(&mut connection).await;
    assert!((10..20).contains(&began.elapsed().as_secs()));
    assert_eq!(fault.reason, Reason::HeadTimeout);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_come_whole_is_answered_in_the_form_of_its_path() {
    for (begin, is_status) in [
        ("GET /m2m/api/v1/tok", true),
        ("GET /m2m/api/v1/tokens?idFilter=1 HTTP/1.1\r\nX: ", true),
        ("GET /elsewhere HT", false),
        ("GE", true),
    ] {
        let clients = Clients::new(ClientSettings {
            error_forms: ErrorForms::of_issuer("/m2m"),
            ..ClientSettings::default()
        });
        let (mut connection, mut client) = connected_to(clients).await;
        client.write_all(begin.as_bytes()).await.unwrap();
        let fault = refused(&mut connection).await;
        connection.write_refusal(&fault);
        connection.flush().await.unwrap();
        drop(connection);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(
            (body["code"] == 4, body.get("error").is_none()),
            (is_status, is_status),
            "{body}"
        );
    }
}

/// Slow clients with large heads hold a bounded amount of memory.
#[tokio::test]
async fn only_so_many_large_heads_are_read_at_once() {
    let clients = Arc::new(Clients::new(ClientSettings {
        max_head: 64 * 1024,
        ..ClientSettings::default()
    }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let open = async || {
        let mut client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let connection = made(stream, peer, &clients).await;
        let head = format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
            "x".repeat(40 * 1024)
        );
        client.write_all(head.as_bytes()).await.unwrap();
        (connection, client)
    };
    let mut taken: Vec<_> = std::iter::from_fn(|| clients.begin_large_head()).collect();
    assert_eq!(taken.len(), clients::MOST_LARGE_HEADS);
    let (mut connection, _client) = open().await;
    let fault = refused(&mut connection).await;
    assert_eq!(fault.reason, Reason::TooManyConnections);
    taken.pop();
    let (mut served, _client) = open().await;
    assert!(matches!(served.next_request().await, Next::Request(_)));
    // The head is complete, so its slot is free again.
    assert!(clients.begin_large_head().is_some());
}

/// The last response fills the system's buffer, so the refusal of the next head cannot be sent.
#[tokio::test(start_paused = true)]
async fn a_blocked_connection_ends_at_once_when_dismissed() {
    let (mut connection, mut client) = connected().await;
    let socket = connection.stream.socket().unwrap();
    socket.writable().await.unwrap();
    while socket.try_write(&[0; 64 * 1024]).is_ok() {}
    client.write_all(b"no head\r\n\r\n").await.unwrap();
    let fault = refused(&mut connection).await;
    connection.write_refusal(&fault);
    let (seat, began) = (connection.seat.seat(), Instant::now());
    let closing = tokio::spawn(async move { connection.close().await });
    tokio::task::yield_now().await;
    assert!(seat.dismiss());
    let closed = tokio::time::timeout(Duration::from_secs(1), closing);
    closed.await.unwrap().unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
    drop(client);
}

/// A client that connected before it could see the end of the listener gets its answer.
#[tokio::test(start_paused = true)]
async fn a_new_connection_has_one_second_after_its_listener() {
    let (mut connection, mut client) = connected().await;
    connection.ending.cancel();
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    assert!(matches!(connection.next_request().await, Next::Request(_)));
    assert!(!connection.current.keeps_alive);
    assert!(is_end(&connection.next_request().await), "it is idle");
    let (mut silent, _client) = connected().await;
    silent.ending.cancel();
    let began = Instant::now();
    assert!(is_end(&silent.next_request().await));
    assert_eq!(began.elapsed().as_secs(), 1);
    assert!(!silent.was_silent());
}

/// A client that sends several requests at once gets its bodies and heads apart.
#[tokio::test]
async fn bytes_of_the_next_request_wait_until_this_one_is_answered() {
    let (mut connection, mut client) = connected().await;
    let requests = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhiGET /b HTTP/1.1\r\n\
        Host: a\r\n\r\n";
    client.write_all(requests).await.unwrap();
    let Next::Request(first) = connection.next_request().await else {
        panic!("no request");
    };
    assert_eq!(first.raw_path(), b"/a");
    assert_eq!(connection.read_body().await.unwrap().unwrap(), "hi");
    assert_eq!(connection.read_body().await.unwrap(), None);
    let departed = poll_fn(|cx| std::task::Poll::Ready(connection.poll_departure(cx)));
    assert!(departed.await.is_pending());
    let Next::Request(second) = connection.next_request().await else {
        panic!("no request");
    };
    assert_eq!(second.raw_path(), b"/b");
}

#[test]
fn a_connection_stays_open_by_its_version_and_its_connection_field() {
    for (version, value, stays) in [
        (Version::HTTP_11, None, true),
        (Version::HTTP_11, Some("close"), false),
        (Version::HTTP_11, Some("x, Close"), false),
        (Version::HTTP_11, Some("keep-alive, close"), false),
        (Version::HTTP_11, Some("x"), true),
        (Version::HTTP_10, None, false),
        (Version::HTTP_10, Some("Keep-Alive"), true),
        (Version::HTTP_10, Some("x"), false),
    ] {
        let mut headers = HeaderMap::new();
        if value == Some("keep-alive, close") {
            let keep_alive = HeaderValue::from_static("keep-alive");
            headers.append(header::CONNECTION, keep_alive);
            headers.append(header::CONNECTION, HeaderValue::from_static("close"));
            assert!(!keeps_alive(version, &headers), "in two fields");
        }
        if let Some(value) = value {
            headers.insert(header::CONNECTION, HeaderValue::from_static(value));
        }
        assert_eq!(
            keeps_alive(version, &headers),
            stays,
            "{version:?} {value:?}"
        );
    }
}
