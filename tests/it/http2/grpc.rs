//! gRPC: refusals as responses of trailers only, deadlines, and streams that may pause.

use std::time::Duration;

use tokio::time::Instant;

use super::World;
use crate::support::http2::{
    END_HEADERS, Outcome, RawClient, Response, WHOLE, data, headers, pseudo,
};

/// The response to a call with these fields.
async fn call(client: &mut RawClient, stream: u32, path: &str, more: &[(&str, &str)]) -> Response {
    let mut fields = pseudo("POST", path).to_vec();
    fields.extend(more);
    client.send(headers(WHOLE, stream, &fields)).await;
    client.response(stream).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_refused_gets_trailers_only() {
    let world = World::new("    limits: { requestsPerSecond: 1, burst: 1 }").await;
    let mut client = world.client().await;
    let (grpc, bearer) = (
        ("content-type", "application/grpc"),
        format!("Bearer {}", world.token),
    );
    let proto = ("content-type", "application/grpc+proto");
    let wide = "x".repeat(36_000);
    for (number, (path, fields, status, reason)) in [
        ("/own.Service/Get", vec![grpc], "16", "no_token"),
        (
            "/own.Service/Get",
            vec![proto, ("authorization", "Bearer x")],
            "16",
            "malformed_token",
        ),
        (
            "/admin.Service/Get",
            vec![grpc, ("authorization", &bearer)],
            "7",
            "scope",
        ),
        (
            "/other.Service/Get",
            vec![grpc, ("authorization", &bearer)],
            "7",
            "no_rule",
        ),
        (
            "/own.Service/Get",
            vec![grpc, ("authorization", "Bearer a b")],
            "3",
            "malformed_authorization",
        ),
        ("/own.Service%2fGet", vec![grpc], "3", "ambiguous_path"),
        (
            "/own.Service/Get",
            vec![grpc, ("host", "b")],
            "3",
            "malformed_request",
        ),
        (
            "/own.Service/Get",
            vec![grpc, ("x", &wide)],
            "8",
            "head_too_large",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let stream = u32::try_from(2 * number + 1).expect("few");
        let mut all = pseudo("POST", path).to_vec();
        all.extend(&fields);
        let block = crate::support::http2::block(&all);
        for (at, part) in block.chunks(16_000).enumerate() {
            let (kind, flags) = if at == 0 { (1, 1) } else { (9, 0) };
            let is_last = (at + 1) * 16_000 >= block.len();
            let flags = flags | if is_last { END_HEADERS } else { 0 };
            client
                .send(crate::support::http2::frame(kind, flags, stream, part))
                .await;
        }
        let response = client.response(stream).await;
        assert!(
            response.status == 200 && response.is_head_only,
            "{path}: {response:?}"
        );
        // Some clients accept only the format of their request.
        let format = fields.iter().find(|(name, _)| *name == "content-type");
        assert_eq!(
            response.header("content-type"),
            format.map(|(_, value)| *value)
        );
        assert_eq!(
            response.header("grpc-status"),
            Some(status),
            "{path} {reason}"
        );
        assert_eq!(response.header("x-m2m-reason"), Some(reason), "{path}");
        assert!(
            !response
                .header("grpc-message")
                .expect("a message")
                .is_empty()
        );
        assert_eq!(response.header("content-length"), None);
        let has_challenge = response.header("www-authenticate").is_some();
        let is_challenged = ["16", "7"].contains(&status) && reason != "no_rule"
            || reason == "malformed_authorization";
        assert_eq!(has_challenge, is_challenged, "{reason}");
    }
    let line = world.line(&["path=\"/admin.Service/Get\""]).await;
    assert!(
        line.contains("reason=\"scope\"") && line.contains("decision=\"deny\""),
        "{line}"
    );
    // gRPC-Web has its status elsewhere.
    let web = [("content-type", "application/grpc-web+proto")];
    let response = call(&mut client, 101, "/own.Service/Get", &web).await;
    assert_eq!(
        (response.status, response.header("grpc-status")),
        (401, None)
    );
    // Nothing listens any more.
    let World { listener, .. } = &world;
    let port = listener.local_addr().expect("bound").port();
    assert!(port > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_and_upstreams_have_the_status_of_the_table() {
    let world = World::new("    limits: { requestsPerSecond: 1, burst: 1 }").await;
    let mut client = world.client().await;
    let grpc = [("content-type", "application/grpc")];
    let mut fields = pseudo("POST", "/open.Service/Get").to_vec();
    fields.extend(grpc);
    client.send(headers(WHOLE, 1, &fields)).await;
    drop(world.upstream().await);
    let response = client.response(1).await;
    assert_eq!(response.header("grpc-status"), Some("14"), "{response:?}");
    assert_eq!(response.header("x-m2m-reason"), Some("upstream_broken"));
    let mut limited = None;
    for number in 1..5 {
        let stream = 2 * number + 1;
        client.send(headers(WHOLE, stream, &fields)).await;
        let mut response = std::pin::pin!(client.response(stream));
        let response = loop {
            tokio::select! {
                response = &mut response => break response,
                accepted = world.listener.accept() => drop(accepted),
            }
        };
        if response.header("grpc-status") == Some("8") {
            limited = Some(response);
            break;
        }
    }
    let limited = limited.expect("a refusal");
    assert_eq!(limited.header("x-m2m-reason"), Some("rate_limited"));
    assert!(limited.header("retry-after").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clients_deadline_bounds_the_wait_for_the_upstream() {
    let world = World::new("").await;
    let mut client = world.client().await;
    let began = Instant::now();
    let mut fields = pseudo("POST", "/open.Service/Get").to_vec();
    fields.extend([
        ("content-type", "application/grpc"),
        ("grpc-timeout", "300m"),
    ]);
    client.send(headers(END_HEADERS, 1, &fields)).await;
    client.send(data(1, 1, b"\0\0\0\0\0")).await;
    let mut upstream = world.upstream().await;
    let head = upstream.head().await;
    assert!(head.contains("grpc-timeout: 300m"), "{head}");
    let response = client.response(1).await;
    assert_eq!(response.header("grpc-status"), Some("4"), "{response:?}");
    assert_eq!(response.header("x-m2m-reason"), Some("upstream_timeout"));
    assert!((250..2000).contains(&began.elapsed().as_millis()));
    upstream.rest().await;
    // A response that has begun ends with the status between two messages.
    client.send(headers(WHOLE, 5, &fields)).await;
    let mut upstream = world.upstream().await;
    upstream.head().await;
    let begun = "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\n\
        Transfer-Encoding: chunked\r\n\r\n5\r\n\0\0\0\0\0\r\n";
    upstream.send(begun).await;
    let response = client.response(5).await;
    let status = ("grpc-status".to_owned(), "4".to_owned());
    assert!(response.trailers.contains(&status), "{response:?}");
    upstream.rest().await;
    // Within a message it is reset.
    client.send(headers(WHOLE, 7, &fields)).await;
    let mut upstream = world.upstream().await;
    upstream.head().await;
    let begun = "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\n\
        Transfer-Encoding: chunked\r\n\r\n1\r\n\0\r\n";
    upstream.send(begun).await;
    assert!(matches!(client.outcome(7).await, Outcome::Reset(_)));
    upstream.rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_may_end_a_call_at_the_deadline_itself() {
    let world = World::new("").await;
    let mut client = world.client().await;
    let mut fields = pseudo("POST", "/open.Service/Get").to_vec();
    fields.extend([
        ("content-type", "application/grpc"),
        ("grpc-timeout", "300m"),
    ]);
    client.send(headers(WHOLE, 1, &fields)).await;
    let mut upstream = world.upstream().await;
    upstream.head().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\n\
        Transfer-Encoding: chunked\r\n\r\n0\r\ngrpc-status: 4\r\nx-detail: late\r\n\r\n";
    upstream.send(answer).await;
    let response = client.response(1).await;
    let detail = ("x-detail".to_owned(), "late".to_owned());
    assert!(response.trailers.contains(&detail), "{response:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_ordinary_responses_have_a_read_timeout() {
    let world = World::new("    upstreamTimeouts: { read: 300ms }").await;
    let begin = |media_type: &str| {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nTransfer-Encoding: chunked\r\n\r\n\
             1\r\na\r\n"
        )
    };
    for (media_type, pauses) in [
        ("text/event-stream", true),
        ("application/x-ndjson; charset=utf-8", true),
        ("application/grpc+proto", true),
        ("text/plain", false),
    ] {
        let mut client = world.client().await;
        client
            .send(crate::support::http2::get(1, "/public/x"))
            .await;
        let mut upstream = world.upstream().await;
        upstream.head().await;
        upstream.send(begin(media_type)).await;
        tokio::time::sleep(Duration::from_millis(900)).await;
        upstream.send("1\r\nb\r\n0\r\n\r\n").await;
        match client.outcome(1).await {
            Outcome::Response(response) => assert!(pauses && response.text() == "ab"),
            Outcome::Reset(_) => assert!(!pauses, "{media_type}"),
            other => panic!("{other:?}"),
        }
    }
    // A call may be silent before its response too.
    let mut client = world.client().await;
    let mut fields = pseudo("POST", "/open.Service/Watch").to_vec();
    fields.push(("content-type", "application/grpc"));
    client.send(headers(WHOLE, 1, &fields)).await;
    let mut upstream = world.upstream().await;
    upstream.head().await;
    tokio::time::sleep(Duration::from_millis(900)).await;
    let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\n\
        Transfer-Encoding: chunked\r\n\r\n0\r\ngrpc-status: 0\r\n\r\n";
    upstream.send(answer).await;
    let response = client.response(1).await;
    assert_eq!(
        response.trailers,
        [("grpc-status".to_owned(), "0".to_owned())]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn event_streams_of_http_1_may_pause_too() {
    let world = World::new("    upstreamTimeouts: { read: 300ms }").await;
    let mut client = crate::support::client::Connection::open(world.address()).await;
    client
        .send("GET /public/x HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    let mut upstream = world.upstream().await;
    upstream.head().await;
    upstream
        .send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 2\r\n\r\na")
        .await;
    tokio::time::sleep(Duration::from_millis(900)).await;
    upstream.send("b").await;
    assert_eq!(client.answer().await.text(), "ab");
}
