//! Rate and concurrency limits per client, user or address, or for all requests together.
//!
//! The rate is GCRA, a leaky bucket with one number per key. A key that keeps to the rate is never
//! refused, and in any time `t` a key gets at most `burst + t * rate` requests. Counters belong to
//! the process and are shared by its workers. Clients cannot exhaust the memory: at most `SHARDS *
//! KEYS_PER_SHARD` keys have their own counters at a time.

pub mod guesses;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

pub use crate::domain::settings::Per;

/// The limits of each key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    pub rate: Option<Rate>,
    /// The number of concurrent requests.
    pub concurrent: Option<u32>,
    /// The kind of key.
    pub per: Per,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The sustained rate per second; at least 1.
    pub per_second: u32,
    /// The number of requests at once after a pause; at least 1.
    pub burst: u32,
}

/// The key of a counter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// A client of an authority.
    Client(usize, Box<str>),
    /// A user of an authority.
    Subject(usize, Box<str>),
    /// An IPv4 address, or the network half of an IPv6 address: its holder chooses the rest.
    Address(IpAddr),
    /// All requests together.
    Everyone,
}

impl Key {
    /// The key of a peer.
    #[must_use]
    pub fn address(peer: IpAddr) -> Self {
        Self::Address(match peer.to_canonical() {
            IpAddr::V6(address) => {
                Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
            }
            v4 => v4,
        })
    }
}

/// The exceeded limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceeded {
    /// The rate; the next request may come after this time.
    Rate(Duration),
    /// The number of concurrent requests.
    Concurrency,
}

/// How many keys have their own counters at a time; further keys share one.
#[cfg(test)]
const MAX_KEYS: usize = SHARDS * KEYS_PER_SHARD;
const SHARDS: usize = 16;
const KEYS_PER_SHARD: usize = 4096;
/// How often unused counters are dropped.
const SWEEP: Duration = Duration::from_secs(10);

/// The counters of one listener.
pub struct Limits {
    config: Config,
    shards: Box<[Mutex<Shard>]>,
    /// Random and secret, so that clients cannot choose keys of one shard.
    hasher: RandomState,
    began: Instant,
}

#[derive(Default)]
struct Shard {
    counters: HashMap<Key, Arc<Mutex<Counter>>>,
    /// The shared counter of keys without their own.
    others: Arc<Mutex<Counter>>,
    /// The time of the last sweep.
    swept: Duration,
}

#[derive(Default)]
struct Counter {
    /// The time of the next request by the rate; earlier requests use up the burst.
    due: Duration,
    under_way: u32,
}

/// A request in progress. Dropping it ends the request.
pub struct Slot(Arc<Mutex<Counter>>);

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counter = lock(&self.0);
        counter.under_way = counter.under_way.saturating_sub(1);
    }
}

impl Limits {
    /// Counters at zero.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            began: Instant::now(),
        }
    }

    /// The kind of key.
    #[must_use]
    pub fn per(&self) -> Per {
        self.config.per
    }

    /// Counts a request if it is within the limits.
    ///
    /// # Errors
    /// [`Exceeded`] names the exceeded limit; the request is not counted then.
    pub fn admit(&self, key: Key) -> Result<Slot, Exceeded> {
        let now = self.began.elapsed();
        let slot = self.counter(key, now);
        let mut counter = lock(&slot);
        if self
            .config
            .concurrent
            .is_some_and(|most| counter.under_way >= most)
        {
            return Err(Exceeded::Concurrency);
        }
        if let Some(rate) = self.config.rate {
            let interval = Duration::from_secs(1) / rate.per_second.max(1);
            let due = counter.due.max(now);
            let tolerated = interval * rate.burst.saturating_sub(1);
            if let Some(wait) = (due - now)
                .checked_sub(tolerated)
                .filter(|wait| !wait.is_zero())
            {
                return Err(Exceeded::Rate(wait));
            }
            counter.due = due + interval;
        }
        counter.under_way += 1;
        drop(counter);
        Ok(Slot(slot))
    }

    fn counter(&self, key: Key, now: Duration) -> Arc<Mutex<Counter>> {
        let index = usize::try_from(self.hasher.hash_one(&key) % SHARDS as u64).unwrap_or(0);
        let mut shard = lock(&self.shards[index]);
        if let Some(counter) = shard.counters.get(&key) {
            return counter.clone();
        }
        if shard.counters.len() >= KEYS_PER_SHARD {
            // Not for each request: under a flood of new keys every one would scan all counters.
            if now.saturating_sub(shard.swept) >= Duration::from_secs(1) {
                shard.sweep(now);
            }
            if shard.counters.len() >= KEYS_PER_SHARD {
                return shard.others.clone();
            }
        }
        shard.counters.entry(key).or_default().clone()
    }

    /// Regularly drops the counters that equal new ones; dropping the future ends it.
    pub async fn run(self: Arc<Self>) {
        loop {
            tokio::time::sleep(SWEEP).await;
            let now = self.began.elapsed();
            self.shards.iter().for_each(|shard| lock(shard).sweep(now));
        }
    }
}

