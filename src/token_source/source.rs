//! The token cell of one credential and the task that keeps it filled.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::access_token::{AccessToken, Grant, Moment};
use super::authentication::{Material, UnusableFiles};
use super::error::{Failure, FetchError, TokenUnavailable};
use super::kept_token;
use super::refused::{Judged, Refusals};
use super::rotation;
use super::schedule::{self, Held, Pace, Situation};
use super::token_client::{Skew, TokenClient};
use super::{Config, CredentialStatus, Event, Observer};
use crate::domain::clock::SharedClock;
use crate::files::Watched;
use crate::http_client::HttpError;

/// The pause before files that cannot be used are read again, when none of them changes.
const READ_AGAIN: Duration = Duration::from_secs(10);

/// How long "for ever" is for a caller of a credential that nobody fetches for any more.
const FOR_EVER: Duration = Duration::from_hours(24);

/// Access tokens for one credential. Clones share everything.
#[derive(Clone)]
pub struct TokenSource(Arc<Cell>);

struct Cell {
    config: Config,
    clock: SharedClock,
    observer: Observer,
    current: ArcSwapOption<Current>,
    /// Sent after each settled try, also without a change: waiting callers look again then.
    state: watch::Sender<State>,
    /// Callers without a usable token ring it.
    demand: Notify,
    /// The upstream's refusals, and the bell for them.
    refusals: Mutex<Refusals>,
    refused: Notify,
    skew: Skew,
    status: ArcSwap<CredentialStatus>,
}

struct Current {
    token: AccessToken,
    refresh_due: Instant,
}

/// How the tries so far ended.
#[derive(Clone, Copy, Default)]
struct State {
    /// How many have ended.
    settled: u64,
    /// The failure that callers without a token are told.
    failing: Option<Told>,
}

#[derive(Clone, Copy)]
struct Told {
    error: FetchError,
    /// Until then at once; after that it is found out anew.
    until: Instant,
}

impl TokenSource {
    /// A source without a token yet. Nothing is read or fetched before [`Self::run`] runs.
    #[must_use]
    pub fn new(config: Config, clock: SharedClock, observer: Observer) -> Self {
        Self(Arc::new(Cell {
            config,
            clock,
            observer,
            current: ArcSwapOption::empty(),
            state: watch::Sender::new(State::default()),
            demand: Notify::new(),
            refusals: Mutex::default(),
            refused: Notify::new(),
            skew: Skew::default(),
            status: ArcSwap::default(),
        }))
    }

