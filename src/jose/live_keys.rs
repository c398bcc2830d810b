//! A key set that stays fresh: background refresh, last good set, cool-down, persistence.
//!
//! One task per authority ([`LiveKeys::run`]) does all fetching, so there is never more than one fetch at a time, and
//! whoever waits for one shares it. Requests only read: [`LiveKeys::current`] is one atomic load. How a set is fetched
//! is the caller's business (a closure), and so this room knows neither HTTP nor whose keys they are.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::key_set::KeySet;
use crate::domain::claims::Claims;
use crate::domain::clock::{SharedClock, UnixTime};

/// How long a set without a usable `Cache-Control` is fresh.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(600);
/// The bounds of what `Cache-Control` may say.
const LIFETIME_BOUNDS: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3600));
/// The first pause after a failed fetch; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Between two fetches that unknown key ids cause.
pub const COOL_DOWN: Duration = Duration::from_secs(10);
/// How long a request waits for a fetch.
pub const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// What a fetch brought.
pub struct Fetched {
    /// The document as it came, for the file in the state directory.
    pub document: Vec<u8>,
    /// Its keys.
    pub keys: KeySet,
    /// What the issuer's metadata said at the same time (RFC 8414 §2), as far as it is to be kept beside the keys.
    pub metadata: Option<Claims>,
    /// For how long the authority says it is fresh.
    pub max_age: Option<Duration>,
}

/// How a set is fetched. The error is a constant text for the log: nothing of the authority's answer.
pub type Fetch =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<Fetched, &'static str>> + Send>> + Send + Sync>;

/// Called after every fetch, with its error.
pub type Observe = Arc<dyn Fn(Result<(), &'static str>) + Send + Sync>;

/// What a request may know of the keys.
pub enum Keys {
    /// A usable set.
    Usable(Arc<KeySet>),
    /// None was ever had, or the last good one is too old.
    Unavailable,
}

/// What came of asking for a newer set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The set is as new as it may be asked for: what is not in it is not known to the authority.
    Current,
    /// The authority could not be asked, or has not answered yet.
    Failed,
}

/// What is kept of the last fetches, for waiters and for the status.
#[derive(Clone, Copy, Debug, Default)]
struct Attempts {
    /// How many fetches have ended.
    ended: u64,
    /// When the last one that ended began.
    last_began: Option<Instant>,
    /// Its error.
    last_error: Option<&'static str>,
}

struct Edition {
    keys: Arc<KeySet>,
    metadata: Option<Arc<Claims>>,
    fetched_at: UnixTime,
}

/// An authority's keys, kept fresh.
pub struct LiveKeys {
    edition: ArcSwapOption<Edition>,
    attempts: watch::Sender<Attempts>,
    wanted: AtomicBool,
    wake: Notify,
    clock: SharedClock,
    max_stale: Duration,
    /// Keys that are set from inside the process never go stale and are never fetched.
    in_process: bool,
}

/// Where the last good set is kept, and what it belongs to.
#[derive(Clone, Debug)]
pub struct KeptAt {
    /// The file.
    pub file: PathBuf,
    /// The identity it is bound to: issuer and source. A file of another identity is ignored.
    pub identity: String,
}

#[derive(Serialize, Deserialize)]
struct KeptSet {
    identity: String,
    fetched_at: i64,
    document: String,
    metadata: Option<serde_json::Map<String, serde_json::Value>>,
}

impl LiveKeys {
    /// Keys that are fetched by [`LiveKeys::run`]; none yet.
    #[must_use]
    pub fn fetched(clock: SharedClock, max_stale: Duration) -> Arc<Self> {
        Self::new(None, clock, max_stale, false)
    }

    /// Keys of this very process, replaced by [`LiveKeys::replace`].
    #[must_use]
    pub fn in_process(keys: KeySet, clock: SharedClock) -> Arc<Self> {
        let edition = Edition { keys: Arc::new(keys), metadata: None, fetched_at: clock.now() };
        Self::new(Some(Arc::new(edition)), clock, Duration::MAX, true)
    }

