//! Upstreams with changing names, dead addresses and closed connections.
//!
//! These tests are not in `tests/it`, because they need their own resolver.

use std::sync::Mutex;

use pingora::ErrorType;
use pingora::http::RequestHeader;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::*;
use crate::domain::reason::Reason;
use crate::proxy::access::Access;
use crate::proxy::client::Client;
use crate::proxy::connection::Clients;
use crate::proxy::fault::Fault;
use crate::proxy::headers::Added;
use crate::proxy::listener::{BoundSocket, Listener, Workers};
use crate::proxy::relay::{Decision, OwnAnswers, Policy};
use crate::proxy::switch::Switch;
use crate::telemetry::{Metrics, RequestMetrics, Role};

fn own(addresses: &[&str]) -> Arc<OwnAddresses> {
    Arc::new(OwnAddresses::new(
        addresses.iter().map(|address| address.parse().unwrap()),
    ))
}

fn upstream(addresses: &[&str]) -> Arc<Upstream> {
    let second = Duration::from_secs(1);
    let config = Config {
        tls: false,
        host: "name.example".into(),
        port: 80,
        socket: None,
        h2c: false,
        identity: None,
        proxy: None,
        ca_file: None,
        server_name: "name.example".into(),
        timeouts: Timeouts {
            connect: second,
            read: second,
            write: second,
            idle: second,
        },
    };
    let upstream = Upstream::new(config, own(&[])).unwrap();
    let addresses: Vec<SocketAddr> = addresses
        .iter()
        .map(|address| address.parse().unwrap())
        .collect();
    upstream.addresses.send_replace(addresses.into());
    upstream
}

async fn tried(upstream: &Upstream, tries: &mut Tries) -> SocketAddr {
    let address = upstream.next_address(tries).await.unwrap();
    tries.begin(address);
    address
}

#[tokio::test]
async fn requests_that_fail_together_all_find_the_living_address() {
    let upstream = upstream(&["10.0.0.1:80", "10.0.0.2:80"]);
    let dead = "10.0.0.1:80".parse().unwrap();
    let mut requests: Vec<Tries> = (0..8).map(|_| Tries::default()).collect();
    for tries in &mut requests {
        assert_eq!(tried(&upstream, tries).await, dead);
    }
    for tries in &mut requests {
        assert!(upstream.connect_failed(tries, &Error::new(ErrorType::ConnectRefused)));
        assert_ne!(tried(&upstream, tries).await, dead);
    }
    // The next request does not start with the dead one.
    assert_ne!(tried(&upstream, &mut Tries::default()).await, dead);
}

#[tokio::test]
async fn when_every_address_was_tried_there_is_none_left() {
    let upstream = upstream(&["10.0.0.1:80", "10.0.0.2:80"]);
    let mut tries = Tries::default();
    tried(&upstream, &mut tries).await;
    assert!(upstream.connect_failed(&mut tries, &Error::new(ErrorType::ConnectRefused)));
    tried(&upstream, &mut tries).await;
    assert!(!upstream.connect_failed(&mut tries, &Error::new(ErrorType::ConnectRefused)));
}

#[test]
fn an_https_upstream_needs_a_name_and_real_certificates() {
    let second = Duration::from_secs(1);
    let timeouts = Timeouts {
        connect: second,
        read: second,
        write: second,
        idle: second,
    };
    let config = Config {
        tls: true,
        host: "10.0.0.1".into(),
        port: 443,
        socket: None,
        h2c: false,
        identity: None,
        proxy: None,
        ca_file: None,
        server_name: String::new(),
        timeouts,
    };
    assert_eq!(
        Upstream::new(config.clone(), own(&[])).err(),
        Some(UnusableUpstream::NoServerName)
    );
    for pem in [
        "",
        "nonsense",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, pem).unwrap();
        let config = Config {
            server_name: "a".into(),
            ca_file: Some(file.path().to_owned()),
            ..config.clone()
        };
        assert_eq!(
            Upstream::new(config, own(&[])).err(),
            Some(UnusableUpstream::Certificates),
            "{pem}"
        );
    }
}

#[test]
fn the_host_header_has_a_port_only_where_it_is_not_the_schemes_own() {
    let second = Duration::from_secs(1);
    let timeouts = Timeouts {
        connect: second,
        read: second,
        write: second,
        idle: second,
    };
    for (tls, host, port, expected) in [
        (false, "a.example", 80, "a.example"),
        (true, "a.example", 443, "a.example"),
        (true, "a.example", 80, "a.example:80"),
        (false, "::1", 8080, "[::1]:8080"),
    ] {
        let config = Config {
            tls,
            host: host.into(),
            port,
            socket: None,
            h2c: false,
            identity: None,
            proxy: None,
            ca_file: None,
            server_name: "a".into(),
            timeouts,
        };
        assert_eq!(config.authority(), expected);
    }
}

