//! Tests of upgrades and of the tunnels that follow them.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::StatusCode;
use pingora::http::RequestHeader;
use pingora::protocols::Stream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Decision, OwnAnswers, Policy, Waits, exchange};
use crate::domain::reason::Reason;
use crate::proxy::access::Access;
use crate::proxy::client::Client;
use crate::proxy::connection::{ClientStream, Clients, Connection, Next};
use crate::proxy::fault::Fault;
use crate::proxy::headers::Added;
use crate::proxy::upstream::connection::PoolKey;
use crate::proxy::upstream::{Pool, Tries, Unconnected, UpstreamConnection};
use crate::telemetry::{Metrics, RequestMetrics, Role};

const ASKS: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade, X-Hop\r\n\
    Keep-Alive: timeout=9\r\nX-Hop: 1\r\nUpgrade: echo/1\r\nX-End: 2\r\n\r\n";
const AGREES: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade, X-Hop\r\n\
    Upgrade: Echo/1\r\nX-Hop: 1\r\nContent-Length: 0\r\nX-End: 2\r\n\r\n";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nX-End: 2\r\nConnection: Upgrade\r\n\
    Upgrade: echo/1\r\n\r\n";
/// The size of the streams in memory.
const SMALL: usize = 1024;
const SECOND: Duration = Duration::from_secs(1);

/// A listener whose upstream is one prepared connection.
struct Upgrading {
    upstream: Mutex<Option<UpstreamConnection>>,
    permits: bool,
    idle: Option<Duration>,
    expiry: CancellationToken,
    metrics: RequestMetrics,
}

impl Policy for Upgrading {
    type State = ();

    fn begin(&self) {}

    async fn decide(
        &self,
        _: &mut Client<'_>,
        _: &RequestHeader,
        (): &mut (),
        access: &mut Access,
    ) -> Decision {
        access.allow(Reason::Permitted);
        Decision::Forward
    }

    fn own_answers(&self, (): &()) -> OwnAnswers<'_> {
        OwnAnswers {
            realm: "a",
            for_pages: false,
            metrics: &self.metrics,
        }
    }

    async fn connect(
        &self,
        _: &Arc<Pool>,
        _: &mut Tries,
        (): &mut (),
    ) -> Result<UpstreamConnection, Unconnected> {
        let upstream = self.upstream.lock().unwrap().take();
        upstream.ok_or(Unconnected::Refused(Reason::UpstreamUnreachable))
    }

    fn forward(
        &self,
        _: &mut RequestHeader,
        _: &mut Added,
        (): &mut (),
        _: SocketAddr,
        _: &Access,
    ) -> Result<(), Fault> {
        Ok(())
    }

    fn waits(&self, (): &()) -> Waits {
        Waits {
            read: Some(60 * SECOND),
            write: 20 * SECOND,
        }
    }

    fn upgrades(&self, protocol: &[u8], (): &()) -> bool {
        self.permits && protocol == b"echo/1"
    }

    fn tunnel_idle(&self, (): &()) -> Option<Duration> {
        self.idle
    }

    async fn stream_ends(&self, (): &(), _: RequestHeader) -> Reason {
        self.expiry.cancelled().await;
        Reason::Expired
    }
}

/// The observed end of a request.
struct Served {
    status: Option<StatusCode>,
    bytes: u64,
    keeps_alive: bool,
    /// How many upstream connections wait for another request.
    pooled: usize,
    metrics: String,
}

impl Served {
    fn reason(&self, decision: &str, reason: &str) -> bool {
        let labels = [
            format!("decision=\"{decision}\""),
            format!("reason=\"{reason}\""),
        ];
        let mut lines = self.metrics.lines();
        lines.any(|line| labels.iter().all(|label| line.contains(label)) && line.ends_with(" 1"))
    }
}

/// Both ends of a relayed connection.
struct Ends<C, U> {
    client: C,
    upstream: U,
    expiry: CancellationToken,
    listener_ends: CancellationToken,
    served: JoinHandle<Served>,
}

#[derive(Clone, Copy)]
struct Permits {
    upgrade: bool,
    idle: Option<Duration>,
}

const UPGRADES: Permits = Permits {
    upgrade: true,
    idle: None,
};

