//! Handshakes that break a rule, on either side.

use super::*;
use crate::support::websocket::{ACCEPT, KEY};

/// The handshake with one line replaced or removed.
fn changed(fields: &str, line: &str, other: &str) -> String {
    let whole = handshake("/events", fields);
    assert!(whole.contains(line), "{line}");
    whole.replace(line, other)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_handshake_is_refused_with_the_rule() {
    let world = world("").await;
    let valid = format!("Authorization: Bearer {}\r\n", world.token());
    let key = format!("Sec-WebSocket-Key: {KEY}\r\n");
    for (line, other, rule) in [
        ("GET ", "POST ", "GET"),
        ("HTTP/1.1", "HTTP/1.0", "HTTP/1.1"),
        ("Upgrade: websocket", "Upgrade: h2c, websocket", "`Upgrade`"),
        ("Version: 13", "Version: 8", "Version"),
        ("Version: 13", "Version: 13, 8", "Version"),
        ("Sec-WebSocket-Version: 13\r\n", "", "Version"),
        (&key, "", "Key"),
        (&key, &key.repeat(2), "Key"),
        (&key, "Sec-WebSocket-Key: c2hvcnQ=\r\n", "Key"),
        (&key, &format!("{key}Content-Length: 0\r\n"), "body"),
        (
            &key,
            &format!("{key}Transfer-Encoding: chunked\r\n"),
            "body",
        ),
    ] {
        let mut client = connect(world.address(), changed(&valid, line, other)).await;
        let (status, head) = answered(&mut client).await;
        assert_eq!(
            (status, head.all("x-m2m-reason")),
            (400, vec!["websocket"]),
            "{other}"
        );
        assert_eq!(head.all("sec-websocket-version"), ["13"]);
        let mut body = Vec::new();
        client.answer_body(&head, &mut body).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let described = body["error_description"].as_str().unwrap();
        assert!(described.contains(rule), "{described}");
        // Without a token, every handshake looks the same.
        let (status, reason) = world.refused(changed("", line, other)).await;
        assert_eq!((status, reason.as_deref()), (401, Some("no_token")));
    }
    assert!(world.upstream.is_unasked().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn spelling_does_not_matter_where_http_says_so() {
    let world = world("").await;
    let fields = format!("authorization: bearer {}\r\n", world.token());
    let lower = changed(
        &fields,
        "Connection: Upgrade\r\nUpgrade: websocket",
        "connection: \
        keep-alive, upgrade\r\nupgrade: WebSocket",
    );
    let mut client = connect(world.address(), lower).await;
    let (seen, _server) = world.upstream.accept("").await;
    assert_eq!(seen.all("connection"), ["Upgrade"]);
    assert_eq!(answered(&mut client).await.0, 101);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_answer_the_key_gets_no_tunnel() {
    let world = world("").await;
    let fields = format!("Authorization: Bearer {}\r\n", world.token());
    let accept = format!("Sec-WebSocket-Accept: {ACCEPT}\r\n");
    for (answer, is_tunnel) in [
        (accept.as_str(), true),
        ("", false),
        (
            "Sec-WebSocket-Accept: x3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
            false,
        ),
        (&accept.to_uppercase(), false),
        (&accept.repeat(2), false),
    ] {
        let mut client = connect(world.address(), handshake("/events", &fields)).await;
        let (_, mut server) = world.upstream.asked().await;
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             {answer}\r\n"
        );
        send(&mut server, answer).await;
        let (status, head) = answered(&mut client).await;
        if is_tunnel {
            assert_eq!(status, 101);
        } else {
            let reason = head.all("x-m2m-reason");
            assert_eq!((status, reason), (502, vec!["upstream_broken"]));
            assert_eq!(rest(&mut server).await, b"");
        }
    }
}
