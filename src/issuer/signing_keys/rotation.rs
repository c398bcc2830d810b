//! The next state of each key: a pure function of the keys, the time and the policy.
//!
//! A key is *next* (published, so that verifiers have it), then *active* (it signs), then *retired*
//! (published until the last token it may have signed has expired), then deleted. The state is
//! stored and not derived from the clock: setting the clock back reverts nothing, and all processes
//! on one store see the same state.

use std::time::Duration;

use crate::domain::clock::UnixTime;
use crate::store::{KeyRecord, KeyState};

/// How long a key is published before it signs: as long as a sidecar caches a key set. The key set
/// itself allows five minutes.
const LEAD: Duration = Duration::from_hours(1);
/// How long a retired key stays published after its tokens: for verifiers with a slow clock (at
/// most ten minutes), and for a process that still signs because it cannot read the store.
pub(super) const MARGIN: Duration = Duration::from_hours(1);
/// The largest difference between the clocks of processes on one store. Beyond it, a clock was set
/// back.
const SKEW: Duration = Duration::from_mins(10);
/// How long a key of another configuration is kept: processes with the old configuration may still
/// run.
const FOREIGN: Duration = Duration::from_hours(24);

/// How the signing keys are rotated on demand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, utoipa::ToSchema)]
#[schema(as = RotateRequest)]
pub struct RotateNow {
    /// Sign with the new key at once. Verifiers that cache the key set refuse its tokens until
    /// they fetch it again.
    pub now: bool,
    /// Also remove every earlier key from the published set at once, so that tokens signed before
    /// are refused: for keys that may have leaked. Includes `now`.
    pub withdraw: bool,
}

/// The rules for the keys of one process.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    /// The algorithms of the stored keys that sign, by name. Stored keys of other algorithms are
    /// only published, such as those of a configured key's algorithm.
    pub algorithms: Vec<String>,
    /// How long a key signs; `None`: without end.
    pub rotate_every: Option<Duration>,
    /// The proven time of the process's start.
    pub running_since: UnixTime,
}

/// The input of a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub now: UnixTime,
    /// The time by which keys are deleted: the clock may be ahead of it.
    pub proven: UnixTime,
    /// The latest time this process has seen: tokens were signed up to then, whatever the clock is
    /// now.
    pub latest: UnixTime,
    /// The longest lifetime of a token that this process signs.
    pub longest_token: Duration,
}

/// Changes of one transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Keys with their new state.
    pub update: Vec<KeyRecord>,
    /// Keys to delete.
    pub delete: Vec<String>,
    /// Keys to make.
    pub make: Vec<Make>,
}

/// A key to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Make {
    /// By name.
    pub algorithm: String,
    /// [`KeyState::Next`] or [`KeyState::Active`].
    pub state: KeyState,
    /// The time from which it signs.
    pub signs_from: UnixTime,
}

impl Plan {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Policy {
    /// How long a key is published before it signs.
    pub(super) fn lead(&self) -> Duration {
        self.rotate_every.map_or(LEAD, |every| LEAD.min(every / 4))
    }