/// Serves one request between these streams.
fn begin<C, U>(
    (near, client): (Box<dyn ClientStream>, C),
    (far, upstream): (Stream, U),
    permits: Permits,
) -> Ends<C, U> {
    let address: SocketAddr = "127.0.0.1:80".parse().unwrap();
    let key = PoolKey {
        address,
        settings: 1,
    };
    let (expiry, listener_ends) = (CancellationToken::new(), CancellationToken::new());
    let metrics = Arc::new(Metrics::new());
    let policy = Upgrading {
        upstream: Mutex::new(Some(UpstreamConnection::http1(far, key, 60 * SECOND))),
        permits: permits.upgrade,
        idle: permits.idle,
        expiry: expiry.clone(),
        metrics: metrics.requests(Role::Inbound, "a"),
    };
    let ending = listener_ends.clone();
    let served = tokio::spawn(async move {
        let clients = Arc::new(Clients::default());
        let seat = clients.admit(address.ip(), || ()).await.unwrap();
        let mut connection = Connection::new(near, (address, address), clients, seat, ending);
        let pool = Arc::new(Pool::new(8));
        let Next::Request(head) = connection.next_request().await else {
            panic!("no request");
        };
        exchange::serve(&policy, &mut Client::Http1(&mut connection), head, &pool).await;
        let served = Served {
            status: connection.status(),
            bytes: connection.body_bytes(),
            keeps_alive: connection.keeps_alive(),
            pooled: pool.len(),
            metrics: metrics.render(),
        };
        connection.close().await;
        served
    });
    Ends {
        client,
        upstream,
        expiry,
        listener_ends,
        served,
    }
}

fn in_memory(permits: Permits) -> Ends<DuplexStream, DuplexStream> {
    let (near, client) = tokio::io::duplex(SMALL);
    let (far, upstream) = tokio::io::duplex(SMALL);
    begin((Box::new(near), client), (Box::new(far), upstream), permits)
}

async fn socket() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap());
    let (near, far) = tokio::join!(near, listener.accept());
    (near.unwrap(), far.unwrap().0)
}

async fn over_sockets() -> Ends<TcpStream, TcpStream> {
    let ((near, client), (far, upstream)) = (socket().await, socket().await);
    let far = pingora::protocols::l4::stream::Stream::from(far);
    begin(
        (Box::new(near), client),
        (Box::new(far), upstream),
        UPGRADES,
    )
}

/// Reads a head.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

async fn expect(stream: &mut (impl AsyncRead + Unpin), bytes: &[u8]) {
    let mut found = vec![0; bytes.len()];
    stream.read_exact(&mut found).await.unwrap();
    assert_eq!(found, bytes);
}

/// Reads until the end, which must come without another byte.
async fn expect_end(stream: &mut (impl AsyncRead + Unpin)) {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty(), "{rest:?}");
}

async fn switch<C, U>(ends: &mut Ends<C, U>)
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    ends.client.write_all(ASKS.as_bytes()).await.unwrap();
    let asked = head(&mut ends.upstream).await;
    let expected = "GET / HTTP/1.1\r\nHost: a\r\nX-End: 2\r\nConnection: Upgrade\r\n\
        Upgrade: echo/1\r\n\r\n";
    assert_eq!(asked, expected);
    ends.upstream.write_all(AGREES.as_bytes()).await.unwrap();
    assert_eq!(head(&mut ends.client).await, SWITCHED);
}

