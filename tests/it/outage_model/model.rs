//! The promises about keys, written a second time and as simply as possible.
//!
//! The model is given the times of the fetches and the issuer's answers, and shares no code with
//! the verifier. It also checks that every fetch had a reason to begin.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::world::{Given, Key, SimClock};
use m2m_sidecar::for_tests::domain::reason::Reason;

/// The pause after a failed fetch began, and between two requested fetches in the long run.
const COOL_DOWN: Duration = Duration::from_secs(10);
/// How many fetches requests may cause at once.
const BURST: u32 = 5;
const SAME_KEY_AGAIN: Duration = Duration::from_secs(60);
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// The resolution of the runtime's clock.
const TIMER_TICK: Duration = Duration::from_millis(1);
const CLOCK_SKEW: i64 = 60;
/// Timers go off within a millisecond or two of their time.
const TICK: Duration = Duration::from_millis(3);

/// A fetch as it was.
pub struct Attempt {
    pub began: Instant,
    /// `None`: the process ended before.
    pub ended: Option<Instant>,
    /// The issuer's key set; `None` if it does not count.
    pub given: Option<Given>,
}

/// A token that is shown.
pub struct Shown {
    /// For the log.
    pub label: String,
    pub text: String,
    /// The `kid` in its header.
    pub kid: Option<String>,
    /// Whose signature it has.
    pub key: Arc<Key>,
    pub issued_at: i64,
    pub expires_at: i64,
}

/// One request and what came of it.
pub struct Probe {
    pub at: Instant,
    pub shown: Arc<Shown>,
    pub decision: Result<(), Reason>,
}

/// A set of keys and when it was fetched.
#[derive(Clone)]
pub struct Set {
    pub keys: Vec<Arc<Key>>,
    pub fetched_at: i64,
}

impl Set {
    fn has(&self, kid: Option<&str>) -> bool {
        kid.is_none() || self.keys.iter().any(|key| Some(key.kid.as_str()) == kid)
    }

    fn holds(&self, key: &Arc<Key>) -> bool {
        self.keys.iter().any(|known| Arc::ptr_eq(known, key))
    }

    fn verifies(&self, shown: &Shown) -> bool {
        self.holds(&shown.key) && shown.kid.as_deref().is_none_or(|kid| kid == shown.key.kid)
    }
}

/// The promises, for one run of the sidecar.
pub struct Model<'a> {
    pub clock: &'a SimClock,
    pub max_stale: i64,
    /// The set that an earlier run left on disk.
    pub kept: Option<Set>,
    pub attempts: &'a [Attempt],
    /// Which attempts a missing caused; the others must have been due.
    asked: Vec<bool>,
    /// The requested keys, and when.
    requests: Vec<(String, Instant)>,
    /// When the fetches that requests have caused are paid off.
    paid: Option<Instant>,
    /// Tokens that were found good and are cached.
    cached: Vec<Arc<Shown>>,
    /// Whether the last fetch ended in the tick of the deadline: then either may come first.
    tie: bool,
}

impl<'a> Model<'a> {
    pub fn new(
        clock: &'a SimClock,
        max_stale: i64,
        kept: Option<Set>,
        attempts: &'a [Attempt],
    ) -> Self {
        let asked = vec![false; attempts.len()];
        let (requests, cached) = (Vec::new(), Vec::new());
        Self {
            clock,
            max_stale,
            kept,
            attempts,
            asked,
            requests,
            paid: None,
            cached,
            tie: false,
        }
    }

    /// The right decision; probes come in the order of their times.
    pub fn expects(&mut self, at: Instant, shown: &Arc<Shown>) -> Result<(), Reason> {
        self.tie = false;
        if self.cached.iter().any(|known| Arc::ptr_eq(known, shown)) {
            let set = self.usable(at).ok_or(Reason::KeysUnavailable)?;
            let decision = if set.holds(&shown.key) {
                self.in_time(at, shown)
            } else {
                Err(Reason::UnknownKid)
            };
            if decision.is_err() {
                self.cached.retain(|known| !Arc::ptr_eq(known, shown));
            }
            return decision;
        }
        let decision = self.decide(at, shown);
        if decision.is_ok() {
            self.cached.push(shown.clone());
        }
        decision
    }

    /// Whether another decision is right too, because the fetch ended in the tick of the deadline.
    pub fn allows(&mut self, shown: &Arc<Shown>, decision: Result<(), Reason>) -> bool {
        let allows = self.tie && decision == Err(Reason::KeysUnavailable);
        if allows {
            self.cached.retain(|known| !Arc::ptr_eq(known, shown));
        }
        allows
    }

    fn decide(&mut self, at: Instant, shown: &Shown) -> Result<(), Reason> {
        let (mut at, kid) = (at, shown.kid.as_deref());
        let mut set = self.usable(at).filter(|set| set.has(kid));
        if set.is_none() {
            let (current, answered) = self.ask(at, shown);
            at = answered;
            let now = self.usable(at).ok_or(Reason::KeysUnavailable)?;
            if !current && !now.has(kid) {
                return Err(Reason::KeysUnavailable);
            }
            if !now.has(kid) {
                return Err(Reason::UnknownKid);
            }
            set = Some(now);
        }
        let mut good = set.as_ref().is_some_and(|set| set.verifies(shown));
        if !good && kid.is_none() {
            // It may be of a newer key.
            (_, at) = self.ask(at, shown);
            good = self.usable(at).is_some_and(|set| set.verifies(shown));
        }
        if good {
            self.in_time(at, shown)
        } else {
            Err(Reason::Signature)
        }
    }

