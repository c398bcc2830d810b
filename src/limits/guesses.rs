//! Rate limits on guesses of secrets, per source network.
//!
//! A guesser can choose among many addresses: one machine has a whole IPv6 network, a rented range
//! has many IPv4 addresses. So each guess counts for its network and, with a larger allowance, for
//! its neighbourhood. A bucket is one number (GCRA). The table is bounded and evicts the least
//! recently used buckets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use moka::sync::Cache;

/// The key of a bucket.
pub type BucketKey = [u8; 32];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// The number at once after a pause; at least 1.
    pub burst: u32,
    /// The interval of the sustained rate.
    pub every: Duration,
}

impl Allowance {
    /// The time in which a full burst is restored.
    fn window(self) -> Duration {
        self.every * self.burst
    }
}

/// The next due time of each bucket. Times count from any fixed moment.
pub struct Buckets(Cache<BucketKey, Duration>);

impl Buckets {
    /// Empty buckets, at most this many.
    #[must_use]
    pub fn new(most: u64) -> Self {
        Self(Cache::new(most))
    }

    /// The time until an event is permitted; zero if it is permitted now.
    #[must_use]
    pub fn wait(&self, key: &BucketKey, allowance: Allowance, now: Duration) -> Duration {
        let due = due(self.0.get(key), allowance, now);
        (due - now).saturating_sub(allowance.every * allowance.burst.saturating_sub(1))
    }

    /// Counts an event, permitted or not. A bucket exceeds its burst by at most one event.
    pub fn count(&self, key: BucketKey, allowance: Allowance, now: Duration) {
        self.0.entry(key).and_upsert_with(|known| {
            let due = due(known.map(moka::Entry::into_value), allowance, now);
            (due + allowance.every).min(now + allowance.window())
        });
    }

    /// Counts an event if it is permitted. Returns whether it is.
    #[must_use]
    pub fn take(&self, key: BucketKey, allowance: Allowance, now: Duration) -> bool {
        let has_room = self.wait(&key, allowance, now).is_zero();
        if has_room {
            self.count(key, allowance, now);
        }
        has_room
    }

    /// Undoes the count of one event.
    pub fn give_back(&self, key: BucketKey, allowance: Allowance) {
        self.0.entry(key).and_upsert_with(|known| {
            known
                .map(moka::Entry::into_value)
                .unwrap_or_default()
                .saturating_sub(allowance.every)
        });
    }
}

/// The due time, limited to a plausible range in case the clock was set back.
fn due(known: Option<Duration>, allowance: Allowance, now: Duration) -> Duration {
    known
        .filter(|due| *due <= now + allowance.window())
        .unwrap_or(now)
        .max(now)
}

/// The network of an address: an IPv4 address itself, or the /56 of an IPv6 address, the usual size
/// of one customer.
#[must_use]
pub fn network(from: IpAddr) -> IpAddr {
    masked(from, 32, 56)
}

/// The range that likely belongs to one guesser: the /24 of an IPv4 address, the /48 of an IPv6
/// address; loopback as a whole.
#[must_use]
pub fn neighbourhood(from: IpAddr) -> IpAddr {
    let kept_of_v4 = if from.to_canonical().is_loopback() {
        8
    } else {
        24
    };
    masked(from, kept_of_v4, 48)
}

fn masked(address: IpAddr, of_v4: u32, of_v6: u32) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            Ipv4Addr::from_bits(address.to_bits() & u32::MAX.checked_shl(32 - of_v4).unwrap_or(0))
                .into()
        }
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & u128::MAX.checked_shl(128 - of_v6).unwrap_or(0))
                .into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIVE: Allowance = Allowance {
        burst: 5,
        every: Duration::from_secs(2),
    };
    const KEY: BucketKey = [1; 32];

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(1000 + seconds)
    }

    fn taken(buckets: &Buckets, now: Duration) -> usize {
        (0..100).filter(|_| buckets.take(KEY, FIVE, now)).count()
    }

    #[test]
    fn after_the_burst_there_is_room_once_in_a_while() {
        let buckets = Buckets::new(100);
        assert_eq!(taken(&buckets, at(0)), 5);
        assert_eq!(buckets.wait(&KEY, FIVE, at(0)), Duration::from_secs(2));
        assert_eq!((taken(&buckets, at(1)), taken(&buckets, at(2))), (0, 1));
        assert!(buckets.take([2; 32], FIVE, at(2)), "another's bucket");
        assert_eq!(
            taken(&buckets, at(1000)),
            5,
            "a long pause earns a burst, not more"
        );
    }

    #[test]
    fn excess_counts_delay_by_at_most_one_burst() {
        let buckets = Buckets::new(100);
        (0..1000).for_each(|_| buckets.count(KEY, FIVE, at(0)));
        assert_eq!(buckets.wait(&KEY, FIVE, at(0)), Duration::from_secs(2));
        assert_eq!(taken(&buckets, at(2)), 1);
    }

    #[test]
    fn an_undone_count_has_no_effect() {
        let buckets = Buckets::new(100);
        for _ in 0..100 {
            assert!(buckets.take(KEY, FIVE, at(0)));
            buckets.give_back(KEY, FIVE);
        }
        assert_eq!(taken(&buckets, at(0)), 5);
    }

    #[test]
    fn a_clock_that_is_set_back_blocks_no_client() {
        let buckets = Buckets::new(100);
        assert_eq!(taken(&buckets, at(1_000_000)), 5);
        assert_eq!(taken(&buckets, at(0)), 5);
    }

    #[test]
    fn places_are_told_apart_by_what_one_guesser_cannot_choose() {
        let both = |text: &str| {
            let address: IpAddr = text.parse().unwrap();
            (
                network(address).to_string(),
                neighbourhood(address).to_string(),
            )
        };
        for (address, of_network, of_neighbourhood) in [
            ("192.0.2.77", "192.0.2.77", "192.0.2.0"),
            ("::ffff:192.0.2.77", "192.0.2.77", "192.0.2.0"),
            ("127.9.8.7", "127.9.8.7", "127.0.0.0"),
            ("2001:db8:1:2fff:3::4", "2001:db8:1:2f00::", "2001:db8:1::"),
            ("2001:db8:1:20ff::", "2001:db8:1:2000::", "2001:db8:1::"),
            ("::1", "::", "::"),
        ] {
            assert_eq!(
                both(address),
                (of_network.to_owned(), of_neighbourhood.to_owned()),
                "{address}"
            );
        }
    }
}