    fn new(
        edition: Option<Arc<Edition>>,
        clock: SharedClock,
        max_stale: Duration,
        in_process: bool,
    ) -> Arc<Self> {
        Arc::new(Self {
            edition: ArcSwapOption::new(edition),
            attempts: watch::Sender::new(Attempts::default()),
            wanted: AtomicBool::new(false),
            wake: Notify::new(),
            clock,
            max_stale,
            in_process,
        })
    }

    /// The keys as they are now.
    #[must_use]
    pub fn current(&self) -> Keys {
        match &*self.edition.load() {
            Some(edition) if self.in_process || self.is_recent(edition.fetched_at) => {
                Keys::Usable(edition.keys.clone())
            }
            _ => Keys::Unavailable,
        }
    }

    fn is_recent(&self, fetched_at: UnixTime) -> bool {
        fetched_at.until(self.clock.now()) <= self.max_stale
    }

    /// How old the set is; `None` when there is none.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        let edition = self.edition.load();
        edition.as_ref().map(|edition| edition.fetched_at.until(self.clock.now()))
    }

    /// What the issuer's metadata said when the set was fetched; `None` when it was found without discovery, or there is
    /// no usable set.
    #[must_use]
    pub fn metadata(&self) -> Option<Arc<Claims>> {
        let edition = self.edition.load();
        let edition = edition.as_ref().filter(|edition| self.is_recent(edition.fetched_at))?;
        edition.metadata.clone()
    }

    /// The last fetch's error, if it failed.
    #[must_use]
    pub fn last_error(&self) -> Option<&'static str> {
        self.attempts.borrow().last_error
    }

    /// Puts a newer set in place.
    pub fn replace(&self, keys: KeySet, metadata: Option<Claims>) {
        let metadata = metadata.map(Arc::new);
        let edition = Edition { keys: Arc::new(keys), metadata, fetched_at: self.clock.now() };
        self.edition.store(Some(Arc::new(edition)));
    }

    /// Asks for a newer set, because a key was not in the one there is. At most one fetch per [`COOL_DOWN`] comes of
    /// it, however many ask; each waits for it at most [`LONGEST_WAIT`].
    pub async fn renew(&self) -> Renewal {
        if self.in_process {
            return Renewal::Current;
        }
        let mut attempts = self.attempts.subscribe();
        let seen = *attempts.borrow_and_update();
        if let Some(began) = seen.last_began
            && began.elapsed() < COOL_DOWN
        {
            return if seen.last_error.is_some() { Renewal::Failed } else { Renewal::Current };
        }
        self.wanted.store(true, Ordering::Release);
        self.wake.notify_one();
        let ended = attempts.wait_for(|now| now.ended > seen.ended);
        match tokio::time::timeout(LONGEST_WAIT, ended).await {
            Ok(Ok(now)) if now.last_error.is_none() => Renewal::Current,
            _ => Renewal::Failed,
        }
    }

    /// Fetches at once, then in the background for ever; dropping the future ends it.
    pub async fn run(self: Arc<Self>, fetch: Fetch, kept_at: Option<KeptAt>, observe: Observe) {
        // Not after a restart of the task: what is in memory is newer.
        if let (Some(kept_at), None) = (&kept_at, self.age()) {
            self.load_kept(kept_at).await;
        }
        let mut pause = FIRST_PAUSE;
        loop {
            self.wanted.store(false, Ordering::Release);
            let began = Instant::now();
            let result = fetch().await;
            let (wait, error) = match result {
                Ok(fetched) => {
                    pause = FIRST_PAUSE;
                    let lifetime = lifetime(fetched.max_age);
                    self.replace(fetched.keys.clone(), fetched.metadata.clone());
                    if let Some(kept_at) = &kept_at {
                        self.keep(kept_at, &fetched).await;
                    }
                    // At 80 % of the life, up to a tenth earlier, so that a fleet does not ask at once.
                    (lifetime.mul_f64(0.8 - 0.1 * fastrand::f64()), None)
                }
                Err(error) => {
                    let wait = pause.mul_f64(1.0 - 0.2 * fastrand::f64());
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    (wait, Some(error))
                }
            };
            observe(error.map_or(Ok(()), Err));
            self.attempts.send_modify(|attempts| {
                *attempts =
                    Attempts { ended: attempts.ended + 1, last_began: Some(began), last_error: error };
            });
            // After a failure the pause begins now: a fetch that hung for seconds was no pause.
            let due = if error.is_some() { Instant::now() + wait } else { began + wait };
            self.wait_for_next(due, began + COOL_DOWN).await;
        }
    }

    /// Until the next fetch is due, or until one is wanted and the cool-down is over.
    async fn wait_for_next(&self, due: Instant, cool: Instant) {
        loop {
            if self.wanted.load(Ordering::Acquire) {
                return tokio::time::sleep_until(cool.min(due)).await;
            }
            tokio::select! {
                () = tokio::time::sleep_until(due) => return,
                () = self.wake.notified() => {}
            }
        }
    }

    /// The last good set of an earlier process, so that a cold start needs no authority.
    async fn load_kept(&self, kept_at: &KeptAt) {
        let Ok(bytes) = tokio::fs::read(&kept_at.file).await else {
            return;
        };
        let Ok(kept) = serde_json::from_slice::<KeptSet>(&bytes) else {
            return;
        };
        let fetched_at = UnixTime(kept.fetched_at);
        // A time to come would make the set young for ever.
        if kept.identity != kept_at.identity || fetched_at > self.clock.now() || !self.is_recent(fetched_at) {
            return;
        }
        if let Ok(keys) = KeySet::parse(kept.document.as_bytes()) {
            let metadata = kept.metadata.map(|metadata| Arc::new(Claims::from(metadata)));
            self.edition.store(Some(Arc::new(Edition { keys: Arc::new(keys), metadata, fetched_at })));
        }
    }

    /// Failing to keep the set is no failure of the fetch: a sidecar may run on a read-only root.
    async fn keep(&self, kept_at: &KeptAt, fetched: &Fetched) {
        let Ok(document) = std::str::from_utf8(&fetched.document) else {
            return;
        };
        let kept = KeptSet {
            identity: kept_at.identity.clone(),
            fetched_at: self.clock.now().0,
            document: document.to_owned(),
            metadata: fetched.metadata.as_ref().map(|metadata| metadata.as_map().clone()),
        };
        let (Ok(bytes), file) = (serde_json::to_vec(&kept), kept_at.file.clone()) else {
            return;
        };
        let written = tokio::task::spawn_blocking(move || super::kept_file::replace(&file, &bytes)).await;
        if !matches!(written, Ok(Ok(()))) {
            tracing::debug!(file = %kept_at.file.display(), "the last good keys could not be kept on disk");
        }
    }
}

