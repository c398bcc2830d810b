//! The token cell of one credential and the task that keeps it filled.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::access_token::{AccessToken, Grant, Moment};
use super::error::{Failure, FetchError, TokenUnavailable};
use super::token_client::TokenClient;
use super::{Config, CredentialStatus, Event, Observer, schedule};
use crate::domain::clock::SharedClock;
use crate::http_client::{HttpClient, HttpError};

/// Access tokens for one credential. Clones share everything.
#[derive(Clone)]
pub struct TokenSource(Arc<Cell>);

struct Cell {
    config: Config,
    http: HttpClient,
    clock: SharedClock,
    observer: Observer,
    current: ArcSwapOption<Current>,
    /// Sent after each settled attempt, also without a change: waiting callers look again then.
    state: watch::Sender<State>,
    /// Callers without a usable token ring it.
    demand: Notify,
    status: ArcSwap<CredentialStatus>,
}

struct Current {
    token: AccessToken,
    refresh_due: Instant,
}

/// How the last attempt ended; `Ready` also before the first.
#[derive(Clone, Copy)]
enum State {
    Ready,
    Failing { error: FetchError, next_attempt: Instant, failures: u32 },
}

impl TokenSource {
    /// A source without a token yet. Nothing is fetched before [`Self::run`] runs.
    #[must_use]
    pub fn new(config: Config, http: HttpClient, clock: SharedClock, observer: Observer) -> Self {
        Self(Arc::new(Cell {
            config,
            http,
            clock,
            observer,
            current: ArcSwapOption::empty(),
            state: watch::Sender::new(State::Ready),
            demand: Notify::new(),
            status: ArcSwap::default(),
        }))
    }

