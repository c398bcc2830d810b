//! Handshakes: versions, names, failures, limits, resumption.

use std::io;
use std::time::Duration;

use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{NAME, OverTls, World, ask, shown};
use crate::support::certificates::{CertificateAuthority, TlsClient};
use crate::support::client::get;
use crate::support::{logs, until};

fn kind(connection: &mut OverTls) -> HandshakeKind {
    let kind = connection.stream().get_ref().1.handshake_kind();
    kind.expect("the handshake is over")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_can_refuse_the_older_version() {
    let world = World::new(", minVersion: 1.3").await;
    let mark = logs::mark();
    let ca = &world.authority.pem;
    let old = TlsClient::with(ca, None, &[&TLS12], &[]);
    let error = old
        .try_open(world.address(), NAME)
        .await
        .err()
        .expect("a failure");
    assert!(error.to_string().contains("ProtocolVersion"), "{error}");
    logs::wait_for_line(mark, &["listener=\"api\"", "reason=\"version\""]).await;
    let new = TlsClient::with(ca, None, &[&TLS13], &[]);
    let mut connection = new.open(world.address(), NAME).await;
    assert_eq!(ask(&mut connection, "/x").await.status, 200);
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_that_a_client_calls_chooses_the_certificate() {
    let further = r#", certificates: [
        { certFile: "@DIR@/second.crt", keyFile: "@DIR@/second.key" } ]"#;
    let world = World::with(further, |authority, builder| {
        let second = authority.server(&["second.test", "*.wild.test"]);
        builder
            .file("second.crt", &second.cert_pem)
            .file("second.key", &second.key_pem)
    })
    .await;
    let client = world.client();
    let mut first = client.open(world.address(), NAME).await;
    let mut second = client.open(world.address(), "second.test").await;
    let mut wild = client.open(world.address(), "a.wild.test").await;
    assert_eq!(shown(&mut second), shown(&mut wild));
    assert_ne!(shown(&mut first), shown(&mut second));
    // The first certificate serves all other names, and then the client refuses it.
    let mark = logs::mark();
    let other = client.try_open(world.address(), "other.test").await;
    let error = other.err().expect("a failure").to_string();
    assert!(
        error.contains("other.test") && error.contains(NAME),
        "{error}"
    );
    logs::wait_for_line(mark, &["listener=\"api\"", "reason=\"alert\""]).await;
    for name in [NAME, "second.test"] {
        let left = world
            .metric("m2m_certificate_expiry_seconds", &[name])
            .await;
        assert!(left.is_some_and(|left| left > 1e9), "{name}: {left:?}");
    }
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protocol_that_the_listener_lacks_ends_the_handshake() {
    let world = World::new("").await;
    let mark = logs::mark();
    let other = TlsClient::with(
        &world.authority.pem,
        None,
        rustls::ALL_VERSIONS,
        &["spdy/3"],
    );
    assert!(other.try_open(world.address(), NAME).await.is_err());
    logs::wait_for_line(mark, &["listener=\"api\"", "reason=\"protocol\""]).await;
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_disconnections_are_counted_by_their_kind() {
    let world = World::new("").await;
    // A record that claims to be a handshake, and a byte that begins no protocol.
    for bytes in [
        &b"\x16\x03\x01\x00\x05hello"[..],
        b"\x00\x01\x02\x03\x04\x05\x06",
    ] {
        let mut garbage = TcpStream::connect(world.address())
            .await
            .expect("a connection");
        garbage.write_all(bytes).await.expect("it is accepted");
        let mut rest = Vec::new();
        let _ = garbage.read_to_end(&mut rest).await;
    }
    let mut cut = TcpStream::connect(world.address())
        .await
        .expect("a connection");
    cut.write_all(b"\x16\x03\x01\x02\x00")
        .await
        .expect("it is accepted");
    drop(cut);
    // A check of a load balancer, which sends nothing, is no failed handshake.
    drop(
        TcpStream::connect(world.address())
            .await
            .expect("a connection"),
    );
    until("the handshakes are counted", async || {
        let count = async |result: &str| {
            let label = format!("result=\"{result}\"");
            world.metric("m2m_tls_handshakes_total", &[&label]).await
        };
        count("other").await == Some(2.0) && count("disconnected").await == Some(1.0)
    })
    .await;
    world.sidecar.stop().await;
}

/// How long the listener keeps a connection that sends these bytes, and then one byte a second.
async fn kept(world: &World, bytes: &[u8], trickles: bool) -> Duration {
    let began = Instant::now();
    let mut stream = TcpStream::connect(world.address())
        .await
        .expect("a connection");
    stream.write_all(bytes).await.expect("it is accepted");
    let mut rest = [0; 64];
    loop {
        let pause = if trickles {
            Duration::from_secs(1)
        } else {
            Duration::from_secs(60)
        };
        match tokio::time::timeout(pause, stream.read(&mut rest)).await {
            Ok(Ok(0) | Err(_)) => return began.elapsed(),
            Ok(Ok(_)) => {}
            Err(_) if trickles && began.elapsed() < Duration::from_secs(60) => {
                let _ = stream.write_all(b"\x00").await;
            }
            Err(_) => panic!("the connection is kept"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_takes_too_long_is_cut_off() {
    let world = World::new("").await;
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let (silent, half, trickling) = tokio::join!(
        kept(&world, b"", false),
        kept(&world, hello, false),
        kept(&world, hello, true),
    );
    for (what, kept) in [("silent", silent), ("half", half), ("trickling", trickling)] {
        let range = Duration::from_secs(9)..Duration::from_secs(25);
        assert!(range.contains(&kept), "{what}: {kept:?}");
    }
    let closed = world
        .metric("m2m_connections_closed_total", &["reason=\"silent\""])
        .await;
    assert_eq!(closed, Some(1.0));
    let timeouts = world
        .metric("m2m_tls_handshakes_total", &["result=\"timeout\""])
        .await;
    assert_eq!(timeouts, Some(2.0));
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_resumed_with_both_versions() {
    let world = World::new("").await;
    for version in rustls::ALL_VERSIONS {
        let client = TlsClient::with(&world.authority.pem, None, &[version], &[]);
        let mut first = client.open(world.address(), NAME).await;
        assert_eq!(ask(&mut first, "/x").await.status, 200);
        assert_eq!(kind(&mut first), HandshakeKind::Full);
        let mut second = client.open(world.address(), NAME).await;
        assert_eq!(ask(&mut second, "/x").await.status, 200);
        assert_eq!(kind(&mut second), HandshakeKind::Resumed, "{version:?}");
    }
    world.sidecar.stop().await;
}

/// Begins handshakes until the time is over.
async fn flood(address: std::net::SocketAddr, ca_pem: String, end: Instant) -> usize {
    let mut count = 0;
    while Instant::now() < end {
        // Without resumption, as of many clients.
        let client = TlsClient::trusting(&ca_pem);
        if client.try_open(address, NAME).await.is_ok() {
            count += 1;
        }
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_handshakes_does_not_delay_requests_under_way() {
    let world = World::new("").await;
    let mut connection = world.client().open(world.address(), NAME).await;
    assert_eq!(ask(&mut connection, "/x").await.status, 200);
    let end = Instant::now() + Duration::from_secs(2);
    let floods =
        (0..64).map(|_| tokio::spawn(flood(world.address(), world.authority.pem.clone(), end)));
    let floods: Vec<_> = floods.collect();
    let mut times = Vec::new();
    while Instant::now() < end {
        let began = Instant::now();
        assert_eq!(ask(&mut connection, "/x").await.status, 200);
        times.push(began.elapsed());
    }
    let mut handshakes = 0;
    for flood in floods {
        handshakes += flood.await.expect("a flood");
    }
    times.sort();
    let median = times[times.len() / 2];
    eprintln!(
        "{handshakes} handshakes, {} requests, median {median:?}",
        times.len()
    );
    // The clients of the flood share the machine with the sidecar, so the limit is generous.
    assert!(median < Duration::from_millis(250), "{median:?}");
    assert!(handshakes > 64, "{handshakes}");
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_gives_way_to_another_connection_and_ends_with_the_listener() {
    let authority = CertificateAuthority::new("the servers' authority");
    let pair = authority.server(&[NAME]);
    let builder = crate::support::sidecar::Sidecar::builder()
        .file("tls.crt", &pair.cert_pem)
        .file("tls.key", &pair.key_pem);
    let upstream = crate::support::upstream::Upstream::start();
    let yaml = super::yaml(&upstream, "").replace(
        "    upstream:",
        "    maxConnections: { total: 2, perAddress: 2 }\n    upstream:",
    );
    let sidecar = builder.start(&yaml).await;
    let address = sidecar.address("api");
    let mut silent = TcpStream::connect(address).await.expect("a connection");
    silent
        .write_all(b"\x16\x03\x01")
        .await
        .expect("it is accepted");
    let client = TlsClient::trusting(&authority.pem);
    let mut first = client.open(address, NAME).await;
    assert_eq!(ask(&mut first, "/x").await.status, 200);
    // The silent handshake is the longest idle connection.
    let mut second = client.open(address, NAME).await;
    assert_eq!(ask(&mut second, "/x").await.status, 200);
    let end = silent.read(&mut [0; 16]).await;
    assert!(
        matches!(&end, Ok(0)) || end.is_err_and(|it| it.kind() == io::ErrorKind::ConnectionReset)
    );
    drop(second);
    let mut waiting = TcpStream::connect(address).await.expect("a connection");
    waiting
        .write_all(b"\x16\x03\x01")
        .await
        .expect("it is accepted");
    assert_eq!(
        get(sidecar.address("probes"), "/livez", &[]).await.status,
        200
    );
    let began = Instant::now();
    sidecar.stop().await;
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "{:?}",
        began.elapsed()
    );
    let _ = waiting.read(&mut [0; 16]).await;
}
