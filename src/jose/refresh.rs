//! A value that is fetched again and again: one fetch at a time, shared by all that wait for it;
//! the last good value stays.
//!
//! Key sets of authorities and clients and revocation lists are kept in a [`Refreshed`]. Its owner
//! decides when to fetch, and how old the value may be.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::FutureExt;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

/// Why a fetch failed, for the log. Parts of a foreign answer are escaped and cut.
pub type FetchError = Cow<'static, str>;

/// The pauses after failed fetches: each is twice as long as the one before, up to a limit.
pub struct Backoff {
    /// The first pause.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
    /// By which share a pause is shortened at most, so that a fleet does not fetch at once.
    pub jitter: f64,
}

impl Backoff {
    /// The pause after this many failures. `random` is in `0.0..1.0`.
    #[must_use]
    pub fn pause(&self, failures: u32, random: f64) -> Duration {
        let factor = 2_u32.saturating_pow(failures.saturating_sub(1).min(16));
        let pause = self.first.saturating_mul(factor).min(self.longest);
        pause.mul_f64(1.0 - self.jitter * random)
    }
}

/// The fetches so far.
#[derive(Clone, Debug, Default)]
pub struct Attempts {
    ended: u64,
    /// Whether a fetch has begun or is requested.
    pub under_way: bool,
    /// When the last fetch began.
    pub last_began: Option<Instant>,
    /// The error of the last fetch that ended, if it failed.
    pub last_error: Option<FetchError>,
}

impl Attempts {
    /// Whether the last fetch failed.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.last_error.is_some()
    }

    /// Whether the last fetch began less than this time ago.
    #[must_use]
    pub fn began_within(&self, time: Duration) -> bool {
        self.last_began.is_some_and(|began| began.elapsed() < time)
    }
}

/// The result of a request for a fetch.
pub enum Requested<R> {
    /// The caller's request starts a fetch.
    Starts(Pending),
    /// A fetch was under way already. It may have begun before the wanted value existed.
    Joins(Pending),
    /// The caller's rules answered the request without a fetch.
    Refused(R),
}

/// The end of a fetch that is still to come.
#[derive(Clone, Copy)]
pub struct Pending(u64);

/// A fetched value.
pub struct Refreshed<T> {
    value: ArcSwapOption<T>,
    attempts: watch::Sender<Attempts>,
    wake: Notify,
}

impl<T> Refreshed<T> {
    /// `first_is_due` says that a first fetch begins by itself: early requests wait for it.
    #[must_use]
    pub fn new(value: Option<T>, first_is_due: bool) -> Self {
        Self {
            value: ArcSwapOption::new(value.map(Arc::new)),
            attempts: watch::Sender::new(Attempts {
                under_way: first_is_due,
                ..Attempts::default()
            }),
            wake: Notify::new(),
        }
    }

    /// The last good value. Never blocks.
    #[must_use]
    pub fn value(&self) -> Option<Arc<T>> {
        self.value.load_full()
    }

    /// Calls `read` with the last good value, without cloning the pointer.
    pub fn with<R>(&self, read: impl FnOnce(Option<&Arc<T>>) -> R) -> R {
        read(self.value.load().as_ref())
    }

