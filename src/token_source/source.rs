//! The token cell of one credential, as callers use it. [`task`] keeps it filled.

mod task;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, timeout};

use super::access_token::{AccessToken, Grant, Moment};
use super::authentication::Material;
use super::error::{FetchError, TokenUnavailable};
use super::refused::{Consequence, Refusals};
use super::rotation;
use super::schedule;
use super::token_client::Skew;
use super::{Config, CredentialStatus, Observer};
use crate::domain::clock::{SharedClock, UnixTime};

/// Access tokens for one credential. Clones share all state.
#[derive(Clone)]
pub struct TokenSource(Arc<Cell>);

struct Cell {
    config: Config,
    clock: SharedClock,
    observer: Observer,
    current: ArcSwapOption<Current>,
    /// Sent after each finished try, even without a change, so that waiting callers check again.
    state: watch::Sender<State>,
    /// Signalled by callers without a usable token.
    demand: Notify,
    /// The upstream's refusals, and their signal.
    refusals: Mutex<Refusals>,
    refused: Notify,
    /// The serial of the token that replaces a refused one, until the upstream has accepted it; 0:
    /// none.
    successor: AtomicU64,
    /// Signalled for each fetched token.
    arrived: Notify,
    /// Whether a try is in progress.
    fetching: AtomicBool,
    /// The permit to request a token: there is never more than one request.
    turn: Semaphore,
    /// The identity of the current file content.
    identity: Mutex<[u8; 32]>,
    /// The result of a secret rotation, until the task adopts it, and its signal.
    handed_over: Mutex<Option<(Arc<Material>, Grant)>>,
    handover: Notify,
    skew: Skew,
    status: ArcSwap<CredentialStatus>,
}

struct Current {
    token: AccessToken,
    refresh_due: Instant,
    /// The refresh time on the wall clock.
    refresh_due_at: UnixTime,
    /// The clock's uptime when the token was requested.
    obtained: Duration,
}

/// The results of the tries so far.
#[derive(Clone, Copy, Default)]
struct State {
    /// The number of finished tries.
    settled: u64,
    /// The failure for callers without a token.
    failing: Option<KnownFailure>,
}

#[derive(Clone, Copy)]
struct KnownFailure {
    error: FetchError,
    /// Callers get the failure at once until then; after that a new try is made.
    until: Instant,
}

