//! Growing delays: a caller that fails again and again from one address waits longer and longer for
//! the next try.
//!
//! Counted per client id and network, so that failures elsewhere lock no client out; and per
//! network and neighbourhood whatever the client id, against spraying over many ids and against the
//! load of hashing. A right secret ends the first row only. While a delay lasts nothing is compared
//! but what cannot be guessed, and what was right from this network before: of the latter not
//! without end, because a guesser may share the network.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use moka::sync::Cache;

use super::TokenError;
use crate::domain::clock::UnixTime;
use crate::domain::hash::sha256_parts;
use crate::limits::guesses::{self, Allowance, BucketKey, Buckets};

/// So many failures in a row are a human.
const FREE: u32 = 5;
/// So many are a client that comes back while there is no place for its secret to be hashed.
const FREE_UNJUDGED: u32 = 50;
/// The longest delay, in seconds.
const LONGEST: u32 = 60;
/// After so long without a failure it is forgotten that there were any.
const FORGOTTEN: Duration = Duration::from_mins(15);
/// So many rows are counted; of those beyond, the ones that fail least often are forgotten.
const MOST: u64 = 50_000;

/// Failures of a network, whatever client they name. A client that goes on with a wrong secret
/// makes one in a minute.
const OF_NETWORK: Allowance = Allowance {
    burst: 30,
    every: Duration::from_secs(1),
};
/// Failures of all networks next to each other.
const OF_NEIGHBOURHOOD: Allowance = Allowance {
    burst: 300,
    every: Duration::from_millis(200),
};
/// Wrong secrets that are compared, during a delay, with those that were right from there before.
const RECALLED: Allowance = Allowance {
    burst: 200,
    every: Duration::from_secs(10),
};

/// Who tries: client ids, known or not, from an address.
pub(super) struct Attempt {
    /// The network of the address.
    pub(super) network: IpAddr,
    pairs: Vec<Pair>,
    of_network: BucketKey,
    of_neighbourhood: BucketKey,
}

/// A client id and a network.
struct Pair {
    /// What was wrong.
    wrong: BucketKey,
    /// What there was no place to judge.
    unjudged: BucketKey,
    /// What was compared during a delay.
    recalled: BucketKey,
}

#[derive(Clone, Copy)]
struct InARow {
    count: u32,
    last: UnixTime,
}

/// The failures of late.
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

    /// Whether a try may be made now.
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

    /// Notes that it was wrong.
    pub(super) fn note(&self, attempt: &Attempt, now: UnixTime) {
        attempt
            .pairs
            .iter()
            .for_each(|pair| self.count(pair.wrong, now));
        self.count_network(attempt, now);
    }

    /// Notes that it was not judged, which a guess that was not the right one can be told by.
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

    /// It was right. What its network did otherwise is not forgotten.
    pub(super) fn forget(&self, attempt: &Attempt) {
        for pair in &attempt.pairs {
            self.rows.invalidate(&pair.wrong);
            self.rows.invalidate(&pair.unjudged);
        }
    }

    /// Whether it may be compared, during a delay, with what was right from its network before.
    /// Counted until [`recalled`](Self::recalled) says that it was right.
    pub(super) fn may_recall(&self, attempt: &Attempt, now: UnixTime) -> bool {
        attempt
            .pairs
            .iter()
            .all(|pair| self.buckets.take(pair.recalled, RECALLED, since_epoch(now)))
    }

    /// It was right from its network before.
    pub(super) fn recalled(&self, attempt: &Attempt) {
        attempt
            .pairs
            .iter()
            .for_each(|pair| self.buckets.give_back(pair.recalled, RECALLED));
    }
}

impl InARow {
    /// Not beyond its time; nor when the clock was set back.
    fn is_remembered(&self, now: UnixTime) -> bool {
        self.last <= now && self.last.until(now) < FORGOTTEN
    }

    /// In seconds: 1 after so many failures, doubled by each further one.
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

/// Who tries: one of these client ids, which are the readings of one text, from an address.
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
