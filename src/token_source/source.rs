//! The token cell of one credential: what callers see of it. [`task`] keeps it filled.

mod task;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use super::access_token::{AccessToken, Moment};
use super::error::{FetchError, TokenUnavailable};
use super::refused::{Judged, Refusals};
use super::rotation;
use super::schedule;
use super::token_client::Skew;
use super::{Config, CredentialStatus, Observer};
use crate::domain::clock::{SharedClock, UnixTime};

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
    /// Rung for each token that was fetched.
    arrived: Notify,
    skew: Skew,
    status: ArcSwap<CredentialStatus>,
}

struct Current {
    token: AccessToken,
    refresh_due: Instant,
    /// The same by the other clock.
    refresh_due_at: UnixTime,
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
            arrived: Notify::new(),
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

    /// For how long a token may still be attached.
    #[must_use]
    pub fn usable_for(&self, token: &AccessToken) -> Duration {
        token.usable_for(self.now())
    }

    /// A usable token: the current one, or the next when there is none.
    ///
    /// May be called from any runtime that has a timer. Waits for the try under way, and for those that follow its failure
    /// at once.
    ///
    /// # Errors
    /// When the authority gives none. While it is known to be failing the error comes at once.
    pub async fn token(&self) -> Result<AccessToken, TokenUnavailable> {
        if let Some(token) = self.current() {
            return Ok(token);
        }
        // The task's own limits are tighter; this one is for the case that no task is running.
        let stopped = || TokenUnavailable::new(FetchError::Stopped, Duration::ZERO);
        let limit = schedule::wait_limit(self.0.config.timeouts.total);
        timeout(limit, self.wait()).await.unwrap_or_else(|_| Err(stopped()))
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
            // Another one may have come in this very moment.
            return newer().filter(|token| !token.is_same_as(refused));
        }
        let settled = state.wait_for(|state| state.settled != before);
        // A try ends within its own limit; this is for the case that no task is running.
        let limit = schedule::wait_limit(self.0.config.timeouts.total);
        let waited = timeout(limit, settled).await.map(|it| it.is_ok());
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

    /// Renews the credential's secret whenever it is old enough, for ever; ends at once when that is not configured.
    pub async fn run_rotation(self) {
        if let Some(rotation) = &self.0.config.rotation {
            rotation::run(&self.0.config, rotation, &self.0.clock).await;
        }
    }

    fn now(&self) -> Moment {
        Moment { monotonic: Instant::now(), wall: self.0.clock.now() }
    }
}
