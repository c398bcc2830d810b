//! One request and its response: the same decisions, fields and log lines as over HTTP/1.1.

use super::World;
use crate::relay::ok;
use crate::support::client;
use crate::support::http2::{END_HEADERS, END_STREAM, Response, WHOLE, data, get, headers, pseudo};

/// A response without the fields of the connection and the time.
fn lasting(fields: &[(String, String)]) -> Vec<(String, String)> {
    let is_lasting = |name: &str| !["connection", "keep-alive", "date"].contains(&name);
    let mut lasting: Vec<_> = fields
        .iter()
        .map(|(name, value)| (name.to_lowercase(), value.clone()))
        .filter(|(name, _)| is_lasting(name))
        .collect();
    lasting.sort();
    lasting
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_the_same_in_both_versions() {
    let world = World::new("    limits: { requestsPerSecond: 1, burst: 1 }").await;
    let bearer = format!("Bearer {}", world.token);
    let mut client = world.client().await;
    let mut stream = 1;
    for (path, token, status, reason) in [
        ("/devices/x", "", 401, "no_token"),
        ("/devices/x", "Bearer x", 401, "malformed_token"),
        ("/devices/x", "Basic YTpi", 401, "no_token"),
        (
            "/devices/x",
            "Bearer a, Bearer b",
            400,
            "malformed_authorization",
        ),
        ("/admin/x", &bearer, 403, "scope"),
        ("/elsewhere", &bearer, 403, "no_rule"),
        ("/elsewhere", "", 401, "no_token"),
        ("/public/%2e%2e/x", "", 400, "ambiguous_path"),
    ] {
        let fields: Vec<_> = [("authorization", token)]
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .collect();
        let with_host = [&[("Host", "a")][..], &fields].concat();
        let first = client::get(world.address(), path, &with_host).await;
        let mut all = pseudo("GET", path).to_vec();
        all.extend(&fields);
        client.send(headers(WHOLE, stream, &all)).await;
        let second = client.response(stream).await;
        assert_eq!(
            (first.status, first.header("x-m2m-reason")),
            (status, Some(reason)),
            "{path}"
        );
        assert_eq!(
            (first.status, first.text()),
            (second.status, second.text()),
            "{path}"
        );
        assert_eq!(
            lasting(&first.headers),
            lasting(&second.fields),
            "{path} {token}"
        );
        assert!(second.header("date").is_some());
        stream += 2;
    }
    // A limit counts both versions together.
    let mut limited = Vec::new();
    for _ in 0..3 {
        client.send(get(stream, "/public/x")).await;
        limited.push(stream);
        stream += 2;
    }
    let mut upstream = world.upstream().await;
    upstream.head().await;
    upstream.send(ok("", "")).await;
    let refused = client.response(limited[2]).await;
    let expected = (429, Some("rate_limited"));
    assert_eq!((refused.status, refused.header("x-m2m-reason")), expected);
    assert!(refused.header("retry-after").is_some());
    let line = world
        .line(&["decision=\"deny\"", "path=\"/admin/x\""])
        .await;
    assert!(
        line.contains("status=403") && line.contains("reason=\"scope\""),
        "{line}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_gets_the_request_with_the_identity_in_http_1() {
    let world = World::new("").await;
    let mut client = world.client().await;
    let bearer = format!("Bearer {}", world.token);
    let mut fields = pseudo("GET", "/devices/%7ex/../y?z").to_vec();
    fields.extend([
        ("authorization", &*bearer),
        ("te", "trailers"),
        ("x-m2m-subject", "forged"),
        ("cookie", "a=b"),
        ("cookie", "c=d"),
        ("x-request-id", "an-id-of-the-client"),
    ]);
    client.send(headers(WHOLE, 1, &fields)).await;
    let mut upstream = world.upstream().await;
    let head = upstream.head().await.to_lowercase();
    assert!(head.starts_with("get /devices/y?z http/1.1\r\n"), "{head}");
    for field in [
        "host: a",
        "x-m2m-subject: tester",
        "cookie: a=b; c=d",
        "x-request-id: an-id-of-the-client",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-proto: http",
        "x-forwarded-host: a",
    ] {
        assert!(
            head.contains(&format!("\r\n{field}\r\n")),
            "{field}: {head}"
        );
    }
    assert!(
        !head.contains("forged") && !head.contains("\r\nte:"),
        "{head}"
    );
    upstream
        .send(ok(
            "Connection: x-hop\r\nX-Hop: y\r\nKeep-Alive: timeout=9\r\nX-A: b\r\n",
            "body",
        ))
        .await;
    let response = client.response(1).await;
    assert_eq!((response.status, response.text()), (200, "body".to_owned()));
    assert_eq!(response.header("x-a"), Some("b"));
    assert_eq!(response.header("content-length"), Some("4"));
    for name in ["connection", "keep-alive", "x-hop", "transfer-encoding"] {
        assert_eq!(response.header(name), None, "{name}");
    }
    let line = world.line(&["path=\"/devices/%7ex/../y\""]).await;
    for text in [
        "decision=\"allow\"",
        "status=200",
        "bytes=4",
        "client_id=\"tester\"",
    ] {
        assert!(line.contains(text), "{text}: {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_without_a_body_says_so_to_the_upstream() {
    let world = World::new("").await;
    let mut client = world.client().await;
    client
        .send(headers(WHOLE, 1, &pseudo("POST", "/public/x")))
        .await;
    let head = world.upstream().await.head().await.to_lowercase();
    assert!(
        head.contains("content-length: 0\r\n") && !head.contains("transfer-"),
        "{head}"
    );
}

/// The response to a request of this method, which the upstream answers with these bytes.
async fn answered(world: &World, method: &str, answer: &str) -> Response {
    let mut client = world.client().await;
    client
        .send(headers(WHOLE, 1, &pseudo(method, "/public/x")))
        .await;
    let mut upstream = world.upstream().await;
    upstream.head().await;
    upstream.send(answer).await;
    client.response(1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_without_a_body_ends_with_its_head() {
    let world = World::new("").await;
    for (method, answer, length) in [
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
            Some("9"),
        ),
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            None,
        ),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", None),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
            Some("9"),
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            Some("0"),
        ),
        (
            "POST",
            "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: /x\r\n\r\n",
            Some("0"),
        ),
    ] {
        let response = answered(&world, method, answer).await;
        assert!(response.is_head_only, "{answer}: {response:?}");
        assert_eq!(response.header("content-length"), length, "{answer}");
    }
    let empty = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let response = answered(&world, "GET", empty).await;
    assert_eq!((response.status, response.text()), (200, String::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn interim_responses_and_trailers_pass() {
    let world = World::new("").await;
    let answer = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n\
        Transfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 7\r\n\
        X-M2M-Subject: forged\r\nCache-Control: forged\r\n\r\n";
    let response = answered(&world, "GET", answer).await;
    assert_eq!(
        (&response.interim[..], response.text()),
        (&[103][..], "body".to_owned())
    );
    assert_eq!(response.trailers, [("x-sum".to_owned(), "7".to_owned())]);
    assert_eq!(response.header("trailer"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_for_100_gets_the_upstreams() {
    let world = World::new("").await;
    let mut client = world.client().await;
    let mut fields = pseudo("PUT", "/public/x").to_vec();
    fields.extend([("expect", "100-continue"), ("content-length", "4")]);
    client.send(headers(END_HEADERS, 1, &fields)).await;
    let mut upstream = world.upstream().await;
    let head = upstream.head().await.to_lowercase();
    assert!(head.contains("expect: 100-continue"), "{head}");
    upstream.send("HTTP/1.1 100 Continue\r\n\r\n").await;
    client.send(data(END_STREAM, 1, b"body")).await;
    upstream.through("body").await;
    upstream.send(ok("", "done")).await;
    let response = client.response(1).await;
    assert_eq!(
        (&response.interim[..], response.text()),
        (&[100][..], "done".to_owned())
    );
    // A refusal needs no body.
    let mut fields = pseudo("PUT", "/devices/x").to_vec();
    fields.extend([("expect", "100-continue"), ("content-length", "4")]);
    client.send(headers(END_HEADERS, 3, &fields)).await;
    assert_eq!(client.response(3).await.status, 401);
}