/// The result of a test that must not depend on a timer of the sidecar.
async fn soon<T>(result: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(5), result)
        .await
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_passes_bytes_both_ways_until_both_sides_close() {
    for client_is_first in [true, false] {
        let mut ends = in_memory(UPGRADES);
        switch(&mut ends).await;
        let (client, upstream) = (&mut ends.client, &mut ends.upstream);
        client.write_all(b"ping\r\n\r\n").await.unwrap();
        expect(upstream, b"ping\r\n\r\n").await;
        upstream.write_all(b"pong").await.unwrap();
        expect(client, b"pong").await;
        let (first, second) = if client_is_first {
            (client, upstream)
        } else {
            (upstream, client)
        };
        // The end of one direction reaches the other side, which may still send.
        first.shutdown().await.unwrap();
        expect_end(second).await;
        tokio::time::sleep(3600 * SECOND).await;
        second.write_all(b"late").await.unwrap();
        expect(first, b"late").await;
        second.shutdown().await.unwrap();
        expect_end(first).await;
        let served = ends.served.await.unwrap();
        assert_eq!(served.status, Some(StatusCode::SWITCHING_PROTOCOLS));
        assert_eq!(served.bytes, if client_is_first { 8 } else { 4 });
        assert_eq!((served.keeps_alive, served.pooled), (false, 0));
        assert!(served.reason("allow", "permitted"), "{}", served.metrics);
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_that_were_read_ahead_come_first() {
    let mut ends = in_memory(UPGRADES);
    let asks = format!("{ASKS}early, ");
    ends.client.write_all(asks.as_bytes()).await.unwrap();
    head(&mut ends.upstream).await;
    let agrees = format!("{AGREES}first, ");
    ends.upstream.write_all(agrees.as_bytes()).await.unwrap();
    ends.client.write_all(b"later").await.unwrap();
    ends.upstream.write_all(b"second").await.unwrap();
    assert_eq!(head(&mut ends.client).await, SWITCHED);
    expect(&mut ends.client, b"first, second").await;
    expect(&mut ends.upstream, b"early, later").await;
}

#[tokio::test]
async fn a_large_transfer_in_both_directions_arrives_unchanged() {
    const LENGTH: usize = 8 << 20;
    let mut ends = over_sockets().await;
    switch(&mut ends).await;
    let sent: Vec<u8> = (0..=250).cycle().take(LENGTH).collect();
    let (mut from_client, mut to_client) = ends.client.into_split();
    let (mut from_upstream, mut to_upstream) = ends.upstream.into_split();
    let (mut up, mut down) = (Vec::new(), Vec::new());
    let transfers = async {
        let write_up = async {
            to_client.write_all(&sent).await.unwrap();
            to_client.shutdown().await.unwrap();
        };
        let write_down = async {
            to_upstream.write_all(&sent).await.unwrap();
            to_upstream.shutdown().await.unwrap();
        };
        let read_up = from_upstream.read_to_end(&mut up);
        let read_down = from_client.read_to_end(&mut down);
        let ((), (), read_up, read_down) = tokio::join!(write_up, write_down, read_up, read_down);
        (read_up.unwrap(), read_down.unwrap())
    };
    let read = tokio::time::timeout(60 * SECOND, transfers).await.unwrap();
    assert_eq!(read, (LENGTH, LENGTH));
    assert!(up == sent && down == sent);
    assert_eq!(ends.served.await.unwrap().bytes, LENGTH as u64);
}

#[tokio::test]
async fn a_reset_of_either_side_ends_the_other_one_at_once() {
    let mut ends = over_sockets().await;
    switch(&mut ends).await;
    ends.client.set_zero_linger().unwrap();
    drop(ends.client);
    soon(expect_end(&mut ends.upstream)).await;
    let served = soon(ends.served).await.unwrap();
    assert!(served.reason("error", "client_gone"), "{}", served.metrics);

    let mut ends = over_sockets().await;
    switch(&mut ends).await;
    ends.upstream.set_zero_linger().unwrap();
    drop(ends.upstream);
    soon(expect_end(&mut ends.client)).await;
    drop(ends.client);
    let served = soon(ends.served).await.unwrap();
    assert!(
        served.reason("error", "upstream_broken"),
        "{}",
        served.metrics
    );
}

#[tokio::test]
async fn a_reset_after_a_half_close_ends_the_tunnel_too() {
    let mut ends = over_sockets().await;
    switch(&mut ends).await;
    ends.client.shutdown().await.unwrap();
    soon(expect_end(&mut ends.upstream)).await;
    ends.client.set_zero_linger().unwrap();
    drop(ends.client);
    let served = soon(ends.served).await.unwrap();
    assert!(served.reason("error", "client_gone"), "{}", served.metrics);
}

#[tokio::test(start_paused = true)]
async fn an_idle_tunnel_ends_after_its_limit() {
    let mut ends = in_memory(Permits {
        idle: Some(5 * SECOND),
        ..UPGRADES
    });
    switch(&mut ends).await;
    let began = Instant::now();
    tokio::time::sleep(3 * SECOND).await;
    ends.client.write_all(b"a").await.unwrap();
    expect(&mut ends.upstream, b"a").await;
    tokio::time::sleep(3 * SECOND).await;
    ends.upstream.write_all(b"b").await.unwrap();
    expect(&mut ends.client, b"b").await;
    expect_end(&mut ends.client).await;
    assert_eq!(began.elapsed().as_secs(), 11);
    expect_end(&mut ends.upstream).await;
    drop(ends.client);
    let served = ends.served.await.unwrap();
    assert!(served.reason("allow", "permitted"), "{}", served.metrics);
}

#[tokio::test(start_paused = true)]
async fn the_policy_ends_a_tunnel_on_both_sides() {
    let mut ends = in_memory(UPGRADES);
    switch(&mut ends).await;
    let began = Instant::now();
    // The end of the listener waits for a tunnel of an unknown protocol.
    ends.listener_ends.cancel();
    ends.client.write_all(b"still").await.unwrap();
    expect(&mut ends.upstream, b"still").await;
    ends.expiry.cancel();
    expect_end(&mut ends.client).await;
    expect_end(&mut ends.upstream).await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    drop(ends.client);
    let served = ends.served.await.unwrap();
    assert!(served.reason("deny", "expired"), "{}", served.metrics);
}

/// Writes until the other side takes nothing for a second. Returns how many bytes it took.
async fn fill(stream: &mut DuplexStream) -> usize {
    let mut taken = 0;
    while let Ok(written) = tokio::time::timeout(SECOND, stream.write(&[7; SMALL])).await {
        taken += written.unwrap();
    }
    taken
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_stops_the_sender_and_ends_after_its_timeout() {
    for client_sends in [false, true] {
        let mut ends = in_memory(UPGRADES);
        switch(&mut ends).await;
        let began = Instant::now();
        let sender = if client_sends {
            &mut ends.client
        } else {
            &mut ends.upstream
        };
        // One read and both streams' buffers.
        let taken = fill(sender).await;
        assert!(taken <= 16 * 1024 + 2 * SMALL, "{taken}");
        // The other direction is not held up.
        let (from, to) = if client_sends {
            (&mut ends.upstream, &mut ends.client)
        } else {
            (&mut ends.client, &mut ends.upstream)
        };
        from.write_all(b"still").await.unwrap();
        expect(to, b"still").await;
        let served = ends.served.await.unwrap();
        let (reason, seconds) = if client_sends {
            ("upstream_timeout", 20)
        } else {
            ("client_stalled", 30)
        };
        assert!(served.reason("error", reason), "{}", served.metrics);
        let took = began.elapsed().as_secs();
        // Closing lets the client end for up to two seconds.
        assert!((seconds..=seconds + 3).contains(&took), "{took}");
    }
}

/// The bytes at the upstream and at the client after this response.
async fn refused(permits: Permits, request: &str, answer: &str) -> (String, String, Served) {
    let mut ends = in_memory(permits);
    ends.client.write_all(request.as_bytes()).await.unwrap();
    let asked = head(&mut ends.upstream).await;
    ends.upstream.write_all(answer.as_bytes()).await.unwrap();
    let answered = head(&mut ends.client).await;
    drop(ends.client);
    (asked, answered, ends.served.await.unwrap())
}

#[tokio::test(start_paused = true)]
async fn an_upstream_may_answer_an_upgrade_as_an_ordinary_request() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nUpgrade: echo/1\r\n\r\nok";
    let (asked, answered, served) = refused(UPGRADES, ASKS, answer).await;
    assert!(asked.contains("Upgrade: echo/1\r\n"), "{asked}");
    assert!(answered.starts_with("HTTP/1.1 200 "), "{answered}");
    assert!(!answered.contains("Upgrade"), "{answered}");
    assert_eq!((served.bytes, served.pooled), (2, 1));
    assert!(served.keeps_alive);
}

#[tokio::test(start_paused = true)]
async fn a_switch_that_was_not_asked_for_is_a_bad_gateway() {
    let forbidden = Permits {
        upgrade: false,
        ..UPGRADES
    };
    let (asked, answered, served) = refused(forbidden, ASKS, AGREES).await;
    assert!(!asked.to_lowercase().contains("upgrade"), "{asked}");
    assert!(answered.starts_with("HTTP/1.1 502 "), "{answered}");
    assert!(
        served.reason("error", "upstream_broken"),
        "{}",
        served.metrics
    );
    for other in [
        "Upgrade: other\r\n",
        "Upgrade: echo/1, other\r\n",
        "X: y\r\n",
    ] {
        let answer = AGREES.replace("Upgrade: Echo/1\r\n", other);
        let (_, answered, served) = refused(UPGRADES, ASKS, &answer).await;
        assert!(answered.starts_with("HTTP/1.1 502 "), "{answered}");
        assert_eq!(served.pooled, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn other_requests_lose_their_upgrade() {
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    for (from, to) in [
        ("HTTP/1.1", "HTTP/1.0"),
        ("X-End: 2\r\n\r\n", "Content-Length: 1\r\n\r\nx"),
        (
            "X-End: 2\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("Upgrade: echo/1", "Upgrade: echo/1, other"),
        ("Upgrade: echo/1", "Upgrade: echo/1\r\nUpgrade: other"),
        ("Upgrade: echo/1", "Upgrade: echo/1/"),
        ("Upgrade: echo/1", "Upgrade: "),
        ("Upgrade: echo/1", "Upgrade: unknown"),
        ("keep-alive, Upgrade", "keep-alive"),
    ] {
        let request = ASKS.replacen(from, to, 1);
        assert_ne!(request, ASKS);
        let (asked, answered, _) = refused(UPGRADES, &request, ok).await;
        assert!(!asked.to_lowercase().contains("upgrade"), "{asked}");
        assert!(answered.starts_with("HTTP/1.1 200 "), "{answered}");
    }
}