    /// The stored key that signs with an algorithm.
    pub(super) fn signing<'a>(
        &self,
        keys: &'a [KeyRecord],
        algorithm: &str,
    ) -> Option<&'a KeyRecord> {
        self.of_state(keys, algorithm, KeyState::Active)
            .max_by_key(|key| (key.signs_from, &key.kid))
    }

    /// The key that signs after it.
    fn next<'a>(&self, keys: &'a [KeyRecord], algorithm: &str) -> Option<&'a KeyRecord> {
        self.of_state(keys, algorithm, KeyState::Next)
            .min_by_key(|key| (key.signs_from, &key.kid))
    }

    fn of_state<'a>(
        &self,
        keys: &'a [KeyRecord],
        algorithm: &str,
        state: KeyState,
    ) -> impl Iterator<Item = &'a KeyRecord> {
        keys.iter().filter(move |key| {
            key.state == state && key.algorithm == algorithm && self.is_ours(key)
        })
    }

    fn is_ours(&self, key: &KeyRecord) -> bool {
        self.signs_with(&key.algorithm)
    }

    /// Whether a stored key of an algorithm signs.
    pub(super) fn signs_with(&self, algorithm: &str) -> bool {
        self.algorithms.iter().any(|known| known == algorithm)
    }

    /// The same policy with a further algorithm.
    pub(super) fn with(&self, algorithm: &str) -> Self {
        let mut more = self.clone();
        if !more.signs_with(algorithm) {
            more.algorithms.push(algorithm.to_owned());
        }
        more
    }

    /// The due changes. After these, no further change is due.
    pub(super) fn due(&self, keys: &[KeyRecord], at: Moment) -> Plan {
        let mut make = Vec::new();
        let mut lines = Vec::new();
        for algorithm in &self.algorithms {
            let (signing, next) = (self.signing(keys, algorithm), self.next(keys, algorithm));
            let successor = next.filter(|next| signing.is_none() || next.signs_from <= at.now);
            lines.push(Line { signing, successor });
            match (signing, next) {
                // The first key of its algorithm: no other key can sign while it is only published.
                (None, None) => make.push(active(algorithm, at.now)),
                (Some(signing), None) if self.is_old(signing, at.now) => {
                    make.push(self.next_one(algorithm, at.now));
                }
                _ => {}
            }
        }
        Plan {
            make,
            ..self.follow(keys, at, &lines)
        }
    }

    /// The changes of a rotation on demand, for every algorithm. A waiting key is the requested
    /// one.
    pub(super) fn on_demand(&self, keys: &[KeyRecord], at: Moment, how: RotateNow) -> Plan {
        let mut plan = Plan::default();
        if how.withdraw {
            plan.delete = keys.iter().map(|key| key.kid.clone()).collect();
        }
        for algorithm in &self.algorithms {
            match self.next(keys, algorithm) {
                // Not the waiting key: it was stored beside the others.
                _ if how.withdraw => plan.make.push(active(algorithm, at.now)),
                next if how.now => {
                    match next {
                        Some(next) => plan.update.push(activated(next, at)),
                        None => plan.make.push(active(algorithm, at.now)),
                    }
                    let signing = self.of_state(keys, algorithm, KeyState::Active);
                    plan.update.extend(signing.map(|key| retired(key, at)));
                }
                Some(_) => {}
                None => plan.make.push(self.next_one(algorithm, at.now)),
            }
        }
        plan
    }

    fn next_one(&self, algorithm: &str, now: UnixTime) -> Make {
        let signs_from = now.plus(self.lead());
        Make {
            algorithm: algorithm.to_owned(),
            state: KeyState::Next,
            signs_from,
        }
    }

    /// Whether a successor must be published.
    fn is_old(&self, signing: &KeyRecord, now: UnixTime) -> bool {
        self.rotate_every
            .is_some_and(|every| now >= signing.signs_from.plus(every - self.lead()))
    }

    fn follow(&self, keys: &[KeyRecord], at: Moment, lines: &[Line<'_>]) -> Plan {
        let mut plan = Plan::default();
        for stored in keys {
            let key = &KeyRecord {
                foreign_since: self.foreign_since(stored, at.proven),
                ..stored.clone()
            };
            let is = |other: Option<&KeyRecord>| other.is_some_and(|other| other.kid == key.kid);
            let signs_on = |line: &Line<'_>| is(line.signing) && line.successor.is_none();
            let changed = match key.state {
                KeyState::Retired if is_dead(key, at.proven) => None,
                KeyState::Next if self.is_abandoned(key, at.proven) => None,
                KeyState::Next if lines.iter().any(|line| is(line.successor)) => {
                    Some(activated(key, at))
                }
                KeyState::Next => Some(self.on_time(key, at.now)),
                KeyState::Active if lines.iter().any(signs_on) => Some(since_now(key, at)),
                KeyState::Active if self.is_ours(key) || self.is_abandoned(key, at.proven) => {
                    Some(retired(key, at))
                }
                KeyState::Active | KeyState::Retired => Some(lived(key, at)),
            };
            match changed {
                None => plan.delete.push(key.kid.clone()),
                Some(changed) if changed != *stored => plan.update.push(changed),
                Some(_) => {}
            }
        }
        plan
    }

    /// Since when a process of another configuration than the key's runs. It is stored, because a
    /// process that restarts every day would otherwise never retire the key.
    fn foreign_since(&self, key: &KeyRecord, proven: UnixTime) -> Option<UnixTime> {
        match key.foreign_since {
            since if key.state == KeyState::Retired => since,
            // If the clock was set back, it would be kept too long: its time starts again.
            since if !self.is_ours(key) => Some(
                since
                    .filter(|since| *since <= proven.plus(SKEW))
                    .unwrap_or(proven),
            ),
            // The configuration was changed back, or no process of the other one is left, which
            // would have retired it.
            Some(since)
                if self.running_since > since.plus(SKEW)
                    || proven > since.plus(FOREIGN).plus(SKEW) =>
            {
                None
            }
            since => since,
        }
    }

    /// Whether no process of another configuration can still sign with a key.
    fn is_abandoned(&self, key: &KeyRecord, proven: UnixTime) -> bool {
        !self.is_ours(key)
            && key
                .foreign_since
                .is_some_and(|since| proven >= since.plus(FOREIGN))
    }

    /// A waiting key. If the clock was set back, it would wait too long: its time starts again.
    fn on_time(&self, key: &KeyRecord, now: UnixTime) -> KeyRecord {
        let mut key = key.clone();
        if self.is_ours(&key) && key.signs_from > now.plus(self.lead()).plus(SKEW) {
            (key.created_at, key.signs_from) = (now, now.plus(self.lead()));
        }
        key
    }
}