/// The results of a name server, of which the last repeats, and the times of the queries.
struct Names {
    answers: Mutex<Vec<io::Result<Vec<SocketAddr>>>>,
    asked: Mutex<Vec<Instant>>,
}

impl Names {
    fn new(answers: Vec<io::Result<Vec<SocketAddr>>>) -> Self {
        Self {
            answers: Mutex::new(answers.into_iter().rev().collect()),
            asked: Mutex::default(),
        }
    }

    async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        self.asked.lock().unwrap().push(Instant::now());
        let mut answers = self.answers.lock().unwrap();
        if answers.len() > 1 {
            return answers.pop().unwrap();
        }
        match answers.last().unwrap() {
            Ok(addresses) => Ok(addresses.clone()),
            Err(error) => Err(error.kind().into()),
        }
    }
}

fn one(address: &str) -> io::Result<Vec<SocketAddr>> {
    Ok(vec![address.parse().unwrap()])
}

#[tokio::test(start_paused = true)]
async fn a_name_is_resolved_every_five_seconds_and_the_last_good_answer_is_kept() {
    let upstream = upstream(&[]);
    let names = Names::new(vec![
        one("10.0.0.1:80"),
        one("10.0.0.2:80"),
        Err(io::ErrorKind::NotFound.into()),
        Ok(Vec::new()),
        one("10.0.0.3:80"),
    ]);
    let mut seen = Vec::new();
    let watch = async {
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(4900)).await;
            seen.push(
                tried(&upstream, &mut Tries::default())
                    .await
                    .ip()
                    .to_string(),
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        () = upstream.resolve_with(|| names.resolve()) => {}
        () = watch => {}
    }
    assert_eq!(
        seen,
        ["10.0.0.1", "10.0.0.2", "10.0.0.2", "10.0.0.2", "10.0.0.3"]
    );
}

#[tokio::test(start_paused = true)]
async fn when_no_address_answers_the_name_is_resolved_at_once_but_not_in_a_storm() {
    let upstream = upstream(&[]);
    let names = Names::new(vec![
        one("10.0.0.1:80"),
        one("10.0.0.2:80"),
        one("10.0.0.2:80"),
    ]);
    let began = Instant::now();
    let fail = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut tries = Tries::default();
        assert_eq!(
            tried(&upstream, &mut tries).await.ip().to_string(),
            "10.0.0.1"
        );
        assert!(!upstream.connect_failed(&mut tries, &Error::new(ErrorType::ConnectRefused)));
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(
            tried(&upstream, &mut Tries::default())
                .await
                .ip()
                .to_string(),
            "10.0.0.2"
        );
        // A thousand requests fail within a second.
        for _ in 0..1000 {
            let mut tries = Tries::default();
            tried(&upstream, &mut tries).await;
            upstream.connect_failed(&mut tries, &Error::new(ErrorType::ConnectRefused));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        () = upstream.resolve_with(|| names.resolve()) => {}
        () = fail => {}
    }
    let asked = names.asked.lock().unwrap();
    assert_eq!(asked[1].duration_since(began), Duration::from_secs(1));
    assert!(asked.len() <= 5, "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_was_never_resolved_is_waited_for_as_long_as_a_connect() {
    let upstream = upstream(&[]);
    let began = Instant::now();
    assert_eq!(
        upstream.next_address(&Tries::default()).await.err(),
        Some(Reason::UpstreamUnreachable)
    );
    assert_eq!(began.elapsed(), Duration::from_secs(1));
    let later = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        upstream
            .addresses
            .send_replace(Arc::new(["10.0.0.9:80".parse().unwrap()]));
    };
    let mut tries = Tries::default();
    let (address, ()) = tokio::join!(tried(&upstream, &mut tries), later);
    assert_eq!(address.to_string(), "10.0.0.9:80");
}

#[test]
fn every_timeout_of_the_configuration_reaches_the_connection() {
    let timeouts = Timeouts {
        connect: Duration::from_secs(2),
        read: Duration::from_secs(60),
        write: Duration::from_secs(30),
        idle: Duration::from_secs(50),
    };
    let options = plain_template(&timeouts).options;
    assert_eq!(options.connection_timeout, Some(Duration::from_secs(2)));
    assert_eq!(
        options.total_connection_timeout,
        Some(Duration::from_secs(2))
    );
}

