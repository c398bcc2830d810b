//! HTTP/2 towards clients: requests, bodies, streams that end in any way, connections that end in
//! any way, gRPC, and everything hostile.

mod bodies;
mod ends;
mod grpc;
mod hostile;
mod requests;
mod streams;
mod tls;

use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::relay::Peer;
use crate::support::authority::{Authority, Endpoint};
use crate::support::http2::RawClient;
use crate::support::sidecar::Sidecar;
use crate::support::{AUDIENCE, WAIT_LIMIT, logs};

/// A sidecar in front of an upstream whose every byte the test writes itself.
struct World {
    authority: Authority,
    listener: TcpListener,
    sidecar: Sidecar,
    token: String,
    name: String,
    mark: usize,
}

impl World {
    /// With these further keys of the listener, or of the file behind a line without indentation.
    async fn new(more: &str) -> Self {
        let authority = Authority::start();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        // Its name is unique, because the tests share the log.
        let name = format!("h2-{port}");
        let mark = logs::mark();
        let yaml = yaml(&authority.issuer(), port, more);
        let sidecar = Sidecar::start(&yaml).await;
        authority.wait_for_fetches(Endpoint::Jwks, 1).await;
        let token = authority.token().sign();
        Self {
            authority,
            listener,
            sidecar,
            token,
            name,
            mark,
        }
    }

    fn address(&self) -> SocketAddr {
        self.sidecar.address(&self.name)
    }

    async fn client(&self) -> RawClient {
        RawClient::open(self.address()).await
    }

    /// The next connection that the sidecar opens.
    async fn upstream(&self) -> Peer {
        let accepted = tokio::time::timeout(WAIT_LIMIT, self.listener.accept());
        let (stream, _) = accepted.await.expect("a connection").expect("a connection");
        Peer::over(stream)
    }

    /// Waits for an access line of the listener with these texts.
    async fn line(&self, texts: &[&str]) -> String {
        let listener = format!("listener=\"{}\"", self.name);
        let all = [&["access", &listener][..], texts].concat();
        logs::wait_for_line(self.mark, &all).await
    }
}

fn yaml(issuer: &str, port: u16, more: &str) -> String {
    format!(
        r#"
threads: 1
authorities: {{ users: {{ issuer: "{issuer}" }} }}
stateDir: "@DIR@"
inbound:
  - name: h2-{port}
    listen: 127.0.0.1:0
    upstream: "http://127.0.0.1:{port}"
    authorities: [users]
    audiences: [{AUDIENCE}]
    rules:
      - {{ paths: ["/public/**", "/open.Service/*"], access: public }}
      - {{ paths: ["/devices/**", "/own.Service/*"], scopes: ["devices:read"] }}
      - {{ paths: ["/admin/**", "/admin.Service/*"], scopes: ["admin"] }}
{more}
"#
    )
}
