//! A key set that stays fresh: background refresh, last good set, cool-down, persistence.
//!
//! One task per authority ([`LiveKeys::run`]) does all fetching, so there is never more than one
//! fetch at a time, and whoever waits for one shares it. Requests only read: [`LiveKeys::current`]
//! is one atomic load. How a set is fetched is the caller's business (a closure), and so this room
//! knows neither HTTP nor whose keys they are.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::FutureExt;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::asked::{Asked, Question};
use super::kept_set;
pub use super::kept_set::KeptAt;
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
/// Whatever a source does, a fetch ends: otherwise nothing would ever be fetched again. Longer than
/// three documents of the longest `timeouts.total` take.
const LONGEST_FETCH: Duration = Duration::from_secs(200);
/// For so long after a failed fetch began no question causes another.
const COOL_DOWN: Duration = Duration::from_secs(10);
/// How long a request waits for a fetch.
pub const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// What a fetch brought.
pub struct Fetched {
    /// The document as it came, for the file in the state directory.
    pub document: Vec<u8>,
    /// Its keys.
    pub keys: KeySet,
    /// What the issuer's metadata said at the same time (RFC 8414 §2), as far as it is to be kept
    /// beside the keys.
    pub metadata: Option<Claims>,
    /// For how long the authority says it is fresh.
    pub max_age: Option<Duration>,
    /// By how many seconds the authority's clock is ahead of ours; negative: behind. `None`: it did
    /// not say.
    pub clock_skew: Option<i64>,
}

/// Why a fetch failed, for the log. What it shows of the authority's answer is escaped and short.
pub type FetchError = Cow<'static, str>;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// How a set is fetched.
pub type Fetch = Arc<dyn Fn() -> Boxed<Result<Fetched, FetchError>> + Send + Sync>;

/// Ends when a fetch would bring something else than the last one did.
pub type Changed = Arc<dyn Fn() -> Boxed<()> + Send + Sync>;

/// Called after every fetch, with its error.
pub type Observe = Arc<dyn Fn(Result<(), &str>) + Send + Sync>;

/// Where a set comes from.
#[derive(Clone)]
pub struct Source {
    /// How it is fetched.
    pub fetch: Fetch,
    /// How a change is noticed without fetching; never ends where it cannot be.
    pub changed: Changed,
    /// Where the last good set is kept.
    pub kept_at: Option<KeptAt>,
}

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
    /// The authority could not be asked, has not answered yet, or may not be asked now.
    Failed,
}

/// What is kept of the fetches, for waiters and for the status.
#[derive(Clone, Debug, Default)]
struct Attempts {
    /// How many fetches have ended.
    ended: u64,
    /// Whether one is under way, or about to be.
    under_way: bool,
    /// When the last one that ended began.
    last_began: Option<Instant>,
    /// Its error.
    last_error: Option<FetchError>,
    /// What the last good one said of the authority's clock.
    clock_skew: Option<i64>,
}

impl Attempts {
    fn renewal(&self) -> Renewal {
        if self.last_error.is_none() {
            Renewal::Current
        } else {
            Renewal::Failed
        }
    }

    fn note(&mut self, began: Instant, result: &Result<Fetched, FetchError>) {
        self.ended += 1;
        self.under_way = false;
        self.last_began = Some(began);
        self.last_error = result.as_ref().err().cloned();
        if let Ok(fetched) = result {
            self.clock_skew = fetched.clock_skew;
        }
    }
}

pub(super) struct Edition {
    pub keys: Arc<KeySet>,
    pub metadata: Option<Arc<Claims>>,
    pub fetched_at: UnixTime,
}

