//! The way on which a client's requests reach the listener.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BufMut;
use http::StatusCode;

use super::{Connection, Framing};

/// The way on which a client's requests reach the listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// The client calls the listener.
    #[default]
    Direct,
    /// Inside a tunnel (CONNECT) to this host and port.
    Tunnel(Arc<str>),
    /// The client connected to this address, and the system redirected the connection.
    Redirected(SocketAddr),
}

impl Connection {
    /// The way on which requests arrive.
    #[must_use]
    pub fn way(&self) -> &Way {
        &self.way
    }

    /// The same with this way.
    #[must_use]
    pub fn on(mut self, way: Way) -> Self {
        self.take(way);
        self
    }

    /// Opens the tunnel that the current request, a CONNECT, asks for (RFC 9110 §9.3.6). The
    /// following requests arrive inside it.
    pub fn open_tunnel(&mut self, authority: &str) {
        self.current.status = Some(StatusCode::OK);
        self.current.framing = Framing::None;
        // HTTP/1.0 clients open tunnels too.
        self.current.keeps_alive = !self.ending.is_cancelled();
        let answer = b"HTTP/1.1 200 Connection established\r\n\r\n";
        self.outgoing.small().put_slice(answer);
        self.take(Way::Tunnel(authority.into()));
    }

    fn take(&mut self, way: Way) {
        match &way {
            Way::Direct => {}
            Way::Tunnel(host) => self.heads.refuse_tls(format!(
                "the client began TLS inside the tunnel to {host}, where no token can be \
                 attached: let it call http:// instead of https://; the sidecar itself uses https"
            )),
            Way::Redirected(to) => self.heads.refuse_tls(format!(
                "the client began TLS with {to}, to which no token can be attached: let it call \
                 http:// instead of https://, or do not redirect this port; the sidecar itself \
                 uses https"
            )),
        }
        self.way = way;
    }
}
