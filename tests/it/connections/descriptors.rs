//! The sidecar with few file descriptors.

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::process::Process;
use crate::support::client::{Connection, RawAnswer, get, request_bytes, try_send_raw};
use crate::support::until;
use crate::support::upstream::Upstream;

fn yaml(upstream: &str) -> String {
    format!(
        r#"
stateDir: "@DIR@"
probes: {{ listen: 127.0.0.1:0 }}
admin: {{ listen: 127.0.0.1:0, tokenFile: "@DIR@/secret" }}
issuer:
  url: http://issuer.test
  listen: 127.0.0.1:0
  clients: [{{ id: legacy, secretFile: "@DIR@/secret", allowedGrantTypes: [client_credentials] }}]
authorities: {{ self: {{ issuer: http://issuer.test }} }}
inbound:
  - {{ name: api, listen: 127.0.0.1:0, upstream: "{upstream}", authorities: [self], audiences: any,
      rules: [{{ paths: ["/**"], access: public }}] }}
credentials: {{ hub: {{ tokenUrl: "{upstream}/token", clientID: legacy,
  clientSecretFile: "@DIR@/secret" }} }}
outbound:
  - {{ name: hub, listen: 127.0.0.1:0, upstream: "{upstream}", credential: hub, overwrite: false }}
"#
    )
}

/// Reconnects after each close, and never sends a byte.
async fn hold_and_come_back(address: std::net::SocketAddr, over: &CancellationToken) {
    while !over.is_cancelled() {
        if let Ok(mut stream) = TcpStream::connect(address).await {
            let mut answer = [0; 1024];
            tokio::select! {
                _ = stream.read(&mut answer) => {}
                () = over.cancelled() => {}
            }
        }
    }
}

/// Asks again, as HTTP clients do, when the connection was closed before its request arrived. A
/// busy machine may take longer for these few bytes than the flood takes for all seats.
async fn ask(address: std::net::SocketAddr, target: &str) -> RawAnswer {
    let own = [("Authorization", "own")];
    for _ in 0..100 {
        let bytes = request_bytes("GET", address, target, &own, b"");
        match try_send_raw(address, bytes).await {
            Ok(answer) => return answer,
            Err(none) => assert!(none.partial.is_none(), "{none:?}"),
        }
    }
    panic!("no answer to {target}");
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_that_reconnect_disturb_no_listener() {
    let upstream = Upstream::start();
    let process = Process::start("ulimit -n 256", &yaml(&upstream.url()));
    for flooded in ["api", "issuer", "probes"] {
        let over = CancellationToken::new();
        let flood = (0..400).map(|_| hold_and_come_back(process.address(flooded), &over));
        let requests = async {
            until("the listener is full", async || {
                let lines = process.lines_with("`maxConnections` is reached: the longest idle");
                lines
                    .iter()
                    .any(|line| line.contains(&format!("\"{flooded}\"")))
            })
            .await;
            for _ in 0..20 {
                for (listener, target, status) in [
                    ("probes", "/readyz", 200),
                    ("api", "/x", 200),
                    ("hub", "/x", 200),
                    ("issuer", "/.well-known/openid-configuration", 200),
                    ("admin", "/status", 401),
                ] {
                    let answer = ask(process.address(listener), target).await;
                    assert_eq!(
                        answer.status,
                        status,
                        "{flooded}, {listener}: {}",
                        answer.text()
                    );
                }
                assert!(process.descriptors() < 256);
            }
            over.cancel();
        };
        tokio::join!(futures_util::future::join_all(flood), requests);
    }
    let full = process.lines_with("`maxConnections` is reached: the longest idle");
    assert_eq!(
        full.iter().filter(|line| line.contains("\"api\"")).count(),
        1,
        "{full:?}"
    );
    assert_eq!(process.lines_with("cannot accept").len(), 0);
    let metrics = get(process.address("probes"), "/metrics", &[]).await.text();
    let closed =
        "m2m_connections_closed_total{role=\"inbound\",listener=\"api\",reason=\"made_room\"}";
    assert!(metrics.contains(closed), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_soft_limit_is_raised_to_the_hard_one() {
    let upstream = Upstream::start();
    let process = Process::start(
        "ulimit -S -n 200; ulimit -H -n 1000",
        &yaml(&upstream.url()),
    );
    let limits =
        std::fs::read_to_string(format!("/proc/{}/limits", process.id())).expect("a process");
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .expect("a limit");
    let numbers: Vec<_> = line
        .split_whitespace()
        .filter_map(|word| word.parse::<u32>().ok())
        .collect();
    assert_eq!(numbers, [1000, 1000]);
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_accepts_are_logged_once_and_then_counted() {
    let upstream = Upstream::start();
    let process = Process::start("ulimit -n 1000", &yaml(&upstream.url()));
    let pid = Pid::from_raw(i32::try_from(process.id()).expect("an id")).expect("an id");
    let limit = |current| {
        let limit = Rlimit {
            current: Some(current),
            maximum: Some(1000),
        };
        prlimit(Some(pid), Resource::Nofile, limit).expect("the process is ours");
    };
    let probes = process.address("probes");
    // This connection is accepted while descriptors are left.
    let mut kept = Connection::open(probes).await;
    let mut errors = async || {
        kept.send(request_bytes("GET", probes, "/metrics", &[], b""))
            .await;
        let text = kept.answer().await.text();
        let line = "m2m_accept_errors_total{role=\"inbound\",listener=\"api\"} ";
        text.lines()
            .find_map(|it| it.strip_prefix(line)?.parse::<u32>().ok())
            .unwrap_or(0)
    };
    assert_eq!(errors().await, 0);
    // Fewer than the number of open descriptors.
    limit(10);
    let mut waiting = Connection::open(process.address("api")).await;
    until("several are counted", async || errors().await > 1).await;
    limit(1000);
    until("it is logged", async || {
        !process.lines_with("cannot accept").is_empty()
    })
    .await;
    let logged = process.lines_with("cannot accept");
    assert_eq!(logged.len(), 1, "{logged:?}");
    waiting
        .send("GET /x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        .await;
    assert_eq!(
        waiting.answer().await.status,
        200,
        "it was accepted after all"
    );
}