    /// What the credential is made of.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// The credential's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.config.name
    }

    /// How the credential is doing.
    #[must_use]
    pub fn status(&self) -> CredentialStatus {
        CredentialStatus { clock_skew: self.0.skew.get(), ..**self.0.status.load() }
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
    /// May be called from any runtime that has a timer. Waits at most about 10 s.
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
            self.0.demand.notify_one();
            if let Some(Told { error, until }) = seen.failing {
                let wait = until.saturating_duration_since(Instant::now());
                if !wait.is_zero() {
                    return Err(TokenUnavailable::new(error, wait));
                }
            }
            if state.changed().await.is_err() {
                return Err(TokenUnavailable::new(FetchError::Stopped, Duration::ZERO));
            }
        }
    }

    /// Another token in place of one that the upstream has refused; `None` when the refusal has to stand.
    ///
    /// A newer token is given at once. Otherwise one is fetched, and until it is there the refused one goes on serving:
    /// refusals are often not about the token. So it is not fetched for a token younger than 5 s, nor twice within 30 s,
    /// nor while the authority is failing; all callers of that moment share the fetch.
    pub async fn replacement(&self, refused: &AccessToken) -> Option<AccessToken> {
        let mut state = self.0.state.subscribe();
        let before = state.borrow_and_update().settled;
        let newer = || self.current().filter(|token| token.serial() != refused.serial());
        if let Some(token) = newer() {
            return Some(token).filter(|token| !token.is_same_as(refused));
        }
        if !self.note_refusal(refused) {
            return None;
        }
        let settled = state.wait_for(|state| state.settled != before);
        // A try ends within its own limit; this is for the case that no task is running.
        let waited =
            timeout(schedule::TRY_LIMIT + Duration::from_secs(1), settled).await.map(|it| it.is_ok());
        if waited != Ok(true) {
            return None;
        }
        newer().filter(|token| !token.is_same_as(refused))
    }

    /// The upstream has refused a token, and nobody waits for what comes of it. Gives whether a newer one is on its way, under
    /// the conditions of [`replacement`](Self::replacement).
    pub fn note_refusal(&self, refused: &AccessToken) -> bool {
        let is_newest = self.current().is_none_or(|token| token.serial() == refused.serial());
        if !is_newest || self.0.state.borrow().failing.is_some() {
            return false;
        }
        let judged = {
            let mut refusals = self.0.refusals.lock().unwrap_or_else(PoisonError::into_inner);
            refusals.judge(refused.serial(), refused.obtained(), Instant::now())
        };
        if judged == Judged::Asks {
            self.0.refused.notify_one();
        }
        judged != Judged::Stands
    }

    /// The background task: fetches when asked to and before tokens expire, until `shutdown`. To be run once at a time;
    /// after an end it may be run again and goes on where the last run stopped.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let cell = &*self.0;
        let mut shutdown = pin!(shutdown);
        let watched = Watched::new(Material::watched_files(&cell.config));
        let material = tokio::select! {
            biased;
            () = &mut shutdown => return self.settle_failure(FetchError::Stopped, Instant::now() + FOR_EVER, 0),
            material = self.first_material(&watched) => material,
        };
        self.take_kept(material.identity).await;
        let client = TokenClient::new(&cell.config, &cell.clock, &cell.skew, material);
        let fetch = || async {
            let grant = client.fetch().await?;
            self.keep(&grant, client.identity()).await;
            Ok(grant)
        };
        self.drive(shutdown, fetch, || self.next_identity(&client, &watched)).await;
    }

    /// The files' content; while they cannot be used they are read again and again, and callers are told.
    async fn first_material(&self, watched: &Arc<Watched>) -> Material {
        loop {
            match self.load(watched).await {
                Ok(material) => return material,
                Err(error) => {
                    let credential = &self.0.config.name;
                    tracing::warn!(credential, %error, "the credential's files cannot be used");
                    self.settle_failure(FetchError::Files, Instant::now() + READ_AGAIN, 1);
                    let _ = timeout(READ_AGAIN, watched.changed()).await;
                }
            }
        }
    }

    /// Waits until the files say that we prove ourselves with something else. What changes otherwise is taken over.
    async fn next_identity(&self, client: &TokenClient<'_>, watched: &Arc<Watched>) {
        let credential = &self.0.config.name;
        loop {
            watched.changed().await;
            match self.load(watched).await {
                Ok(material) => {
                    let is_other = material.identity != client.identity();
                    client.use_material(material);
                    if is_other {
                        tracing::info!(
                            credential,
                            "the credential's files have changed; the token is dropped"
                        );
                        return;
                    }
                }
                Err(error) => {
                    let consequence =
                        "a changed file of the credential cannot be used; the old content stays";
                    tracing::warn!(credential, %error, consequence);
                }
            }
        }
    }

    async fn load(&self, watched: &Arc<Watched>) -> Result<Material, UnusableFiles> {
        let (config, watched) = (self.0.config.clone(), watched.clone());
        let load = move || {
            watched.note();
            Material::load(&config)
        };
        match tokio::task::spawn_blocking(load).await {
            Ok(loaded) => loaded,
            // The runtime is ending: nobody will look at it.
            Err(_) => std::future::pending().await,
        }
    }

    /// Begins with the token that was kept on disk.
    async fn take_kept(&self, identity: [u8; 32]) {
        let (config, now) = (self.0.config.clone(), self.now());
        let Some(at) = config.kept_at.clone() else { return };
        let load = move || kept_token::load(&config, &at, &identity, now);
        if let Ok(Some(grant)) = tokio::task::spawn_blocking(load).await
            && let Ok(current) = self.accept(grant)
        {
            tracing::info!(credential = self.0.config.name, "the access token that was kept serves on");
            self.put(current);
        }
    }

    async fn keep(&self, grant: &Grant, identity: [u8; 32]) {
        let config = self.0.config.clone();
        let (Some(at), grant) = (config.kept_at.clone(), grant.clone()) else { return };
        let keep = move || kept_token::keep(&config, &at, &identity, &grant);
        let _ = tokio::task::spawn_blocking(keep).await;
    }

    /// Renews the credential's secret whenever it is old enough, for ever; ends at once when that is not configured.
    pub async fn run_rotation(self) {
        if let Some(rotation) = &self.0.config.rotation {
            rotation::run(&self.0.config, rotation, &self.0.clock).await;
        }
    }

    /// [`Self::run`] with the request as a parameter, so that tests can script it without a network. When `changed` ends,
    /// the token belongs to somebody we no longer are.
    async fn drive<F, R, C>(&self, shutdown: impl Future<Output = ()>, fetch: F, changed: impl Fn() -> C)
    where
        F: Fn() -> R,
        R: Future<Output = Result<Grant, Failure>>,
        C: Future<Output = ()>,
    {
        let mut shutdown = pin!(shutdown);
        let mut changes = pin!(changed());
        let mut pace = Pace::default();
        let mut tries = FuturesUnordered::new();
        self.0.state.send_modify(|state| state.failing = None);
        // Callers that a run before this one left waiting, and readers that want a first token.
        let mut wanted = self.0.config.prefetch || self.0.state.receiver_count() > 0;
        let mut refused = false;
        loop {
            let situation = Situation { held: self.held(), in_flight: tries.len(), wanted, refused };
            let next = pace.next(&situation);
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                () = &mut changes => {
                    wanted |= self.0.current.swap(None).is_some()
                        || pace.failures() > 0
                        || self.0.state.receiver_count() > 0;
                    // What is under way was asked for by whom we no longer are.
                    (tries, pace, refused) = (FuturesUnordered::new(), Pace::default(), false);
                    self.0.state.send_modify(|state| state.failing = None);
                    changes.set(changed());
                }
                Some((began, outcome)) = tries.next(), if !tries.is_empty() => {
                    (wanted, refused) = (false, false);
                    match self.judge(outcome) {
                        Ok(current) => {
                            let failures = pace.failures();
                            pace.succeeded();
                            tries.clear();
                            self.settle_success(current, failures);
                        }
                        Err(failure) => {
                            let (now, held) = (Instant::now(), self.held());
                            let told = pace.failed(&failure, began, now, held, fastrand::f64());
                            match told {
                                Some(until) => self.settle_failure(failure.error, until, pace.failures()),
                                None => self.settle(|_| {}),
                            }
                        }
                    }
                }
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    let began = Instant::now();
                    pace.began(began, fastrand::f64());
                    let request = fetch();
                    tries.push(async move { (began, timeout(schedule::TRY_LIMIT, request).await) });
                }
                // A ring may be old news: the token has come since.
                () = self.0.demand.notified() => wanted |= self.current().is_none(),
                () = self.0.refused.notified() => refused = true,
            }
        }
        self.settle_failure(FetchError::Stopped, Instant::now() + FOR_EVER, 0);
    }

    fn held(&self) -> Option<Held> {
        let now = self.now();
        self.0.current.load().as_ref().map(|current| Held {
            usable: current.token.is_usable(now),
            refresh_due: current.refresh_due,
            usable_until: current.token.usable_until(),
        })
    }

    /// What has come of a try.
    fn judge<T>(&self, outcome: Result<Result<Grant, Failure>, T>) -> Result<Current, Failure> {
        let cell = &*self.0;
        let result = match outcome {
            Ok(Ok(grant)) => self.accept(grant),
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(FetchError::Http(HttpError::Timeout).into()),
        };
        let credential = &cell.config.name;
        match &result {
            Ok(_) => (cell.observer)(Event::Fetched { credential }),
            Err(Failure { error, .. }) => {
                let (at, error) = (cell.clock.now(), *error);
                cell.status.rcu(|s| CredentialStatus {
                    last_error: Some(error),
                    last_error_at: Some(at),
                    failures: s.failures + 1,
                    ..**s
                });
                (cell.observer)(Event::Failed { credential, error });
            }
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
        Ok(Current { token, refresh_due: requested.monotonic + after })
    }

    fn put(&self, current: Current) {
        let expires_at = current.token.expires_at();
        self.0.status.rcu(|s| CredentialStatus { expires_at: Some(expires_at), ..**s });
        self.0.current.store(Some(Arc::new(current)));
    }

    fn settle_success(&self, current: Current, failures: u32) {
        let cell = &*self.0;
        let now = cell.clock.now();
        self.put(current);
        cell.status.rcu(|s| CredentialStatus { last_refresh: Some(now), fetches: s.fetches + 1, ..**s });
        // Last: who is woken by it finds the token.
        self.settle(|state| state.failing = None);
        let credential = &cell.config.name;
        if failures > 0 {
            tracing::info!(credential, failures, "access token fetched again");
        } else {
            tracing::info!(credential, "access token fetched");
        }
    }

    /// Tells callers of a failure; the log too, but not of the same one each second.
    fn settle_failure(&self, error: FetchError, until: Instant, failures: u32) {
        let told_before = self.0.state.borrow().failing.map(|told| told.error);
        if error != FetchError::Stopped && (told_before != Some(error) || failures.is_power_of_two()) {
            let credential = &self.0.config.name;
            tracing::warn!(credential, %error, failures, "no access token fetched");
        }
        self.settle(|state| state.failing = Some(Told { error, until }));
    }

    fn settle(&self, change: impl FnOnce(&mut State)) {
        self.0.refusals.lock().unwrap_or_else(PoisonError::into_inner).settled();
        self.0.state.send_modify(|state| {
            state.settled += 1;
            change(state);
        });
    }

    fn now(&self) -> Moment {
        Moment { monotonic: Instant::now(), wall: self.0.clock.now() }
    }
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
