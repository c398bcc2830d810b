//! A quota of calls to an upstream that every request shares.
//!
//! In any time `per` there are at most `requests` calls, wherever the upstream's own window begins.
//! A request beyond that waits for its turn, in order, or is refused. Nothing else is counted, so a
//! caller that stops waiting frees its place.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// A quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The number of calls in `per`; at least 1.
    pub requests: u32,
    pub per: Duration,
    /// How long a call waits at most; `None`: it is refused at once.
    pub max_wait: Option<Duration>,
}

/// The quota is used up; a call may be possible after this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted(pub Duration);

impl Exhausted {
    /// The value of `Retry-After`: whole seconds, rounded up, at least one.
    #[must_use]
    pub fn retry_after_secs(self) -> u64 {
        let secs = self.0.as_secs() + u64::from(self.0.subsec_nanos() > 0);
        secs.max(1)
    }
}

/// A counted call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    at: Instant,
    /// Whether it waited for its turn.
    pub waited: bool,
}

/// The result of a call beyond the quota, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Waited,
    Refused,
}

/// Gets the outcomes; must not block.
pub type Observer = Box<dyn Fn(Outcome) + Send + Sync>;

/// The most calls that wait at a time, whatever their expected wait.
const MOST_WAITING: usize = 10_000;

/// The calls so far.
pub struct Throttle {
    config: Config,
    state: Mutex<State>,
    /// Held by the call whose turn is next; the others wait in order.
    turn: tokio::sync::Mutex<()>,
    observer: Observer,
}

#[derive(Default)]
struct State {
    /// The calls within the last `per`, the oldest first.
    calls: VecDeque<Instant>,
    waiting: usize,
}

impl State {
    /// Counts a call now, or gives when the next one is possible.
    fn take(&mut self, config: &Config, now: Instant) -> Result<Instant, Instant> {
        while let Some(oldest) = self.calls.front()
            && *oldest + config.per <= now
        {
            self.calls.pop_front();
        }
        match self.calls.front() {
            Some(oldest) if self.calls.len() >= size(config) => Err(*oldest + config.per),
            _ => {
                self.calls.push_back(now);
                Ok(now)
            }
        }
    }

    /// The wait of a call behind those that wait already. `take` has just failed, or others wait.
    fn wait(&self, config: &Config, now: Instant) -> Duration {
        // The calls before this one decide: it follows the one `requests` places before it by
        // `per`.
        let place = self.calls.len() + self.waiting;
        let rounds = u32::try_from(place / size(config)).unwrap_or(u32::MAX);
        let first = self.calls.get(place % size(config)).copied();
        let at = config
            .per
            .checked_mul(rounds)
            .and_then(|behind| first.unwrap_or(now).checked_add(behind));
        at.map_or(Duration::MAX, |at| at.saturating_duration_since(now))
    }
}

fn size(config: &Config) -> usize {
    usize::try_from(config.requests)
        .unwrap_or(usize::MAX)
        .max(1)
}

/// The turn of a call.
enum Turn<'t> {
    /// It is counted.
    Now(Instant),
    Later(Place<'t>),
}

/// The place of a waiting call. Dropping it frees the place.
struct Place<'t>(&'t Throttle);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting -= 1;
    }
}

impl Throttle {
    /// No calls so far.
    #[must_use]
    pub fn new(config: Config, observer: Observer) -> Self {
        Self {
            config,
            state: Mutex::default(),
            turn: tokio::sync::Mutex::new(()),
            observer,
        }
    }

