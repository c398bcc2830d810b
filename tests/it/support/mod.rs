//! The fake world around a sidecar: an authority that misbehaves on command, an upstream that
//! records, a client that sends any bytes, and a log capture that finds every secret.
//!
//! It uses the sidecar's own code only for the clock and the start, so that a fault of the sidecar
//! cannot hide behind the same fault in a test.

#![allow(dead_code, reason = "the fake world offers more than the tests use")]

pub mod authority;
pub mod behave;
pub mod certificates;
pub mod client;
pub mod clock;
pub mod egress_proxy;
pub mod http1;
pub mod http2;
pub mod http2_upstream;
pub mod keys;
pub mod leaks;
pub mod logs;
pub mod net;
pub mod network;
pub mod proofs;
pub mod sidecar;
pub mod tls;
pub mod tokens;
pub mod upstream;
pub mod websocket;
pub mod workloads;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use m2m_sidecar::for_tests::domain::clock::{Clock, SystemClock};

/// The default audience of a fake authority's tokens.
pub const AUDIENCE: &str = "https://devices.example";

/// The longest wait for an expected event. It is generous, because it only ends failed tests.
pub const WAIT_LIMIT: Duration = Duration::from_mins(1);

/// The machine's time in seconds.
pub fn now() -> i64 {
    SystemClock.now().0
}

/// Locks, also after a panic in another test's thread: that test reports its own failure.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until a condition holds, for at most [`WAIT_LIMIT`].
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    eventually(what, async || holds().await.then_some(())).await;
}

/// Waits until there is a value, for at most [`WAIT_LIMIT`].
pub async fn eventually<T>(what: &str, mut value: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + WAIT_LIMIT;
    loop {
        if let Some(value) = value().await {
            return value;
        }
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
