//! The peers that may ask: by address, by certificate, over a Unix socket.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use tokio::net::UnixStream;

use super::{Original, World, is, outcome, question_bytes, yaml};
use crate::support::authority::{Authority, Endpoint};
use crate::support::certificates::{CertificateAuthority, TlsClient};
use crate::support::client::Connection;
use crate::support::logs;
use crate::support::sidecar::Sidecar;

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_not_named_gets_403_for_everything() {
    let world = World::new("original", "    trustedProxies: [192.0.2.1]").await;
    let mark = logs::mark();
    let bearer = world.bearer("devices:read");
    for uri in ["/public/untrusted", "/devices/7", "/a/../b"] {
        let headers = [("X-Forwarded-For", "192.0.2.1")];
        let original = Original {
            headers: &headers,
            ..Original::get(uri)
        };
        let answer = world.ask("original", original, Some(&bearer)).await;
        assert_eq!(outcome(&answer), is(403, "asking_peer"), "{uri}");
        assert_eq!(answer.header("x-m2m-subject"), None);
    }
    // Its report is not believed, in the log either.
    let line = logs::wait_for_line(mark, &[" access: ", "reason=\"asking_peer\""]).await;
    assert!(
        line.contains("peer=127.0.0.1:") && line.contains("path=\"/\""),
        "{line}"
    );
    let world = World::new("original", "    trustedProxies: [127.0.0.1, 192.0.2.0/24]").await;
    assert_eq!(world.get("original", "/public/a", None).await, is(200, "-"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_can_open_the_socket_may_ask() {
    let authority = Authority::start();
    let yaml = yaml(
        &authority.issuer(),
        "original",
        "    trustedProxies: [192.0.2.1]",
    )
    .replace(
        "    listen: 127.0.0.1:0\n    from",
        "    listen: \"unix:@DIR@/decide\"\n    from",
    );
    let sidecar = Sidecar::start(&yaml).await;
    authority.wait_for_fetches(Endpoint::Jwks, 1).await;
    let stream = UnixStream::connect(sidecar.path("decide")).await;
    let mut connection = Connection::over(stream.expect("a listener"));
    let address = ([127, 0, 0, 1], 80).into();
    let headers = [("X-Forwarded-For", "203.0.113.9")];
    let original = Original {
        headers: &headers,
        ..Original::get("/public/socket")
    };
    let mark = logs::mark();
    connection
        .send(question_bytes("GET", address, original, b""))
        .await;
    assert_eq!(connection.answer().await.status, 200);
    let line = logs::wait_for_line(mark, &[" access: ", "path=\"/public/socket\""]).await;
    assert!(line.contains("peer=203.0.113.9 via=unix"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_a_proxy_shows_its_certificate() {
    let (own, clients) = (
        CertificateAuthority::new("own"),
        CertificateAuthority::new("clients"),
    );
    let server = own.server(&["decide.test"]);
    let tls = r#"    tls: { certFile: "@DIR@/cert.pem", keyFile: "@DIR@/key.pem",
      clientCertificate: optional, clientCaFile: "@DIR@/clients.pem" }"#;
    let proxy = TlsClient::showing(&own.pem, &clients.client("proxy"));
    let nameless = TlsClient::trusting(&own.pem);
    let authority = Authority::start();
    let named = "    trustedProxies: [192.0.2.1]";
    let loopback = Some(IpAddr::from(Ipv4Addr::LOCALHOST));
    for (named, from, expected) in [
        ("", loopback, [is(200, "-"), is(200, "-")]),
        ("", outer_address(), [is(200, "-"), is(403, "asking_peer")]),
        (
            named,
            loopback,
            [is(403, "asking_peer"), is(403, "asking_peer")],
        ),
    ] {
        // A machine without a network has no other address.
        let Some(from) = from else { continue };
        let yaml = yaml(&authority.issuer(), "original", &format!("{tls}\n{named}"));
        let yaml = yaml.replace(
            "listen: 127.0.0.1:0\n    from",
            "listen: 0.0.0.0:0\n    from",
        );
        let sidecar = Sidecar::builder()
            .file("cert.pem", &server.cert_pem)
            .key_file("key.pem", &server.key_pem)
            .file("clients.pem", &clients.pem)
            .start(&yaml)
            .await;
        let address = SocketAddr::new(from, sidecar.address("original").port());
        for (client, expected) in [&proxy, &nameless].into_iter().zip(expected) {
            let mut connection = client.open(address, "decide.test").await;
            let question = question_bytes("GET", address, Original::get("/public/a"), b"");
            connection.send(question).await;
            assert_eq!(
                outcome(&connection.answer().await),
                expected,
                "{named} {from}"
            );
        }
    }
}

/// An address of this machine that is not a loopback address. The source of a connection to it is
/// this address too.
fn outer_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // It sends nothing.
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback()).then_some(address)
}
