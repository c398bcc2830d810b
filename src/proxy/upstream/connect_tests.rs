use std::sync::Arc;
use std::time::Duration;

use http::Version;
use pingora::http::RequestHeader;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::super::connection::RequestBody;
use super::*;
use crate::proxy::anywhere::Anywhere;
use crate::proxy::own::OwnAddresses;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn timeouts() -> Timeouts {
    let long = Duration::from_secs(20);
    Timeouts {
        connect: long,
        read: long,
        write: long,
        idle: long,
    }
}

fn file(content: String) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, content).unwrap();
    file
}

fn upstream(tls: bool, ca_pem: Option<String>, addresses: &[SocketAddr]) -> Arc<Upstream> {
    crate::jose::provider::install();
    // It is read once here; nothing watches it.
    let ca_file = ca_pem.map(file);
    let config = Config {
        tls,
        host: "a.example".into(),
        port: 1,
        socket: None,
        h2c: false,
        identity: None,
        proxy: None,
        ca_file: ca_file.as_ref().map(|file| file.path().to_owned()),
        server_name: "a.example".into(),
        timeouts: timeouts(),
    };
    let upstream = Upstream::new(config, Arc::new(OwnAddresses::new([]))).unwrap();
    upstream.addresses.send_replace(addresses.into());
    upstream
}

/// A listener that answers every request on every connection.
async fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 1024];
                while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                    stream.write_all(ANSWER).await.unwrap();
                }
            });
        }
    });
    address
}

/// Bound, so that no other program gets the port; not listening, so that connects are refused.
fn dead() -> (socket2::Socket, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket
        .bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into())
        .unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

async fn exchange(connection: &mut UpstreamConnection) -> Vec<u8> {
    let mut head = RequestHeader::build("GET", b"/", None).unwrap();
    head.set_version(Version::HTTP_11);
    connection.begin(&head, &[], RequestBody::None).unwrap();
    std::future::poll_fn(|cx| connection.poll_send(cx))
        .await
        .unwrap();
    std::future::poll_fn(|cx| connection.poll_head(cx))
        .await
        .unwrap();
    let mut body = Vec::new();
    while let Some(part) = std::future::poll_fn(|cx| connection.poll_body(cx))
        .await
        .unwrap()
    {
        body.extend_from_slice(&part);
    }
    body
}

#[tokio::test]
async fn a_kept_connection_is_used_unless_a_new_one_is_required() {
    let address = server().await;
    let (upstream, pool) = (upstream(false, None, &[address]), Pool::new(9));
    for is_reused in [false, true, true] {
        let mut tries = Tries::default();
        let mut connection = upstream.connect(&pool, &mut tries).await.unwrap();
        assert_eq!(connection.is_reused(), is_reused);
        assert_eq!(tries.current, Some(address));
        assert_eq!(exchange(&mut connection).await, b"ok");
        connection.release(&pool);
        assert_eq!(pool.len(), 1);
    }
    let mut tries = Tries::default();
    tries.require_new_connection();
    let connection = upstream.connect(&pool, &mut tries).await.unwrap();
    assert!(!connection.is_reused());
}

#[tokio::test]
async fn a_failed_address_moves_on_to_the_next() {
    let (_socket, dead) = dead();
    let alive = server().await;
    let (upstream, pool) = (upstream(false, None, &[dead, alive]), Pool::new(9));
    for _ in 0..2 {
        let mut tries = Tries::default();
        let connection = upstream.connect(&pool, &mut tries).await.unwrap();
        assert_eq!(connection.address(), alive);
    }
    let anywhere = Anywhere::new(timeouts(), Arc::new(OwnAddresses::new([])));
    for is_reused in [false, true] {
        let mut tries = Tries::default();
        let connection = anywhere.connect(&pool, &[dead, alive], &mut tries).await;
        let mut connection = connection.unwrap();
        assert_eq!(connection.address(), alive);
        assert_eq!(connection.is_reused(), is_reused);
        exchange(&mut connection).await;
        connection.release(&pool);
    }
    let refused = anywhere
        .connect(&pool, &[dead], &mut Tries::default())
        .await;
    assert_eq!(
        fault(refused.err().unwrap()).reason,
        Reason::UpstreamUnreachable
    );
}

#[tokio::test]
async fn a_request_makes_no_more_than_four_attempts() {
    let dead: Vec<_> = (0..6).map(|_| dead()).collect();
    let addresses: Vec<SocketAddr> = dead.iter().map(|(_, address)| *address).collect();
    let (upstream, pool) = (upstream(false, None, &addresses), Pool::new(9));
    let mut tries = Tries::default();
    let failed = upstream.connect(&pool, &mut tries).await.err().unwrap();
    assert!(matches!(
        failed,
        Unconnected::Failed(UpstreamError::Connect(_))
    ));
    assert_eq!(tries.failed, addresses[..4]);
    assert!(!tries.may_try());
    let refused = upstream.connect(&pool, &mut tries).await.err().unwrap();
    assert_eq!(fault(refused).reason, Reason::UpstreamUnreachable);
}

