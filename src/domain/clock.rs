//! Wall-clock time as a parameter.
//!
//! Token times are wall-clock times. Everything that judges or writes one takes it from a [`Clock`], so that tests
//! can move it. Time that only measures a delay comes from `tokio::time`, which tests can pause.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A point in time, in whole seconds since 1970-01-01T00:00:00Z (RFC 7519 NumericDate).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(pub i64);

impl UnixTime {
    /// The time that never comes: the end of what does not expire.
    pub const NEVER: Self = Self(i64::MAX);

    /// This time moved forward; saturates instead of overflowing.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)))
    }

    /// This time moved back; saturates instead of overflowing.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)))
    }

    /// The time that RFC 3339 writes like this, without parts of a second. `None`: the text is no such time.
    #[must_use]
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        OffsetDateTime::parse(text, &Rfc3339).ok().map(|time| Self(time.unix_timestamp()))
    }

    /// This time as RFC 3339 writes it, in UTC. `None` beyond the year 9999.
    #[must_use]
    pub fn to_rfc3339(self) -> Option<String> {
        OffsetDateTime::from_unix_timestamp(self.0).ok()?.format(&Rfc3339).ok()
    }

    /// How long from `self` until `later`; zero when `later` has passed.
    #[must_use]
    pub fn until(self, later: Self) -> Duration {
        Duration::from_secs(u64::try_from(later.0.saturating_sub(self.0)).unwrap_or(0))
    }
}

/// Where the time of day comes from.
pub trait Clock: Send + Sync {
    /// The current time.
    fn now(&self) -> UnixTime;
}

/// A clock that many parts share.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn now(&self) -> UnixTime {
        // A machine whose clock stands before 1970 has no valid token anyway: 0 makes every `nbf` fail.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixTime(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
    }
}
