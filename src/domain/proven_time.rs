//! The proven time, by which expired entries are deleted, because the clock may be wrong.
//!
//! If the clock is set ahead, some revocations look expired, but are needed again when it is
//! corrected. So the proven time advances only while the machine runs. After a pause it is behind
//! the clock.
//! It adopts the clock's time when the clock has been consistent for [`TRUSTED`].

use std::time::Duration;

use super::clock::UnixTime;

/// How long the machine must run with a consistent clock before its time is proven. A clock that is
/// wrong for a shorter time has no effect.
pub const TRUSTED: Duration = Duration::from_hours(7 * 24);
/// The tolerance between proven time and clock: both have whole seconds, and clocks drift.
const TOLERANCE: Duration = Duration::from_secs(60);

/// The proven time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProvenTime {
    /// A time that has certainly passed.
    pub at: UnixTime,
    /// The later time of the clock, if any.
    pub claim: Option<Claim>,
}

/// An unproven time of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The time, advanced by the uptime since then.
    pub at: UnixTime,
    /// How long the machine has run without an earlier time of the clock.
    pub stood: Duration,
}

impl ProvenTime {
    /// The proven time of a new store, in which nothing can be deleted yet: the clock's.
    #[must_use]
    pub fn beginning(now: UnixTime) -> Self {
        Self {
            at: now,
            claim: None,
        }
    }

    /// The proven time after the machine ran for `ran` whole seconds, if the clock shows `now`.
    #[must_use]
    pub fn after(self, ran: Duration, now: UnixTime) -> Self {
        let at = self.at.plus(ran);
        let moved = self.claim.map(|claim| Claim {
            at: claim.at.plus(ran),
            stood: claim.stood + ran,
        });
        // If the clock is set ahead again, or ran while the process did not, it is still
        // consistent.
        match moved.filter(|claim| claim.at <= now.plus(TOLERANCE)) {
            Some(claim) if claim.stood >= TRUSTED => Self {
                at: at.max(claim.at),
                claim: None,
            },
            None if now > at.plus(TOLERANCE) => Self {
                at,
                claim: Some(Claim {
                    at: now,
                    stood: Duration::ZERO,
                }),
            },
            claim => Self { at, claim },
        }
    }
}

#[cfg(test)]
mod tests;
