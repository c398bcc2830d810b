//! Where an answer ends: HEAD, 204 and 304 have no body, HTTP/1.0 ends with its connection.

use super::{LISTENERS, OWN, World, ok};

/// Answers without a body, and the method that they answer.
const BODILESS: &[(&str, &str)] = &[
    (
        "HEAD",
        "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\nX-A: b\r\n\r\n",
    ),
    (
        "HEAD",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n",
    ),
    ("HEAD", "HTTP/1.1 200 OK\r\nX-A: b\r\n\r\n"),
    ("GET", "HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n"),
    (
        "DELETE",
        "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nX-A: b\r\n\r\n",
    ),
    (
        "GET",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 5000\r\nX-A: b\r\n\r\n",
    ),
    ("GET", "HTTP/1.1 304 Not Modified\r\nX-A: b\r\n\r\n"),
    (
        "POST",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-A: b\r\n\r\n",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_a_body_keeps_both_connections() {
    let world = World::new().await;
    for listener in LISTENERS {
        let mut client = world.client(listener).await;
        let mut upstream = None;
        for (method, answer) in BODILESS {
            client
                .send(format!("{method} /x HTTP/1.1\r\n{OWN}\r\n"))
                .await;
            let upstream = match &mut upstream {
                Some(upstream) => upstream,
                None => upstream.insert(world.upstream().await),
            };
            let request = upstream.head().await;
            assert!(
                request.starts_with(&format!("{method} /x ")),
                "{listener}: {request}"
            );
            upstream.send(answer).await;
            let head = client.head().await;
            assert!(
                head.starts_with(&answer[..12]) && head.to_lowercase().contains("x-a: b"),
                "{method}: {head}"
            );
            let length = head.to_lowercase().contains("content-length: 5000");
            assert_eq!(length, answer.contains("5000"), "{method}: {head}");
        }
        // The next request on both connections: nothing lies in between.
        client
            .send(format!("GET /last HTTP/1.1\r\n{OWN}\r\n"))
            .await;
        let mut upstream = upstream.expect("opened by the first request");
        upstream.head().await;
        upstream.send(ok("Connection: close\r\n", "last")).await;
        assert!(client.head().await.starts_with("HTTP/1.1 200 "));
        client.through("last").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_ends_with_its_connection_has_an_end_for_the_client_too() {
    let world = World::new().await;
    for listener in LISTENERS {
        for version in ["HTTP/1.0", "HTTP/1.1"] {
            let (mut client, mut upstream) = world.asked(listener, "GET", "").await;
            upstream
                .send(format!("{version} 200 OK\r\nX-A: b\r\n\r\nfirst, "))
                .await;
            let head = client.head().await.to_lowercase();
            assert!(head.starts_with("http/1.1 200 "), "{head}");
            client.through("first, ").await;
            upstream.send("second").await;
            client.through("second").await;
            drop(upstream);
            if head.contains("transfer-encoding: chunked") {
                client.through("\r\n0\r\n\r\n").await;
            } else {
                assert!(head.contains("connection: close"), "{head}");
                assert!(client.rest().await.is_empty(), "{version}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_cut_off_by_its_upstream_is_cut_off_for_the_client() {
    let world = World::new().await;
    for listener in LISTENERS {
        for framing in [
            "Content-Length: 20\r\n\r\nhalf",
            "Transfer-Encoding: chunked\r\n\r\n14\r\nhalf",
            "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
            "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n",
        ] {
            let (mut client, mut upstream) = world.asked(listener, "GET", "").await;
            upstream.send(format!("HTTP/1.1 200 OK\r\n{framing}")).await;
            client.through("half").await;
            drop(upstream);
            let rest = client.rest_as_text().await;
            assert!(!rest.contains("0\r\n\r\n"), "{framing:?}: {rest:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_client_gets_the_bytes_of_chunks_and_then_the_end() {
    let world = World::new().await;
    for listener in LISTENERS {
        let mut client = world.client(listener).await;
        client
            .send(format!(
                "GET /x HTTP/1.0\r\n{OWN}Connection: keep-alive\r\n\r\n"
            ))
            .await;
        let mut upstream = world.upstream().await;
        let request = upstream.head().await;
        assert!(request.starts_with("GET /x HTTP/1.1\r\n"), "{request}");
        upstream
            .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nfirst,\r\n")
            .await;
        let head = client.head().await.to_lowercase();
        assert!(
            !head.contains("transfer-encoding") && head.contains("connection: close"),
            "{head}"
        );
        client.through("first,").await;
        upstream.send("7\r\nsecond.\r\n0\r\n\r\n").await;
        assert_eq!(client.rest_as_text().await, "second.");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_within_chunks_reach_no_client() {
    let world = World::new().await;
    for listener in LISTENERS {
        for twice in [
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked, chunked\r\n",
        ] {
            let (mut client, mut upstream) = world.asked(listener, "GET", "").await;
            upstream
                .send(format!(
                    "HTTP/1.1 200 OK\r\n{twice}\r\n2\r\nok\r\n0\r\n\r\n"
                ))
                .await;
            let wire = client.rest_as_text().await;
            assert!(
                wire.starts_with("HTTP/1.1 502 ") && wire.contains("upstream_broken"),
                "{listener}: {wire}"
            );
        }
    }
}
