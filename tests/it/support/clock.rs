//! A clock that a test moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use m2m_sidecar::for_tests::domain::clock::{Clock, SystemClock, UnixTime};

/// The machine's time, plus the time that a test adds. Only passed time counts as uptime.
#[derive(Default)]
pub struct MovableClock {
    passed: AtomicI64,
    set: AtomicI64,
}

impl MovableClock {
    /// Starts at the machine's time, and follows it.
    pub fn now() -> Arc<Self> {
        Arc::default()
    }

    /// Lets time pass, awake or asleep.
    pub fn forward(&self, by: Duration) {
        self.passed.fetch_add(seconds(by), Ordering::SeqCst);
    }

    /// Sets the clock ahead; no time passes.
    pub fn set_ahead(&self, by: Duration) {
        self.set.fetch_add(seconds(by), Ordering::SeqCst);
    }

    /// Sets the clock back.
    pub fn set_back(&self, by: Duration) {
        self.set.fetch_sub(seconds(by), Ordering::SeqCst);
    }
}

/// A clock that only a test moves, so that times can be compared exactly.
pub struct StandingClock(AtomicI64);

impl StandingClock {
    /// Starts at the machine's time.
    pub fn now() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(SystemClock.now().0)))
    }

    /// Lets time pass.
    pub fn forward(&self, by: Duration) {
        self.0.fetch_add(seconds(by), Ordering::SeqCst);
    }
}

impl Clock for StandingClock {
    fn now(&self) -> UnixTime {
        UnixTime(self.0.load(Ordering::SeqCst))
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).expect("a test's duration")
}

impl Clock for MovableClock {
    fn now(&self) -> UnixTime {
        let added = self.passed.load(Ordering::SeqCst) + self.set.load(Ordering::SeqCst);
        UnixTime(SystemClock.now().0 + added)
    }

    fn uptime(&self) -> Duration {
        let passed = u64::try_from(self.passed.load(Ordering::SeqCst)).expect("time never falls");
        SystemClock.uptime() + Duration::from_secs(passed)
    }

    fn boot(&self) -> Option<String> {
        SystemClock.boot()
    }
}