fn lifetime(max_age: Option<Duration>) -> Duration {
    max_age.map_or(DEFAULT_LIFETIME, |age| age.clamp(LIFETIME_BOUNDS.0, LIFETIME_BOUNDS.1))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use serde_json::json;

    use super::*;
    use crate::domain::clock::SystemClock;
    use crate::jose::Algorithm;
    use crate::jose::sign::SigningKey;

    /// An authority by the name of a closure: what it answers, how long that takes, how often it was asked.
    struct Script {
        fetches: AtomicUsize,
        up: AtomicBool,
        takes: Duration,
        max_age: Duration,
    }

    impl Script {
        fn new(takes: Duration) -> Arc<Self> {
            let (fetches, up) = (AtomicUsize::new(0), AtomicBool::new(true));
            Arc::new(Self { fetches, up, takes, max_age: Duration::from_secs(60) })
        }

        fn fetches(&self) -> usize {
            self.fetches.load(Ordering::SeqCst)
        }

        fn fetch(self: &Arc<Self>) -> Fetch {
            let script = self.clone();
            let document =
                json!({ "keys": [SigningKey::generate(Algorithm::ES256).unwrap().public_jwk()] }).to_string();
            Arc::new(move || {
                let (script, document) = (script.clone(), document.clone());
                Box::pin(async move {
                    script.fetches.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(script.takes).await;
                    if !script.up.load(Ordering::SeqCst) {
                        return Err("down");
                    }
                    let keys = KeySet::parse(document.as_bytes()).unwrap();
                    let max_age = Some(script.max_age);
                    Ok(Fetched { document: document.into_bytes(), keys, metadata: None, max_age })
                })
            })
        }

        fn run(self: &Arc<Self>) -> Arc<LiveKeys> {
            let keys = LiveKeys::fetched(Arc::new(SystemClock), Duration::from_secs(86_400));
            tokio::spawn(keys.clone().run(self.fetch(), None, Arc::new(|_| ())));
            keys
        }
    }

    fn usable(keys: &LiveKeys) -> bool {
        matches!(keys.current(), Keys::Usable(_))
    }

    #[tokio::test(start_paused = true)]
    async fn a_set_is_refreshed_in_the_background_before_its_life_is_over() {
        let script = Script::new(Duration::from_millis(10));
        let keys = script.run();
        assert_eq!(keys.renew().await, Renewal::Current);
        assert!(usable(&keys));
        // A life of 60 s: refreshed after 42 to 48 s, so 12 to 14 times in ten minutes.
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert!((12..=15).contains(&script.fetches()), "{}", script.fetches());
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_retried_ever_more_slowly_and_the_last_good_set_serves_on() {
        let script = Script::new(Duration::from_millis(10));
        let keys = script.run();
        keys.renew().await;
        script.up.store(false, Ordering::SeqCst);
        // The refresh falls into the first 48 s; then one second, doubling to thirty.
        tokio::time::sleep(Duration::from_secs(48 + 60)).await;
        let during = script.fetches();
        assert!((6..=9).contains(&during), "{during}");
        assert!(usable(&keys));
        assert_eq!(keys.last_error(), Some("down"));
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let hour = script.fetches() - during;
        assert!((118..=152).contains(&hour), "one try per 24 to 30 s: {hour}");
        script.up.store(true, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(31)).await;
        assert_eq!(keys.last_error(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_ask_there_is_one_fetch_per_cool_down() {
        let script = Script::new(Duration::from_millis(300));
        let keys = script.run();
        keys.renew().await;
        for round in 1..=5 {
            tokio::time::sleep(COOL_DOWN).await;
            let before = script.fetches();
            let asked = futures_util::future::join_all((0..1000).map(|_| keys.renew())).await;
            assert!(asked.iter().all(|renewal| *renewal == Renewal::Current));
            // Within the cool-down everyone is told at once that the set is as new as it gets.
            for _ in 0..100 {
                assert_eq!(keys.renew().await, Renewal::Current);
            }
            assert!(script.fetches() <= before + 1, "round {round}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_asks_waits_a_second_at_most() {
        let script = Script::new(Duration::from_secs(60));
        let keys = script.run();
        let began = Instant::now();
        assert_eq!(keys.renew().await, Renewal::Failed);
        assert!(began.elapsed() <= Duration::from_millis(1010));
        assert!(!usable(&keys));
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert!(usable(&keys));
    }

    #[tokio::test(start_paused = true)]
    async fn an_authority_that_cannot_be_asked_is_told_apart_from_one_that_does_not_know() {
        let script = Script::new(Duration::from_millis(10));
        script.up.store(false, Ordering::SeqCst);
        let keys = script.run();
        assert_eq!(keys.renew().await, Renewal::Failed);
        assert_eq!(keys.renew().await, Renewal::Failed);
    }
}
