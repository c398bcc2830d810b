//! Growing delays: who fails again and again from one address waits longer and longer for the next try.
//!
//! Counted per client id and address, so that nobody can lock a client out from elsewhere. Behind a proxy all have one
//! address: there, a secret that nobody can have guessed is let in all the same.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use moka::sync::Cache;

use super::TokenError;
use crate::domain::clock::UnixTime;
use crate::domain::hash::sha256_parts;

/// So many failures in a row are a human.
const FREE: u32 = 5;
/// So many are a client that comes back while there is no place for its secret to be hashed.
const FREE_UNJUDGED: u32 = 50;
/// After so many of whatever clients an address is one that guesses.
const MANY: u32 = 20;
/// The longest delay, in seconds.
const LONGEST: u32 = 60;
/// After so long without a failure it is forgotten that there were any.
const FORGOTTEN: Duration = Duration::from_mins(15);
/// So many pairs are counted; of those beyond, the ones that fail least often are forgotten.
const MOST: u64 = 50_000;

/// Whose failures are counted.
pub(super) type Whom = [u8; 32];

/// Who tries: a client id, known or not, from an address.
#[derive(Clone, Copy)]
pub(super) struct Attempt {
    /// Both.
    pair: Whom,
    /// Both, when there was no place to judge it.
    unjudged: Whom,
    /// The address alone.
    address: Whom,
}

#[derive(Clone, Copy)]
struct InARow {
    count: u32,
    last: UnixTime,
}

/// The failures of late.
pub(super) struct Failures(Cache<Whom, InARow>);

impl Failures {
    pub(super) fn new() -> Self {
        Self(Cache::new(MOST))
    }

    /// Whether a try may be made now.
    pub(super) fn check(&self, attempt: &Attempt, now: UnixTime) -> Result<(), TokenError> {
        let delay = |whom, free| {
            let row = self.0.get(whom).filter(|row| row.is_remembered(now))?;
            Some(now.until(row.last.plus(Duration::from_secs(row.delay(free).into()))))
        };
        let left = delay(&attempt.pair, FREE).max(delay(&attempt.unjudged, FREE_UNJUDGED));
        match u16::try_from(left.unwrap_or_default().as_secs()) {
            Ok(0) => Ok(()),
            left => Err(TokenError::TooManyFailures { retry_after: left.unwrap_or(u16::MAX) }),
        }
    }

    /// Notes that it was wrong.
    pub(super) fn note(&self, attempt: &Attempt, now: UnixTime) {
        self.count(attempt.pair, now);
        self.count(attempt.address, now);
    }

    /// Notes that it was not judged, which a guess that was not the right one can be told by.
    pub(super) fn note_unjudged(&self, attempt: &Attempt, now: UnixTime) {
        self.count(attempt.unjudged, now);
        self.count(attempt.address, now);
    }

    fn count(&self, whom: Whom, now: UnixTime) {
        self.0.entry(whom).and_upsert_with(|earlier| {
            let earlier = earlier.map(moka::Entry::into_value).filter(|row| row.is_remembered(now));
            InARow { count: earlier.map_or(0, |row| row.count).saturating_add(1), last: now }
        });
    }

    /// It was right. What its address did otherwise is not forgotten.
    pub(super) fn forget(&self, attempt: &Attempt) {
        self.0.invalidate(&attempt.pair);
        self.0.invalidate(&attempt.unjudged);
    }

    /// Whether its address fails again and again, whatever client it names.
    pub(super) fn guesses(&self, attempt: &Attempt, now: UnixTime) -> bool {
        self.0.get(&attempt.address).is_some_and(|row| row.is_remembered(now) && row.count >= MANY)
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

/// Who tries: a client id from an address.
pub(super) fn attempt(client_id: &str, from: Option<IpAddr>) -> Attempt {
    let address = network(from).to_string();
    let (client_id, address) = (client_id.as_bytes(), address.as_bytes());
    Attempt {
        pair: sha256_parts(&[client_id, address]),
        unjudged: sha256_parts(&[client_id, address, b"unjudged"]),
        address: sha256_parts(&[address]),
    }
}

/// What counts as one address: of IPv6 the network, in which one host has all the addresses it likes.
pub(super) fn network(from: Option<IpAddr>) -> IpAddr {
    match from {
        Some(IpAddr::V6(address)) => match address.to_ipv4_mapped() {
            Some(mapped) => IpAddr::V4(mapped),
            None => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        },
        Some(address) => address,
        None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1_800_000_000);

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
        assert_eq!(wait(&failures, &whom, now.minus(Duration::from_secs(1))), 0, "the clock was set back");
        let later = now.plus(FORGOTTEN);
        failures.note(&whom, later);
        assert_eq!(wait(&failures, &whom, later), 0);
    }

    #[test]
    fn a_success_ends_the_row_and_others_are_not_concerned() {
        let failures = Failures::new();
        let address = |text: &str| Some(text.parse().unwrap());
        let mine = attempt("a", address("192.0.2.1"));
        for _ in 0..9 {
            failures.note(&mine, NOW);
        }
        for other in
            [attempt("b", address("192.0.2.1")), attempt("a", address("192.0.2.2")), attempt("a", None)]
        {
            assert_eq!(wait(&failures, &other, NOW), 0);
        }
        failures.forget(&mine);
        assert_eq!(wait(&failures, &mine, NOW), 0);
    }

    #[test]
    fn what_was_not_judged_counts_too_but_later() {
        let (failures, whom) = (Failures::new(), attempt("a", None));
        for _ in 0..49 {
            failures.note_unjudged(&whom, NOW);
        }
        assert_eq!(wait(&failures, &whom, NOW), 0);
        failures.note_unjudged(&whom, NOW);
        assert_eq!(wait(&failures, &whom, NOW), 1);
        assert_eq!(wait(&failures, &attempt("b", None), NOW), 0);
    }

    #[test]
    fn an_address_that_fails_with_many_clients_is_known_and_one_success_ends_that_not() {
        let (failures, address) = (Failures::new(), Some("192.0.2.1".parse().unwrap()));
        let whom = |number: u32| attempt(&format!("client-{number}"), address);
        for number in 0..MANY {
            assert!(!failures.guesses(&whom(number), NOW));
            failures.note(&whom(number), NOW);
        }
        failures.forget(&whom(1));
        assert!(failures.guesses(&whom(1), NOW) && failures.guesses(&whom(1000), NOW));
        assert!(!failures.guesses(&attempt("client-1", None), NOW));
        assert!(!failures.guesses(&whom(1), NOW.plus(FORGOTTEN)));
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let of = |text: &str| attempt("a", Some(text.parse().unwrap())).pair;
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1:2:3"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
