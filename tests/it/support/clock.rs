//! A clock that a test moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use m2m_sidecar::domain::clock::{Clock, SystemClock, UnixTime};

/// The machine's time and as much as a test has added.
pub struct MovableClock(AtomicI64);

impl MovableClock {
    /// Stands at the machine's time, and goes with it.
    pub fn now() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(0)))
    }

    /// Moves it.
    pub fn forward(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_secs()).expect("a test's duration"), Ordering::SeqCst);
    }
}

impl Clock for MovableClock {
    fn now(&self) -> UnixTime {
        UnixTime(SystemClock.now().0 + self.0.load(Ordering::SeqCst))
    }
}
