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
const FREE_UNJUDGED: u32 = 50;
/// The longest delay, in seconds.
const LONGEST: u32 = 60;
/// The count ends after so long without a failure.
const FORGOTTEN: Duration = Duration::from_mins(15);
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
    unjudged: BucketKey,
    /// Secrets that were compared during a delay.
    recalled: BucketKey,
}

#[derive(Clone, Copy)]
struct InARow {
    count: u32,
    last: UnixTime,
}

/// The recent failures.
pub(super) struct Failures {
    rows: Cache<BucketKey, InARow>,
    buckets: Buckets,
}

impl Failures {
    pub(super) fn new() -> Self {
        Self {
            rows: Cache::new(MOST),
            buckets: Buckets::new(MOST),
        }
    }

    /// Whether an attempt is allowed now.
    pub(super) fn check(&self, attempt: &Attempt, now: UnixTime) -> Result<(), TokenError> {
        let delay = |whom: &BucketKey, free| {
            let row = self.rows.get(whom).filter(|row| row.is_remembered(now))?;
            Some(now.until(row.last.plus(Duration::from_secs(row.delay(free).into()))))
        };
        let of_pair =
            |pair: &Pair| delay(&pair.wrong, FREE).max(delay(&pair.unjudged, FREE_UNJUDGED));
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
    pub(super) fn note_unjudged(&self, attempt: &Attempt, now: UnixTime) {
        attempt
            .pairs
            .iter()
            .for_each(|pair| self.count(pair.unjudged, now));
        self.count_network(attempt, now);
    }

    fn count(&self, whom: BucketKey, now: UnixTime) {
        self.rows.entry(whom).and_upsert_with(|earlier| {
            let earlier = earlier
                .map(moka::Entry::into_value)
                .filter(|row| row.is_remembered(now));
            InARow {
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
    pub(super) fn forget(&self, attempt: &Attempt) {
        for pair in &attempt.pairs {
            self.rows.invalidate(&pair.wrong);
            self.rows.invalidate(&pair.unjudged);
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

impl InARow {
    /// False after its time, and if the clock was set back.
    fn is_remembered(&self, now: UnixTime) -> bool {
        self.last <= now && self.last.until(now) < FORGOTTEN
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
    let whom = |client_id: &str, what: &str| {
        sha256_parts(&[client_id.as_bytes(), text.as_bytes(), what.as_bytes()])
    };
    let pair = |client_id: &'a str| Pair {
        wrong: whom(client_id, "wrong"),
        unjudged: whom(client_id, "unjudged"),
        recalled: whom(client_id, "recalled"),
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
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn attempt(client_id: &str, from: Option<&str>) -> Attempt {
        super::attempt(
            std::iter::once(client_id),
            from.map(|from| from.parse().unwrap()),
        )
    }

    fn wait(failures: &Failures, whom: &Attempt, now: UnixTime) -> u16 {
        match failures.check(whom, now) {
            Ok(()) => 0,
            Err(TokenError::TooManyFailures { retry_after }) => retry_after,
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn after_five_failures_each_further_one_doubles_the_wait_up_to_a_minute() {
        let (failures, whom) = (Failures::new(), attempt("a", None));
        let mut now = NOW;
        for _ in 0..4 {
            failures.note(&whom, now);
            assert_eq!(wait(&failures, &whom, now), 0);
        }
        for expected in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            failures.note(&whom, now);
            assert_eq!(wait(&failures, &whom, now), expected);
            now = now.plus(Duration::from_secs(u64::from(expected) - 1));
            assert_eq!(wait(&failures, &whom, now), 1);
            now = now.plus(Duration::from_secs(1));
            assert_eq!(wait(&failures, &whom, now), 0);
        }
        for _ in 0..100 {
            failures.note(&whom, now);
        }
        assert_eq!(wait(&failures, &whom, now), 60);
        assert_eq!(
            wait(&failures, &whom, now.minus(Duration::from_secs(1))),
            0,
            "the clock was set back"
        );
        let later = now.plus(FORGOTTEN);
        failures.note(&whom, later);
        assert_eq!(wait(&failures, &whom, later), 0);
    }

    #[test]
    fn a_success_ends_the_row_and_others_are_not_concerned() {
        let failures = Failures::new();
        let mine = attempt("a", Some("192.0.2.1"));
        for _ in 0..9 {
            failures.note(&mine, NOW);
        }
        for other in [
            attempt("b", Some("192.0.2.1")),
            attempt("a", Some("192.0.2.2")),
            attempt("a", None),
        ] {
            assert_eq!(wait(&failures, &other, NOW), 0);
        }
        failures.forget(&mine);
        assert_eq!(wait(&failures, &mine, NOW), 0);
    }

    #[test]
    fn what_was_not_judged_counts_too_but_later() {
        let (failures, whom) = (Failures::new(), attempt("a", None));
        let mut now = NOW;
        for _ in 0..49 {
            failures.note_unjudged(&whom, now);
            assert_eq!(wait(&failures, &whom, now), 0);
            now = now.plus(Duration::from_secs(1));
        }
        failures.note_unjudged(&whom, now);
        assert_eq!(wait(&failures, &whom, now), 1);
        assert_eq!(wait(&failures, &attempt("b", None), now), 0);
    }

    #[test]
    fn a_network_that_fails_with_many_clients_waits_with_every_client_and_one_success_does_not_end_that()
     {
        let (failures, from) = (Failures::new(), Some("192.0.2.1"));
        let whom = |number: u32| attempt(&format!("client-{number}"), from);
        for number in 0..OF_NETWORK.burst {
            assert_eq!(wait(&failures, &whom(number), NOW), 0);
            failures.note(&whom(number), NOW);
        }
        failures.forget(&whom(1));
        assert_eq!(
            (
                wait(&failures, &whom(1), NOW),
                wait(&failures, &whom(1000), NOW)
            ),
            (1, 1)
        );
        assert_eq!(
            wait(&failures, &attempt("client-1", Some("192.0.2.2")), NOW),
            0
        );
        let later = NOW.plus(Duration::from_secs(1));
        assert_eq!(
            wait(&failures, &whom(1000), later),
            0,
            "one in a second is judged"
        );
        failures.note(&whom(1000), later);
        assert_eq!(wait(&failures, &whom(1001), later), 1);
    }

    #[test]
    fn a_neighbourhood_that_fails_from_many_addresses_waits_with_each_of_them() {
        for (of_number, next, elsewhere) in [
            (
                (|n: u32| format!("198.51.100.{n}")) as fn(u32) -> String,
                "198.51.100.200",
                "198.51.101.1",
            ),
            (
                |n: u32| format!("2001:db8:1:{n:x}00::1"),
                "2001:db8:1:ff00::1",
                "2001:db8:2::1",
            ),
        ] {
            let failures = Failures::new();
            for number in 0..OF_NEIGHBOURHOOD.burst {
                let from = of_number(number % 100);
                failures.note(&attempt(&format!("client-{number}"), Some(&from)), NOW);
            }
            assert_eq!(wait(&failures, &attempt("a", Some(next)), NOW), 1);
            assert_eq!(wait(&failures, &attempt("a", Some(elsewhere)), NOW), 0);
        }
    }

    #[test]
    fn a_56_of_ipv6_is_one_network() {
        let of = |text: &str| attempt("a", Some(text)).pairs.remove(0).wrong;
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1:2:3"));
        assert_eq!(of("2001:db8::1"), of("2001:db8:0:ff::1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:100::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }

    #[test]
    fn during_a_delay_wrong_secrets_are_recalled_so_often_and_right_ones_without_end() {
        let (failures, whom) = (Failures::new(), attempt("a", None));
        for _ in 0..1000 {
            assert!(failures.may_recall(&whom, NOW));
            failures.recalled(&whom);
        }
        let recalled = (0..1000)
            .filter(|_| failures.may_recall(&whom, NOW))
            .count();
        assert_eq!(recalled, 200);
        assert!(
            failures.may_recall(&attempt("b", None), NOW),
            "another client's"
        );
        let later = NOW.plus(Duration::from_secs(10));
        assert_eq!(
            (0..1000)
                .filter(|_| failures.may_recall(&whom, later))
                .count(),
            1
        );
    }
}
