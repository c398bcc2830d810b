//! Growing delays: who fails again and again from one address waits longer and longer for the next try.
//!
//! Counted per client id and address, so that nobody can lock a client out from elsewhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use moka::sync::Cache;

use super::TokenError;
use crate::domain::clock::UnixTime;
use crate::domain::hash::sha256_parts;

/// So many failures in a row are a human.
const FREE: u32 = 5;
/// The longest delay, in seconds.
const LONGEST: u32 = 60;
/// After so long without a failure it is forgotten that there were any.
const FORGOTTEN: Duration = Duration::from_mins(15);
/// So many pairs are counted; of those beyond, the ones that fail least often are forgotten.
const MOST: u64 = 50_000;

/// A client id, known or not, and an address.
pub(super) type Whom = [u8; 32];

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
    pub(super) fn check(&self, whom: &Whom, now: UnixTime) -> Result<(), TokenError> {
        let Some(row) = self.0.get(whom).filter(|row| row.is_remembered(now)) else { return Ok(()) };
        let until = row.last.plus(Duration::from_secs(row.delay().into()));
        match u16::try_from(now.until(until).as_secs()) {
            Ok(0) => Ok(()),
            left => Err(TokenError::TooManyFailures { retry_after: left.unwrap_or(u16::MAX) }),
        }
    }

    pub(super) fn note(&self, whom: Whom, now: UnixTime) {
        self.0.entry(whom).and_upsert_with(|earlier| {
            let earlier = earlier.map(moka::Entry::into_value).filter(|row| row.is_remembered(now));
            InARow { count: earlier.map_or(0, |row| row.count).saturating_add(1), last: now }
        });
    }

    pub(super) fn forget(&self, whom: &Whom) {
        self.0.invalidate(whom);
    }
}

impl InARow {
    /// Not beyond its time; nor when the clock was set back.
    fn is_remembered(&self, now: UnixTime) -> bool {
        self.last <= now && self.last.until(now) < FORGOTTEN
    }

    /// In seconds: 1 after the fifth failure, doubled by each further one.
    fn delay(&self) -> u32 {
        match self.count.checked_sub(FREE) {
            None => 0,
            Some(more) => 1_u32.checked_shl(more).unwrap_or(LONGEST).clamp(1, LONGEST),
        }
    }
}

/// Who tries: a client id from an address.
pub(super) fn whom(client_id: &str, from: Option<IpAddr>) -> Whom {
    let address = network(from).to_string();
    sha256_parts(&[client_id.as_bytes(), address.as_bytes()])
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

    fn wait(failures: &Failures, whom: &Whom, now: UnixTime) -> u16 {
        match failures.check(whom, now) {
            Ok(()) => 0,
            Err(TokenError::TooManyFailures { retry_after }) => retry_after,
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn after_five_failures_each_further_one_doubles_the_wait_up_to_a_minute() {
        let (failures, whom) = (Failures::new(), whom("a", None));
        let mut now = NOW;
        for _ in 0..4 {
            failures.note(whom, now);
            assert_eq!(wait(&failures, &whom, now), 0);
        }
        for expected in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            failures.note(whom, now);
            assert_eq!(wait(&failures, &whom, now), expected);
            now = now.plus(Duration::from_secs(u64::from(expected) - 1));
            assert_eq!(wait(&failures, &whom, now), 1);
            now = now.plus(Duration::from_secs(1));
            assert_eq!(wait(&failures, &whom, now), 0);
        }
        for _ in 0..100 {
            failures.note(whom, now);
        }
        assert_eq!(wait(&failures, &whom, now), 60);
        assert_eq!(wait(&failures, &whom, now.minus(Duration::from_secs(1))), 0, "the clock was set back");
        let later = now.plus(FORGOTTEN);
        failures.note(whom, later);
        assert_eq!(wait(&failures, &whom, later), 0);
    }

    #[test]
    fn a_success_ends_the_row_and_others_are_not_concerned() {
        let failures = Failures::new();
        let address = |text: &str| Some(text.parse().unwrap());
        let mine = whom("a", address("192.0.2.1"));
        for _ in 0..9 {
            failures.note(mine, NOW);
        }
        for other in [whom("b", address("192.0.2.1")), whom("a", address("192.0.2.2")), whom("a", None)] {
            assert_eq!(wait(&failures, &other, NOW), 0);
        }
        failures.forget(&mine);
        assert_eq!(wait(&failures, &mine, NOW), 0);
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let of = |text: &str| whom("a", Some(text.parse().unwrap()));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1:2:3"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
