//! The keys of an authority, kept fresh in the background.
//!
//! One task per authority ([`LiveKeys::run`]) fetches. Requests read one atomic pointer
//! ([`LiveKeys::current`]), and may request a fetch ([`LiveKeys::renew`]). A closure fetches, so
//! this module is independent of HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, timeout};

pub use super::kept_record::KeptAt;
use super::kept_set;
use super::key_set::{Fingerprint, KeySet};
pub use super::refresh::FetchError;
use super::refresh::{Attempts, Backoff, Refreshed, Requested};
use super::renewal_limit::{Admission, RenewalLimit};
use super::source::Edition;
pub use super::source::{Fetch, Fetched, Source};
use crate::domain::claims::Claims;
use crate::domain::clock::{SharedClock, UnixTime};

/// The lifetime of a set without a usable `Cache-Control`.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(600);
/// The bounds of a lifetime that `Cache-Control` gives.
const LIFETIME_BOUNDS: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3600));
const BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(1),
    longest: Duration::from_secs(30),
    jitter: 0.2,
};
/// The limit of a fetch, for sources that would hang. Longer than three documents with the longest
/// `timeouts.total`.
const LONGEST_FETCH: Duration = Duration::from_secs(200);
/// For so long after the begin of a failed fetch no request starts another.
const COOL_DOWN: Duration = Duration::from_secs(10);
/// How long a request waits for a fetch.
pub const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Called after every fetch, with its error.
pub type Observe = Arc<dyn Fn(Result<(), &str>) + Send + Sync>;

/// The keys as requests see them.
pub enum Keys {
    /// A usable set.
    Usable(Arc<KeySet>),
    /// None was fetched yet, or the last good set is too old.
    Unavailable,
}

/// The result of [`LiveKeys::renew`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The set is as new as the limits allow: the authority does not publish other keys.
    Current,
    /// The fetch failed, takes too long, or is not allowed now.
    Failed,
}

impl Renewal {
    fn of(attempts: &Attempts) -> Self {
        if attempts.is_failing() {
            Self::Failed
        } else {
            Self::Current
        }
    }
}

/// An authority's keys, kept fresh.
pub struct LiveKeys {
    edition: Refreshed<Edition>,
    limit: RenewalLimit,
    clock: SharedClock,
    max_stale: Duration,
    /// Keys of this process are never fetched and never stale.
    in_process: bool,
    /// Keys of [`fetch_once`](Self::fetch_once) are not fetched again.
    only_once: AtomicBool,
}

impl LiveKeys {
    /// Keys that [`LiveKeys::run`] fetches; none yet.
    #[must_use]
    pub fn fetched(clock: SharedClock, max_stale: Duration) -> Arc<Self> {
        Self::new(None, clock, max_stale, false)
    }

    /// Keys of this process, replaced by [`LiveKeys::replace`].
    #[must_use]
    pub fn in_process(keys: KeySet, clock: SharedClock) -> Arc<Self> {
        let edition = Edition {
            keys: Arc::new(keys),
            metadata: None,
            fetched_at: clock.now(),
            clock_skew: None,
        };
        Self::new(Some(edition), clock, Duration::MAX, true)
    }

    fn new(
        edition: Option<Edition>,
        clock: SharedClock,
        max_stale: Duration,
        in_process: bool,
    ) -> Arc<Self> {
        Arc::new(Self {
            edition: Refreshed::new(edition, true),
            limit: RenewalLimit::default(),
            clock,
            max_stale,
            in_process,
            only_once: AtomicBool::new(false),
        })
    }

    /// The keys as they are now.
    #[must_use]
    pub fn current(&self) -> Keys {
        self.edition.with(|edition| match edition {
            Some(edition) if self.may_serve(edition) => Keys::Usable(edition.keys.clone()),
            _ => Keys::Unavailable,
        })
    }

