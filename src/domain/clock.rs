//! Wall-clock time as a parameter.
//!
//! Token times are wall-clock times. Code that compares or writes one takes it from a [`Clock`], so
//! that tests can move it. Delays are measured with `tokio::time`, which tests can pause.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{DynamicClockId, clock_gettime_dynamic};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A point in time, in whole seconds since 1970-01-01T00:00:00Z (RFC 7519 NumericDate).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(pub i64);

impl UnixTime {
    /// A time that is never reached: the expiry time of tokens without `exp`.
    pub const NEVER: Self = Self(i64::MAX);

    /// This time moved forward; saturates instead of overflowing.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)),
        )
    }

    /// This time moved back; saturates instead of overflowing.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)),
        )
    }

    /// Parses a time in the notation of RFC 3339, without fractions. `None`: the text is not such a
    /// time.
    #[must_use]
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        OffsetDateTime::parse(text, &Rfc3339)
            .ok()
            .map(|time| Self(time.unix_timestamp()))
    }

    /// The time in the notation of RFC 3339, in UTC. `None` beyond the year 9999.
    #[must_use]
    pub fn to_rfc3339(self) -> Option<String> {
        OffsetDateTime::from_unix_timestamp(self.0)
            .ok()?
            .format(&Rfc3339)
            .ok()
    }

    /// The time relative to a clock that shows `now`, in words: `X is 5 s before this server's
    /// clock, which says Y`.
    #[must_use]
    pub fn beside(self, now: Self) -> String {
        let shown = |time: Self| {
            time.to_rfc3339()
                .unwrap_or_else(|| format!("{} s after 1970", time.0))
        };
        let apart = match self.0.abs_diff(now.0) {
            seconds if seconds < 2 * 60 => format!("{seconds} s"),
            seconds if seconds < 2 * 3600 => format!("{} min", seconds / 60),
            seconds if seconds < 2 * 86_400 => format!("{} h", seconds / 3600),
            seconds => format!("{} days", seconds / 86_400),
        };
        let side = if self <= now { "before" } else { "after" };
        format!(
            "{} is {apart} {side} this server's clock, which says {}",
            shown(self),
            shown(now)
        )
    }

    /// The duration from `self` to `later`; zero if `later` has passed.
    #[must_use]
    pub fn until(self, later: Self) -> Duration {
        Duration::from_secs(u64::try_from(later.0.saturating_sub(self.0)).unwrap_or(0))
    }
}

/// A time as a text of RFC 3339, for serde's `with`.
pub mod rfc3339 {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::UnixTime;

    #[allow(clippy::ref_option, reason = "serde's signature")]
    pub fn serialize<S: Serializer>(
        time: &Option<UnixTime>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        time.and_then(UnixTime::to_rfc3339).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<UnixTime>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| UnixTime::from_rfc3339(&text).ok_or(D::Error::custom("not a time")))
            .transpose()
    }
}

/// A source of the time of day.
pub trait Clock: Send + Sync {
    fn now(&self) -> UnixTime;

    /// The uptime of the machine, including sleep. Only the difference of two readings is
    /// meaningful. It cannot be set, so it reveals changes of the clock. The default is the time
    /// itself.
    fn uptime(&self) -> Duration {
        UnixTime(0).until(self.now())
    }

    /// The identity of the machine's current start: uptimes of the same start are comparable, even
    /// across processes. `None`: unknown.
    fn boot(&self) -> Option<String> {
        None
    }
}

pub type SharedClock = Arc<dyn Clock>;

#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the only code that reads the machine's clock"
    )]
    fn now(&self) -> UnixTime {
        // A machine with a clock before 1970 has no valid token anyway: 0 makes every `nbf` fail.
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        UnixTime(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
    }

    /// On Linux, this clock includes sleep, unlike the monotonic one. It is read by a system call,
    /// because hardened services (systemd's `ProcSubset=pid`) cannot read `/proc/uptime`.
    fn uptime(&self) -> Duration {
        let read = clock_gettime_dynamic(DynamicClockId::Boottime).ok();
        read.and_then(|time| Duration::try_from(time).ok())
            .unwrap_or_else(|| STARTED.elapsed())
    }

    fn boot(&self) -> Option<String> {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(id.trim().to_owned()).filter(|id| (1..=64).contains(&id.len()))
    }
}

/// The start of the monotonic clock in this process. It is used if the uptime cannot be read: sleep
/// is then not counted, and looks like a clock that was set ahead.
#[expect(
    clippy::disallowed_methods,
    reason = "the only code that reads the machine's clock"
)]
static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uptime_is_the_machines_and_never_falls() {
        let before = SystemClock.uptime();
        let shown = std::fs::read_to_string("/proc/uptime").unwrap();
        let after = SystemClock.uptime();
        let shown: f64 = shown.split(' ').next().unwrap().parse().unwrap();
        assert!(before <= after);
        // The file has hundredths of a second.
        assert!(
            before.as_secs_f64() - 0.02 <= shown && shown <= after.as_secs_f64(),
            "{before:?} {shown} {after:?}"
        );
    }

    #[test]
    fn two_times_are_compared_in_words() {
        let now = UnixTime(1_800_000_000);
        for (other, said) in [
            (1_800_000_000, "is 0 s before"),
            (1_799_999_941, "is 59 s before"),
            (1_800_000_300, "is 5 min after"),
            (1_799_978_400, "is 6 h before"),
            (0, "is 20833 days before"),
        ] {
            let words = UnixTime(other).beside(now);
            assert!(words.contains(said), "{words}");
            assert!(
                words.ends_with("this server's clock, which says 2027-01-15T08:00:00Z"),
                "{words}"
            );
        }
        assert!(
            UnixTime::NEVER
                .beside(now)
                .contains("after this server's clock")
        );
    }
}
