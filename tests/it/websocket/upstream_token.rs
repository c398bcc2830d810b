//! The place where the service gets the token of a WebSocket.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_stripped_token_is_nowhere_and_its_subprotocol_is_selected() {
    let keys = format!("{ALL_LOCATIONS}\n    authorization: strip");
    let world = world(&keys).await;
    let token = world.token();
    for (fields, left, upstream_selects, selected) in [
        (
            format!("Cookie: a=1; token={token}\r\n"),
            ("cookie", &["a=1"][..]),
            "",
            &[][..],
        ),
        (
            format!("Cookie: token={token}\r\n"),
            ("cookie", &[]),
            "",
            &[],
        ),
        (
            format!("Authorization: Bearer {token}\r\n"),
            ("authorization", &[]),
            "",
            &[],
        ),
        (
            format!("Sec-WebSocket-Protocol: Bearer, {token}\r\n"),
            ("sec-websocket-protocol", &[]),
            "",
            &["Bearer"],
        ),
        (
            format!("Sec-WebSocket-Protocol: x, Bearer, {token}, y\r\n"),
            ("sec-websocket-protocol", &["x, y"]),
            "Sec-WebSocket-Protocol: y\r\n",
            &["y"],
        ),
        (
            format!("Cookie: token={token}\r\nSec-WebSocket-Protocol: Bearer, a.b.c\r\n"),
            ("sec-websocket-protocol", &[]),
            "",
            &["Bearer"],
        ),
    ] {
        let mut client = connect(world.address(), handshake("/events", &fields)).await;
        let (seen, _server) = world.upstream.accept(upstream_selects).await;
        assert!(!String::from_utf8_lossy(&seen.raw).contains(&token));
        assert!(!String::from_utf8_lossy(&seen.raw).contains("a.b.c"));
        assert_eq!(seen.all(left.0), left.1);
        let (status, head) = answered(&mut client).await;
        assert_eq!(status, 101);
        assert_eq!(head.all("sec-websocket-protocol"), selected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_requests_lose_the_stripped_cookie_too() {
    let keys = format!("{ALL_LOCATIONS}\n    upstreamAuthorization: strip");
    let world = world(&keys).await;
    let token = world.token();
    let asked = format!(
        "GET /events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\
         Cookie: token={token}; a=1\r\nCookie: b=2\r\n\r\n"
    );
    let _client = connect(world.address(), asked).await;
    let (seen, _server) = world.upstream.asked().await;
    assert_eq!(seen.all("authorization"), [""; 0]);
    assert_eq!(seen.all("cookie"), ["a=1; b=2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_moves_into_the_cookie_that_the_service_reads() {
    let keys = format!("{ALL_LOCATIONS}\n    upstreamAuthorization: {{ cookie: session }}");
    let world = world(&keys).await;
    let token = world.token();
    for (fields, cookies, selected) in [
        (
            format!("Authorization: Bearer {token}\r\n"),
            format!("session={token}"),
            &[][..],
        ),
        (
            format!("Authorization: Bearer {token}\r\nCookie: session=other; a=1\r\n"),
            format!("a=1; session={token}"),
            &[],
        ),
        (
            format!("Cookie: a=1; token={token}; session=other\r\n"),
            format!("a=1; session={token}"),
            &[],
        ),
        (
            format!("Sec-WebSocket-Protocol: Bearer, {token}\r\n"),
            format!("session={token}"),
            &["Bearer"],
        ),
    ] {
        let mut client = connect(world.address(), handshake("/events", &fields)).await;
        let (seen, _server) = world.upstream.accept("").await;
        assert_eq!(seen.all("cookie"), [cookies.as_str()]);
        assert_eq!(seen.all("authorization"), [""; 0]);
        assert_eq!(seen.all("sec-websocket-protocol"), [""; 0]);
        let (status, head) = answered(&mut client).await;
        assert_eq!(
            (status, head.all("sec-websocket-protocol")),
            (101, selected.to_vec())
        );
    }
    // Other requests keep their header, which plgd's REST endpoints read.
    let header = format!("Bearer {token}");
    let asked = format!(
        "GET /events HTTP/1.1\r\nHost: a\r\nAuthorization: {header}\r\nCookie: session=1\r\n\r\n"
    );
    let _client = connect(world.address(), asked).await;
    let (seen, _server) = world.upstream.asked().await;
    assert_eq!(seen.all("authorization"), [header.as_str()]);
    assert_eq!(seen.all("cookie"), [""; 0], "another token in its place");
    // A client cannot remove the checked token from the request, or put another into its place.
    let fields = format!("Authorization: Bearer {token}\r\nCookie: token={token}\r\n");
    let named =
        handshake("/events", &fields).replace("Connection: Upgrade", "Connection: Upgrade, cookie");
    let (status, reason) = world.refused(named).await;
    assert_eq!(
        (status, reason.as_deref()),
        (400, Some("malformed_request"))
    );
    // A public path has no token to move, and that of a client must not pass for a moved one.
    let fields = "Cookie: session=1; a=1\r\nSec-WebSocket-Protocol: Bearer, a.b.c\r\n";
    let _client = connect(world.address(), handshake("/public", fields)).await;
    let (seen, _server) = world.upstream.accept("").await;
    assert_eq!(seen.all("cookie"), ["a=1"]);
    assert_eq!(seen.all("sec-websocket-protocol"), [""; 0]);
}