    /// The number of calls that wait now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.lock().waiting
    }

    /// Counts a call, which may wait for its turn.
    ///
    /// # Errors
    /// The call must not be made: it would wait for too long, or may not wait.
    pub async fn admit(&self) -> Result<Admitted, Exhausted> {
        let _place = match self.place()? {
            Turn::Now(at) => return Ok(Admitted { at, waited: false }),
            Turn::Later(place) => place,
        };
        let _turn = self.turn.lock().await;
        let at = loop {
            let taken = self.lock().take(&self.config, Instant::now());
            match taken {
                Ok(at) => break at,
                Err(next) => sleep_until(next).await,
            }
        };
        (self.observer)(Outcome::Waited);
        Ok(Admitted { at, waited: true })
    }

    /// Uncounts a call that is not made.
    pub fn give_back(&self, admitted: Admitted) {
        let mut state = self.lock();
        if let Some(place) = state.calls.iter().rposition(|at| *at == admitted.at) {
            state.calls.remove(place);
        }
    }

    /// Counts a call that cannot wait, such as the repetition of one.
    ///
    /// # Errors
    /// The call must not be made.
    pub fn admit_now(&self) -> Result<Admitted, Exhausted> {
        let mut state = self.lock();
        let now = Instant::now();
        if state.waiting == 0
            && let Ok(at) = state.take(&self.config, now)
        {
            return Ok(Admitted { at, waited: false });
        }
        Err(Exhausted(state.wait(&self.config, now)))
    }

    /// Counts a call, or takes a place for one that waits.
    fn place(&self) -> Result<Turn<'_>, Exhausted> {
        let (mut state, now) = (self.lock(), Instant::now());
        if state.waiting == 0
            && let Ok(at) = state.take(&self.config, now)
        {
            return Ok(Turn::Now(at));
        }
        let wait = state.wait(&self.config, now);
        let may_wait = self.config.max_wait.is_some_and(|most| wait <= most);
        if may_wait && state.waiting < MOST_WAITING {
            state.waiting += 1;
            return Ok(Turn::Later(Place(self)));
        }
        drop(state);
        (self.observer)(Outcome::Refused);
        Err(Exhausted(wait))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn throttle(requests: u32, per: Duration, max_wait: Option<Duration>) -> Arc<Throttle> {
        let config = Config {
            requests,
            per,
            max_wait,
        };
        Arc::new(Throttle::new(config, Box::new(|_| {})))
    }

    /// Whether a call waits.
    async fn waits(throttle: &Throttle) -> Result<bool, Exhausted> {
        throttle.admit().await.map(|admitted| admitted.waited)
    }

    #[tokio::test(start_paused = true)]
    async fn calls_wait_in_order_and_never_exceed_the_quota() {
        let throttle = throttle(3, SECOND, Some(SECOND * 60));
        let (began, done) = (Instant::now(), Arc::new(Mutex::new(Vec::new())));
        let tasks = (0..10).map(|number| {
            let (throttle, done) = (throttle.clone(), done.clone());
            async move {
                let waited = throttle.admit().await.unwrap().waited;
                let ms = began.elapsed().as_millis();
                done.lock().unwrap().push((number, waited, ms / 1000));
            }
        });
        futures_util::future::join_all(tasks).await;
        let expected: Vec<_> = (0..10)
            .map(|number| (number, number >= 3, number / 3))
            .collect();
        assert_eq!(*done.lock().unwrap(), expected);
        assert_eq!(throttle.waiting(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_would_wait_for_too_long_is_refused_at_once() {
        let refusing = throttle(2, SECOND * 10, None);
        assert_eq!(waits(&refusing).await, Ok(false));
        tokio::time::advance(SECOND * 4).await;
        assert_eq!(waits(&refusing).await, Ok(false));
        assert_eq!(waits(&refusing).await, Err(Exhausted(SECOND * 6)));
        assert_eq!(refusing.admit_now(), Err(Exhausted(SECOND * 6)));
        tokio::time::advance(SECOND * 6).await;
        assert!(refusing.admit_now().is_ok());
        // Two may wait, each for its own time; the third would wait for longer than allowed.
        let throttle = throttle(1, SECOND * 10, Some(SECOND * 25));
        assert_eq!(waits(&throttle).await, Ok(false));
        let mut waiting = [Box::pin(throttle.admit()), Box::pin(throttle.admit())];
        for each in &mut waiting {
            assert_eq!(each.now_or_never(), None);
        }
        assert_eq!(throttle.waiting(), 2);
        assert_eq!(waits(&throttle).await, Err(Exhausted(SECOND * 30)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_leaves_frees_its_place() {
        let throttle = throttle(1, SECOND * 10, Some(SECOND * 10));
        assert_eq!(waits(&throttle).await, Ok(false));
        let mut first = Box::pin(throttle.admit());
        assert_eq!(first.as_mut().now_or_never(), None);
        assert_eq!(waits(&throttle).await, Err(Exhausted(SECOND * 20)));
        drop(first);
        assert_eq!(throttle.waiting(), 0);
        let began = Instant::now();
        assert_eq!(waits(&throttle).await, Ok(true));
        assert_eq!(began.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_not_made_is_not_counted() {
        let throttle = throttle(2, SECOND, None);
        let first = throttle.admit_now().unwrap();
        tokio::time::advance(SECOND / 2).await;
        let second = throttle.admit_now().unwrap();
        throttle.give_back(second);
        assert!(throttle.admit_now().is_ok());
        assert_eq!(throttle.admit_now(), Err(Exhausted(SECOND / 2)));
        throttle.give_back(first);
        throttle.give_back(first);
        assert!(throttle.admit_now().is_ok());
        assert!(throttle.admit_now().is_err());
    }

    #[test]
    fn a_retry_is_proposed_in_whole_seconds() {
        let secs = |ms| Exhausted(Duration::from_millis(ms)).retry_after_secs();
        assert_eq!([secs(0), secs(1), secs(1000), secs(1001)], [1, 1, 1, 2]);
    }

    proptest! {
        /// No window of the quota's length has more calls, and a refused call could not be made.
        #[test]
        fn no_window_has_more_calls(
            requests in 1_u32..5, per in 1_u64..50, gaps in prop::collection::vec(0_u64..30, 1..60)
        ) {
            let config = Config {
                requests, per: Duration::from_millis(per), max_wait: None,
            };
            let (mut state, mut now) = (State::default(), Instant::now());
            let mut calls: Vec<Instant> = Vec::new();
            for gap in gaps {
                now += Duration::from_millis(gap);
                let within = calls.iter().filter(|at| **at + config.per > now).count();
                let taken = state.take(&config, now);
                prop_assert_eq!(taken.is_ok(), within < size(&config));
                if taken.is_ok() {
                    calls.push(now);
                } else {
                    prop_assert_eq!(taken, Err(now + state.wait(&config, now)));
                }
            }
        }
    }
}
