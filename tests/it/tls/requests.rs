//! Requests over TLS.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{NAME, World, ask};
use crate::support::certificates::TlsClient;
use crate::support::client::{Connection, request_bytes};
use crate::support::logs;
use crate::support::upstream::Answer;

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_is_told_that_the_client_called_over_tls() {
    let world = World::new("").await;
    let mark = logs::mark();
    for (version, shown) in [
        (&rustls::version::TLS12, "1.2"),
        (&rustls::version::TLS13, "1.3"),
    ] {
        let client = TlsClient::with(&world.authority.pem, None, &[version], &["http/1.1"]);
        let mut connection = client.open(world.address(), NAME).await;
        let answer = ask(&mut connection, "/x").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let alpn = connection
            .stream()
            .get_ref()
            .1
            .alpn_protocol()
            .map(<[u8]>::to_vec);
        assert_eq!(alpn.as_deref(), Some(&b"http/1.1"[..]));
        let received = world.upstream.received().pop().expect("a request");
        assert_eq!(received.header("x-forwarded-proto"), Some("https"));
        let forwarded = received.header("forwarded").expect("the field");
        assert!(forwarded.ends_with(";proto=https"), "{forwarded}");
        logs::wait_for_line(mark, &["listener=\"api\"", &format!("tls=\"{shown}\"")]).await;
    }
    assert_eq!(
        world
            .metric(
                "m2m_tls_handshakes_total",
                &["listener=\"api\"", "result=\"ok\""]
            )
            .await,
        Some(2.0)
    );
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_over_tls_reports_the_scheme_of_its_own_client() {
    let world = World::new("").await;
    let mut connection = world.client().open(world.address(), NAME).await;
    let fields = [
        ("X-Forwarded-Proto", "http"),
        ("Forwarded", "for=1.2.3.4;proto=http"),
    ];
    let request = request_bytes("GET", world.address(), "/x", &fields, b"");
    connection.send(request).await;
    assert_eq!(connection.answer().await.status, 200);
    let received = world.upstream.received().pop().expect("a request");
    // This peer is no trusted proxy.
    assert_eq!(received.header("x-forwarded-proto"), Some("https"));
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_and_pipelined_requests_arrive_whole() {
    let world = World::new("").await;
    world
        .upstream
        .answer(|received| Answer::Reply(200, Vec::new(), received.body.clone()));
    let mut connection = world.client().open(world.address(), NAME).await;
    let body: Vec<u8> = (0..1_500_000_u32).map(|n| (n / 7 % 251) as u8).collect();
    let request = request_bytes("POST", world.address(), "/x", &[], &body);
    let stream = connection.stream();
    let (mut reading, mut writing) = tokio::io::split(stream);
    let mut received = Vec::new();
    let both = async {
        tokio::join!(
            async {
                writing
                    .write_all(&request)
                    .await
                    .expect("the listener reads");
                writing.flush().await.expect("the listener reads");
            },
            async {
                while received.len() < body.len() {
                    let read = reading.read_buf(&mut received).await.expect("an answer");
                    assert!(read > 0, "{}", received.len());
                }
            }
        );
    };
    tokio::time::timeout(crate::support::WAIT_LIMIT, both)
        .await
        .expect("all bytes pass");
    let begin = received
        .windows(4)
        .position(|it| it == b"\r\n\r\n")
        .expect("a head")
        + 4;
    let missing = begin + body.len() - received.len();
    let mut rest = vec![0; missing];
    connection
        .stream()
        .read_exact(&mut rest)
        .await
        .expect("the rest");
    received.extend_from_slice(&rest);
    assert!(received[begin..] == body, "the body differs");
    // All of these are in one record, so most wait decrypted.
    let one = "GET /y HTTP/1.1\r\nHost: api.test\r\nContent-Length: 0\r\n\r\n";
    connection.send(one.repeat(50)).await;
    for _ in 0..50 {
        assert_eq!(connection.answer().await.status, 200);
    }
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_closed_its_sending_side_gets_its_response() {
    let world = World::new("").await;
    for version in rustls::ALL_VERSIONS {
        let client = TlsClient::with(&world.authority.pem, None, &[version], &[]);
        let mut connection = client.open(world.address(), NAME).await;
        let late = Box::new(Answer::status(200, "late"));
        world
            .upstream
            .next(Answer::Delay(Duration::from_millis(300), late));
        connection.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await;
        // `close_notify`, and the end of the TCP stream.
        connection.finish_sending().await;
        let answer = connection.answer().await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "late"));
        assert!(connection.is_ended().await);
    }
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_listener_ends_a_connection_with_close_notify() {
    let world = World::new("").await;
    let mut connection = world.client().open(world.address(), NAME).await;
    connection
        .send("GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await;
    assert_eq!(connection.answer().await.status, 200);
    let mut rest = Vec::new();
    // rustls reports an end without `close_notify` as an error.
    let end = connection.stream().read_to_end(&mut rest).await;
    assert_eq!((end.ok(), rest.len()), (Some(0), 0));
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_on_a_port_with_tls_gets_a_400_that_says_so() {
    let world = World::new("").await;
    let mark = logs::mark();
    let mut connection = Connection::open(world.address()).await;
    connection.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let answer = connection.answer().await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.header("x-m2m-reason"), Some("malformed_request"));
    assert!(
        answer
            .text()
            .contains("plain HTTP to a TLS port; use https://"),
        "{answer:?}"
    );
    assert!(connection.is_ended().await);
    assert_eq!(world.upstream.received().len(), 0);
    logs::wait_for_line(mark, &["WARN", "listener=\"api\"", "reason=\"plaintext\""]).await;
    assert_eq!(
        world
            .metric("m2m_tls_handshakes_total", &["result=\"plaintext\""])
            .await,
        Some(1.0)
    );
    world.sidecar.stop().await;
}
