//! When to request a token next: arithmetic on moments, tested without waiting.
//!
//! Callers need a token soon after the authority recovers, a failing authority must get at most one
//! request a second, and without need there is none. So a transient failure is followed by two more
//! tries a second apart, then by a pause that doubles up to a minute. While callers need a token
//! there is one try a second, and the pauses become shorter as a token nears its end.

use std::time::Duration;

use tokio::time::Instant;

use super::error::Failure;
use crate::jose::refresh::Backoff;

/// The last of a series of tries begins within this time.
const ROW: Duration = Duration::from_secs(5);

/// How many quick tries follow a first failure: a restart or a lost packet is over by then.
const QUICK_TRIES: u32 = 2;

/// The least time between the beginnings of two tries while the authority fails; up to a fifth is
/// added at random.
const GAP: Duration = Duration::from_secs(1);

const BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(2),
    longest: Duration::from_secs(60),
    jitter: 0.1,
};

/// The longest accepted `Retry-After`: a mistyped one must not stop a credential for a day.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// How long before its end a token is refreshed at the latest: at most, and as a share of its
/// lifetime.
const REFRESH_MARGIN: (Duration, f64) = (Duration::from_secs(10), 0.2);

/// How long before its end a token is no longer attached, so that it does not expire in transit: at
/// most, and as a share of its lifetime.
const USE_MARGIN: (Duration, f64) = (Duration::from_secs(5), 0.1);

/// By which share of the lifetime a refresh is shifted, so that a fleet does not refresh at once.
const REFRESH_JITTER: f64 = 0.05;

/// The earliest refresh after a fetch.
const MIN_REFRESH: Duration = Duration::from_millis(500);

/// How long a caller waits at most if one try may take `total`: for a series of tries.
pub(super) fn wait_limit(total: Duration) -> Duration {
    ROW.min(total) + GAP * 2 + total
}

fn margin((most, share): (Duration, f64), lifetime: Duration) -> Duration {
    most.min(lifetime.mul_f64(share))
}

/// How long after the request a token is refreshed. `random` is in `0.0..1.0`.
pub(super) fn refresh_after(lifetime: Duration, refresh_at: f64, random: f64) -> Duration {
    let share = (refresh_at + REFRESH_JITTER * (2.0 * random - 1.0)).clamp(0.0, 1.0);
    let latest = lifetime.saturating_sub(margin(REFRESH_MARGIN, lifetime));
    lifetime.mul_f64(share).max(MIN_REFRESH).min(latest)
}

/// How long a token may be attached.
pub(super) fn usable_for(lifetime: Duration) -> Duration {
    lifetime.saturating_sub(margin(USE_MARGIN, lifetime))
}

/// The current token's times.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    /// Whether it may be attached now.
    pub usable: bool,
    /// When its refresh is due.
    pub refresh_due: Instant,
    /// The end of its use.
    pub usable_until: Instant,
}

/// The state that the next try depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Situation {
    pub held: Option<Held>,
    /// Whether a try is in progress.
    pub in_flight: bool,
    /// A caller found no token since the last try ended.
    pub wanted: bool,
    /// The upstream has refused the current token, or its file has changed.
    pub refused: bool,
}

impl Situation {
    fn is_needed(&self) -> bool {
        self.wanted && self.held.is_none_or(|held| !held.usable)
    }
}

/// Successive failures.
#[derive(Clone, Copy, Debug)]
struct Failing {
    count: u32,
    /// When the first try began.
    since: Instant,
    /// The failure is not transient.
    is_final: bool,
    /// When the next try begins without callers.
    pause_ends: Instant,
    /// The authority's `Retry-After`.
    not_before: Option<Instant>,
}

/// The times of the next tries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// The last try of a series begins within this time.
    row: Duration,
    last_began: Option<Instant>,
    gap: Duration,
    failing: Option<Failing>,
}

impl Pace {
    /// No try yet; one may take `total`.
    pub fn new(total: Duration) -> Self {
        // After a try with the whole time callers have waited long enough.
        Self {
            row: ROW.min(total),
            last_began: None,
            gap: Duration::ZERO,
            failing: None,
        }
    }

    /// Records the start of a try. `random` is in `0.0..1.0`.
    pub fn began(&mut self, now: Instant, random: f64) {
        self.last_began = Some(now);
        self.gap = GAP.mul_f64(1.0 + 0.2 * random);
    }

    /// Records a success.
    pub fn succeeded(&mut self) {
        self.failing = None;
    }

    /// The try under way failed. Gives until when callers get the failure without a new try; `None`
    /// while the series of tries goes on.
    pub fn failed(
        &mut self,
        failure: &Failure,
        now: Instant,
        held: Option<Held>,
        random: f64,
    ) -> Option<Instant> {
        let began = self.last_began.unwrap_or(now);
        let count = self
            .failing
            .map_or(0, |failing| failing.count)
            .saturating_add(1);
        let is_final = !failure.error.is_transient();
        let since = self.failing.map_or(began, |failing| failing.since);
        let quick = count <= QUICK_TRIES && !is_final && now - since < self.row;
        let pauses = if is_final {
            count
        } else {
            count.saturating_sub(QUICK_TRIES)
        };
        let mut pause = BACKOFF.pause(pauses, random);
        if let Some(held) = held.filter(|held| held.usable && !is_final) {
            // Half of the rest, so that no pause outlasts the token.
            let left = held.usable_until.saturating_duration_since(now);
            pause = pause.min((left / 2).max(GAP));
        }
        let wish = failure
            .retry_after
            .map(|wait| now + wait.min(MAX_RETRY_AFTER));
        let pause_ends = wish.map_or(now + pause, |wish| wish.max(now + pause));
        let before = self
            .failing
            .and_then(|failing| failing.not_before)
            .filter(|until| *until > now);
        let not_before = wish.into_iter().chain(before).max();
        self.failing = Some(Failing {
            count,
            since,
            is_final,
            pause_ends,
            not_before,
        });
        if quick && wish.is_none() {
            return None;
        }
        // A failure is known for as long as its try took, and until the next try may begin.
        let memory = (now + (now - began)).max(began + self.gap.max(GAP));
        Some(if is_final {
            pause_ends
        } else {
            wish.map_or(memory, |wish| wish.max(memory))
        })
    }

    /// When the next try begins if nothing else happens. A past moment means now.
    pub fn next(&self, situation: &Situation) -> Option<Instant> {
        if situation.in_flight {
            return None;
        }
        let after_gap = self.last_began.map(|began| began + self.gap);
        let Some(failing) = &self.failing else {
            return match situation.held {
                _ if situation.is_needed() => self.last_began.or(Some(Instant::now())),
                Some(_) if situation.refused => after_gap.or(Some(Instant::now())),
                Some(held) => Some(held.refresh_due),
                None => None,
            };
        };
        let hurried = !failing.is_final && (failing.count <= QUICK_TRIES || situation.is_needed());
        let next = match after_gap {
            Some(after_gap) if hurried => after_gap.min(failing.pause_ends),
            _ => failing.pause_ends,
        };
        Some(failing.not_before.map_or(next, |wish| wish.max(next)))
    }

    /// How many tries have failed since the last success.
    pub fn failures(&self) -> u32 {
        self.failing.map_or(0, |failing| failing.count)
    }
}

#[cfg(test)]
mod tests;