    /// The credential's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.config.name
    }

    /// How the credential is doing.
    #[must_use]
    pub fn status(&self) -> CredentialStatus {
        **self.0.status.load()
    }

    /// The current token, if there is one that may be used. Never waits, takes no lock.
    #[must_use]
    pub fn current(&self) -> Option<AccessToken> {
        let current = self.0.current.load();
        let token = &current.as_ref()?.token;
        token.is_usable(self.now()).then(|| token.clone())
    }

    /// A usable token: the current one, or the next when there is none.
    ///
    /// May be called from any runtime that has a timer. Waits at most about 16 s.
    ///
    /// # Errors
    /// When the authority gives none. While it is known to be failing the error comes at once.
    pub async fn token(&self) -> Result<AccessToken, TokenUnavailable> {
        if let Some(token) = self.current() {
            return Ok(token);
        }
        // The task's own limits are tighter; this one is for the case that no task is running.
        let stopped = || TokenUnavailable::new(FetchError::Stopped, Duration::ZERO);
        timeout(schedule::WAIT_LIMIT, self.wait()).await.unwrap_or_else(|_| Err(stopped()))
    }

    async fn wait(&self) -> Result<AccessToken, TokenUnavailable> {
        let mut state = self.0.state.subscribe();
        loop {
            // Marked as seen before the token is looked at: whatever is settled after this line wakes us.
            let seen = *state.borrow_and_update();
            if let Some(token) = self.current() {
                return Ok(token);
            }
            if let State::Failing { error, next_attempt, .. } = seen {
                let wait = next_attempt.saturating_duration_since(Instant::now());
                return Err(TokenUnavailable::new(error, wait));
            }
            self.0.demand.notify_one();
            if state.changed().await.is_err() {
                return Err(TokenUnavailable::new(FetchError::Stopped, Duration::ZERO));
            }
        }
    }

    /// The background task: fetches when asked to and before tokens expire, until `shutdown`. To be run once at a time;
    /// after an end it may be run again and goes on where the last run stopped.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let cell = &*self.0;
        let client = TokenClient::new(&cell.config, &cell.http, &cell.clock);
        self.drive(shutdown, || client.fetch()).await;
    }

    /// [`Self::run`] with the request as a parameter, so that tests can script it without a network.
    async fn drive<F, R>(&self, shutdown: impl Future<Output = ()>, fetch: F)
    where
        F: Fn() -> R,
        R: Future<Output = Result<Grant, Failure>>,
    {
        // Callers that a run before this one left waiting.
        if self.0.state.receiver_count() > 0 {
            self.0.demand.notify_one();
        }
        let work = async {
            loop {
                self.until_due().await;
                self.attempt(&fetch).await;
            }
        };
        tokio::select! {
            biased;
            () = shutdown => {}
            () = work => {}
        }
        self.settle_failure(FetchError::Stopped, Duration::ZERO, 0);
    }

    /// Waits for the next reason to fetch.
    async fn until_due(&self) {
        loop {
            let due = async {
                match self.due() {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => return,
                () = self.0.demand.notified() => {
                    // A ring may be old news: the token has come since, or the failure is known.
                    if self.current().is_none() && matches!(*self.0.state.borrow(), State::Ready) {
                        return;
                    }
                }
            }
        }
    }

    /// When to fetch without being asked to.
    fn due(&self) -> Option<Instant> {
        if let State::Failing { next_attempt, .. } = *self.0.state.borrow() {
            return Some(next_attempt);
        }
        match &*self.0.current.load() {
            Some(current) => Some(current.refresh_due),
            None => self.0.config.prefetch.then(Instant::now),
        }
    }

    /// Fetches, with the quick tries when things were well before, and settles the outcome.
    async fn attempt<F, R>(&self, fetch: &F)
    where
        F: Fn() -> R,
        R: Future<Output = Result<Grant, Failure>>,
    {
        let (failures, quick_delays) = match *self.0.state.borrow() {
            State::Ready => (0, &schedule::QUICK_DELAYS[..]),
            State::Failing { failures, .. } => (failures, &[][..]),
        };
        let mut quick_delays = quick_delays.iter();
        loop {
            let failure = match self.try_once(fetch).await {
                Ok(token) => return self.settle_success(token),
                Err(failure) => failure,
            };
            match quick_delays.next() {
                Some(delay) if failure.may_hurry() => {
                    sleep(schedule::quick_delay(*delay, fastrand::f64())).await;
                }
                _ => {
                    let wait = schedule::backoff(failures, failure.retry_after, fastrand::f64());
                    return self.settle_failure(failure.error, wait, failures.saturating_add(1));
                }
            }
        }
    }

    async fn try_once<F, R>(&self, fetch: &F) -> Result<Current, Failure>
    where
        F: Fn() -> R,
        R: Future<Output = Result<Grant, Failure>>,
    {
        let cell = &*self.0;
        let result = match timeout(schedule::TRY_LIMIT, fetch()).await {
            Ok(Ok(grant)) => self.accept(grant),
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(FetchError::Http(HttpError::Timeout).into()),
        };
        if let Err(Failure { error, .. }) = result {
            let at = cell.clock.now();
            cell.status.rcu(|s| CredentialStatus { last_error: Some(error), last_error_at: Some(at), ..**s });
            (cell.observer)(Event::Failed { credential: &cell.config.name, error });
        }
        result
    }

    /// Turns a grant into the next current token, unless the token died on its way.
    fn accept(&self, grant: Grant) -> Result<Current, Failure> {
        let Grant { lifetime, requested, .. } = grant;
        let token = AccessToken::new(grant);
        if !token.is_usable(self.now()) {
            return Err(FetchError::Expired.into());
        }
        let after = schedule::refresh_after(lifetime, self.0.config.refresh_at, fastrand::f64());
        (self.0.observer)(Event::Fetched { credential: &self.0.config.name, expires_in: lifetime });
        Ok(Current { token, refresh_due: requested.monotonic + after })
    }

    fn settle_success(&self, current: Current) {
        let cell = &*self.0;
        let (expires_at, now) = (current.token.expires_at(), cell.clock.now());
        cell.status.rcu(|s| CredentialStatus {
            expires_at: Some(expires_at),
            last_refresh: Some(now),
            ..**s
        });
        cell.current.store(Some(Arc::new(current)));
        // Last: who is woken by it finds the token.
        let before = cell.state.send_replace(State::Ready);
        if matches!(before, State::Failing { .. }) {
            tracing::info!(credential = cell.config.name, "access token fetched again");
        }
    }

    fn settle_failure(&self, error: FetchError, wait: Duration, failures: u32) {
        if error != FetchError::Stopped {
            let credential = &self.0.config.name;
            tracing::warn!(credential, %error, retry_in_ms = wait.as_millis() as u64, "no access token fetched");
        }
        self.0.state.send_replace(State::Failing { error, next_attempt: Instant::now() + wait, failures });
    }

    fn now(&self) -> Moment {
        Moment { monotonic: Instant::now(), wall: self.0.clock.now() }
    }
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
