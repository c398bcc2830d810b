//! Interim answers (RFC 9110 §15.2): they pass when they come, and only to clients that read them.

use super::{LISTENERS, OWN, World, ok};

const EXPECTS: &str = "Expect: 100-continue\r\nContent-Length: 5\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn early_hints_reach_the_client_before_the_answer() {
    let world = World::new().await;
    for listener in LISTENERS {
        let (mut client, mut upstream) = world.asked(listener, "GET", "").await;
        for number in 0..3 {
            upstream
                .send(format!(
                    "HTTP/1.1 103 Early Hints\r\nLink: </{number}>\r\n\r\n"
                ))
                .await;
            let head = client.head().await;
            assert!(
                head.starts_with("HTTP/1.1 103 ") && head.contains(&format!("</{number}>")),
                "{head}"
            );
        }
        upstream.send(ok("Connection: close\r\n", "whole")).await;
        assert!(client.head().await.starts_with("HTTP/1.1 200 "));
        client.through("whole").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_waits_for_the_upstreams_100_continue() {
    let world = World::new().await;
    for listener in LISTENERS {
        let (mut client, mut upstream) = world.asked(listener, "POST", EXPECTS).await;
        upstream.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        assert!(client.head().await.starts_with("HTTP/1.1 100 "));
        client.send("hello").await;
        upstream.through("hello").await;
        upstream.send(ok("", "done")).await;
        client.through("done").await;
        // Both connections are used again.
        client
            .send(format!("GET /next HTTP/1.1\r\n{OWN}\r\n"))
            .await;
        assert!(upstream.head().await.starts_with("GET /next "));
        upstream.send(ok("Connection: close\r\n", "next")).await;
        client.through("next").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_refuses_an_expectation_gets_no_body() {
    let world = World::new().await;
    for listener in LISTENERS {
        let (mut client, mut upstream) = world.asked(listener, "POST", EXPECTS).await;
        upstream
            .send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno")
            .await;
        let head = client.head().await.to_lowercase();
        assert!(head.starts_with("http/1.1 417 "), "{head}");
        // The next bytes could be the body or another request.
        assert!(head.contains("\r\nconnection: close\r\n"), "{head}");
        client.through("no").await;
        client.try_send(b"hello").await;
        assert!(
            upstream.rest().await.is_empty(),
            "{listener}: a body, or a second request"
        );
        assert!(client.rest().await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn interim_answers_are_passed_on_one_by_one_up_to_a_limit() {
    let world = World::new().await;
    let hint = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
    for listener in LISTENERS {
        let (mut client, mut upstream) = world.asked(listener, "GET", "").await;
        upstream
            .send(hint.repeat(50) + &ok("Connection: close\r\n", "whole"))
            .await;
        for _ in 0..50 {
            assert!(client.head().await.starts_with("HTTP/1.1 103 "));
        }
        client.through("whole").await;
        // Without end: the request ends, and so does the connection to the upstream.
        let (mut client, mut upstream) = world.asked(listener, "GET", "").await;
        upstream.try_send(hint.repeat(1000).as_bytes()).await;
        let wire = client.rest_as_text().await;
        let last = wire.rsplit("HTTP/1.1 ").next().unwrap_or_default();
        assert!(
            last.starts_with("502 ") && last.contains("upstream_broken"),
            "{listener}: {last}"
        );
        assert!(upstream.rest().await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_was_not_asked_for_is_502_and_ends_the_connection() {
    let world = World::new().await;
    for listener in LISTENERS {
        for fields in [
            "",
            "Connection: Upgrade\r\nUpgrade: foo\r\n",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
        ] {
            let (mut client, mut upstream) = world.asked(listener, "GET", fields).await;
            upstream
                .send(
                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: foo\r\nConnection: Upgrade\r\n\
                    \r\nforged",
                )
                .await;
            let wire = client.rest_as_text().await;
            assert!(
                wire.starts_with("HTTP/1.1 502 ") && wire.contains("upstream_broken"),
                "{wire}"
            );
            assert!(!wire.contains("forged"), "{wire}");
            assert!(upstream.rest().await.is_empty());
        }
    }
}
