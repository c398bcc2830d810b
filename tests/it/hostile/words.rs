//! Malformed requests: the answer and the log name the broken rule, its place and the request.

use super::World;
use crate::support::client::send_raw;
use crate::support::logs;

/// The bytes, and the text of answer and log.
const BROKEN: &[(&str, &[&str])] = &[
    (
        "GET /public/a b HTTP/1.1\r\nHost: a\r\n\r\n",
        &[
            "the target has a space; send it as %20",
            "byte 10 of the target",
            "/public/a b",
        ],
    ),
    (
        "GET /public/a?q=b c HTTP/1.1\r\nHost: a\r\n\r\n",
        &["the target has a space; send it as %20", "/public/a?q=b c"],
    ),
    (
        "GET /public/a\tb HTTP/1.1\r\nHost: a\r\n\r\n",
        &["a control character", "/public/a\\\\tb"],
    ),
    (
        "GET /public/a HTTP/1.1\r\n\r\n",
        &["no Host header; HTTP/1.1 needs one", "/public/a"],
    ),
    (
        "get /public/a HTTP/1.1\r\nHost: a\r\n\r\n",
        &["send GET instead of get"],
    ),
    (
        "GET /public/a HTTP/1.1\nHost: a\n\n",
        &["bare line feed", "line 1 of the head"],
    ),
    (
        "GET /public/a HTTP/1.1\r\nHost: a\r\nAuthorization : Bearer not-to-be-shown\r\n\r\n",
        &["a header name", "line 3 of the head"],
    ),
    (
        "GET /public/a HTTP/1.1\r\nHost: a\r\nnot-to-be-shown\r\n\r\n",
        &["no colon", "line 3 of the head"],
    ),
    (
        "POST /public/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        &["two Content-Length headers"],
    ),
    (
        "POST /public/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
        not-to-be-shown\r\n",
        &["a chunk does not begin with its size", "in the body"],
    ),
    (
        "GET /public/a HTTP/1.2\r\nHost: a\r\n\r\n",
        &["neither HTTP/1.1 nor HTTP/1.0"],
    ),
    ("\u{16}\u{3}\u{1}", &["TLS handshake", "use http://"]),
    (
        "GET /public/a HTTP/1.1\r\nHost: a\r\nConnection: host\r\n\r\n",
        &["the Connection header"],
    ),
    (
        "GET /public/a?access_token=not-to-be-shown&b=c d HTTP/1.1\r\nHost: a\r\n\r\n",
        &["/public/a?access_token=...&b=c d"],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_request_is_refused_with_rule_place_and_target() {
    let world = World::new("").await;
    for (wire, texts) in BROKEN {
        let mark = logs::mark();
        let answer = send_raw(world.address(), wire).await;
        assert_eq!(
            (answer.status, answer.header("x-m2m-reason")),
            (400, Some("malformed_request")),
            "{wire:?}"
        );
        assert!(
            answer.json()["error"] == "invalid_request",
            "{}",
            answer.text()
        );
        for text in *texts {
            assert!(answer.text().contains(text), "{wire:?}: {}", answer.text());
        }
        assert!(
            !answer.text().contains("not-to-be-shown"),
            "{}",
            answer.text()
        );
        let listener = format!("listener=\"{}\"", world.name);
        let line =
            logs::wait_for_line(mark, &["access", &listener, "malformed_request", texts[0]]).await;
        assert!(!line.contains("not-to-be-shown"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_ends_early_is_said_to() {
    let world = World::new("").await;
    let mut connection = crate::support::client::Connection::open(world.address()).await;
    connection.send("GET /public/a HTTP/1.1\r\nHo").await;
    connection.finish_sending().await;
    let answer = connection.answer().await;
    assert!(
        answer
            .text()
            .contains("the client stopped sending inside the head"),
        "{}",
        answer.text()
    );
}