#[tokio::test]
async fn a_name_without_an_address_is_waited_for_and_our_own_address_is_a_loop() {
    let (upstream, pool) = (upstream(false, None, &[]), Pool::new(9));
    let address = server().await;
    let mut tries = Tries::default();
    let later = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        upstream.addresses.send_replace(Arc::new([address]));
    };
    let (connection, ()) = tokio::join!(upstream.connect(&pool, &mut tries), later);
    assert_eq!(connection.unwrap().address(), address);
    upstream.addresses.send_replace(Arc::new([]));
    upstream.leads_back.store(true, Ordering::Relaxed);
    let refused = upstream.connect(&pool, &mut Tries::default()).await;
    assert!(matches!(refused, Err(Unconnected::Refused(Reason::Loop))));
}

/// A TLS server with a certificate of its own for `a.example`, and that certificate.
async fn tls_server() -> (SocketAddr, String) {
    crate::jose::provider::install();
    let own = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let mut buffer = [0; 1024];
                while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                    stream.write_all(ANSWER).await.unwrap();
                }
            });
        }
    });
    (address, own.cert.pem())
}

#[tokio::test]
async fn only_a_trusted_server_gets_a_connection_over_tls() {
    let (address, pem) = tls_server().await;
    let pool = Pool::new(9);
    let trusting = upstream(true, Some(pem), &[address]);
    for is_reused in [false, true] {
        let mut tries = Tries::default();
        let mut connection = trusting.connect(&pool, &mut tries).await.unwrap();
        assert_eq!(connection.is_reused(), is_reused);
        assert_eq!(exchange(&mut connection).await, b"ok");
        connection.release(&pool);
    }
    // Kept connections of another trust are not used. Neither another certificate nor the
    // platform's prove the server's own.
    let (_, other) = tls_server().await;
    for ca_pem in [Some(other), None] {
        let suspicious = upstream(true, ca_pem, &[address]);
        let refused = suspicious.connect(&pool, &mut Tries::default()).await;
        assert_eq!(fault(refused.err().unwrap()).reason, Reason::UpstreamTls);
    }
    assert_eq!(pool.len(), 1);
}

/// A server that agrees on HTTP/2 first, perhaps announces WebSockets there, and never answers.
async fn server_of_both(announces: bool) -> (SocketAddr, String) {
    let own = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(own.signing_key.serialize_der().into());
    let builder =
        rustls::ServerConfig::builder_with_provider(crate::http_client::trust::provider());
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let chain = vec![own.cert.der().clone()];
    let mut config = builder
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let stream = acceptor.accept(stream).await.unwrap();
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                let mut builder = h2::server::Builder::new();
                if announces {
                    builder.enable_connect_protocol();
                }
                let begun = builder.handshake::<_, bytes::Bytes>(stream).await;
                let mut connection = begun.unwrap();
                tokio::spawn(async move { while connection.accept().await.is_some() {} });
            } else {
                tokio::spawn(async move {
                    tokio::time::sleep(timeouts().read).await;
                    drop(stream)
                });
            }
        }
    });
    (address, own.cert.pem())
}

#[tokio::test]
async fn a_websocket_gets_http1_unless_an_upstream_of_both_announces_it_for_http2() {
    for announces in [false, true] {
        for order in [[false, true, false, true], [true, false, true, true]] {
            let (address, pem) = server_of_both(announces).await;
            let (upstream, pool) = (upstream(true, Some(pem), &[address]), Pool::new(9));
            for asks in order {
                let mut tries = Tries::default();
                if asks {
                    tries.ask_for_websocket();
                }
                let connection = upstream.connect(&pool, &mut tries).await.unwrap();
                assert_eq!(connection.is_http2(), announces || !asks);
                connection.release(&pool);
            }
            // The connection of HTTP/2 that carries no WebSockets serves other requests.
            assert_eq!(pool.shared(), 1);
        }
    }
}

#[test]
fn connections_with_other_settings_are_told_apart() {
    crate::jose::provider::install();
    let pem = || {
        let own = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
        file(own.cert.pem())
    };
    let (one, other) = (pem(), pem());
    let settings = |change: &dyn Fn(&mut Config)| {
        let mut config = Config {
            tls: true,
            host: "a".into(),
            port: 1,
            socket: None,
            h2c: false,
            ca_file: None,
            server_name: "a".into(),
            identity: None,
            proxy: None,
            timeouts: timeouts(),
        };
        change(&mut config);
        let upstream = Upstream::new(config, Arc::new(OwnAddresses::new([]))).unwrap();
        upstream.key(SocketAddr::from(([10, 0, 0, 1], 1))).settings
    };
    let plain = |config: &mut Config| config.tls = false;
    let h2c = |config: &mut Config| (config.tls, config.h2c) = (false, true);
    let socket = |path: &str| Some(path.into());
    let all = [
        settings(&|_| {}),
        settings(&|config| config.server_name = "b".into()),
        settings(&|config| config.ca_file = Some(one.path().to_owned())),
        settings(&|config| config.ca_file = Some(other.path().to_owned())),
        settings(&plain),
        settings(&h2c),
        settings(&|config| (config.tls, config.socket) = (false, socket("/a"))),
        settings(&|config| (config.tls, config.socket) = (false, socket("/b"))),
    ];
    for (at, one) in all.iter().enumerate() {
        assert!(!all[at + 1..].contains(one), "{at}");
    }
    assert_eq!(settings(&plain), PLAIN);
}

fn fault(refused: Unconnected) -> Fault {
    match refused {
        Unconnected::Refused(reason) => reason.into(),
        Unconnected::Failed(error) => error.fault(),
    }
}