impl TokenSource {
    /// A source without a token. Reads and fetches nothing before [`Self::run`] runs.
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
            successor: AtomicU64::new(0),
            arrived: Notify::new(),
            fetching: AtomicBool::new(false),
            turn: Semaphore::new(1),
            identity: Mutex::default(),
            handed_over: Mutex::default(),
            handover: Notify::new(),
            skew: Skew::default(),
            status: ArcSwap::default(),
        }))
    }

    #[must_use]
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.config.name
    }

    #[must_use]
    pub fn status(&self) -> CredentialStatus {
        CredentialStatus {
            clock_skew: self.0.skew.get(),
            ..(**self.0.status.load()).clone()
        }
    }

    /// The current token, if one is usable. Neither waits nor locks.
    #[must_use]
    pub fn current(&self) -> Option<AccessToken> {
        let current = self.0.current.load();
        let token = &current.as_ref()?.token;
        token.is_usable(self.now()).then(|| token.clone())
    }

    /// The remaining usable time of a token.
    #[must_use]
    pub fn usable_for(&self, token: &AccessToken) -> Duration {
        token.usable_for(self.now())
    }

    /// A usable token: the current one, or the next one.
    ///
    /// May be called on any runtime with a timer. Waits for the current try and the immediate
    /// retries after its failure.
    ///
    /// # Errors
    /// When the authority issues none. During a known failure the error returns at once.
    pub async fn token(&self) -> Result<AccessToken, TokenUnavailable> {
        if let Some(token) = self.current() {
            return Ok(token);
        }
        // The task's own limits are shorter; this one applies when no task runs.
        let stopped = || TokenUnavailable::new(FetchError::Stopped, Duration::ZERO);
        let limit = schedule::wait_limit(self.0.config.timeouts.total);
        timeout(limit, self.wait())
            .await
            .unwrap_or_else(|_| Err(stopped()))
    }

    async fn wait(&self) -> Result<AccessToken, TokenUnavailable> {
        let mut state = self.0.state.subscribe();
        loop {
            // Marked as seen before the token is checked, so that any later result wakes this
            // caller.
            let seen = *state.borrow_and_update();
            if let Some(token) = self.current() {
                return Ok(token);
            }
            self.0.demand.notify_one();
            if let Some(KnownFailure { error, until }) = seen.failing {
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

    /// A replacement for a token that the upstream has refused; `None` when the refusal stands.
    ///
    /// Returns a newer token at once, and waits for one that is being fetched. Otherwise it starts
    /// a fetch, and the refused token stays in use meanwhile, because many refusals do not concern
    /// the token. No fetch starts for a token younger than 5 s, within 30 s of the last one, or
    /// while the authority is failing. All concurrent callers share the fetch.
    pub async fn replacement(&self, refused: &AccessToken) -> Option<AccessToken> {
        let mut state = self.0.state.subscribe();
        let before = state.borrow_and_update().settled;
        let newer = || {
            self.current()
                .filter(|token| token.serial() != refused.serial())
        };
        if let Some(token) = newer() {
            return Some(token).filter(|token| !token.is_same_as(refused));
        }
        if !self.note_refusal(refused) {
            // Another one may have arrived meanwhile.
            return newer().filter(|token| !token.is_same_as(refused));
        }
        let settled = state.wait_for(|state| state.settled != before);
        // A try ends within its own limit; this one applies when no task runs.
        let limit = schedule::wait_limit(self.0.config.timeouts.total);
        let waited = timeout(limit, settled).await.map(|it| it.is_ok());
        if waited != Ok(true) {
            return None;
        }
        newer().filter(|token| !token.is_same_as(refused))
    }

    /// Records that the upstream has refused a token while no request waits for a replacement.
    /// Returns whether a newer token is on its way, under the conditions of
    /// [`replacement`](Self::replacement).
    pub fn note_refusal(&self, refused: &AccessToken) -> bool {
        let is_newest = self
            .current()
            .is_none_or(|token| token.serial() == refused.serial());
        if !is_newest || self.0.state.borrow().failing.is_some() {
            return false;
        }
        // A fetch is in progress, whatever its cause.
        if self.0.fetching.load(Ordering::Acquire) {
            return true;
        }
        let current = self.0.current.load();
        let obtained = current.as_ref().map_or(Duration::ZERO, |it| it.obtained);
        let consequence = {
            let mut refusals = self
                .0
                .refusals
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            refusals.decide(refused.serial(), obtained, self.0.clock.uptime())
        };
        if consequence == Consequence::Fetch {
            self.0.refused.notify_one();
        }
        consequence != Consequence::Keep
    }

    /// Records that the upstream has accepted a token. If the token replaced a refused one, the
    /// refused one had ended early; the log reports repeated cases. Call it for each response: it
    /// locks only in that case.
    pub fn note_accepted(&self, token: &AccessToken) {
        let successor = &self.0.successor;
        let is_it = successor.load(Ordering::Acquire) == token.serial();
        if !is_it || successor.swap(0, Ordering::AcqRel) != token.serial() {
            return;
        }
        let died = self
            .0
            .refusals
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .ended_early();
        if let Some(tokens) = died {
            tracing::warn!(
                credential = self.0.config.name,
                tokens,
                "so many access tokens in a row died long before their end: does another sidecar or program use the same \
                 client at an authority that keeps one live token per client? give each a client of its own"
            );
        }
    }

    /// Renews the credential's secret when it is due, until the future is dropped. Returns at once
    /// when rotation is not configured.
    pub async fn run_rotation(self) {
        if let Some(rotation) = &self.0.config.rotation {
            rotation::run(&self, rotation, &self.0.clock).await;
        }
    }

    /// The identity of the current token requests.
    pub(super) fn identity(&self) -> [u8; 32] {
        *self
            .0
            .identity
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn set_identity(&self, identity: [u8; 32]) {
        *self
            .0
            .identity
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = identity;
    }

    /// Hands the task another secret and the token that was granted for it.
    pub(super) fn hand_over(&self, material: Arc<Material>, grant: Grant) {
        *self
            .0
            .handed_over
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some((material, grant));
        self.0.handover.notify_one();
    }

    /// The permit to request a token exclusively.
    pub(super) fn fetch_permit(&self) -> &Semaphore {
        &self.0.turn
    }

    fn now(&self) -> Moment {
        Moment {
            monotonic: Instant::now(),
            wall: self.0.clock.now(),
        }
    }
}
