//! What is to become of each key: a pure function of the keys, the time and the policy.
//!
//! A key is *next* (published, so that verifiers know it), then *active* (it signs), then *retired*
//! (published until the last token it can have signed is dead), then gone. The state stands in the
//! store, not in the clock: a clock that goes backwards takes nothing back, and every process on
//! one store reads the same.

use std::time::Duration;

use crate::domain::clock::UnixTime;
use crate::store::{KeyRecord, KeyState};

/// How long a key is published before it signs. As long as our verifiers keep a key set at the
/// most; ours says that it may be kept for five minutes.
const LEAD: Duration = Duration::from_hours(1);
/// How long a retired key stays published beyond the life of its tokens: for verifiers whose clock
/// is behind (at most ten minutes), and for a process that went on signing because it could not
/// read the store.
pub(super) const MARGIN: Duration = Duration::from_hours(1);
/// Clocks of several processes on one store may differ by this; beyond it, a clock was set back.
const SKEW: Duration = Duration::from_mins(10);
/// How long a key that another configuration made is left alone: processes of the old one may still
/// be running.
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

/// What holds for the keys of one process.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    /// The algorithms of the stored keys it signs with, by name; stored keys of other algorithms
    /// are only published. Not the algorithm of a configured key, which signs in their place.
    pub algorithms: Vec<String>,
    /// How long a key signs; `None`: for ever.
    pub rotate_every: Option<Duration>,
    /// The proven time at which the process started.
    pub running_since: UnixTime,
}

/// What a step is judged by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// The time.
    pub now: UnixTime,
    /// The time by which keys go: the clock may be ahead of it.
    pub proven: UnixTime,
    /// The latest time this process has seen: tokens were signed up to then, whatever the clock
    /// says now.
    pub latest: UnixTime,
    /// How long the longest token lives that this process signs.
    pub longest_token: Duration,
}

/// Changes to make together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Keys as they are from now on.
    pub update: Vec<KeyRecord>,
    /// Keys that go.
    pub delete: Vec<String>,
    /// Keys to make.
    pub make: Vec<Make>,
}

/// A key to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Make {
    /// Its algorithm, by name.
    pub algorithm: String,
    /// [`KeyState::Next`] or [`KeyState::Active`].
    pub state: KeyState,
    /// From when on it signs.
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

    /// The key of an algorithm that signs, of those in the store.
    pub(super) fn signing<'a>(
        &self,
        keys: &'a [KeyRecord],
        algorithm: &str,
    ) -> Option<&'a KeyRecord> {
        self.of_state(keys, algorithm, KeyState::Active)
            .max_by_key(|key| (key.signs_from, &key.kid))
    }

    /// The key of an algorithm that signs after it.
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

    /// The changes that are due. Once they are made, no further change is due.
    pub(super) fn due(&self, keys: &[KeyRecord], at: Moment) -> Plan {
        let mut make = Vec::new();
        let mut lines = Vec::new();
        for algorithm in &self.algorithms {
            let (signing, next) = (self.signing(keys, algorithm), self.next(keys, algorithm));
            let successor = next.filter(|next| signing.is_none() || next.signs_from <= at.now);
            lines.push(Line { signing, successor });
            match (signing, next) {
                // The very first key, or the first of its algorithm: no other key could sign until
                // it is known.
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

    /// What a rotation on demand does, for every algorithm. A key that is waiting already is the
    /// one that is asked for.
    pub(super) fn on_demand(&self, keys: &[KeyRecord], at: Moment, how: RotateNow) -> Plan {
        let mut plan = Plan::default();
        if how.withdraw {
            plan.delete = keys.iter().map(|key| key.kid.clone()).collect();
        }
        for algorithm in &self.algorithms {
            match self.next(keys, algorithm) {
                // Not the waiting one: it lay where the others lay.
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

    /// Whether it is time to publish a successor.
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

    /// Since when a process runs to which a key is foreign. It stands in the store: else a process
    /// that is restarted every day would never retire the key.
    fn foreign_since(&self, key: &KeyRecord, proven: UnixTime) -> Option<UnixTime> {
        match key.foreign_since {
            since if key.state == KeyState::Retired => since,
            // After the clock was set back it would be left alone too long: its time begins anew.
            since if !self.is_ours(key) => Some(
                since
                    .filter(|since| *since <= proven.plus(SKEW))
                    .unwrap_or(proven),
            ),
            // The configuration was changed back, or no process is left to which it is foreign:
            // that one would have retired it.
            Some(since)
                if self.running_since > since.plus(SKEW)
                    || proven > since.plus(FOREIGN).plus(SKEW) =>
            {
                None
            }
            since => since,
        }
    }

    /// Whether no process can be left that signs with a key of another configuration.
    fn is_abandoned(&self, key: &KeyRecord, proven: UnixTime) -> bool {
        !self.is_ours(key)
            && key
                .foreign_since
                .is_some_and(|since| proven >= since.plus(FOREIGN))
    }

    /// A waiting key. After the clock was set back it would wait too long: its time begins anew.
    fn on_time(&self, key: &KeyRecord, now: UnixTime) -> KeyRecord {
        let mut key = key.clone();
        if self.is_ours(&key) && key.signs_from > now.plus(self.lead()).plus(SKEW) {
            (key.created_at, key.signs_from) = (now, now.plus(self.lead()));
        }
        key
    }
}

/// The keys of one algorithm: the one that signs, and the one whose time to sign has come.
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

/// Until when a retired key is published; `None` when it is not retired.
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

/// The key that goes on signing. After the clock was set back it would sign too long: its age
/// begins anew.
fn since_now(key: &KeyRecord, at: Moment) -> KeyRecord {
    let key = longest(key, at);
    let signs_from = if key.signs_from > at.now.plus(SKEW) {
        at.now
    } else {
        key.signs_from
    };
    KeyRecord { signs_from, ..key }
}

/// A key that others may still sign with, or may just have.
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