impl Shard {
    fn sweep(&mut self, now: Duration) {
        self.swept = now;
        // Another reference means that a request is in progress or being counted.
        self.counters
            .retain(|_, counter| Arc::strong_count(counter) > 1 || lock(counter).due > now);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits(rate: Option<(u32, u32)>, concurrent: Option<u32>) -> Arc<Limits> {
        let rate = rate.map(|(per_second, burst)| Rate { per_second, burst });
        Arc::new(Limits::new(Config {
            rate,
            concurrent,
            per: Per::Client,
        }))
    }

    fn client(id: &str) -> Key {
        Key::Client(0, id.into())
    }

    fn admitted(limits: &Limits, id: &str, tries: usize) -> usize {
        (0..tries)
            .filter(|_| limits.admit(client(id)).is_ok())
            .count()
    }

    fn kept(limits: &Limits) -> usize {
        limits
            .shards
            .iter()
            .map(|shard| lock(shard).counters.len())
            .sum()
    }

    #[tokio::test(start_paused = true)]
    async fn the_burst_passes_at_once_and_then_the_rate_exactly() {
        let limits = limits(Some((10, 5)), None);
        assert_eq!(admitted(&limits, "a", 100), 5);
        assert_eq!(
            limits.admit(client("a")).err(),
            Some(Exceeded::Rate(Duration::from_millis(100)))
        );
        tokio::time::advance(Duration::from_millis(99)).await;
        assert_eq!(
            limits.admit(client("a")).err(),
            Some(Exceeded::Rate(Duration::from_millis(1)))
        );
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(admitted(&limits, "a", 100), 1);
        tokio::time::advance(Duration::from_millis(250)).await;
        assert_eq!(admitted(&limits, "a", 100), 2);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(
            admitted(&limits, "a", 100),
            5,
            "a long pause earns a burst, not more"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn each_key_has_a_budget_of_its_own() {
        let limits = limits(Some((1, 2)), None);
        assert_eq!(admitted(&limits, "a", 10), 2);
        assert_eq!(admitted(&limits, "b", 10), 2);
        for other in [
            Key::Client(1, "a".into()),
            Key::Subject(0, "a".into()),
            Key::Everyone,
        ] {
            assert!(limits.admit(other.clone()).is_ok(), "{other:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn as_many_as_may_be_are_under_way_and_an_end_makes_room() {
        let limits = limits(Some((1, 3)), Some(2));
        let first = limits.admit(client("a")).ok().unwrap();
        let _second = limits.admit(client("a")).ok().unwrap();
        for _ in 0..10 {
            assert_eq!(limits.admit(client("a")).err(), Some(Exceeded::Concurrency));
        }
        assert!(limits.admit(client("b")).is_ok());
        drop(first);
        assert!(
            limits.admit(client("a")).is_ok(),
            "refused ones did not use up the rate"
        );
        assert_eq!(
            limits.admit(client("a")).err(),
            Some(Exceeded::Rate(Duration::from_secs(1)))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_says_nothing_any_more_is_dropped_and_what_still_counts_is_not() {
        let limits = limits(Some((1, 60)), Some(9));
        tokio::spawn(limits.clone().run());
        (0..500).for_each(|n| drop(limits.admit(client(&format!("{n}")))));
        assert_eq!(admitted(&limits, "busy", 100), 60);
        let under_way = limits.admit(client("0")).ok().unwrap();
        tokio::time::sleep(Duration::from_secs(25)).await;
        assert_eq!(kept(&limits), 2);
        assert_eq!(admitted(&limits, "busy", 100), 25);
        drop(under_way);
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert_eq!(kept(&limits), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn countless_clients_share_a_budget_and_fill_no_memory() {
        let limits = limits(Some((1, 1)), None);
        assert!(limits.admit(client("regular")).is_ok());
        let admitted = (0..2 * MAX_KEYS)
            .filter(|n| limits.admit(client(&format!("stranger-{n}"))).is_ok())
            .count();
        assert!(kept(&limits) <= MAX_KEYS);
        assert!(admitted < MAX_KEYS + SHARDS, "{admitted}");
        assert!(
            limits.admit(client("regular")).is_err(),
            "it still has its own"
        );
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(limits.admit(client("regular")).is_ok());
        assert!(
            limits.admit(client("late-comer")).is_ok(),
            "old counters make room without waiting for the task"
        );
    }

    #[test]
    fn an_ipv6_network_is_one_peer() {
        let key = |text: &str| Key::address(text.parse().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:2:3:4"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:10.0.0.1"), key("10.0.0.1"));
        assert_ne!(key("10.0.0.1"), key("10.0.0.2"));
    }

    proptest! {
        /// For random requests: no time span has more than the burst and the rate permit, and
        /// requests within the rate are never refused.
        #[test]
        fn no_span_of_time_has_more_than_burst_and_rate(
            per_second in 1_u32..20, burst in 1_u32..10, pauses in proptest::collection::vec(0_u64..400, 1..80),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            let passed: Vec<u64> = runtime.block_on(async {
                let limits = limits(Some((per_second, burst)), None);
                let (mut now, mut passed) = (0, Vec::new());
                for pause in &pauses {
                    tokio::time::advance(Duration::from_millis(*pause)).await;
                    now += pause;
                    if limits.admit(client("a")).is_ok() {
                        passed.push(now);
                    }
                }
                passed
            });
            for (i, first) in passed.iter().enumerate() {
                for (j, last) in passed.iter().enumerate().skip(i) {
                    let allowed = u64::from(burst) + (last - first) * u64::from(per_second) / 1000;
                    prop_assert!((j - i + 1) as u64 <= allowed, "{passed:?}");
                }
            }
            if pauses.iter().all(|pause| pause * u64::from(per_second) >= 1000) {
                prop_assert_eq!(passed.len(), pauses.len());
            }
        }
    }
}
