//! Streams end with their token, whatever ends it, and nothing else ends them.

mod causes;
mod frames;
mod grpc;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::support::authority::{Authority, Endpoint};
use crate::support::clock::MovableClock;
use crate::support::http1::Wire;
use crate::support::net::Stream;
use crate::support::sidecar::Sidecar;
use crate::support::websocket::{
    ManualUpstream, answered, closed, connect, expect, frame, handshake, masked, rest, send,
};

const HOUR: Duration = Duration::from_hours(1);
/// Streams end within 5 s, and this machine may be slow.
const SOON: Duration = Duration::from_secs(8);

/// An open stream: both ends.
pub struct Open {
    pub client: Wire<TcpStream>,
    pub server: Wire<Stream>,
}

/// Opens a WebSocket with this token.
pub async fn websocket(address: SocketAddr, upstream: &ManualUpstream, token: &str) -> Open {
    let fields = format!("Authorization: Bearer {token}\r\n");
    let mut client = connect(address, handshake("/events", &fields)).await;
    let (_, server) = upstream.accept("").await;
    assert_eq!(answered(&mut client).await.0, 101);
    Open { client, server }
}

/// Begins a response with these fields, and sends this part of it.
pub async fn response(
    address: SocketAddr,
    upstream: &ManualUpstream,
    token: &str,
    (fields, part): (&str, &str),
) -> Open {
    let asked = format!("GET /events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n");
    let mut client = connect(address, asked).await;
    let (_, mut server) = upstream.asked().await;
    send(
        &mut server,
        format!("HTTP/1.1 200 OK\r\n{fields}\r\n{part}"),
    )
    .await;
    assert_eq!(answered(&mut client).await.0, 200);
    expect(&mut client, part).await;
    Open { client, server }
}

impl Open {
    /// Passes a message in both directions.
    pub async fn talk(&mut self) {
        send(&mut self.client, masked(0x81, b"ping")).await;
        expect(&mut self.server, masked(0x81, b"ping")).await;
        send(&mut self.server, frame(0x81, b"pong")).await;
        expect(&mut self.client, frame(0x81, b"pong")).await;
    }

    /// Waits for the close frame, and gives its text.
    pub async fn closes(mut self) -> String {
        let began = Instant::now();
        let last = rest(&mut self.client).await;
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        let (code, text) = closed(&last).unwrap_or_else(|| panic!("{last:?}"));
        assert_eq!(code, 4401);
        // The server gets a masked close frame of the same code.
        let last = rest(&mut self.server).await;
        let [0x88, length, a, b, c, d, payload @ ..] = last.as_slice() else {
            panic!("{last:?}");
        };
        let mask = [a, b, c, d];
        let payload: Vec<u8> = payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(x, m)| x ^ *m)
            .collect();
        assert_eq!(usize::from(*length & 0x7f), payload.len());
        assert_eq!(payload[..2], 4401_u16.to_be_bytes());
        assert_eq!(payload[2..], *text.as_bytes());
        text
    }

    /// Waits for the end of a response, which must come without another byte.
    pub async fn breaks(mut self) {
        let began = Instant::now();
        assert_eq!(rest(&mut self.client).await, b"");
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        assert_eq!(rest(&mut self.server).await, b"");
    }
}

struct World {
    authority: Authority,
    upstream: ManualUpstream,
    sidecar: Sidecar,
    clock: Arc<MovableClock>,
}

/// Three listeners: one that ends streams, one that does not, and one in shadow mode.
async fn world(authority_keys: &str) -> World {
    let (authority, upstream) = (Authority::start(), ManualUpstream::start());
    authority.advertise("plgd_tokens_endpoint", "/api/v1/tokens");
    let listener = |name: &str, keys: &str| {
        format!(
            "  - {{ name: {name}, listen: 127.0.0.1:0, upstream: \"{}\", authorities: [users], \
             audiences: any, rules: [{{ paths: [\"/**\"] }}], {keys} }}\n",
            upstream.url()
        )
    };
    let yaml = format!(
        "stateDir: \"@DIR@\"\nprobes: {{ listen: 127.0.0.1:0 }}\nauthorities: {{ users: {{ issuer: \
         \"{}\", {authority_keys} }} }}\ninbound:\n{}{}{}",
        authority.issuer(),
        listener("api", "wsIdle: 1h"),
        listener("open", "streams: untilClosed"),
        listener("shadow", "mode: shadow"),
    );
    let clock = MovableClock::now();
    let sidecar = Sidecar::builder().clock(clock.clone()).start(&yaml).await;
    authority.wait_for_fetches(Endpoint::Jwks, 1).await;
    World {
        authority,
        upstream,
        sidecar,
        clock,
    }
}

