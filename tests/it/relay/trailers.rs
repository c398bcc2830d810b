//! Trailers of an answer reach a client that asked for them (RFC 9110 §6.5), except fields that
//! would mean something else there.

use super::{LISTENERS, World, ok};

/// An answer whose trailer section holds these lines.
fn answer(trailers: &str) -> String {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n";
    format!("{head}2\r\nok\r\n0\r\n{trailers}\r\n")
}

const ASKS: &str = "TE: trailers\r\nConnection: TE\r\n";

/// The trailer lines that a client with these fields receives.
async fn received(world: &World, listener: &str, fields: &str, sent: &str) -> String {
    let (mut client, mut upstream) = world.asked(listener, "GET", fields).await;
    upstream.send(answer(sent)).await;
    client.through("ok\r\n0\r\n").await;
    let lines = if client.received.starts_with(b"\r\n") {
        client.through("\r\n").await
    } else {
        client.through("\r\n\r\n").await
    };
    // Both connections are in step behind it.
    client
        .send(format!("GET /next HTTP/1.1\r\n{}\r\n", super::OWN))
        .await;
    upstream.head().await;
    upstream.send(ok("Connection: close\r\n", "next")).await;
    client.through("next").await;
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_for_trailers_gets_them() {
    let world = World::new().await;
    for listener in LISTENERS {
        for asks in [
            ASKS,
            "TE: gzip;q=0.5, Trailers\r\nConnection: te, close-not\r\n",
        ] {
            let lines = received(&world, listener, asks, "x-sum: 1\r\nX-Other: two words\r\n");
            let lines = lines.await.to_lowercase();
            assert!(
                lines.contains("x-sum: 1\r\n") && lines.contains("x-other: two words\r\n"),
                "{listener}: {lines:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_clients_get_no_trailers() {
    let world = World::new().await;
    for listener in LISTENERS {
        for fields in [
            "",
            "TE: gzip\r\nConnection: TE\r\n",
            "TE: xtrailers\r\nConnection: TE\r\n",
        ] {
            let lines = received(&world, listener, fields, "x-sum: 1\r\n").await;
            assert_eq!(lines, "\r\n", "{listener} {fields:?}");
        }
    }
}

/// Framing, routing, authentication, identity and control of the answer.
const FORBIDDEN: &[&str] = &[
    "Content-Length: 5",
    "Transfer-Encoding: chunked",
    "Content-Encoding: gzip",
    "Content-Type: text/html",
    "Content-Range: bytes 0-1/2",
    "Host: forged",
    "Location: /forged",
    "Connection: close",
    "Keep-Alive: timeout=1",
    "Proxy-Connection: close",
    "Upgrade: forged",
    "TE: forged",
    "Trailer: forged",
    "Authorization: Bearer forged",
    "Proxy-Authorization: Basic forged",
    "WWW-Authenticate: Basic",
    "Proxy-Authenticate: Basic",
    "Set-Cookie: forged=1",
    "Cache-Control: public",
    "x-m2m-reason: forged",
    "X-M2M-Subject: forged",
];

#[tokio::test(flavor = "multi_thread")]
async fn fields_that_control_a_message_are_dropped_from_trailers() {
    let world = World::new().await;
    for listener in LISTENERS {
        for field in FORBIDDEN {
            let sent = format!("x-a: 1\r\n{field}\r\nx-b: 2\r\n");
            let lines = received(&world, listener, ASKS, &sent).await.to_lowercase();
            assert_eq!(lines, "x-a: 1\r\nx-b: 2\r\n\r\n", "{listener}: {field}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_1_0_client_gets_no_trailers() {
    let world = World::new().await;
    for listener in LISTENERS {
        let mut client = world.client(listener).await;
        client
            .send(format!(
                "GET /x HTTP/1.0\r\n{}TE: trailers\r\nConnection: TE\r\n\r\n",
                super::OWN
            ))
            .await;
        let mut upstream = world.upstream().await;
        upstream.head().await;
        upstream.send(answer("x-sum: 1\r\n")).await;
        let wire = client.rest_as_text().await;
        assert!(
            wire.ends_with("\r\n\r\nok") && !wire.contains("x-sum"),
            "{wire}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trailer_line_that_is_no_field_is_dropped() {
    let world = World::new().await;
    for listener in LISTENERS {
        for line in [
            "no colon",
            "x : y",
            "x: \u{0}",
            " folded",
            "HTTP/1.1 200 OK",
            ": nothing",
        ] {
            let sent = format!("x-a: 1\r\n{line}\r\nx-b: 2\r\n");
            let lines = received(&world, listener, ASKS, &sent).await;
            assert_eq!(lines, "x-a: 1\r\nx-b: 2\r\n\r\n", "{listener}: {line:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_without_a_clear_end_break_the_answer_off() {
    let world = World::new().await;
    for listener in LISTENERS {
        for broken in ["x: a\nb: c\r\n".to_owned(), "x: y\r\n".repeat(20_000)] {
            let (mut client, mut upstream) = world.asked(listener, "GET", ASKS).await;
            upstream.try_send(answer(&broken).as_bytes()).await;
            let wire = client.rest_as_text().await;
            // The last chunk, which would make the answer whole, is missing.
            assert!(wire.contains("\r\n\r\n2\r\nok\r\n"), "{wire}");
            assert!(!wire.contains("\r\n0\r\n"), "{wire}");
            assert!(upstream.rest().await.is_empty(), "it is not reused");
        }
    }
}
