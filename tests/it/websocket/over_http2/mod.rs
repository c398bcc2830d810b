//! WebSockets of clients that speak HTTP/2 (RFC 8441).

mod ends;
mod upstreams;

use super::*;
use crate::support::http2::websocket::{End, Socket};
use crate::support::http2::{RawClient, SETTINGS};
use crate::support::net::Stream;
use crate::support::websocket::accepting;

impl World {
    /// Asks for a WebSocket with a valid token.
    async fn ask(&self) -> Socket {
        let bearer = format!("Bearer {}", self.token());
        Socket::ask(self.address(), "/events", &[("authorization", &bearer)]).await
    }

    /// An open WebSocket: both ends.
    async fn open(&self) -> (Socket, crate::support::http1::Wire<Stream>) {
        let mut client = self.ask().await;
        let (_, server) = self.upstream.accept("").await;
        assert_eq!(client.answered().await.status, 200);
        (client, server)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_frame_passes_and_the_service_sees_an_ordinary_handshake() {
    let world = world("").await;
    let token = world.authority.token().claim("sub", "device-7").sign();
    let bearer = format!("Bearer {token}");
    let more = [
        ("authorization", bearer.as_str()),
        ("sec-websocket-protocol", "json, xml"),
        ("sec-websocket-extensions", "permessage-deflate"),
        // RFC 8441 does not use it.
        ("sec-websocket-key", "forged"),
    ];
    let mut client = Socket::ask(world.address(), "/events?a=1", &more).await;
    let chosen = "Sec-WebSocket-Protocol: xml\r\nX-Of-Server: 1\r\n";
    let (seen, mut server) = world.upstream.accept(chosen).await;
    assert_eq!(seen.start_line, "GET /events?a=1 HTTP/1.1");
    for (name, value) in [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "json, xml"),
        ("sec-websocket-extensions", "permessage-deflate"),
        ("x-m2m-subject", "device-7"),
        ("host", "127.0.0.1"),
    ] {
        assert_eq!(seen.all(name), [value], "{name}");
    }
    let key = seen.all("sec-websocket-key").concat();
    assert!(key.len() == 24 && key.ends_with("=="), "{key}");
    let response = client.answered().await;
    assert_eq!((response.status, response.is_head_only), (200, false));
    assert_eq!(response.header("sec-websocket-protocol"), Some("xml"));
    assert_eq!(response.header("x-of-server"), Some("1"));
    for gone in [
        "connection",
        "upgrade",
        "sec-websocket-accept",
        "content-length",
    ] {
        assert_eq!(response.header(gone), None, "{gone}");
    }
    for payload in [0, 5, 125, 126, 65_535, 65_536, 200_000] {
        let payload = vec![7; payload];
        let (up, down) = (masked(0x82, &payload), frame(0x82, &payload));
        for part in up.chunks(60_000) {
            client.send(part).await;
            expect(&mut server, part).await;
        }
        for part in down.chunks(60_000) {
            send(&mut server, part).await;
            client.expect(part).await;
        }
    }
    // Another request on the same connection, and another key.
    let second = [("authorization", bearer.as_str())];
    let _other = Socket::ask(world.address(), "/events", &second).await;
    let (seen, _server) = world.upstream.accept("").await;
    assert_ne!(seen.all("sec-websocket-key").concat(), key);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_settings_announce_it() {
    let world = world("").await;
    let mut client = RawClient::open(world.address()).await;
    let frame = client.frame().await.expect("settings");
    assert_eq!(frame.kind, SETTINGS);
    let announced = [0, 8, 0, 0, 0, 1];
    let mut settings = frame.payload.chunks(6);
    assert!(settings.any(|it| it == announced), "{frame:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_may_be_in_any_configured_place() {
    let world = world(ALL_LOCATIONS).await;
    let token = world.token();
    let (bearer, cookie) = (format!("Bearer {token}"), format!("token={token}"));
    let protocols = format!("Bearer, {token}");
    let own = ("origin", "https://app.example");
    for (place, status, reason) in [
        (vec![("authorization", bearer.as_str())], 200, None),
        (vec![("cookie", "a=1"), ("cookie", &cookie), own], 200, None),
        (vec![("sec-websocket-protocol", &protocols), own], 200, None),
        (
            vec![("cookie", &cookie), ("origin", "https://evil.example")],
            403,
            Some("cross_site"),
        ),
        (vec![], 401, Some("no_token")),
        (
            vec![("authorization", "Bearer x")],
            401,
            Some("malformed_token"),
        ),
    ] {
        let mut client = Socket::ask(world.address(), "/events", &place).await;
        if status == 200 {
            let is_offered = place[0].0 == "sec-websocket-protocol";
            let echo = if is_offered {
                "Sec-WebSocket-Protocol: Bearer\r\n"
            } else {
                ""
            };
            let (seen, _server) = world.upstream.accept(echo).await;
            if place[0].0 == "cookie" {
                assert_eq!(seen.all("cookie"), [format!("a=1; {cookie}")]);
            }
            let response = client.answered().await;
            assert_eq!(response.status, 200, "{place:?}");
            let selected = response.header("sec-websocket-protocol");
            assert_eq!(selected, is_offered.then_some("Bearer"));
        } else {
            let response = client.refused().await;
            let found = (response.status, response.header("x-m2m-reason"));
            assert_eq!(found, (status, reason));
        }
    }
    assert!(world.upstream.is_unasked().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_switch_of_the_service_is_a_success() {
    let world = world("").await;
    let wrong = accepting("x3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "");
    let other = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\nConnection: Upgrade\r\n\r\n";
    for (answer, status, reason, body) in [
        (
            &b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"[..],
            403,
            None,
            Some("no"),
        ),
        (
            b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
            302,
            None,
            Some(""),
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            502,
            Some("upstream_broken"),
            None,
        ),
        (
            b"HTTP/1.1 204 No Content\r\n\r\n",
            502,
            Some("upstream_broken"),
            None,
        ),
        (&wrong, 502, Some("upstream_broken"), None),
        (other.as_bytes(), 502, Some("upstream_broken"), None),
    ] {
        let mut client = world.ask().await;
        let (_, mut server) = world.upstream.asked().await;
        send(&mut server, answer).await;
        let response = client.refused().await;
        assert_eq!(response.status, status, "{response:?}");
        assert_eq!(response.header("x-m2m-reason"), reason);
        if let Some(body) = body {
            assert_eq!(response.text(), body);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_before_the_response_wait_for_the_switch() {
    let world = world("").await;
    let mut client = world.ask().await;
    let early = masked(0x81, b"early");
    client.send(&early).await;
    let (_, mut server) = world.upstream.accept("").await;
    assert_eq!(client.answered().await.status, 200);
    expect(&mut server, &early).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_carries_128_websockets_and_requests_beside_them() {
    let world = world("").await;
    let bearer = format!("Bearer {}", world.token());
    let fields = crate::support::http2::websocket::extended(
        "/events",
        &[("authorization", bearer.as_str())],
    );
    let mut client = RawClient::open(world.address()).await;
    let mut servers = Vec::new();
    for number in 0..128 {
        let asked = crate::support::http2::headers(4, 2 * number + 1, &fields);
        client.send(asked).await;
        servers.push(world.upstream.accept("").await);
    }
    client
        .send(crate::support::http2::headers(4, 257, &fields))
        .await;
    let refused = crate::support::http2::Outcome::Reset(7);
    assert_eq!(client.outcome(257).await, refused);
    assert!(world.upstream.is_unasked().await);
    // The end of one makes room.
    client.send(crate::support::http2::reset(1, 8)).await;
    assert_eq!(rest(&mut servers[0].1).await, b"");
    client
        .send(crate::support::http2::get(259, "/public"))
        .await;
    let (_, mut server) = world.upstream.asked().await;
    send(
        &mut server,
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    )
    .await;
    assert_eq!(client.response(259).await.text(), "ok");
}
