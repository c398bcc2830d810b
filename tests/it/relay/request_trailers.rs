//! Trailers of a request reach the upstream (RFC 9110 §6.5), except fields with another meaning
//! there. HTTP/1.1 upstreams get those that the head announces.

use h2::Reason;

use super::{LISTENERS, World, ok, yaml};
use crate::support::client::send_raw;
use crate::support::http2::{END_HEADERS, RawClient, WHOLE, data, headers, pseudo};
use crate::support::http2_upstream::{Act, Http2Upstream};
use crate::support::sidecar::Sidecar;

/// The upstream's head and trailer section for a request with these fields and trailers.
async fn received(world: &World, listener: &str, fields: &str, sent: &str) -> (String, String) {
    let mut client = world.client(listener).await;
    let head = format!("POST /x HTTP/1.1\r\n{}{fields}", super::OWN);
    let body = format!("Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n{sent}\r\n");
    client.send(format!("{head}{body}")).await;
    let mut upstream = world.upstream().await;
    let head = upstream.head().await.to_lowercase();
    upstream.through("ok\r\n0\r\n").await;
    let trailers = if upstream.received.starts_with(b"\r\n") {
        upstream.through("\r\n").await
    } else {
        upstream.through("\r\n\r\n").await
    };
    // Both connections are in step behind it.
    upstream.send(ok("", "first")).await;
    client.through("first").await;
    client
        .send(format!("GET /next HTTP/1.1\r\n{}\r\n", super::OWN))
        .await;
    assert!(upstream.head().await.starts_with("GET /next "));
    upstream.send(ok("Connection: close\r\n", "next")).await;
    client.through("next").await;
    (head, trailers.to_lowercase())
}

