//! How often requests may come, and how many at once: counted per client, per user, per address or
//! all together.
//!
//! The rate is GCRA (a leaky bucket that needs one number per key), so a key that keeps to it is
//! never refused, and in any time `t` no key gets more than `burst + t * rate` requests. Counters
//! live in the process and are shared by its workers. Strangers cannot fill the memory: only
//! `SHARDS * KEYS_PER_SHARD` keys have counters of their own at a time.

pub mod guesses;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

pub use crate::domain::settings::Per;

/// What is allowed to each key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How often.
    pub rate: Option<Rate>,
    /// How many at once.
    pub concurrent: Option<u32>,
    /// What has a counter of its own.
    pub per: Per,
}

/// How often requests may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// In the long run, so many a second; at least 1.
    pub per_second: u32,
    /// So many at the same moment after a pause; at least 1.
    pub burst: u32,
}

/// Whose counter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// A client of an authority.
    Client(usize, Box<str>),
    /// A user of an authority.
    Subject(usize, Box<str>),
    /// An IPv4 address, or the 64 bits of an IPv6 address that name a network: the rest is its
    /// holder's choice.
    Address(IpAddr),
    /// Everyone's.
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

/// Which limit a request is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceeded {
    /// It came too soon; after this time the next may come.
    Rate(Duration),
    /// As many as may be are under way.
    Concurrency,
}

/// How many keys have counters of their own at a time; further ones share one.
#[cfg(test)]
const MAX_KEYS: usize = SHARDS * KEYS_PER_SHARD;
const SHARDS: usize = 16;
const KEYS_PER_SHARD: usize = 4096;
/// How often counters that say nothing any more are dropped.
const SWEEP: Duration = Duration::from_secs(10);

/// The counters of one listener.
pub struct Limits {
    config: Config,
    shards: Box<[Mutex<Shard>]>,
    /// Strangers do not know it, so they cannot choose keys that meet in one shard.
    hasher: RandomState,
    began: Instant,
}

#[derive(Default)]
struct Shard {
    counters: HashMap<Key, Arc<Mutex<Counter>>>,
    /// Shared by the keys that there is no room for.
    others: Arc<Mutex<Counter>>,
    /// When it was last swept.
    swept: Duration,
}

#[derive(Default)]
struct Counter {
    /// When the next request is due by the rate; those that come before it use up the burst.
    due: Duration,
    under_way: u32,
}

/// A request under way. Its end, in whatever way, makes room for another.
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

    /// What has a counter of its own.
    #[must_use]
    pub fn per(&self) -> Per {
        self.config.per
    }

    /// Counts a request, if it may come now.
    ///
    /// # Errors
    /// [`Exceeded`] says which limit it is over; then it is not counted.
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
            // Not for each request: a flood of new keys would make every one of them walk through
            // all.
            if now.saturating_sub(shard.swept) >= Duration::from_secs(1) {
                shard.sweep(now);
            }
            if shard.counters.len() >= KEYS_PER_SHARD {
                return shard.others.clone();
            }
        }
        shard.counters.entry(key).or_default().clone()
    }

    /// Drops, now and then, the counters that say no more than new ones would; dropping the future
    /// ends it.
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
        // Who holds another reference is counting with it, or is under way.
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
    async fn strangers_without_number_share_a_budget_and_fill_no_memory() {
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
        /// Against the promise: in no span of time more than the burst and what the rate gives
        /// meanwhile; and what keeps to the rate is never refused.
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
