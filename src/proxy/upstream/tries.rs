//! The attempts of one request.

use std::net::SocketAddr;

/// How many attempts a request may make, with kept and with new connections.
pub const MAX_TRIES: usize = 4;

/// The addresses that one request has tried.
#[derive(Default)]
pub struct Tries {
    pub(super) current: Option<SocketAddr>,
    pub(super) failed: Vec<SocketAddr>,
    /// The next attempt uses a new connection.
    pub(super) fresh: bool,
    /// The request asks for a WebSocket, which not every upstream serves in HTTP/2.
    pub(super) asks_for_websocket: bool,
    /// The attempts so far.
    attempts: usize,
}

impl Tries {
    /// Whether another attempt is permitted.
    #[must_use]
    pub fn may_try(&self) -> bool {
        self.attempts < MAX_TRIES
    }

    /// Counts an attempt at this address.
    pub(in crate::proxy) fn begin(&mut self, address: SocketAddr) {
        self.attempts += 1;
        self.current = Some(address);
    }

    /// Requires a new connection for the next attempt.
    pub fn require_new_connection(&mut self) {
        self.fresh = true;
    }

    /// Requires a connection that can carry a WebSocket if the upstream offers a choice.
    pub fn ask_for_websocket(&mut self) {
        self.asks_for_websocket = true;
    }

    /// Whether the next attempt uses a new connection.
    #[must_use]
    pub fn needs_new_connection(&self) -> bool {
        self.fresh
    }

    /// The first untried address, which becomes the current one.
    pub fn next_of(&mut self, addresses: &[SocketAddr]) -> Option<SocketAddr> {
        self.current = addresses
            .iter()
            .find(|address| !self.failed.contains(address))
            .copied();
        self.current
    }

    /// Marks the current address as failed. Returns whether another one is left.
    pub fn failed(&mut self, addresses: &[SocketAddr]) -> bool {
        self.failed.extend(self.current.take());
        addresses
            .iter()
            .any(|address| !self.failed.contains(address))
    }
}