    /// Whether the issuer could be asked, and when that was known.
    fn ask(&mut self, at: Instant, shown: &Shown) -> (bool, Instant) {
        let ended = |attempt: &Attempt| attempt.ended.filter(|ended| *ended <= at).is_some();
        let under_way = self
            .attempts
            .iter()
            .zip(&self.asked)
            .position(|(it, asked)| {
                !ended(it) && (it.began < at || *asked && it.began <= at + TICK)
            });
        let last = self.attempts.iter().rev().find(|it| ended(it));
        let shared = match (under_way, last) {
            (Some(under_way), _) => under_way,
            // Nothing has ended: the first fetch is as good as under way.
            (None, None) => 0,
            (None, Some(last)) => {
                let missing = shown.kid.as_ref().unwrap_or(&shown.text);
                let lately = |(asked, when): &(String, Instant)| {
                    asked == missing && at - *when < SAME_KEY_AGAIN
                };
                let usable = self.usable(at).is_some();
                if last.given.is_none() && at - last.began < COOL_DOWN {
                    return (false, at);
                }
                if usable && self.requests.iter().any(lately) {
                    return (last.given.is_some(), at);
                }
                let paid = self.paid.map_or(at, |paid| paid.max(at));
                if paid - at > COOL_DOWN * (BURST - 1) {
                    return (false, at);
                }
                self.paid = Some(paid + COOL_DOWN);
                if usable {
                    self.requests.push((missing.clone(), at));
                }
                let caused = self
                    .attempts
                    .iter()
                    .position(|it| it.began >= at && it.began <= at + TICK);
                let caused = caused
                    .unwrap_or_else(|| panic!("`{}` should have caused a fetch", shown.label));
                self.asked[caused] = true;
                caused
            }
        };
        let attempt = &self.attempts[shared];
        let deadline = at + LONGEST_WAIT;
        self.tie |= attempt
            .ended
            .is_some_and(|ended| ended <= deadline && deadline - ended < TIMER_TICK);
        match attempt.ended.filter(|ended| *ended <= at + LONGEST_WAIT) {
            Some(ended) => (attempt.given.is_some(), ended),
            None => (false, at + LONGEST_WAIT),
        }
    }

    /// The last good set, unless it is too old.
    fn usable(&self, at: Instant) -> Option<Set> {
        let set = self.last_set(at)?;
        (self.clock.at(at) - set.fetched_at <= self.max_stale).then_some(set)
    }

    /// The last good set.
    pub fn last_set(&self, at: Instant) -> Option<Set> {
        let last = self.attempts.iter().rev().find_map(|attempt| {
            let ended = attempt.ended.filter(|ended| *ended <= at)?;
            let keys = attempt.given.as_ref()?.keys.clone();
            Some(Set {
                keys,
                fetched_at: self.clock.at(ended),
            })
        });
        last.or_else(|| self.kept.clone())
    }

    fn in_time(&self, at: Instant, shown: &Shown) -> Result<(), Reason> {
        let now = self.clock.at(at);
        if shown.expires_at <= now - CLOCK_SKEW {
            Err(Reason::Expired)
        } else if shown.issued_at > now + CLOCK_SKEW {
            Err(Reason::IssuedInFuture)
        } else {
            Ok(())
        }
    }

    /// The fetches close to a time, in seconds from it, for a failure message.
    pub fn around(&self, at: Instant) -> Vec<String> {
        let from = |instant: Instant| {
            let (before, after) = (
                at.saturating_duration_since(instant),
                instant.saturating_duration_since(at),
            );
            after.as_secs_f64() - before.as_secs_f64()
        };
        let near = self
            .attempts
            .iter()
            .zip(&self.asked)
            .filter(|(it, _)| from(it.began).abs() < 120.0);
        near.map(|(it, asked)| {
            let (began, ended) = (from(it.began), it.ended.map(from));
            format!(
                "{began:.6} to {ended:.6?}, good: {}, asked for: {asked}",
                it.given.is_some()
            )
        })
        .collect()
    }

    /// After all probes: every unrequested fetch must have been due, and none may be missing. Gives
    /// how many were requested.
    pub fn check_schedule(&self, end: Instant) -> usize {
        let mut pause = 1.0;
        for (n, attempt) in self.attempts.iter().enumerate() {
            let Some(ended) = attempt.ended else { continue };
            let (earliest, latest) = match &attempt.given {
                Some(given) => {
                    pause = 1.0;
                    let lifetime = given
                        .max_age
                        .map_or(600.0, |age| age.clamp(60, 3600) as f64);
                    let lifetime = lifetime.min(self.max_stale as f64);
                    (
                        attempt.began + seconds(lifetime * 0.7),
                        attempt.began + seconds(lifetime * 0.8),
                    )
                }
                None => {
                    let paused = (ended + seconds(pause * 0.8), ended + seconds(pause));
                    pause = f64::min(pause * 2.0, 30.0);
                    paused
                }
            };
            let at = |instant: Instant| self.clock.at(instant) - 1_800_000_000;
            match self.attempts.get(n + 1) {
                None => assert!(latest + TICK >= end, "no fetch after {}", at(ended)),
                Some(next) => {
                    assert!(
                        next.began <= latest + TICK,
                        "the fetch at {} is late",
                        at(next.began)
                    );
                    let in_time = next.began + TICK >= earliest || self.asked[n + 1];
                    assert!(in_time, "the fetch at {} has no reason", at(next.began));
                    // A retry after a failure may follow sooner; a missing may not.
                    let cooled =
                        attempt.given.is_some() || next.began + TICK >= attempt.began + COOL_DOWN;
                    assert!(
                        cooled || !self.asked[n + 1],
                        "the fetch at {} is too soon",
                        at(next.began)
                    );
                }
            }
        }
        self.asked.iter().filter(|asked| **asked).count()
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}