    /// The fetches so far.
    #[must_use]
    pub fn attempts(&self) -> watch::Ref<'_, Attempts> {
        self.attempts.borrow()
    }

    /// Stores a value that no fetch brought.
    pub fn put(&self, value: T) {
        self.value.store(Some(Arc::new(value)));
        self.attempts.send_modify(|_| {});
    }

    /// Requests a fetch, unless one is under way or `refuse` gives an answer.
    pub fn request<R>(&self, refuse: impl FnOnce(&Attempts) -> Option<R>) -> Requested<R> {
        let mut requested = Requested::Joins(Pending(0));
        self.attempts.send_if_modified(|attempts| {
            let pending = Pending(attempts.ended);
            if attempts.under_way {
                requested = Requested::Joins(pending);
                return false;
            }
            if let Some(answer) = refuse(attempts) {
                requested = Requested::Refused(answer);
                return false;
            }
            attempts.under_way = true;
            requested = Requested::Starts(pending);
            true
        });
        if matches!(requested, Requested::Starts(_)) {
            self.wake.notify_one();
        }
        requested
    }

    /// Wakes the fetching task, whether or not a fetch is under way.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits for a request or for [`wake`](Self::wake).
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// A fetch begins.
    pub fn begin(&self) -> Instant {
        let now = Instant::now();
        self.attempts.send_modify(|attempts| {
            attempts.under_way = true;
            attempts.last_began = Some(now);
        });
        now
    }

    /// The fetch under way has ended. A failed one leaves the last good value.
    pub fn end(&self, result: Result<T, FetchError>) {
        // This fetch also answers the requests that came before it began.
        let _ = self.wake.notified().now_or_never();
        let last_error = match result {
            Ok(value) => {
                self.value.store(Some(Arc::new(value)));
                None
            }
            Err(error) => Some(error),
        };
        self.attempts.send_modify(|attempts| {
            attempts.ended += 1;
            attempts.under_way = false;
            attempts.last_error = last_error;
        });
    }

    /// Waits for the end of a fetch, at most for `longest`. Gives whether it ended.
    pub async fn ended(&self, Pending(ended): Pending, longest: Duration) -> bool {
        self.wait_until(longest, |attempts, _| attempts.ended > ended)
            .await
    }

    /// Waits until `done` holds, at most for `longest`. Gives whether it holds.
    pub async fn wait_until(
        &self,
        longest: Duration,
        done: impl Fn(&Attempts, Option<&T>) -> bool,
    ) -> bool {
        let mut attempts = self.attempts.subscribe();
        let done = |attempts: &Attempts| done(attempts, self.value.load().as_deref());
        timeout(longest, attempts.wait_for(done)).await.is_ok()
    }

    /// Waits until a value is there and `usable`, or the first fetch has ended.
    pub async fn first_known(&self, usable: impl Fn(&T) -> bool) {
        let mut attempts = self.attempts.subscribe();
        let known = |attempts: &Attempts| {
            attempts.ended > 0 || self.value.load().as_deref().is_some_and(&usable)
        };
        // The sender is a field, so there is no error.
        let _ = attempts.wait_for(known).await;
    }

    /// Waits for the end of the next fetch.
    pub async fn next_end(&self) {
        let mut attempts = self.attempts.subscribe();
        let ended = attempts.borrow_and_update().ended;
        let _ = attempts.wait_for(|now| now.ended > ended).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn pauses_double_up_to_the_longest_one() {
        let backoff = Backoff {
            first: SECOND,
            longest: Duration::from_secs(30),
            jitter: 0.2,
        };
        let seconds = [0, 1, 2, 3, 5, 6, u32::MAX].map(|n| backoff.pause(n, 0.0).as_secs());
        assert_eq!(seconds, [1, 1, 2, 4, 16, 30, 30]);
        assert_eq!(backoff.pause(6, 1.0), Duration::from_secs(24));
    }

    #[tokio::test(start_paused = true)]
    async fn concurrent_requests_share_one_fetch() {
        let cell = Refreshed::<u8>::new(None, false);
        let allow = |_: &Attempts| None::<()>;
        let Requested::Starts(first) = cell.request(allow) else {
            panic!("the first request starts the fetch")
        };
        let Requested::Joins(second) = cell.request(allow) else {
            panic!("the second request joins it")
        };
        cell.begin();
        assert!(!cell.ended(first, SECOND).await);
        cell.end(Ok(7));
        assert!(cell.ended(first, SECOND).await && cell.ended(second, SECOND).await);
        assert_eq!(cell.value().as_deref(), Some(&7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_fetch_leaves_the_last_good_value() {
        let cell = Refreshed::new(Some(7), true);
        cell.begin();
        cell.end(Err("down".into()));
        assert!(cell.attempts().is_failing() && cell.attempts().began_within(SECOND));
        assert_eq!(cell.value().as_deref(), Some(&7));
        let refused = cell.request(|attempts| attempts.is_failing().then_some("failing"));
        assert!(matches!(refused, Requested::Refused("failing")));
        cell.begin();
        cell.end(Ok(8));
        assert!(!cell.attempts().is_failing());
        assert_eq!(cell.value().as_deref(), Some(&8));
    }
}
