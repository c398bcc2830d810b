//! Ten thousand idle connections at once.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::connections::process::Process;
use crate::support::client::get;
use crate::support::until;
use crate::support::upstream::Upstream;

const MANY: usize = 10_000;
/// The memory of the whole process with all of them.
const MOST_KIB: u64 = 100 << 10;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: needs 12,000 descriptors in each of two processes; prints the memory of a \
    connection"]
async fn ten_thousand_idle_connections_are_served_and_cost_little() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    )
    .expect("the hard limit");
    let upstream = Upstream::start();
    let yaml = format!(
        r#"
stateDir: "@DIR@"
probes: {{ listen: 127.0.0.1:0 }}
authorities: {{ a: {{ issuer: "http://127.0.0.1:9" }} }}
inbound:
  - {{ name: api, listen: 127.0.0.1:0, upstream: "{}", authorities: [a], audiences: any,
      keepAlive: 10m, maxConnections: {{ total: 10500, perAddress: 10500 }},
      rules: [{{ paths: ["/**"], access: public }}] }}
"#,
        upstream.url()
    );
    let process = Process::start("true", &yaml);
    let address = process.address("api");
    let ask = async |connection: &mut TcpStream| {
        connection
            .write_all(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .expect("it is open");
        let mut answer = vec![0; 4096];
        let read = connection.read(&mut answer).await.expect("it is open");
        assert!(
            answer[..read].starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&answer[..read])
        );
    };
    let mut connections = Vec::new();
    ask(&mut TcpStream::connect(address).await.expect("it listens")).await;
    let before = process.resident_kib();
    for _ in 0..MANY {
        let mut connection = TcpStream::connect(address).await.expect("it listens");
        // Each connection has served a request, so all of its buffers are allocated.
        ask(&mut connection).await;
        connections.push(connection);
    }
    until("all are open", async || {
        let text = get(process.address("probes"), "/metrics", &[]).await.text();
        let line = "m2m_connections{role=\"inbound\",listener=\"api\"} ";
        text.lines()
            .find_map(|it| it.strip_prefix(line)?.parse::<usize>().ok())
            .is_some_and(|open| open >= MANY)
    })
    .await;
    let after = process.resident_kib();
    println!(
        "{MANY} idle connections: {before} KiB before, {after} KiB with them, {:.1} KiB each, {} \
        descriptors",
        (after - before) as f64 / MANY as f64,
        process.descriptors()
    );
    assert!(after <= MOST_KIB, "{after} KiB");
    tokio::time::sleep(Duration::from_secs(1)).await;
    for connection in connections.iter_mut().step_by(97) {
        ask(connection).await;
    }
    assert_eq!(
        process.lines_with("`maxConnections` is reached").len(),
        0,
        "none had to give way"
    );
}