impl World {
    fn token(&self) -> String {
        self.authority.token().expires_in(3600).sign()
    }

    async fn websocket(&self, listener: &str, token: &str) -> Open {
        websocket(self.sidecar.address(listener), &self.upstream, token).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_stream_ends_when_its_token_expires() {
    let world = world("revocation: none").await;
    let (api, token) = (world.sidecar.address("api"), world.token());
    let mut open = world.websocket("open", &token).await;
    let mut shadow = world.websocket("shadow", &token).await;
    let mut ending = world.websocket("api", &token).await;
    let later = world.authority.token().expires_in(3 * 3600).sign();
    let mut later = world.websocket("api", &later).await;
    let mut responses = Vec::new();
    for (fields, part) in [
        (
            "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n",
            "a\r\ndata: one\n\r\n",
        ),
        (
            "Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n",
            "3\r\n{}\n\r\n",
        ),
        ("Content-Length: 100\r\n", "a part"),
    ] {
        responses.push(response(api, &world.upstream, &token, (fields, part)).await);
    }
    ending.talk().await;
    // The difference of the clocks that requests are permitted does not count.
    world.clock.forward(HOUR);
    assert_eq!(ending.closes().await, "expired");
    for response in responses {
        response.breaks().await;
    }
    open.talk().await;
    shadow.talk().await;
    later.talk().await;
    let metrics = crate::support::client::get(world.sidecar.address("probes"), "/metrics", &[]);
    let metrics = metrics.await.text();
    let counted = metrics.lines().find(|line| {
        line.starts_with("m2m_inbound_requests_total{")
            && line.contains("listener=\"api\"")
            && line.contains("reason=\"expired\"")
    });
    assert!(
        counted.is_some_and(|line| line.ends_with(" 4")),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_only_the_clock_difference_permits_lasts_for_that_difference() {
    let world = world("revocation: none").await;
    let mut open = world
        .websocket("api", &world.authority.token().expires_in(-30).sign())
        .await;
    let first = world
        .websocket("api", &world.authority.token().expires_in(0).sign())
        .await;
    assert_eq!(first.closes().await, "expired");
    open.talk().await;
    world.clock.forward(Duration::from_secs(30));
    assert_eq!(open.closes().await, "expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_end_ends_its_stream_if_nothing_else_could() {
    for (revocation, ends) in [("none", true), ("{ kind: plgd, maxAge: 1s }", false)] {
        let world = world(&format!("requireExpiry: false, revocation: {revocation}")).await;
        let jti = "0d7c0c29-4a42-4a2e-9d4e-2f2a3f6f0001";
        let token = world
            .authority
            .token()
            .claim("jti", jti)
            .without("exp")
            .sign();
        let mut stream = world.websocket("api", &token).await;
        stream.talk().await;
        world.clock.forward(Duration::from_secs(31));
        if ends {
            assert_eq!(stream.closes().await, "no_expiry");
        } else {
            world.authority.revoke(jti);
            assert_eq!(stream.closes().await, "revoked");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_ends_tells_its_websockets_and_does_not_wait_for_them() {
    let world = world("revocation: none").await;
    let mut open = world.websocket("open", &world.token()).await;
    open.talk().await;
    let began = Instant::now();
    let Open { mut client, server } = open;
    let ended = async {
        let last = rest(&mut client).await;
        assert_eq!(closed(&last), Some((1001, String::new())), "{last:?}");
        drop((client, server));
    };
    tokio::join!(world.sidecar.stop(), ended);
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}
