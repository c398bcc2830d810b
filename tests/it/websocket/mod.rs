//! WebSockets through a listener: their handshake, their token, and their bytes.

mod handshakes;
mod locations;
mod outbound;
mod over_http2;
mod upstream_token;

use std::net::SocketAddr;

use crate::support::AUDIENCE;
use crate::support::authority::{Authority, Endpoint};
use crate::support::sidecar::Sidecar;
use crate::support::websocket::{
    ManualUpstream, answered, connect, expect, frame, handshake, masked, rest, send,
};

const ALL_LOCATIONS: &str = "
    tokenLocations: [authorization, websocketCookie, websocketSubprotocol]
    allowedOrigins: [\"https://app.example\"]";

struct World {
    authority: Authority,
    upstream: ManualUpstream,
    sidecar: Sidecar,
}

/// A listener with these further keys.
async fn world(keys: &str) -> World {
    let (authority, upstream) = (Authority::start(), ManualUpstream::start());
    let yaml = format!(
        r#"
authorities: {{ users: {{ issuer: "{}" }} }}
stateDir: "@DIR@"
inbound:
  - name: api
    listen: 127.0.0.1:0
    upstream: "{}"
    authorities: [users]
    audiences: [{AUDIENCE}]
    rules: [{{ paths: [/public], access: public }}, {{ paths: ["/**"] }}]
{keys}
"#,
        authority.issuer(),
        upstream.url()
    );
    let sidecar = Sidecar::start(&yaml).await;
    authority.wait_for_fetches(Endpoint::Jwks, 1).await;
    World {
        authority,
        upstream,
        sidecar,
    }
}

impl World {
    fn address(&self) -> SocketAddr {
        self.sidecar.address("api")
    }

    fn token(&self) -> String {
        self.authority.token().sign()
    }

    /// The status and the reason of a refused handshake.
    async fn refused(&self, bytes: String) -> (u16, Option<String>) {
        let mut client = connect(self.address(), bytes).await;
        let (status, head) = answered(&mut client).await;
        let reason = head.all("x-m2m-reason");
        (status, reason.first().map(|&reason| reason.to_owned()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_carries_every_frame_untouched() {
    let world = world("").await;
    let token = world.authority.token().claim("sub", "device-7").sign();
    let fields = format!(
        "Authorization: Bearer {token}\r\nSec-WebSocket-Protocol: json, xml\r\n\
         Sec-WebSocket-Extensions: permessage-deflate\r\n"
    );
    let mut client = connect(world.address(), handshake("/events?a=1", &fields)).await;
    let chosen = "Sec-WebSocket-Protocol: xml\r\n";
    let (seen, mut server) = world.upstream.accept(chosen).await;
    let (status, head) = answered(&mut client).await;
    assert_eq!(status, 101);
    assert_eq!(head.all("connection"), ["Upgrade"]);
    assert_eq!(head.all("upgrade"), ["websocket"]);
    assert_eq!(head.all("sec-websocket-protocol"), ["xml"]);
    assert_eq!(seen.start_line, "GET /events?a=1 HTTP/1.1");
    for (name, value) in [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", crate::support::websocket::KEY),
        ("sec-websocket-protocol", "json, xml"),
        ("sec-websocket-extensions", "permessage-deflate"),
        ("x-m2m-subject", "device-7"),
    ] {
        assert_eq!(seen.all(name), [value], "{name}");
    }
    for payload in [0, 5, 125, 126, 65_535, 65_536, 200_000] {
        let payload = vec![7; payload];
        // A message in two fragments with a ping in between, a pong, and a binary message.
        for first in [0x01, 0x89, 0x80, 0x8a, 0x82] {
            if first & 0x08 != 0 && payload.len() > 125 {
                continue;
            }
            send(&mut client, masked(first, &payload)).await;
            expect(&mut server, masked(first, &payload)).await;
            send(&mut server, frame(first, &payload)).await;
            expect(&mut client, frame(first, &payload)).await;
        }
    }
    let close = [3, 232, b'b', b'y', b'e'];
    send(&mut server, frame(0x88, &close)).await;
    expect(&mut client, frame(0x88, &close)).await;
    send(&mut client, masked(0x88, &close)).await;
    expect(&mut server, masked(0x88, &close)).await;
    drop(server);
    assert_eq!(rest(&mut client).await, b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_path_needs_no_token_and_a_protected_one_does() {
    let world = world("").await;
    let mut client = connect(world.address(), handshake("/public", "")).await;
    world.upstream.accept("").await;
    assert_eq!(answered(&mut client).await.0, 101);
    let (status, reason) = world.refused(handshake("/events", "")).await;
    assert_eq!((status, reason.as_deref()), (401, Some("no_token")));
    assert!(world.upstream.is_unasked().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_may_refuse_a_websocket() {
    let world = world("").await;
    let fields = format!("Authorization: Bearer {}\r\n", world.token());
    let mut client = connect(world.address(), handshake("/events", &fields)).await;
    let (_, mut server) = world.upstream.asked().await;
    let refusal = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";
    send(&mut server, refusal).await;
    let (status, head) = answered(&mut client).await;
    assert_eq!((status, head.all("upgrade")), (403, vec![]));
    expect(&mut client, "no").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_websocket_ends_only_after_its_configured_time() {
    let world = world("    wsIdle: 1s\n    upstreamTimeouts: { read: 200ms }").await;
    let fields = format!("Authorization: Bearer {}\r\n", world.token());
    let mut client = connect(world.address(), handshake("/events", &fields)).await;
    let (_, mut server) = world.upstream.accept("").await;
    assert_eq!(answered(&mut client).await.0, 101);
    let began = tokio::time::Instant::now();
    assert_eq!(rest(&mut client).await, b"");
    assert_eq!(rest(&mut server).await, b"");
    assert!(began.elapsed().as_millis() >= 900, "{:?}", began.elapsed());
}
