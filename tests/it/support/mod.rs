//! The fake world around a sidecar: an authority that misbehaves on command, an upstream that
//! records, a client that sends any bytes, and a log capture that knows every secret.
//!
//! Nothing here uses the sidecar's own code beyond its clock and `sidecar`'s two calls, so that a
//! fault of ours cannot hide behind the same fault in the test.

#![allow(
    dead_code,
    reason = "the fake world offers more than the tests of today ask of it"
)]

pub mod authority;
pub mod behave;
pub mod client;
pub mod clock;
pub mod http1;
pub mod keys;
pub mod leaks;
pub mod logs;
pub mod net;

pub mod sidecar;
pub mod tls;
pub mod tokens;
pub mod upstream;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use m2m_sidecar::for_tests::domain::clock::{Clock, SystemClock};

/// The audience that the tokens of a fake authority carry when a test says nothing else.
pub const AUDIENCE: &str = "https://devices.example";

/// How long the fake world waits for what must happen. Long: it only bounds a test that has already
/// failed.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The machine's time in seconds: the one part of the real world that a token needs.
pub fn now() -> i64 {
    SystemClock.now().0
}

/// Locks, also after a panic in another test's thread: its failure is reported where it happened.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until something holds; for a minute, since it may need several of the issuer's looks into
/// its store.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
