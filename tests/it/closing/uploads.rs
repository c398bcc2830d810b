//! Requests with a body: a refusal reaches a client that is still sending, and a request that came
//! whole does not cost the connection.

use super::{World, chunked, post, send_all_then_read};
use crate::support::client::{Connection, request_bytes};
use crate::support::upstream::{Answer, Upstream};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Three sizes: in the socket's buffers, beyond them, and far beyond.
const SIZES: [usize; 3] = [2 << 20, 4 << 20, 30 << 20];

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_reaches_a_client_that_reads_after_its_whole_body() {
    let world = World::new().await;
    let good = format!("Authorization: Bearer {}", world.token);
    let expired = format!("Authorization: Bearer {}", world.expired);
    let cases = [
        ("api", "/devices/1", expired.as_str(), 401, "expired"),
        ("api", "/devices/1", "X: y", 401, "no_token"),
        ("api", "/admin/1", &good, 403, "scope"),
        ("api", "/nowhere", &good, 403, "no_rule"),
        ("api", "/devices/1", &good, 413, "body_too_large"),
        ("api", "/public/%2e%2e", "X: y", 400, "ambiguous_path"),
        ("hub", "/any", "X: y", 503, "token_unavailable"),
        (
            "hub",
            "/any",
            "Origin: https://evil.example",
            403,
            "cross_site",
        ),
        ("issuer", "/oauth/token", "X: y", 413, "body_too_large"),
        ("probes", "/readyz", "X: y", 413, "body_too_large"),
    ];
    for size in SIZES {
        let body = vec![b'x'; size];
        for (listener, target, field, status, reason) in cases {
            let head = post(target, &[field, &format!("Content-Length: {size}")]);
            let answer = send_all_then_read(world.address(listener), &head, &body).await;
            let answer = answer.unwrap_or_else(|e| panic!("{listener} {reason} {size}: {e}"));
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{reason} {size}: {answer}"
            );
            assert!(
                answer.contains(&format!("x-m2m-reason: {reason}")),
                "{size}: {answer}"
            );
            assert!(
                answer.to_lowercase().contains("connection: close"),
                "{answer}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_reaches_a_client_that_sends_chunks_before_it_reads() {
    let world = World::new().await;
    let expired = format!("Authorization: Bearer {}", world.expired);
    let good = format!("Authorization: Bearer {}", world.token);
    for size in SIZES {
        let mut body = chunked(size);
        body.extend_from_slice(b"0\r\n\r\n");
        for (target, field, status) in [("/devices/1", &expired, 401), ("/devices/1", &good, 413)] {
            let head = post(target, &[field, "Transfer-Encoding: chunked"]);
            let answer = send_all_then_read(world.address("api"), &head, &body).await;
            let answer = answer.unwrap_or_else(|e| panic!("{status} {size}: {e}"));
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{size}: {answer}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_for_too_many_requests_reaches_a_sending_client() {
    let world = World::new().await;
    let address = world.address("limited");
    let body = vec![b'x'; 4 << 20];
    let head = post(
        "/public/x",
        &[
            &format!("Content-Length: {}", body.len()),
            "Connection: close",
        ],
    );
    let mut refused = 0;
    for _ in 0..20 {
        let answer = send_all_then_read(address, &head, &body)
            .await
            .expect("an answer");
        refused += usize::from(answer.contains("x-m2m-reason: rate_limited"));
        if refused == 3 {
            return;
        }
    }
    panic!("{refused} of 20 requests in a row were refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_passes_through_a_second_sidecar() {
    let inner = World::new().await;
    let outer = World::with_upstream(
        Upstream::start(),
        &format!("http://{}", inner.address("api")),
    )
    .await;
    let expired = format!("Authorization: Bearer {}", inner.expired);
    for size in SIZES {
        // The outer one keeps the connection where the inner one took the whole body.
        let head = post(
            "/devices/1",
            &[
                &expired,
                &format!("Content-Length: {size}"),
                "Connection: close",
            ],
        );
        let answer = send_all_then_read(outer.address("hub"), &head, &vec![b'x'; size]).await;
        let answer = answer.unwrap_or_else(|e| panic!("{size}: {e}"));
        assert!(
            answer.starts_with("HTTP/1.1 401 ") && answer.contains("x-m2m-reason: expired"),
            "{answer}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_answer_of_the_upstream_reaches_a_sending_client() {
    let world = World::new().await;
    world.upstream.answer(|_| Answer::status(200, "whole"));
    let body = vec![b'x'; 700 << 10];
    let head = post(
        "/public/x",
        &[
            &format!("Content-Length: {}", body.len()),
            "Connection: close",
        ],
    );
    let answer = send_all_then_read(world.address("api"), &head, &body)
        .await
        .expect("an answer");
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("whole"),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_without_an_end_is_cut_off_behind_its_refusal() {
    let world = World::new().await;
    let mut stream = TcpStream::connect(world.address("api"))
        .await
        .expect("it listens");
    let head = post("/devices/1", &["Transfer-Encoding: chunked"]);
    stream.write_all(head.as_bytes()).await.expect("it reads");
    let chunk = chunked(1 << 20);
    // Two times what is discarded: the rest is room for the socket's buffers.
    for _ in 0..128 {
        if stream.write_all(&chunk).await.is_err() {
            return;
        }
    }
    panic!("128 MiB were taken");
}

/// A request on each listener that is answered with this status, its body of two bytes.
const SERVED: [(&str, &str, &str, u16); 4] = [
    ("api", "/public/x", "X: y", 200),
    ("hub", "/any", "Authorization: Bearer own", 200),
    (
        "issuer",
        "/oauth/token",
        "Content-Type: application/x-www-form-urlencoded",
        400,
    ),
    ("probes", "/readyz", "X: y", 405),
];

#[tokio::test(flavor = "multi_thread")]
async fn an_expectation_does_not_cost_the_connection_on_any_listener() {
    let world = World::new().await;
    for (listener, target, field, status) in SERVED {
        let mut connection = Connection::open(world.address(listener)).await;
        for round in 0..3 {
            let fields = [field, "Content-Length: 2", "Expect: 100-continue"];
            connection.send(post(target, &fields)).await;
            assert!(
                connection
                    .wait_for_bytes(b"HTTP/1.1 100 Continue\r\n\r\n")
                    .await,
                "{listener} {round}"
            );
            connection.send("a=").await;
            let answer = connection.answer().await;
            assert_eq!(answer.status, status, "{listener} {round}: {answer:?}");
            assert_eq!(
                answer.header("connection"),
                Some("keep-alive"),
                "{listener} {round}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_its_body_at_once_keeps_its_connection() {
    let world = World::new().await;
    for (listener, target, field, status) in SERVED {
        let mut connection = Connection::open(world.address(listener)).await;
        for round in 0..3 {
            let fields = [field, "Content-Length: 2", "Expect: 100-continue"];
            connection.send(post(target, &fields) + "a=").await;
            let answer = connection.answer().await;
            assert_eq!(answer.status, status, "{listener} {round}: {answer:?}");
            assert_eq!(
                answer.header("connection"),
                Some("keep-alive"),
                "{listener} {round}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_whose_body_comes_keeps_its_connection() {
    let world = World::new().await;
    let expired = format!("Authorization: Bearer {}", world.expired);
    let good = format!("Authorization: Bearer {}", world.token);
    for (listener, target, field, status) in [
        ("api", "/devices/1", &expired, 401),
        ("api", "/admin/1", &good, 403),
        ("api", "/nowhere", &good, 403),
        ("hub", "/any", &"X: y".to_owned(), 503),
    ] {
        let mut connection = Connection::open(world.address(listener)).await;
        for length in [1, 1000, 200 << 10] {
            let body = vec![b'x'; length];
            // With the head, behind it, and in chunks.
            connection
                .send(post(target, &[field, &format!("Content-Length: {length}")]))
                .await;
            connection.send(&body).await;
            let answer = connection.answer().await;
            assert_eq!(
                (answer.status, answer.header("connection")),
                (status, Some("keep-alive"))
            );
            let head = post(target, &[field, &format!("Content-Length: {length}")]);
            connection.send([head.as_bytes(), &body].concat()).await;
            assert_eq!(
                connection.answer().await.status,
                status,
                "{listener} {length}"
            );
            let head = post(target, &[field, "Transfer-Encoding: chunked"]);
            let chunk = format!("{length:x}\r\n");
            connection
                .send(
                    [
                        head.as_bytes(),
                        chunk.as_bytes(),
                        &body,
                        b"\r\n0\r\n\r\n".as_slice(),
                    ]
                    .concat(),
                )
                .await;
            assert_eq!(
                connection.answer().await.status,
                status,
                "{listener} {length}"
            );
        }
        // And it is still in step.
        let address = world.address("api");
        if listener == "api" {
            connection
                .send(request_bytes("GET", address, "/public/last", &[], b""))
                .await;
            assert_eq!(connection.answer().await.json()["target"], "/public/last");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waited_and_is_refused_need_not_send_its_body() {
    let world = World::new().await;
    let expired = format!("Authorization: Bearer {}", world.expired);
    let mut connection = Connection::open(world.address("api")).await;
    connection
        .send(post(
            "/devices/1",
            &[&expired, "Content-Length: 5", "Expect: 100-continue"],
        ))
        .await;
    let answer = connection.answer().await;
    assert_eq!((answer.status, answer.interim.len()), (401, 0));
    // The next bytes could be the body or the next request, so there are none.
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(connection.is_ended().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_client_that_does_not_wait_keeps_its_connection() {
    let world = World::new().await;
    let expired = format!("Authorization: Bearer {}", world.expired);
    let mut connection = Connection::open(world.address("api")).await;
    for _ in 0..3 {
        let fields = [
            expired.as_str(),
            "Content-Length: 5",
            "Expect: 100-continue",
        ];
        connection.send(post("/devices/1", &fields) + "hello").await;
        let answer = connection.answer().await;
        let said = (answer.status, answer.header("connection"));
        assert_eq!(said, (401, Some("keep-alive")));
    }
}
