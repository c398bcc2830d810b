//! The upstream connections of one worker and listener: idle ones of HTTP/1.1, each for one request
//! at a time, and all of HTTP/2, which requests share.

mod opening;
mod shared;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

pub use self::opening::Opening;
use self::opening::Openings;
use super::connection::UpstreamConnection;
use super::http1::Http1Connection;
use super::http2::Http2Connection;
pub use super::key::PoolKey;

/// How often the pool looks for connections that have ended or expired. A connection is also
/// looked at when it is taken.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The connections. Of the idle ones, the one that was used last is used first.
pub struct Pool {
    most: usize,
    state: Mutex<State>,
    /// Signals that the pool is no longer empty, or closed.
    woken: Notify,
}

#[derive(Default)]
struct State {
    /// In the order in which they became idle.
    idle: VecDeque<Idle>,
    /// The connections of HTTP/2, with and without requests.
    shared: Vec<Http2Connection>,
    openings: Openings,
    /// Whether [`Pool::run`] waits for a connection.
    is_asleep: bool,
    is_closed: bool,
}

struct Idle {
    connection: Http1Connection,
    until: Instant,
}

impl UpstreamConnection {
    /// Returns the connection to the pool if it can carry another request; otherwise closes it.
    pub fn release(self, pool: &Pool) {
        match self {
            Self::Http1(connection) => connection.release(pool),
            // The pool has its connection already.
            Self::Http2(stream) => drop(stream),
        }
    }
}

impl Http1Connection {
    pub(super) fn release(mut self, pool: &Pool) {
        match self.settle_for_idle() {
            Some(idle) => pool.put(self, idle),
            None => self.close(),
        }
    }
}

impl Pool {
    /// A pool for so many connections. The longest idle one is closed for a newer one.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            most,
            state: Mutex::default(),
            woken: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An open connection for this key. Ended and expired ones are closed on the way.
    #[must_use]
    pub fn take(&self, key: &PoolKey) -> Option<UpstreamConnection> {
        self.take_idle(key).map(UpstreamConnection::Http1)
    }

    pub(super) fn take_idle(&self, key: &PoolKey) -> Option<Http1Connection> {
        let mut now = None;
        loop {
            let mut idle = {
                let mut state = self.state();
                let is_for = |idle: &Idle| idle.connection.key() == key;
                let at = state.idle.iter().rposition(is_for)?;
                state.idle.remove(at)?
            };
            if idle.until > *now.get_or_insert_with(Instant::now) && idle.connection.is_quiet() {
                return Some(idle.connection);
            }
            idle.connection.close();
        }
    }

    /// Takes over an idle connection.
    fn put(&self, connection: Http1Connection, idle: Duration) {
        let until = Instant::now() + idle;
        let idle = Idle { connection, until };
        let mut state = self.state();
        let dropped = if state.is_closed || self.most == 0 {
            Some(idle)
        } else {
            let is_full = state.idle.len() >= self.most;
            let longest = if is_full {
                state.idle.pop_front()
            } else {
                None
            };
            state.idle.push_back(idle);
            longest
        };
        let wakes = std::mem::take(&mut state.is_asleep);
        drop(state);
        if wakes {
            self.woken.notify_one();
        }
        if let Some(idle) = dropped {
            idle.connection.close();
        }
    }

    /// The number of idle connections.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.state().idle.len()
    }

    /// Closes ended and expired connections, until the pool is closed. Sleeps while it is empty.
    pub async fn run(self: Arc<Self>) {
        loop {
            self.wait_for_one().await;
            if self.state().is_closed {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
            for idle in self.ended() {
                idle.connection.close();
            }
            drop(self.ended_shared());
        }
    }

    /// Waits until the pool has a connection or is closed.
    async fn wait_for_one(&self) {
        loop {
            {
                let mut state = self.state();
                if state.is_closed || !state.idle.is_empty() || !state.shared.is_empty() {
                    return;
                }
                state.is_asleep = true;
            }
            self.woken.notified().await;
        }
    }

    /// Removes the ended and expired connections.
    fn ended(&self) -> Vec<Idle> {
        let now = Instant::now();
        let mut ended = Vec::new();
        let mut state = self.state();
        let all = std::mem::take(&mut state.idle);
        for mut idle in all {
            if idle.until > now && idle.connection.is_quiet() {
                state.idle.push_back(idle);
            } else {
                ended.push(idle);
            }
        }
        ended
    }

    /// Closes all connections, also those that become idle later.
    pub fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        let all = std::mem::take(&mut state.idle);
        // Requests on shared connections end first.
        let shared = std::mem::take(&mut state.shared);
        drop(state);
        drop(shared);
        self.woken.notify_one();
        for idle in all {
            idle.connection.close();
        }
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