/// The keys of one algorithm: the signing one, and the one that is due to sign.
struct Line<'a> {
    signing: Option<&'a KeyRecord>,
    successor: Option<&'a KeyRecord>,
}

/// A key that signs at once.
fn active(algorithm: &str, now: UnixTime) -> Make {
    Make {
        algorithm: algorithm.to_owned(),
        state: KeyState::Active,
        signs_from: now,
    }
}

/// The end of a retired key's publication; `None` if it is not retired.
pub(super) fn published_until(key: &KeyRecord) -> Option<UnixTime> {
    Some(key.retired_at?.plus(key.longest_token).plus(MARGIN))
}

fn is_dead(key: &KeyRecord, proven: UnixTime) -> bool {
    published_until(key).is_some_and(|until| until < proven)
}

fn activated(key: &KeyRecord, at: Moment) -> KeyRecord {
    KeyRecord {
        state: KeyState::Active,
        signs_from: at.now,
        ..longest(key, at)
    }
}

fn retired(key: &KeyRecord, at: Moment) -> KeyRecord {
    let key = longest(key, at);
    KeyRecord {
        state: KeyState::Retired,
        retired_at: Some(at.latest),
        ..key
    }
}

/// The key that continues to sign. If the clock was set back, it would sign too long: its age
/// starts again.
fn since_now(key: &KeyRecord, at: Moment) -> KeyRecord {
    let key = longest(key, at);
    let signs_from = if key.signs_from > at.now.plus(SKEW) {
        at.now
    } else {
        key.signs_from
    };
    KeyRecord { signs_from, ..key }
}

/// A key that other processes may still sign with.
fn lived(key: &KeyRecord, at: Moment) -> KeyRecord {
    match key.retired_at {
        Some(retired_at) if retired_at.plus(MARGIN) >= at.now => longest(key, at),
        _ => key.clone(),
    }
}

fn longest(key: &KeyRecord, at: Moment) -> KeyRecord {
    KeyRecord {
        longest_token: key.longest_token.max(at.longest_token),
        ..key.clone()
    }
}

#[cfg(test)]
mod tests;
