//! The key of connections.

use std::net::SocketAddr;

/// Two requests with the same key may use one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolKey {
    pub address: SocketAddr,
    /// The hash of the upstream's settings: whether there is TLS, the server name, the trusted
    /// certificates, the client certificate, and the protocol and path of a socket.
    pub settings: u128,
}
