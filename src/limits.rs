//! Rate and concurrency limits per client, user or address, or for all requests together.
//!
//! The rate is GCRA, a leaky bucket with one number per key. A key that keeps to the rate is never
//! refused, and in any time `t` a key gets at most `burst + t * rate` requests. Counters belong to
//! the process and are shared by its workers. Clients cannot exhaust the memory: at most `SHARDS *
//! KEYS_PER_SHARD` keys have their own counters at a time.

pub mod guesses;
pub mod throttle;

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
mod tests;
