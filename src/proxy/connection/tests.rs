//! Tests of `connection`.

use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

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
    let seat = clients.admit(peer.ip(), || ()).await.unwrap();
    (
        Connection::new(stream, peer, clients, seat).unwrap().0,
        client,
    )
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_has_ten_seconds_until_its_first_byte() {
    let (mut connection, _client) = connected().await;
    let (state, began) = (connection.state(), Instant::now());
    assert_eq!(
        connection.read(&mut [0; 64]).await.unwrap(),
        0,
        "it ends as if the client had closed it"
    );
    assert_eq!(began.elapsed().as_secs(), 10);
    assert!(state.was_silent() && state.refused().is_none());
    // No time passes while further input is awaited.
    AsyncWriteExt::shutdown(&mut connection).await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 10);
}

/// A flood of connections must not end one whose request has arrived but is unread.
#[tokio::test]
async fn an_unread_request_saves_its_dismissed_connection() {
    let (mut connection, mut client) = connected().await;
    let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    client.write_all(head).await.unwrap();
    assert!(connection.state.seat.dismiss());
    let mut read = [0; 64];
    let length = connection.read(&mut read).await.unwrap();
    assert_eq!(&read[..length], head);
    // A silent connection ends.
    let (mut silent, _client) = connected().await;
    assert!(silent.state.seat.dismiss());
    assert_eq!(silent.read(&mut read).await.unwrap(), 0);
    // So does one that has sent the beginning of a head, however much of it follows.
    let (mut slow, mut client) = connected().await;
    client.write_all(b"GET / HT").await.unwrap();
    let reading = tokio::time::timeout(Duration::from_millis(50), slow.read(&mut read));
    assert!(reading.await.is_err());
    assert!(slow.state.seat.dismiss());
    client.write_all(b"TP/1.1").await.unwrap();
    assert_eq!(slow.read(&mut read).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_head_has_ten_seconds_from_its_first_byte() {
    let (mut connection, mut client) = connected().await;
    client.write_all(b"GET / HT").await.unwrap();
    let (state, began) = (connection.state(), Instant::now());
    connection.read(&mut [0; 64]).await.unwrap_err();
    assert!((10..20).contains(&began.elapsed().as_secs()));
    assert_eq!(state.refused().unwrap().reason, Reason::HeadTimeout);
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
        connection.read(&mut [0; 64]).await.unwrap_err();
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
        let seat = clients.admit(peer.ip(), || ()).await.unwrap();
        let connection = Connection::new(stream, peer, clients.clone(), seat)
            .unwrap()
            .0;
        let head = format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
            "x".repeat(40 * 1024)
        );
        client.write_all(head.as_bytes()).await.unwrap();
        (connection, client)
    };
    let mut taken: Vec<_> = std::iter::from_fn(|| clients.begin_large_head()).collect();
    assert_eq!(taken.len(), clients::MOST_LARGE_HEADS);
    let (mut refused, _client) = open().await;
    refused.read(&mut [0; 64]).await.unwrap_err();
    assert_eq!(
        refused.state().refused().unwrap().reason,
        Reason::TooManyConnections
    );
    taken.pop();
    let (mut served, _client) = open().await;
    assert_eq!(served.read(&mut [0; 64]).await.unwrap(), 64);
    // The head is complete, so its slot is free again.
    assert!(clients.begin_large_head().is_some());
}

/// The last response fills the system's buffer, so the refusal of the next head cannot be sent.
#[tokio::test(start_paused = true)]
async fn a_blocked_connection_ends_at_once_when_dismissed() {
    let (mut connection, mut client) = connected().await;
    let socket = connection.io.get_ref();
    socket.writable().await.unwrap();
    while socket.try_write(&[0; 64 * 1024]).is_ok() {}
    client.write_all(b"no head\r\n\r\n").await.unwrap();
    connection.read(&mut [0; 64]).await.unwrap_err();
    let (state, began) = (connection.state(), Instant::now());
    let flushing = tokio::spawn(async move {
        let flushed = connection.flush().await;
        let _ = AsyncWriteExt::shutdown(&mut connection).await;
        flushed
    });
    tokio::task::yield_now().await;
    assert!(state.seat.dismiss());
    let flushed = tokio::time::timeout(Duration::from_secs(1), flushing)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        flushed.unwrap_err().kind(),
        io::ErrorKind::ConnectionAborted
    );
    assert_eq!(began.elapsed(), Duration::ZERO);
    drop(client);
}