/// An authority's keys, kept fresh.
pub struct LiveKeys {
    edition: ArcSwapOption<Edition>,
    attempts: watch::Sender<Attempts>,
    asked: Asked,
    wake: Notify,
    clock: SharedClock,
    max_stale: Duration,
    /// Keys that are set from inside the process never go stale and are never fetched.
    in_process: bool,
    /// They were fetched by [`fetch_once`](Self::fetch_once), and are not fetched again.
    only_once: AtomicBool,
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
        let edition = Edition {
            keys: Arc::new(keys),
            metadata: None,
            fetched_at: clock.now(),
        };
        Self::new(Some(Arc::new(edition)), clock, Duration::MAX, true)
    }

    fn new(
        edition: Option<Arc<Edition>>,
        clock: SharedClock,
        max_stale: Duration,
        in_process: bool,
    ) -> Arc<Self> {
        // The first fetch begins by itself: whoever asks before it waits for it and need not cause
        // another.
        let attempts = Attempts {
            under_way: true,
            ..Attempts::default()
        };
        Arc::new(Self {
            edition: ArcSwapOption::new(edition),
            attempts: watch::Sender::new(attempts),
            asked: Asked::default(),
            wake: Notify::new(),
            clock,
            max_stale,
            in_process,
            only_once: AtomicBool::new(false),
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

    /// Whether there is a set that may be used.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        matches!(self.current(), Keys::Usable(_))
    }

    /// How many keys there are that may be used.
    #[must_use]
    pub fn count(&self) -> usize {
        match self.current() {
            Keys::Usable(keys) => keys.len(),
            Keys::Unavailable => 0,
        }
    }

    fn is_recent(&self, fetched_at: UnixTime) -> bool {
        fetched_at.until(self.clock.now()) <= self.max_stale
    }

    /// How old the set is; `None` when there is none.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        let edition = self.edition.load();
        edition
            .as_ref()
            .map(|edition| edition.fetched_at.until(self.clock.now()))
    }

    /// What the issuer's metadata said when the set was fetched; `None` when it was found without
    /// discovery, or there is no usable set.
    #[must_use]
    pub fn metadata(&self) -> Option<Arc<Claims>> {
        let edition = self.edition.load();
        let edition = edition
            .as_ref()
            .filter(|edition| self.is_recent(edition.fetched_at))?;
        edition.metadata.clone()
    }

    /// The last fetch's error, if it failed.
    #[must_use]
    pub fn last_error(&self) -> Option<FetchError> {
        self.attempts.borrow().last_error.clone()
    }

    /// By how many seconds the authority's clock was ahead of ours when it was last heard of;
    /// negative: behind.
    #[must_use]
    pub fn clock_skew(&self) -> Option<i64> {
        self.attempts.borrow().clock_skew
    }

    /// Puts a newer set in place.
    pub fn replace(&self, keys: KeySet, metadata: Option<Claims>) {
        let metadata = metadata.map(Arc::new);
        let keys = match &*self.edition.load() {
            Some(earlier) => keys.after(&earlier.keys),
            None => keys,
        };
        let edition = Edition {
            keys: Arc::new(keys),
            metadata,
            fetched_at: self.clock.now(),
        };
        self.edition.store(Some(Arc::new(edition)));
    }

    /// Asks for a newer set, because a key was not in the one there is; `missing` is the digest of
    /// what is looked for. A few fetches in a row come of it and one in ten seconds in the long
    /// run, however many ask, and at most one a minute while all ask for the same. Each waits for
    /// it at most [`LONGEST_WAIT`].
    pub async fn renew(&self, missing: &[u8; 32]) -> Renewal {
        if self.in_process {
            return Renewal::Current;
        }
        if self.only_once.load(Ordering::Relaxed) {
            return self.attempts.borrow().renewal();
        }
        let (mut ended, mut known) = (0, None);
        self.attempts.send_if_modified(|now| {
            ended = now.ended;
            // A fetch that is under way is shared. It may have begun before the key was there: no
            // answer for a minute.
            if now.under_way {
                return false;
            }
            let failed = now.last_error.is_some()
                && now
                    .last_began
                    .is_some_and(|began| began.elapsed() < COOL_DOWN);
            let answer = match failed {
                true => Some(Renewal::Failed),
                false => match self.asked.ask(missing, !self.is_usable()) {
                    Question::New => None,
                    Question::Answered => Some(now.renewal()),
                    Question::TooMany => Some(Renewal::Failed),
                },
            };
            if answer.is_some() {
                known = answer;
                return false;
            }
            // As good as: who asks for the same in this moment waits too.
            now.under_way = true;
            self.wake.notify_one();
            true
        });
        if let Some(known) = known {
            return known;
        }
        let mut attempts = self.attempts.subscribe();
        let ended = attempts.wait_for(|now| now.ended > ended);
        match tokio::time::timeout(LONGEST_WAIT, ended).await {
            Ok(Ok(now)) => now.renewal(),
            _ => Renewal::Failed,
        }
    }

    /// Fetches at once, then in the background for ever; dropping the future ends it.
    pub async fn run(self: Arc<Self>, source: Source, observe: Observe) {
        // Not after a restart of the task: what is in memory is newer.
        if let (Some(kept_at), None) = (&source.kept_at, self.age()) {
            self.load_kept(kept_at).await;
        }
        let mut pause = FIRST_PAUSE;
        loop {
            let (began, result) = self.attempt(&source).await;
            let due = match &result {
                Ok(fetched) => {
                    pause = FIRST_PAUSE;
                    began + self.refresh_after(fetched.max_age)
                }
                // The pause begins now: a fetch that hung for seconds was no pause.
                Err(_) => {
                    let due = Instant::now() + pause.mul_f64(1.0 - 0.2 * fastrand::f64());
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    due
                }
            };
            observe(result.as_ref().map(|_| ()).map_err(|error| &**error));
            // After everyone was told: nobody waits for the disk.
            if let (Some(kept_at), Ok(fetched)) = (&source.kept_at, &result) {
                kept_set::keep(kept_at, fetched, self.clock.now()).await;
            }
            self.wait_for_next(&source, due).await;
        }
    }

    /// Fetches once, for a command that judges one request. Writes nothing. When the fetch fails,
    /// the set that a running sidecar keeps on disk serves, as it does there.
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
        let began = Instant::now();
        self.attempts
            .send_modify(|attempts| attempts.under_way = true);
        let result = tokio::time::timeout(LONGEST_FETCH, (source.fetch)()).await;
        let result = result.unwrap_or(Err(Cow::Borrowed("the fetch did not end in time")));
        // A request that rang before the fetch began has its answer now.
        let _ = self.wake.notified().now_or_never();
        if let Ok(fetched) = &result {
            self.replace(fetched.keys.clone(), fetched.metadata.clone());
        }
        self.attempts
            .send_modify(|attempts| attempts.note(began, &result));
        (began, result)
    }

    /// Waits until there is a usable set, or until the first fetch has ended without one.
    pub async fn first_known(&self) {
        let mut attempts = self.attempts.subscribe();
        // The sender is ours: there is no error.
        let _ = attempts
            .wait_for(|now| now.ended > 0 || self.is_usable())
            .await;
    }

    /// Waits until another fetch has ended; never ends for keys that are not fetched.
    pub async fn next_fetch(&self) {
        let mut attempts = self.attempts.subscribe();
        let ended = attempts.borrow_and_update().ended;
        let _ = attempts.wait_for(|now| now.ended > ended).await;
    }

    /// At 80 % of the set's life, up to a tenth earlier, so that a fleet does not ask at once. A
    /// set that may not serve for its whole life is replaced before it may serve no more.
    fn refresh_after(&self, max_age: Option<Duration>) -> Duration {
        let lifetime = max_age.map_or(DEFAULT_LIFETIME, |age| {
            age.clamp(LIFETIME_BOUNDS.0, LIFETIME_BOUNDS.1)
        });
        lifetime
            .min(self.max_stale)
            .mul_f64(0.8 - 0.1 * fastrand::f64())
    }

    /// Until the next fetch is due, would bring something new, or is wanted: [`renew`](Self::renew)
    /// limits how often that is.
    async fn wait_for_next(&self, source: &Source, due: Instant) {
        tokio::select! {
            () = tokio::time::sleep_until(due) => {}
            () = (source.changed)() => {}
            () = self.wake.notified() => {}
        }
    }

    /// The last good set of an earlier process, so that a cold start needs no authority.
    async fn load_kept(&self, kept_at: &KeptAt) {
        let file = kept_at.file.display();
        match kept_set::load(kept_at, self.clock.now()).await {
            Ok(Some(kept)) if self.is_recent(kept.fetched_at) => {
                let age = kept.fetched_at.until(self.clock.now()).as_secs();
                tracing::info!(%file, age, "until they are fetched, the keys kept on disk are used");
                self.edition.store(Some(Arc::new(kept)));
                // For those that wait for the first set.
                self.attempts.send_modify(|_| {});
            }
            Ok(Some(_)) => tracing::info!(%file, "the keys kept on disk are too old to be used"),
            Ok(None) => {}
            Err(why) => tracing::warn!(%file, why, "the keys kept on disk are not used"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use serde_json::json;

    use super::*;
    use crate::domain::clock::SystemClock;
    use crate::jose::Algorithm;
    use crate::jose::sign::SigningKey;

    /// An authority by the name of a closure: what it answers, how long that takes, how often it
    /// was asked.
    struct Script {
        fetches: AtomicUsize,
        up: AtomicBool,
        takes: Duration,
        max_age: Duration,
    }

    impl Script {
        fn new(takes: Duration) -> Arc<Self> {
            Self::living(takes, 60)
        }

        fn living(takes: Duration, max_age: u64) -> Arc<Self> {
            let (fetches, up) = (AtomicUsize::new(0), AtomicBool::new(true));
            Arc::new(Self {
                fetches,
                up,
                takes,
                max_age: Duration::from_secs(max_age),
            })
        }

        fn fetches(&self) -> usize {
            self.fetches.load(Ordering::SeqCst)
        }

        fn source(self: &Arc<Self>) -> Source {
            let changed: Changed = Arc::new(|| Box::pin(std::future::pending()));
            Source {
                fetch: self.fetch(),
                changed,
                kept_at: None,
            }
        }

        fn fetch(self: &Arc<Self>) -> Fetch {
            let script = self.clone();
            let document =
                json!({ "keys": [SigningKey::generate(Algorithm::ES256).unwrap().public_jwk()] })
                    .to_string();
            Arc::new(move || {
                let (script, document) = (script.clone(), document.clone());
                Box::pin(async move {
                    script.fetches.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(script.takes).await;
                    if !script.up.load(Ordering::SeqCst) {
                        return Err(Cow::Borrowed("down"));
                    }
                    let keys = KeySet::parse(document.as_bytes()).unwrap();
                    let max_age = Some(script.max_age);
                    let document = document.into_bytes();
                    Ok(Fetched {
                        document,
                        keys,
                        metadata: None,
                        max_age,
                        clock_skew: None,
                    })
                })
            })
        }

        fn run(self: &Arc<Self>) -> Arc<LiveKeys> {
            let keys = LiveKeys::fetched(Arc::new(SystemClock), Duration::from_secs(86_400));
            tokio::spawn(keys.clone().run(self.source(), Arc::new(|_| ())));
            keys
        }
    }

    const MISSING: &[u8; 32] = &[7; 32];

    #[tokio::test(start_paused = true)]
    async fn a_set_is_refreshed_in_the_background_before_its_life_is_over() {
        let script = Script::new(Duration::from_millis(10));
        let keys = script.run();
        assert_eq!(keys.renew(MISSING).await, Renewal::Current);
        assert!(keys.is_usable());
        // A life of 60 s: refreshed after 42 to 48 s, so 12 to 14 times in ten minutes.
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert!(
            (12..=15).contains(&script.fetches()),
            "{}",
            script.fetches()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_retried_ever_more_slowly_and_the_last_good_set_serves_on() {
        let script = Script::new(Duration::from_millis(10));
        let keys = script.run();
        keys.renew(MISSING).await;
        script.up.store(false, Ordering::SeqCst);
        // The refresh falls into the first 48 s; then one second, doubling to thirty.
        tokio::time::sleep(Duration::from_secs(48 + 60)).await;
        let during = script.fetches();
        assert!((6..=9).contains(&during), "{during}");
        assert!(keys.is_usable());
        assert_eq!(keys.last_error().as_deref(), Some("down"));
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let hour = script.fetches() - during;
        assert!(
            (118..=152).contains(&hour),
            "one try per 24 to 30 s: {hour}"
        );
        script.up.store(true, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(31)).await;
        assert_eq!(keys.last_error(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_ask_there_are_a_few_fetches_in_a_row_then_one_in_ten_seconds() {
        let script = Script::living(Duration::from_millis(300), 3600);
        let keys = script.run();
        keys.renew(MISSING).await;
        let mut number = 0_u32;
        let mut next = || {
            number += 1;
            let mut missing = [0; 32];
            missing[..4].copy_from_slice(&number.to_be_bytes());
            missing
        };
        for round in 1..=5 {
            let (before, began) = (script.fetches(), Instant::now());
            let missing = next();
            let asked =
                futures_util::future::join_all((0..1000).map(|_| keys.renew(&missing))).await;
            assert!(asked.iter().all(|renewal| *renewal == Renewal::Current));
            assert_eq!(
                began.elapsed(),
                Duration::from_millis(300),
                "all of them waited for the one fetch"
            );
            assert_eq!(script.fetches(), before + 1, "round {round}");
            // The same question has its answer.
            assert_eq!(keys.renew(&missing).await, Renewal::Current);
        }
        for _ in 0..3 {
            // What the authority was never asked for is not known, and it is not asked now.
            let before = script.fetches();
            for _ in 0..100 {
                assert_eq!(keys.renew(&next()).await, Renewal::Failed);
            }
            assert_eq!(script.fetches(), before);
            tokio::time::sleep(Duration::from_secs(10)).await;
            assert_eq!(keys.renew(&next()).await, Renewal::Current);
            assert_eq!(script.fetches(), before + 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stranger_who_asks_every_ten_seconds_does_not_use_up_the_fetch_of_a_rotation() {
        let script = Script::living(Duration::from_millis(10), 3600);
        let keys = script.run();
        keys.renew(MISSING).await;
        for n in 0..30 {
            tokio::time::sleep(Duration::from_secs(10)).await;
            assert_eq!(keys.renew(&[n + 100; 32]).await, Renewal::Current);
            // The first token of a new key, right after the stranger's.
            let before = script.fetches();
            if n % 10 == 5 {
                assert_eq!(keys.renew(&[n; 32]).await, Renewal::Current);
                assert_eq!(script.fetches(), before + 1, "it is fetched at once");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_question_is_put_once_a_minute_and_another_one_after_the_cool_down() {
        let script = Script::living(Duration::from_millis(10), 3600);
        let keys = script.run();
        keys.renew(MISSING).await;
        assert_eq!(script.fetches(), 1);
        for _ in 0..580 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(keys.renew(MISSING).await, Renewal::Current);
        }
        assert_eq!(script.fetches(), 11);
        let before = script.fetches();
        keys.renew(MISSING).await;
        assert_eq!(script.fetches(), before);
        keys.renew(&[8; 32]).await;
        assert_eq!(script.fetches(), before + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_says_that_it_changed_is_fetched_at_once() {
        let script = Script::living(Duration::from_millis(10), 3600);
        let keys = LiveKeys::fetched(Arc::new(SystemClock), Duration::from_secs(86_400));
        let changed: Changed = Arc::new(|| Box::pin(tokio::time::sleep(Duration::from_secs(7))));
        let source = Source {
            changed,
            ..script.source()
        };
        tokio::spawn(keys.clone().run(source, Arc::new(|_| ())));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(script.fetches(), 9);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fetch_that_never_ends_is_ended_and_tried_again() {
        let script = Script::new(Duration::MAX);
        let keys = script.run();
        tokio::time::sleep(LONGEST_FETCH * 3).await;
        assert!(script.fetches() >= 3, "{}", script.fetches());
        assert_eq!(
            keys.last_error().as_deref(),
            Some("the fetch did not end in time")
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_set_that_may_serve_only_for_a_short_time_is_renewed_within_it() {
        let script = Script::living(Duration::from_millis(10), 3600);
        let keys = LiveKeys::fetched(Arc::new(SystemClock), Duration::from_secs(100));
        tokio::spawn(keys.clone().run(script.source(), Arc::new(|_| ())));
        tokio::time::sleep(Duration::from_secs(799)).await;
        assert!(
            (10..=12).contains(&script.fetches()),
            "{}",
            script.fetches()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_asks_waits_a_second_at_most() {
        let script = Script::new(Duration::from_secs(15));
        let keys = script.run();
        let began = Instant::now();
        assert_eq!(keys.renew(MISSING).await, Renewal::Failed);
        assert!(began.elapsed() <= Duration::from_millis(1010));
        assert!(!keys.is_usable());
        tokio::time::sleep(Duration::from_secs(16)).await;
        assert!(keys.is_usable());
    }

    #[tokio::test(start_paused = true)]
    async fn an_authority_that_cannot_be_asked_is_told_apart_from_one_that_does_not_know() {
        let script = Script::new(Duration::from_millis(10));
        script.up.store(false, Ordering::SeqCst);
        let keys = script.run();
        assert_eq!(keys.renew(MISSING).await, Renewal::Failed);
        assert_eq!(keys.renew(MISSING).await, Renewal::Failed);
    }
}