/// A minimal listener that forwards every request.
struct Forwarding(Arc<Upstream>, RequestMetrics);

impl Policy for Forwarding {
    type State = ();

    fn begin(&self) {}

    async fn decide(
        &self,
        _: &mut Client<'_>,
        _: &RequestHeader,
        (): &mut (),
        _: &mut Access,
    ) -> Decision {
        Decision::Forward
    }

    fn own_answers(&self, (): &()) -> OwnAnswers<'_> {
        OwnAnswers {
            realm: "relay",
            for_pages: false,
            metrics: &self.1,
        }
    }

    async fn connect(
        &self,
        pool: &Arc<Pool>,
        tries: &mut Tries,
        (): &mut (),
    ) -> Result<UpstreamConnection, Unconnected> {
        self.0.connect(pool, tries).await
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
}

fn relay(upstream: &Arc<Upstream>) -> (Workers, Listener) {
    crate::jose::provider::install();
    let workers = Workers::start(1).unwrap();
    let socket = BoundSocket::bind("127.0.0.1:0".parse::<SocketAddr>().unwrap()).unwrap();
    let metrics = || Arc::new(Metrics::new()).requests(Role::Inbound, "relay");
    let service = Forwarding(upstream.clone(), metrics());
    let metrics = Arc::new(metrics());
    let listener = workers
        .listen(
            &socket,
            &metrics,
            Clients::default(),
            &Switch::new(service, Arc::new(())),
        )
        .unwrap();
    (workers, listener)
}

/// An upstream that returns every request as text.
async fn echo(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut request = vec![0; 4096];
        let mut length = 0;
        while !request[..length].ends_with(b"body") {
            length += stream.read(&mut request[length..]).await.unwrap();
        }
        let answer =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.write_all(&request[..length]).await.unwrap();
    }
}

#[tokio::test]
async fn a_post_moves_on_to_the_next_address_when_a_connect_fails() {
    let alive = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // Bound, so that no other program gets the port; not listening, so that connects are refused.
    let dead = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    dead.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into())
        .unwrap();
    let dead_address = dead.local_addr().unwrap().as_socket().unwrap().to_string();
    let alive_address = alive.local_addr().unwrap().to_string();
    let upstream = upstream(&[&dead_address, &alive_address]);
    let (workers, listener) = relay(&upstream);
    tokio::spawn(echo(alive));
    let mut client = TcpStream::connect(listener.addresses().next().unwrap())
        .await
        .unwrap();
    let request =
        "POST /once HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody";
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("POST /once"),
        "{answer}"
    );
    // The dead address is no longer the first choice.
    assert_eq!(
        tried(&upstream, &mut Tries::default()).await.to_string(),
        alive_address
    );
    tokio::task::spawn_blocking(|| workers.stop())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_name_that_leads_back_to_us_is_a_loop_until_it_leads_elsewhere() {
    let upstream = upstream(&[]);
    let config = upstream.config.clone();
    let upstream = Upstream::new(config.clone(), own(&["10.0.0.1:80"])).unwrap();
    let peer = async || upstream.next_address(&Tries::default()).await.map(drop);
    upstream.take(vec!["10.0.0.1:80".parse().unwrap()]);
    assert_eq!(peer().await, Err(Reason::Loop));
    // With two addresses, the other one is used.
    upstream.take(
        ["10.0.0.1:80", "10.0.0.2:80"]
            .map(|address| address.parse().unwrap())
            .to_vec(),
    );
    for _ in 0..3 {
        assert_eq!(
            tried(&upstream, &mut Tries::default()).await.to_string(),
            "10.0.0.2:80"
        );
    }
    upstream.take(vec!["10.0.0.1:80".parse().unwrap()]);
    assert_eq!(
        peer().await,
        Err(Reason::Loop),
        "the last good one has gone"
    );
    upstream.take(Vec::new());
    assert_eq!(peer().await, Err(Reason::Loop), "nothing new is known");
    let fixed = Config {
        host: "10.0.0.1".into(),
        ..config
    };
    let fixed = Upstream::new(fixed, own(&["10.0.0.1:80"])).unwrap();
    assert_eq!(
        fixed.next_address(&Tries::default()).await.map(drop),
        Err(Reason::Loop)
    );
}
