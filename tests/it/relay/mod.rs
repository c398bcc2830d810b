//! The relay between a client and an upstream, byte by byte: both directions at once, waiting for
//! the slower side, trailers, interim answers, and the end of either connection.

pub mod any_bytes;
pub mod any_frames;
mod backpressure;
mod bodies;
mod departure;
mod duplex;
mod interim;
pub mod memory;
mod pool;
mod recorder;
mod request_trailers;
mod trailers;

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::WAIT_LIMIT;
use crate::support::sidecar::Sidecar;

/// A listener of each kind, in front of an upstream whose every byte the test writes itself.
struct World {
    listener: TcpListener,
    sidecar: Sidecar,
}

/// The listeners of a [`World`].
const LISTENERS: [&str; 2] = ["api", "hub"];

/// Lets a request pass both listeners.
const OWN: &str = "Host: 127.0.0.1\r\nAuthorization: Bearer own\r\n";

impl World {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let sidecar = Sidecar::builder()
            .secret_file("secret", "legacy", "a-secret-of-16-bytes")
            .start(&yaml(&url))
            .await;
        Self { listener, sidecar }
    }

    fn address(&self, listener: &str) -> SocketAddr {
        self.sidecar.address(listener)
    }

    /// The next connection that the sidecar opens.
    async fn upstream(&self) -> Peer {
        let accepted = tokio::time::timeout(WAIT_LIMIT, self.listener.accept());
        let (stream, _) = accepted.await.expect("a connection").expect("a connection");
        Peer::over(stream)
    }

    /// A client's new connection.
    async fn client(&self, listener: &str) -> Peer {
        let stream = TcpStream::connect(self.address(listener)).await;
        Peer::over(stream.expect("it listens"))
    }

    /// A client that has sent a request without a body, and the upstream that has received it.
    async fn asked(&self, listener: &str, method: &str, fields: &str) -> (Peer, Peer) {
        let mut client = self.client(listener).await;
        client
            .send(format!("{method} /x HTTP/1.1\r\n{OWN}{fields}\r\n"))
            .await;
        let mut upstream = self.upstream().await;
        upstream.head().await;
        (client, upstream)
    }
}

/// One worker, so that all requests share the connections to the upstream.
fn yaml(upstream: &str) -> String {
    format!(
        r#"
threads: 1
stateDir: "@DIR@"
probes: {{ listen: 127.0.0.1:0 }}
authorities: {{ a: {{ issuer: "http://127.0.0.1:1" }} }}
inbound:
  - {{ name: api, listen: 127.0.0.1:0, upstream: "{upstream}", authorities: [a], audiences: any,
      rules: [{{ paths: ["/**"], access: public }}] }}
credentials: {{ dead: {{ tokenUrl: "http://127.0.0.1:1/token", clientID: legacy,
  clientSecretFile: "@DIR@/secret" }} }}
outbound:
  - {{ name: hub, listen: 127.0.0.1:0, upstream: "{upstream}", credential: dead, overwrite: false }}
"#
    )
}

/// One end of a connection, of a client or of an upstream.
pub struct Peer {
    stream: TcpStream,
    /// Bytes that were received and not yet returned.
    received: Vec<u8>,
}

impl Peer {
    pub fn over(stream: TcpStream) -> Self {
        // Every write is a packet of its own.
        stream.set_nodelay(true).expect("a connected socket");
        Self {
            stream,
            received: Vec::new(),
        }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = tokio::time::timeout(WAIT_LIMIT, self.stream.write_all(bytes.as_ref()));
        sent.await.expect("the peer reads").expect("it is open");
    }

    /// Sends until it fails: the other side may have closed.
    async fn try_send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    pub async fn finish_sending(&mut self) {
        self.stream.shutdown().await.expect("it is open");
    }

    /// Everything up to and including these bytes, as text.
    pub async fn through(&mut self, mark: &str) -> String {
        let found = |bytes: &[u8]| {
            let at = bytes
                .windows(mark.len())
                .position(|part| part == mark.as_bytes());
            at.map(|at| at + mark.len())
        };
        loop {
            if let Some(end) = found(&self.received) {
                let taken: Vec<u8> = self.received.drain(..end).collect();
                return String::from_utf8_lossy(&taken).into_owned();
            }
            let shown = String::from_utf8_lossy(&self.received).into_owned();
            let read = self.fill().await;
            assert!(
                matches!(read, Ok(1..)),
                "no {mark:?} but {read:?} after {shown:?}"
            );
        }
    }

    /// The next head.
    pub async fn head(&mut self) -> String {
        self.through("\r\n\r\n").await
    }

    /// Everything until the other side ends the connection, in order or by a reset.
    pub async fn rest(&mut self) -> Vec<u8> {
        while matches!(self.fill().await, Ok(1..)) {}
        std::mem::take(&mut self.received)
    }

    async fn rest_as_text(&mut self) -> String {
        String::from_utf8_lossy(&self.rest().await).into_owned()
    }

    async fn fill(&mut self) -> std::io::Result<usize> {
        let read = self.stream.read_buf(&mut self.received);
        let read = tokio::time::timeout(WAIT_LIMIT, read).await;
        read.expect("bytes, or the end")
    }

    pub fn reset(self) {
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO));
    }
}

/// An answer with these fields and this body.
pub fn ok(fields: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {length}\r\n\r\n{body}")
}
