//! HTTP answers of our own, as axum handlers. They know no pingora: the proxy's bridge hands them requests.

pub mod probes;

use std::net::SocketAddr;

/// The client's address, as a request extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddress(pub SocketAddr);
