//! The connection limit of a listener, and which connection closes when it is reached.

mod descriptors;
pub mod process;

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::client::{Connection, get, request_bytes};
use crate::support::logs;
use crate::support::sidecar::Sidecar;
use crate::support::until;
use crate::support::upstream::{Answer, Upstream};

/// Every kind of listener, all with the same number of connections.
async fn sidecar(upstream: &Upstream, max: &str, inbound: &str) -> Sidecar {
    // One thread: connections become idle in the order of their answers.
    let yaml = format!(
        r#"
threads: 1
stateDir: "@DIR@"
store: {{ url: "sqlite::memory:" }}
probes: {{ listen: 127.0.0.1:0 }}
admin: {{ listen: 127.0.0.1:0, tokenFile: "@DIR@/secret", maxConnections: {max} }}
issuer:
  url: http://issuer.test
  listen: 127.0.0.1:0
  maxConnections: {max}
  clients: [{{ id: legacy, secretFile: "@DIR@/secret", allowedGrantTypes: [client_credentials] }}]
authorities: {{ self: {{ issuer: http://issuer.test }} }}
inbound:
  - {{ name: api, listen: 127.0.0.1:0, upstream: "{0}", authorities: [self], audiences: any,
      maxConnections: {max}, rules: [{{ paths: ["/**"], access: public }}] {inbound} }}
credentials: {{ hub: {{ tokenUrl: "{0}/token", clientID: legacy,
  clientSecretFile: "@DIR@/secret" }} }}
outbound:
  - {{ name: hub, listen: 127.0.0.1:0, upstream: "{0}", credential: hub, overwrite: false,
      maxConnections: {max} }}
localApi: {{ listen: 127.0.0.1:0, maxConnections: {max} }}
"#,
        upstream.url()
    );
    Sidecar::builder()
        .secret_file("secret", "legacy", "a-secret-of-16-bytes")
        .start(&yaml)
        .await
}

const LISTENERS: [&str; 5] = ["api", "hub", "issuer", "admin", "localApi"];

fn a_request(address: SocketAddr) -> Vec<u8> {
    request_bytes("GET", address, "/x", &[("Authorization", "own")], b"")
}

/// A connection from another address of this machine.
async fn from(address: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .bind((address, 0).into())
        .expect("an address of the loopback network");
    socket.connect(to).await.expect("it listens")
}

const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

async fn is_served(connection: &mut TcpStream) -> bool {
    let _ = connection
        .write_all(b"GET /x HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: own\r\n\r\n")
        .await;
    let mut answer = [0; 9];
    connection.read_exact(&mut answer).await.is_ok() && answer == *b"HTTP/1.1 "
}

/// How many of these connections the sidecar has ended.
fn ended(connections: &[TcpStream]) -> usize {
    let is_ended = |connection: &&TcpStream| loop {
        match connection.try_read(&mut [0; 4096]) {
            Ok(1..) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return false,
            Ok(0) | Err(_) => return true,
        }
    };
    connections.iter().filter(is_ended).count()
}

/// One number of the metrics.
async fn metric(sidecar: &Sidecar, line: &str) -> u64 {
    let text = get(sidecar.address("probes"), "/metrics", &[]).await.text();
    let value = text
        .lines()
        .find_map(|it| it.strip_prefix(line)?.trim().parse().ok());
    value.unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_listener_closes_its_longest_idle_connection_for_a_new_one() {
    let upstream = Upstream::start();
    let mark = logs::mark();
    let sidecar = sidecar(&upstream, "{ total: 3, perAddress: 3 }", "").await;
    for listener in LISTENERS {
        let address = sidecar.address(listener);
        let open = async || {
            let mut connection = Connection::open(address).await;
            connection.send(a_request(address)).await;
            connection.answer().await;
            connection
        };
        let (mut first, mut second, mut third) = (open().await, open().await, open().await);
        // The first sends the last request, so the second is the longest idle one.
        first.send(a_request(address)).await;
        first.answer().await;
        let mut fourth = open().await;
        assert!(second.is_ended().await, "{listener}");
        for kept in [&mut first, &mut third, &mut fourth] {
            kept.send(a_request(address)).await;
            kept.answer().await;
        }
        // Silent connections and those with an incomplete head close in their turn.
        drop((first, third, fourth));
        until("seats are free", async || {
            metric(&sidecar, &open_of(listener)).await == 0
        })
        .await;
        let mut silent = Connection::open(address).await;
        let mut slow = Connection::open(address).await;
        slow.send("GET /x HTTP/1.1\r\nHo").await;
        until("they are in", async || {
            metric(&sidecar, &open_of(listener)).await == 2
        })
        .await;
        let _served = [open().await, open().await, open().await];
        assert!(
            silent.is_ended().await && slow.is_ended().await,
            "{listener}"
        );
    }
    let full = "`maxConnections` is reached: the longest idle connection is closed";
    for listener in LISTENERS {
        let lines = logs::lines_since(mark, &[full, &format!("listener=\"{listener}\"")]);
        assert!(!lines.is_empty(), "{listener}");
    }
    let closed =
        "m2m_connections_closed_total{role=\"inbound\",listener=\"api\",reason=\"made_room\"}";
    assert_eq!(metric(&sidecar, closed).await, 3);
}

fn open_of(listener: &str) -> String {
    let role = match listener {
        "api" => "inbound",
        "hub" => "outbound",
        own => own,
    };
    format!("m2m_connections{{role=\"{role}\",listener=\"{listener}\"}}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_progress_stays_and_an_extra_connection_gets_an_answer() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream, "{ total: 2, perAddress: 2 }", "").await;
    for listener in ["api", "hub"] {
        let address = sidecar.address(listener);
        let before = upstream.received().len();
        let held = [(), ()].map(|()| {
            let (answer, stream) = Answer::stream();
            upstream.next(answer);
            stream
        });
        let (mut first, mut second) = (
            Connection::open(address).await,
            Connection::open(address).await,
        );
        first.send(a_request(address)).await;
        second.send(a_request(address)).await;
        until("both are under way", async || {
            upstream.received().len() == before + 2
        })
        .await;
        for _ in 0..3 {
            let refused = Connection::open(address).await.answer().await;
            assert_eq!(
                (refused.status, refused.header("x-m2m-reason")),
                (503, Some("too_many_connections"))
            );
            assert!(refused.header("retry-after").is_some());
            assert_eq!(refused.header("connection"), Some("close"));
        }
        held.into_iter().for_each(|stream| stream.finish());
        assert_eq!(
            (first.answer().await.status, second.answer().await.status),
            (200, 200),
            "{listener}"
        );
        let mut third = Connection::open(address).await;
        third.send(a_request(address)).await;
        assert_eq!(
            third.answer().await.status,
            200,
            "{listener}: an idle one gave way"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_with_many_connections_gives_way_before_others_do() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream, "{ total: 8, perAddress: 8 }", "").await;
    let address = sidecar.address("api");
    // Idle for longest, but it stays.
    let mut good = Connection::open(address).await;
    good.send(a_request(address)).await;
    good.answer().await;
    let mut many = Vec::new();
    for _ in 0..40 {
        let mut one = from(OTHER, address).await;
        assert!(is_served(&mut one).await);
        many.push(one);
    }
    good.send(a_request(address)).await;
    assert_eq!(good.answer().await.status, 200);
    // A third address takes a seat of the address with the most.
    assert!(is_served(&mut from(Ipv4Addr::new(127, 0, 0, 3), address).await).await);
    until("one more of them is closed", async || ended(&many) == 34).await;
    good.send(a_request(address)).await;
    assert_eq!(good.answer().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_holds_only_its_share_unless_it_is_a_trusted_proxy() {
    let upstream = Upstream::start();
    let max = "{ total: 8, perAddress: 2 }";
    let without = sidecar(&upstream, max, "").await;
    let address = without.address("api");
    let mut opened = Vec::new();
    for _ in 0..3 {
        let mut one = from(OTHER, address).await;
        assert!(is_served(&mut one).await);
        opened.push(one);
    }
    // The load decides which of the two became idle first; the unit tests check the order.
    until("one of the two is closed", async || {
        ended(&opened[..2]) == 1
    })
    .await;
    let mut another = from(Ipv4Addr::LOCALHOST, address).await;
    assert!(is_served(&mut another).await);
    assert_eq!(metric(&without, &open_of("api")).await, 2 + 1);
    let with = sidecar(&upstream, max, ", trustedProxies: [127.0.0.2]").await;
    let address = with.address("api");
    let mut opened = Vec::new();
    for _ in 0..8 {
        let mut one = from(OTHER, address).await;
        assert!(is_served(&mut one).await);
        opened.push(one);
    }
    assert_eq!(metric(&with, &open_of("api")).await, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_client_that_never_goes_away_gives_way_too() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream, "{ total: 2, perAddress: 2 }", "").await;
    let address = sidecar.address("api");
    // The answer comes before the body; the sidecar then reads on for a short time.
    let mut lingering = Vec::new();
    for _ in 0..2 {
        let mut one = Connection::open(address).await;
        one.send("POST /%2e%2e HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\nabc")
            .await;
        assert_eq!(one.answer().await.status, 400);
        lingering.push(one);
    }
    let mut good = Connection::open(address).await;
    good.send(a_request(address)).await;
    assert_eq!(good.answer().await.status, 200);
}