    /// Whether there is a usable set.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        matches!(self.current(), Keys::Usable(_))
    }

    /// How many usable keys there are.
    #[must_use]
    pub fn count(&self) -> usize {
        match self.current() {
            Keys::Usable(keys) => keys.len(),
            Keys::Unavailable => 0,
        }
    }

    /// Whether the set has the key with this fingerprint at a time; `None` without a usable set.
    #[must_use]
    pub fn publishes(&self, key: &Fingerprint, now: UnixTime) -> Option<bool> {
        self.edition.with(|edition| {
            let edition = edition.filter(|edition| self.serves_at(edition, now))?;
            Some(edition.keys.contains(key))
        })
    }

    fn may_serve(&self, edition: &Edition) -> bool {
        self.serves_at(edition, self.clock.now())
    }

    fn serves_at(&self, edition: &Edition, now: UnixTime) -> bool {
        self.in_process || self.is_recent_at(edition.fetched_at, now)
    }

    fn is_recent(&self, fetched_at: UnixTime) -> bool {
        self.is_recent_at(fetched_at, self.clock.now())
    }

    fn is_recent_at(&self, fetched_at: UnixTime, now: UnixTime) -> bool {
        fetched_at.until(now) <= self.max_stale
    }

    /// The age of the set; `None` when there is none.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        let edition = self.edition.value()?;
        Some(edition.fetched_at.until(self.clock.now()))
    }

    /// The issuer's metadata of the set; `None` without discovery or without a usable set.
    #[must_use]
    pub fn metadata(&self) -> Option<Arc<Claims>> {
        self.with_metadata(self.clock.now(), |metadata| metadata.cloned())
    }

    /// Calls `read` with [`metadata`](Self::metadata) at a time, without cloning the pointer.
    pub fn with_metadata<R>(
        &self,
        now: UnixTime,
        read: impl FnOnce(Option<&Arc<Claims>>) -> R,
    ) -> R {
        self.edition.with(|edition| {
            let recent = edition.filter(|edition| self.is_recent_at(edition.fetched_at, now));
            read(recent.and_then(|edition| edition.metadata.as_ref()))
        })
    }

    /// The error of the last fetch, if it failed.
    #[must_use]
    pub fn last_error(&self) -> Option<FetchError> {
        self.edition.attempts().last_error.clone()
    }

    /// By how many seconds the authority's clock was ahead of ours at the last good fetch;
    /// negative: behind.
    #[must_use]
    pub fn clock_skew(&self) -> Option<i64> {
        self.edition.value()?.clock_skew
    }

    /// Replaces the keys of this process.
    pub fn replace(&self, keys: KeySet, metadata: Option<Claims>) {
        self.edition.put(self.next_edition(keys, metadata, None));
    }

    fn next_edition(
        &self,
        keys: KeySet,
        metadata: Option<Claims>,
        clock_skew: Option<i64>,
    ) -> Edition {
        let keys = match self.edition.value() {
            Some(earlier) => keys.after(&earlier.keys),
            None => keys,
        };
        Edition {
            keys: Arc::new(keys),
            metadata: metadata.map(Arc::new),
            fetched_at: self.clock.now(),
            clock_skew,
        }
    }

    /// Requests a newer set because a key is missing; `missing` is its digest. Requests share one
    /// fetch, wait for it at most [`LONGEST_WAIT`], and cause few fetches: five at once, one in ten
    /// seconds in the long run, and one a minute for the same key.
    pub async fn renew(&self, missing: &[u8; 32]) -> Renewal {
        if self.in_process {
            return Renewal::Current;
        }
        if self.only_once.load(Ordering::Relaxed) {
            return Renewal::of(&self.edition.attempts());
        }
        let requested = self.edition.request(|attempts| {
            if attempts.is_failing() && attempts.began_within(COOL_DOWN) {
                return Some(Renewal::Failed);
            }
            match self.limit.admit(missing, !self.is_usable()) {
                Admission::Fetch => None,
                Admission::FetchedLately => Some(Renewal::of(attempts)),
                Admission::TooMany => Some(Renewal::Failed),
            }
        });
        let pending = match requested {
            Requested::Refused(answer) => return answer,
            Requested::Starts(pending) | Requested::Joins(pending) => pending,
        };
        if self.edition.ended(pending, LONGEST_WAIT).await {
            Renewal::of(&self.edition.attempts())
        } else {
            Renewal::Failed
        }
    }

    /// Fetches at once, then again and again until the future is dropped.
    pub async fn run(self: Arc<Self>, source: Source, observe: Observe) {
        // After a restart of the task the set in memory is newer than the kept one.
        if let (Some(kept_at), None) = (&source.kept_at, self.age()) {
            self.load_kept(kept_at).await;
        }
        let mut failures = 0;
        loop {
            let (began, result) = self.attempt(&source).await;
            let due = match &result {
                Ok(fetched) => {
                    failures = 0;
                    began + self.refresh_after(fetched.max_age)
                }
                // The pause begins at the end of the fetch, which may have hung for seconds.
                Err(_) => {
                    failures += 1;
                    Instant::now() + BACKOFF.pause(failures, fastrand::f64())
                }
            };
            observe(result.as_ref().map(|_| ()).map_err(|error| &**error));
            // Last, because requests do not wait for the disk.
            if let (Some(kept_at), Ok(fetched)) = (&source.kept_at, &result) {
                kept_set::keep(kept_at, fetched, self.clock.now()).await;
            }
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                () = (source.changed)() => {}
                () = self.edition.woken() => {}
            }
        }
    }

    /// Fetches once, for a command that checks one request. Writes nothing. If the fetch fails, the
    /// set that a running sidecar keeps on disk is used.
    ///
    /// # Errors
    /// Why the fetch failed.
    pub async fn fetch_once(&self, source: &Source) -> Result<(), FetchError> {
        let (_, result) = self.attempt(source).await;
        self.only_once.store(true, Ordering::Relaxed);
        if let (Some(kept_at), Err(_)) = (&source.kept_at, &result) {
            self.load_kept(kept_at).await;
        }
        result.map(drop)
    }

    async fn attempt(&self, source: &Source) -> (Instant, Result<Fetched, FetchError>) {
        let began = self.edition.begin();
        let result = timeout(LONGEST_FETCH, (source.fetch)()).await;
        let result = result.unwrap_or(Err("the fetch did not end in time".into()));
        self.edition.end(match &result {
            Ok(fetched) => Ok(self.next_edition(
                fetched.keys.clone(),
                fetched.metadata.clone(),
                fetched.clock_skew,
            )),
            Err(error) => Err(error.clone()),
        });
        (began, result)
    }

    /// Waits until there is a usable set, or the first fetch has ended.
    pub async fn first_known(&self) {
        self.edition
            .first_known(|edition| self.may_serve(edition))
            .await;
    }

    /// Waits for the end of the next fetch; keys that are not fetched never end.
    pub async fn next_fetch(&self) {
        self.edition.next_end().await;
    }

    /// When to refresh: at 70 to 80 % of the lifetime, at random, so that a fleet does not fetch at
    /// once; and before `max_stale` ends.
    fn refresh_after(&self, max_age: Option<Duration>) -> Duration {
        let (shortest, longest) = LIFETIME_BOUNDS;
        max_age
            .map_or(DEFAULT_LIFETIME, |age| age.clamp(shortest, longest))
            .min(self.max_stale)
            .mul_f64(0.8 - 0.1 * fastrand::f64())
    }

    /// Loads the last good set of an earlier process, for a start without the authority.
    async fn load_kept(&self, kept_at: &KeptAt) {
        let file = kept_at.file.display();
        match kept_set::load(kept_at, self.clock.now()).await {
            Ok(Some(kept)) if self.is_recent(kept.fetched_at) => {
                let age = kept.fetched_at.until(self.clock.now()).as_secs();
                tracing::info!(%file, age, "the keys kept on disk are used until the first fetch");
                self.edition.put(kept);
            }
            Ok(Some(_)) => tracing::info!(%file, "the keys kept on disk are too old to be used"),
            Ok(None) => {}
            Err(why) => tracing::warn!(%file, why, "the keys kept on disk are not used"),
        }
    }
}

#[cfg(test)]
mod tests;
