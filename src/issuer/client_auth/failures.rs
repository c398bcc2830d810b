//! Growing delays: after each further failure from one address, the next attempt must wait longer.
//!
//! Failures are counted per client id and network, so that failures elsewhere lock no client out.
//! They are also counted per network and neighbourhood for all client ids, against spraying and
//! against the load of hashing. A right secret resets only the first count. During a delay only two
//! kinds of secrets are compared: secrets that cannot be guessed, and, a limited number of times,
//! secrets that were right from this network before.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use moka::sync::Cache;

use super::TokenError;
use crate::domain::clock::UnixTime;
use crate::domain::hash::sha256_parts;
use crate::limits::guesses::{self, Allowance, BucketKey, Buckets};

/// Consecutive failures that a person may cause.
const FREE: u32 = 5;
/// Consecutive attempts of a client that retries because its secret could not be hashed.
const FREE_UNHASHED: u32 = 50;
/// The longest delay, in seconds.
const LONGEST: u32 = 60;
/// The count ends after so long without a failure.
const COUNTED_FOR: Duration = Duration::from_mins(15);
/// The number of counts. Beyond it, the least frequent ones are dropped.
const MOST: u64 = 50_000;

/// Failures of a network, for all client ids. A client that keeps a wrong secret makes one a
/// minute.
const OF_NETWORK: Allowance = Allowance {
    burst: 30,
    every: Duration::from_secs(1),
};
/// Failures of neighbouring networks together.
const OF_NEIGHBOURHOOD: Allowance = Allowance {
    burst: 300,
    every: Duration::from_millis(200),
};
/// Comparisons during a delay with secrets that were right from the network before.
const RECALLED: Allowance = Allowance {
    burst: 200,
    every: Duration::from_secs(10),
};

/// An attempt: client ids, registered or not, and an address.
pub(super) struct Attempt {
    /// The network of the address.
    pub(super) network: IpAddr,
    pairs: Vec<Pair>,
    of_network: BucketKey,
    of_neighbourhood: BucketKey,
}

/// A client id and a network.
struct Pair {
    /// Wrong secrets.
    wrong: BucketKey,
    /// Secrets that could not be hashed.
    unhashed: BucketKey,
    /// Secrets that were compared during a delay.
    recalled: BucketKey,
}

#[derive(Clone, Copy)]
struct Consecutive {
    count: u32,
    last: UnixTime,
}

/// The recent failures.
pub(super) struct Failures {
    counts: Cache<BucketKey, Consecutive>,
    buckets: Buckets,
}

impl Failures {
    pub(super) fn new() -> Self {
        Self {
            counts: Cache::new(MOST),
            buckets: Buckets::new(MOST),
        }
    }

    /// Whether an attempt is allowed now.
    pub(super) fn check(&self, attempt: &Attempt, now: UnixTime) -> Result<(), TokenError> {
        let delay = |key: &BucketKey, free| {
            let row = self.counts.get(key).filter(|row| row.is_recent(now))?;
            Some(now.until(row.last.plus(Duration::from_secs(row.delay(free).into()))))
        };
        let of_pair =
            |pair: &Pair| delay(&pair.wrong, FREE).max(delay(&pair.unhashed, FREE_UNHASHED));
        let of_pairs = attempt
            .pairs
            .iter()
            .filter_map(of_pair)
            .max()
            .unwrap_or_default();
        let since_epoch = since_epoch(now);
        let of_network = self
            .buckets
            .wait(&attempt.of_network, OF_NETWORK, since_epoch);
        let of_neighbourhood =
            self.buckets
                .wait(&attempt.of_neighbourhood, OF_NEIGHBOURHOOD, since_epoch);
        let left = of_pairs.max(of_network).max(of_neighbourhood);
        match u16::try_from(left.as_millis().div_ceil(1000)) {
            Ok(0) => Ok(()),
            left => Err(TokenError::TooManyFailures {
                retry_after: left.unwrap_or(u16::MAX),
            }),
        }
    }

