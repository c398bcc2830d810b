//! The parts of a connection that do not depend on its protocol.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::{Admitted, ClientSettings, ClientStream, Clients, Connection, Way};
use crate::proxy::tls::TlsPeer;

/// The process at the other end of a socket in the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalPeer {
    /// The number of its user.
    pub user: u32,
    /// Its number, if the system names it.
    pub process: Option<i32>,
}

/// An accepted connection without a protocol.
pub struct Accepted {
    pub stream: Box<dyn ClientStream>,
    /// Bytes that have been read already.
    pub ahead: Bytes,
    pub peer: SocketAddr,
    pub local: SocketAddr,
    pub tls: Option<Arc<TlsPeer>>,
    pub process: Option<LocalPeer>,
    pub way: Way,
    pub clients: Arc<Clients>,
    pub settings: Arc<ClientSettings>,
    pub seat: Admitted,
    /// Cancelled when the listener ends.
    pub ending: CancellationToken,
}

impl Connection {
    /// The stream and its surroundings, for a client that speaks another protocol from its first
    /// byte on. The received bytes are not parsed.
    #[must_use]
    pub fn into_accepted(self) -> Accepted {
        Accepted {
            stream: self.stream,
            ahead: self.received.freeze(),
            peer: self.peer,
            local: self.local,
            tls: self.tls,
            process: self.process,
            way: self.way,
            clients: self.clients,
            settings: self.settings,
            seat: self.seat,
            ending: self.ending,
        }
    }

    /// The same from a process of this machine.
    #[must_use]
    pub fn of_process(mut self, process: Option<LocalPeer>) -> Self {
        self.process = process;
        self
    }

    /// The same over TLS.
    #[must_use]
    pub fn over_tls(mut self, peer: TlsPeer) -> Self {
        self.tls = Some(Arc::new(peer));
        self
    }
}
