//! Sidecars that point at each other: a request must not circulate until no descriptor is left.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpStream};

use crate::support::client::{get, request};
use crate::support::lock;
use crate::support::sidecar::Sidecar;
use crate::support::upstream::Upstream;

/// A port that is known before its target, and that counts connections.
struct Relay {
    address: SocketAddr,
    to: Arc<Mutex<Option<SocketAddr>>>,
    connections: Arc<Mutex<usize>>,
}

impl Relay {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (to, connections) = (Arc::new(Mutex::new(None)), Arc::new(Mutex::new(0)));
        let (target, count) = (to.clone(), connections.clone());
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                *lock(&count) += 1;
                let to: Option<SocketAddr> = *lock(&target);
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(to.expect("it is set"))
                        .await
                        .expect("it listens");
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Self {
            address,
            to,
            connections,
        }
    }
}

/// A sidecar with an inbound and an outbound listener, both with this upstream.
async fn sidecar(upstream: SocketAddr) -> Sidecar {
    let yaml = format!(
        r#"
stateDir: "@DIR@"
authorities: {{ a: {{ issuer: "http://127.0.0.1:9" }} }}
inbound:
  - {{ name: api, listen: 127.0.0.1:0, upstream: "http://{upstream}", authorities: [a], audiences: any, rules: [{{ paths: ["/**"], access: public }}] }}
credentials: {{ hub: {{ tokenUrl: "http://127.0.0.1:9/token", clientID: legacy, clientSecretFile: "@DIR@/secret" }} }}
outbound:
  - {{ name: hub, listen: 127.0.0.1:0, upstream: "http://{upstream}", credential: hub, overwrite: false }}
  - name: proxy
    listen: 127.0.0.1:0
    overwrite: false
    forwardProxy:
      targets: [{{ host: hub.test, upstream: "http://{upstream}", credential: hub }}]
"#
    );
    Sidecar::builder()
        .secret_file("secret", "legacy", "a-secret-of-16-bytes")
        .start(&yaml)
        .await
}

const OWN: (&str, &str) = ("Authorization", "own");

#[tokio::test(flavor = "multi_thread")]
async fn a_returning_request_is_508_after_one_round() {
    for first in ["api", "hub"] {
        for second in ["api", "hub"] {
            let relay = Relay::start().await;
            let b = sidecar(relay.address).await;
            let a = sidecar(b.address(second)).await;
            *lock(&relay.to) = Some(a.address(first));
            for _ in 0..2 {
                let answer = request("GET", a.address(first), "/x", &[OWN], b"").await;
                let refusal = (answer.status, answer.header("x-m2m-reason"));
                // An inbound listener removes the reason of its upstream.
                assert!(answer.status == 508, "{first}, {second}: {refusal:?}");
            }
            let rounds = *lock(&relay.connections);
            assert!(rounds <= 2, "{first}, {second}: {rounds}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forward_proxy_in_a_ring_is_found_too() {
    let relay = Relay::start().await;
    let a = sidecar(relay.address).await;
    *lock(&relay.to) = Some(a.address("api"));
    // proxy → api → api.
    let target = "http://hub.test/x";
    let answer = request(
        "GET",
        a.address("proxy"),
        target,
        &[("Host", "hub.test"), OWN],
        b"",
    )
    .await;
    assert_eq!(answer.status, 508, "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_sidecars_is_not_a_loop() {
    let upstream = Upstream::start();
    let last = sidecar(upstream.address()).await;
    let middle = sidecar(last.address("api")).await;
    let first = sidecar(middle.address("hub")).await;
    for _ in 0..3 {
        assert_eq!(
            request("GET", first.address("api"), "/x", &[OWN], b"")
                .await
                .status,
            200
        );
    }
    let marks: Vec<_> = upstream
        .received()
        .iter()
        .map(|request| request.header("m2m-loop").expect("a mark").to_owned())
        .collect();
    assert_eq!(marks[0].split(',').count(), 3, "{marks:?}");
    assert!(marks.iter().all(|mark| *mark == marks[0]));
}

/// A client that has the mark of a listener can only end its own request.
#[tokio::test(flavor = "multi_thread")]
async fn a_forged_mark_affects_only_its_own_request() {
    let upstream = Upstream::start();
    let sidecar = sidecar(upstream.address()).await;
    for listener in ["api", "hub"] {
        let address = sidecar.address(listener);
        assert_eq!(get(address, "/x", &[OWN]).await.status, 200);
        let mark = upstream
            .received()
            .pop()
            .expect("a request")
            .header("m2m-loop")
            .expect("one")
            .to_owned();
        // Guesses pass, and invalid marks are not forwarded.
        for forged in [
            "",
            "x",
            "a, b",
            &"0".repeat(32),
            &mark.to_uppercase(),
            &mark[1..],
        ] {
            assert_eq!(
                get(address, "/x", &[OWN, ("M2M-Loop", forged)])
                    .await
                    .status,
                200,
                "{forged}"
            );
            let sent = upstream.received().pop().expect("a request");
            let sent = sent.header("m2m-loop").expect("a mark");
            assert!(
                sent.ends_with(&mark) && sent.len() <= 2 * mark.len() + 1,
                "{sent}"
            );
        }
        // A client that saw the mark behind the sidecar can end only its own request.
        let answer = get(address, "/x", &[OWN, ("M2M-Loop", &mark)]).await;
        assert_eq!(
            (answer.status, answer.header("x-m2m-reason")),
            (508, Some("loop"))
        );
        assert!(!answer.text().contains(&mark));
        assert_eq!(get(address, "/x", &[OWN]).await.status, 200);
        // A long one is refused before it grows further.
        let long = [&*"0".repeat(32); 16].join(",");
        assert_eq!(
            get(address, "/x", &[OWN, ("M2M-Loop", &long)]).await.status,
            508
        );
    }
}
