//! The end of a request and of its connection, for a client that is still sending, that has only
//! stopped sending, or that is gone.

mod departure;
mod idle;
mod pauses;
mod uploads;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::authority::{Authority, Endpoint};
use crate::support::sidecar::Sidecar;
use crate::support::upstream::Upstream;
use crate::support::{AUDIENCE, WAIT_LIMIT};

/// One sidecar with every kind of listener.
struct World {
    _authority: Authority,
    upstream: Upstream,
    sidecar: Sidecar,
    token: String,
    expired: String,
}

impl World {
    async fn new() -> Self {
        let upstream = Upstream::start();
        let url = upstream.url();
        Self::with_upstream(upstream, &url).await
    }

    async fn with_upstream(upstream: Upstream, url: &str) -> Self {
        let authority = Authority::start();
        let inbound = |name: &str, more: &str| {
            format!(
                r#"  - name: {name}
    listen: 127.0.0.1:0
    upstream: "{url}"
    authorities: [users]
    audiences: [{AUDIENCE}]
    rules:
      - {{ paths: ["/public/**"], access: public }}
      - {{ paths: ["/devices/**"] }}
      - {{ paths: ["/admin/**"], scopes: [admin] }}
{more}
"#
            )
        };
        let yaml = format!(
            r#"
stateDir: "@DIR@"
store: {{ url: "sqlite::memory:" }}
probes: {{ listen: 127.0.0.1:0 }}
issuer:
  url: http://issuer.test
  listen: 127.0.0.1:0
  clients: [{{ id: legacy, secretFile: "@DIR@/secret", allowedGrantTypes: [client_credentials] }}]
authorities: {{ users: {{ issuer: "{}" }} }}
inbound:
{}{}
credentials: {{ dead: {{ tokenUrl: "http://127.0.0.1:1/token", clientID: legacy,
  clientSecretFile: "@DIR@/secret" }} }}
outbound:
  - {{ name: hub, listen: 127.0.0.1:0, upstream: "{url}", credential: dead, overwrite: false }}
"#,
            authority.issuer(),
            inbound("api", "    maxBody: 1MiB"),
            inbound(
                "limited",
                "    limits: { requestsPerSecond: 1, burst: 1, per: listener }"
            ),
        );
        let sidecar = Sidecar::builder()
            .secret_file("secret", "legacy", "a-secret-of-16-bytes")
            .start(&yaml)
            .await;
        authority.wait_for_fetches(Endpoint::Jwks, 1).await;
        let token = authority.token().sign();
        let expired = authority
            .token()
            .claim("exp", crate::support::now() - 3600)
            .sign();
        Self {
            _authority: authority,
            upstream,
            sidecar,
            token,
            expired,
        }
    }

    fn address(&self, listener: &str) -> SocketAddr {
        self.sidecar.address(listener)
    }
}

/// Sends everything, then reads everything, as clients do that send their whole request first.
async fn send_all_then_read(
    address: SocketAddr,
    head: &str,
    body: &[u8],
) -> std::io::Result<String> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(head.as_bytes()).await?;
        for piece in body.chunks(64 * 1024) {
            stream.write_all(piece).await?;
        }
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    tokio::time::timeout(WAIT_LIMIT * 3, exchange)
        .await
        .expect("the exchange ends")
}

/// A body in chunks of 64 KiB, without its last one.
fn chunked(length: usize) -> Vec<u8> {
    let mut chunk = b"10000\r\n".to_vec();
    chunk.resize(chunk.len() + 0x10000, b'x');
    chunk.extend_from_slice(b"\r\n");
    chunk.repeat(length / 0x10000)
}

/// The head of a POST.
fn post(target: &str, fields: &[&str]) -> String {
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    format!("POST {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}\r\n")
}

/// Longer than a request waits for anything here.
const LONG: Duration = Duration::from_secs(60);