    /// Counts a wrong secret.
    pub(super) fn note(&self, attempt: &Attempt, now: UnixTime) {
        attempt
            .pairs
            .iter()
            .for_each(|pair| self.count(pair.wrong, now));
        self.count_network(attempt, now);
    }

    /// Counts a secret that could not be hashed. The answer reveals that it is not the right one.
    pub(super) fn note_unhashed(&self, attempt: &Attempt, now: UnixTime) {
        attempt
            .pairs
            .iter()
            .for_each(|pair| self.count(pair.unhashed, now));
        self.count_network(attempt, now);
    }

    fn count(&self, key: BucketKey, now: UnixTime) {
        self.counts.entry(key).and_upsert_with(|earlier| {
            let earlier = earlier
                .map(moka::Entry::into_value)
                .filter(|row| row.is_recent(now));
            Consecutive {
                count: earlier.map_or(0, |row| row.count).saturating_add(1),
                last: now,
            }
        });
    }

    fn count_network(&self, attempt: &Attempt, now: UnixTime) {
        self.buckets
            .count(attempt.of_network, OF_NETWORK, since_epoch(now));
        self.buckets
            .count(attempt.of_neighbourhood, OF_NEIGHBOURHOOD, since_epoch(now));
    }

    /// Resets the failures of the client ids. Those of the network stay.
    pub(super) fn reset(&self, attempt: &Attempt) {
        for pair in &attempt.pairs {
            self.counts.invalidate(&pair.wrong);
            self.counts.invalidate(&pair.unhashed);
        }
    }

    /// Whether a secret may be compared, during a delay, with those that were right from its
    /// network before. It counts until [`recalled`](Self::recalled) says that it was right.
    pub(super) fn may_recall(&self, attempt: &Attempt, now: UnixTime) -> bool {
        attempt
            .pairs
            .iter()
            .all(|pair| self.buckets.take(pair.recalled, RECALLED, since_epoch(now)))
    }

    /// The secret was right from its network before.
    pub(super) fn recalled(&self, attempt: &Attempt) {
        attempt
            .pairs
            .iter()
            .for_each(|pair| self.buckets.give_back(pair.recalled, RECALLED));
    }
}

impl Consecutive {
    /// False after its time, and if the clock was set back.
    fn is_recent(&self, now: UnixTime) -> bool {
        self.last <= now && self.last.until(now) < COUNTED_FOR
    }

    /// In seconds: 1 after `free` failures, doubled by each further one.
    fn delay(&self, free: u32) -> u32 {
        match self.count.checked_sub(free) {
            None => 0,
            Some(more) => 1_u32.checked_shl(more).unwrap_or(LONGEST).clamp(1, LONGEST),
        }
    }
}

fn since_epoch(now: UnixTime) -> Duration {
    UnixTime(0).until(now)
}

/// An attempt with one of these client ids, which are the readings of one text.
pub(super) fn attempt<'a>(
    client_ids: impl Iterator<Item = &'a str>,
    from: Option<IpAddr>,
) -> Attempt {
    let from = from.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let network = guesses::network(from);
    let text = network.to_string();
    let key = |client_id: &str, kind: &str| {
        sha256_parts(&[client_id.as_bytes(), text.as_bytes(), kind.as_bytes()])
    };
    let pair = |client_id: &'a str| Pair {
        wrong: key(client_id, "wrong"),
        unhashed: key(client_id, "unhashed"),
        recalled: key(client_id, "recalled"),
    };
    let mut client_ids: Vec<_> = client_ids.collect();
    client_ids.dedup();
    let neighbourhood = guesses::neighbourhood(from).to_string();
    Attempt {
        network,
        pairs: client_ids.into_iter().map(pair).collect(),
        of_network: sha256_parts(&[b"network", text.as_bytes()]),
        of_neighbourhood: sha256_parts(&[b"neighbourhood", neighbourhood.as_bytes()]),
    }
}

#[cfg(test)]
mod tests;
