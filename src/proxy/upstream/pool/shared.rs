//! Connections of HTTP/2, which requests share.

use tokio::time::Instant;

use super::{Pool, PoolKey};
use crate::proxy::upstream::http2::{Http2Connection, Http2Stream};

impl Pool {
    /// Takes over a connection that requests share from now on.
    pub fn share(&self, connection: Http2Connection) {
        let mut state = self.state();
        // The request that opened it still uses it.
        if state.is_closed {
            return;
        }
        state.shared.push(connection);
        let wakes = std::mem::take(&mut state.is_asleep);
        drop(state);
        if wakes {
            self.woken.notify_one();
        }
    }

    /// A stream of an open connection for this key that has room, and carries WebSockets if
    /// `websocket` asks for one.
    #[must_use]
    pub fn take_stream(&self, key: &PoolKey, websocket: bool) -> Option<Http2Stream> {
        let mut state = self.state();
        state.shared.retain_mut(Http2Connection::is_usable);
        let mut fitting = state.shared.iter().filter(|shared| shared.key() == key);
        // The oldest is filled first, so that others become idle and are closed.
        fitting
            .find(|shared| shared.has_room() && (!websocket || shared.carries_websockets()))
            .map(Http2Connection::stream)
    }

    /// Removes the ended and expired connections. Requests on them end first.
    pub(super) fn ended_shared(&self) -> Vec<Http2Connection> {
        let now = Instant::now();
        let mut state = self.state();
        let all = std::mem::take(&mut state.shared);
        let is_kept = |shared: &mut Http2Connection| shared.is_usable() && !shared.is_expired(now);
        let (kept, ended) = all
            .into_iter()
            .map(|mut shared| (is_kept(&mut shared), shared))
            .partition::<Vec<_>, _>(|(is_kept, _)| *is_kept);
        state.shared = kept.into_iter().map(|(_, shared)| shared).collect();
        ended.into_iter().map(|(_, shared)| shared).collect()
    }

    /// The number of shared connections.
    #[cfg(test)]
    pub fn shared(&self) -> usize {
        self.state().shared.len()
    }
}