#[tokio::test(flavor = "multi_thread")]
async fn announced_trailers_reach_an_http_1_1_upstream() {
    let world = World::new().await;
    for listener in LISTENERS {
        let fields = "Trailer: X-Sum, x-other\r\nTrailer: x-absent\r\n";
        let sent = "X-Sum: 1\r\nx-unknown: 2\r\nX-Other: two words\r\nx-sum: 3\r\n";
        let (head, trailers) = received(&world, listener, fields, sent).await;
        let announced = "trailer: x-sum, x-other, x-absent\r\n";
        assert!(head.contains(announced), "{listener}: {head}");
        let expected = "x-sum: 1\r\nx-sum: 3\r\nx-other: two words\r\n\r\n";
        assert_eq!(trailers, expected, "{listener}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_trailers_are_dropped() {
    let world = World::new().await;
    for listener in LISTENERS {
        for fields in [
            "",
            "Trailer: x-other\r\n",
            "Trailer:\r\n",
            "Trailer: a b, ,\r\n",
        ] {
            let (_, trailers) = received(&world, listener, fields, "x-sum: 1\r\n").await;
            assert_eq!(trailers, "\r\n", "{listener} {fields:?}");
        }
    }
}

/// Framing, routing, authentication, identity, conditions, and spellings of them.
const FORBIDDEN: &[&str] = &[
    "Authorization",
    "Cache-Control",
    "Connection",
    "Content-Encoding",
    "Content-Length",
    "Content-Type",
    "Cookie",
    "DPoP",
    "Expect",
    "Forwarded",
    "Grpc-Metadata-X-M2M-Subject",
    "Grpc-Timeout",
    "Host",
    "If-Match",
    "Keep-Alive",
    "Max-Forwards",
    "Proxy-Authorization",
    "Proxy-Connection",
    "Sec-WebSocket-Key",
    "Set-Cookie",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
    "X-Forwarded-For",
    "X-HTTP-Method-Override",
    "X-M2M-Subject",
    "X-Original-URL",
    "X-Real-IP",
    "content_length",
    "transfer.encoding",
    "x.m2m.subject",
    "x_m2m_subject",
];

#[tokio::test(flavor = "multi_thread")]
async fn fields_that_were_checked_in_the_head_are_dropped_from_trailers() {
    let world = World::new().await;
    for listener in LISTENERS {
        for name in FORBIDDEN {
            let fields = format!("Trailer: x-a, {name}, x-b\r\n");
            let sent = format!("x-a: 1\r\n{name}: forged\r\nx-b: 2\r\n");
            let (head, trailers) = received(&world, listener, &fields, &sent).await;
            assert!(head.contains("trailer: x-a, x-b\r\n"), "{listener}: {head}");
            assert_eq!(trailers, "x-a: 1\r\nx-b: 2\r\n\r\n", "{listener}: {name}");
        }
    }
    // Only an inbound listener removes these from the head.
    for name in ["Remote-User", "X-Auth-Request-Email", "Client-Cert"] {
        let fields = format!("Trailer: {name}\r\n");
        let sent = format!("{name}: forged\r\n");
        let (head, trailers) = received(&world, "api", &fields, &sent).await;
        assert!(!head.contains("trailer:"), "{head}");
        assert_eq!(trailers, "\r\n", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_with_a_length_has_no_trailers() {
    let world = World::new().await;
    for listener in LISTENERS {
        let mut client = world.client(listener).await;
        let fields = "Trailer: x-sum\r\nContent-Length: 2\r\n";
        let head = format!("POST /x HTTP/1.1\r\n{}{fields}\r\nok", super::OWN);
        client.send(head).await;
        let mut upstream = world.upstream().await;
        let head = upstream.head().await.to_lowercase();
        assert!(!head.contains("trailer"), "{head}");
    }
}

async fn in_front_of_http_2(upstream: &Http2Upstream) -> Sidecar {
    Sidecar::builder()
        .secret_file("secret", "legacy", "a-secret-of-16-bytes")
        .start(&yaml(&upstream.url()))
        .await
}

/// The upstream echoes trailers; the client reads those of the response.
#[tokio::test(flavor = "multi_thread")]
async fn trailers_cross_to_http_2_from_both_protocols() {
    let upstream = Http2Upstream::start(|_| Act::Echo);
    let sidecar = in_front_of_http_2(&upstream).await;
    for listener in LISTENERS {
        let mut client = RawClient::open(sidecar.address(listener)).await;
        let mut head = pseudo("POST", "/x").to_vec();
        head[2].1 = "127.0.0.1";
        head.push(("authorization", "Bearer own"));
        let forged = [
            ("x-sum", "1"),
            ("authorization", "Bearer forged"),
            ("x-m2m-subject", "forged"),
            ("x-sum", "2"),
        ];
        let sent = [
            headers(END_HEADERS, 1, &head),
            data(0, 1, b"ok"),
            headers(WHOLE, 1, &forged),
        ];
        client.send(sent.concat()).await;
        let response = client.response(1).await;
        let echoed = [("x-echo", "whole"), ("x-sum", "1"), ("x-sum", "2")];
        let echoed = echoed.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(response.text(), "ok", "{listener}");
        assert_eq!(response.trailers, echoed, "{listener}");
        // Nothing but trailers.
        let sent = [
            headers(END_HEADERS, 3, &head),
            headers(WHOLE, 3, &[("x-sum", "3")]),
        ];
        client.send(sent.concat()).await;
        let response = client.response(3).await;
        assert!(
            response
                .trailers
                .contains(&("x-sum".to_owned(), "3".to_owned()))
        );
        // More than the limit is dropped as a whole.
        let long = "x".repeat(5000);
        let much = [("x-a", long.as_str()), ("x-b", &long)];
        let sent = [headers(END_HEADERS, 5, &head), headers(WHOLE, 5, &much)];
        client.send(sent.concat()).await;
        let response = client.response(5).await;
        assert_eq!(response.trailers.len(), 1, "{response:?}");
        let fields = "TE: trailers\r\nConnection: TE, close\r\nTrailer: x-known\r\n";
        let body = "2\r\nok\r\n0\r\nx-sum: 4\r\ncookie: forged\r\n\r\n";
        let head = format!("POST /x HTTP/1.1\r\n{}{fields}", super::OWN);
        let head = format!("{head}Transfer-Encoding: chunked\r\n\r\n{body}");
        let mut client = crate::support::client::Connection::open(sidecar.address(listener)).await;
        client.send(head).await;
        assert!(client.wait_for_bytes(b"\r\nx-sum: 4\r\n").await);
        let seen = upstream.received().pop().unwrap();
        assert_eq!(seen.head.headers["trailer"], "x-known");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_has_its_trailers_again() {
    let upstream = Http2Upstream::start(|received| match received.number {
        0 => Act::Reset(Reason::REFUSED_STREAM),
        _ => Act::Echo,
    });
    let sidecar = in_front_of_http_2(&upstream).await;
    let mut client = RawClient::open(sidecar.address("api")).await;
    let sent = [
        headers(END_HEADERS, 1, &pseudo("POST", "/x")),
        data(0, 1, b"ok"),
        headers(WHOLE, 1, &[("x-sum", "1")]),
    ];
    client.send(sent.concat()).await;
    let response = client.response(1).await;
    assert_eq!(response.text(), "ok");
    assert!(
        response
            .trailers
            .contains(&("x-sum".to_owned(), "1".to_owned()))
    );
    assert_eq!(upstream.received().len(), 2);
    let answer = send_raw(sidecar.address("api"), "GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(answer.status, 200);
}
