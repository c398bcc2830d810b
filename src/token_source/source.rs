//! The token cell of one credential: what callers see of it. [`task`] keeps it filled.

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
    /// The serial of the token that was fetched for a refusal, until the upstream has accepted it;
    /// 0: none.
    successor: AtomicU64,
    /// Rung for each token that was fetched.
    arrived: Notify,
    /// Whether a try is under way.
    fetching: AtomicBool,
    /// Whoever asks the authority for a token holds it: there is never more than one request.
    turn: Semaphore,
    /// As whom tokens are asked for: the identity of the files' content in use.
    identity: Mutex<[u8; 32]>,
    /// What a rotation of the secret brought, until the task takes it over; and the bell for it.
    handed_over: Mutex<Option<(Arc<Material>, Grant)>>,
    handover: Notify,
    skew: Skew,
    status: ArcSwap<CredentialStatus>,
}

struct Current {
    token: AccessToken,
    refresh_due: Instant,
    /// The same by the other clock.
    refresh_due_at: UnixTime,
    /// The clock's uptime when the token was requested.
    obtained: Duration,
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
        CredentialStatus {
            clock_skew: self.0.skew.get(),
            ..(**self.0.status.load()).clone()
        }
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
    /// May be called from any runtime that has a timer. Waits for the try under way, and for those
    /// that follow its failure at once.
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
        timeout(limit, self.wait())
            .await
            .unwrap_or_else(|_| Err(stopped()))
    }

    async fn wait(&self) -> Result<AccessToken, TokenUnavailable> {
        let mut state = self.0.state.subscribe();
        loop {
            // Marked as seen before the token is looked at: whatever is settled after this line
            // wakes us.
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

    /// Another token in place of one that the upstream has refused; `None` when the refusal has to
    /// stand.
    ///
    /// A newer token is given at once, and one that is being fetched is waited for. Otherwise one
    /// is fetched, and until it is there the refused one goes on serving: refusals are often not
    /// about the token. So it is not fetched for a token younger than 5 s, nor twice within 30 s,
    /// nor while the authority is failing; all callers of that moment share the fetch.
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

    /// The upstream has refused a token, and no request waits for what comes of it. Gives whether a
    /// newer one is on its way, under the conditions of [`replacement`](Self::replacement).
    pub fn note_refusal(&self, refused: &AccessToken) -> bool {
        let is_newest = self
            .current()
            .is_none_or(|token| token.serial() == refused.serial());
        if !is_newest || self.0.state.borrow().failing.is_some() {
            return false;
        }
        // Refreshed just now, whatever for.
        if self.0.fetching.load(Ordering::Acquire) {
            return true;
        }
        let current = self.0.current.load();
        let obtained = current.as_ref().map_or(Duration::ZERO, |it| it.obtained);
        let judged = {
            let mut refusals = self
                .0
                .refusals
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            refusals.judge(refused.serial(), obtained, self.0.clock.uptime())
        };
        if judged == Judged::Asks {
            self.0.refused.notify_one();
        }
        judged != Judged::Stands
    }

    /// The upstream has accepted a token. When it was fetched because the one before it was
    /// refused, that one had died; and when that happens again and again the log says so. To be
    /// called for each answer: it takes no lock but then.
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
            .died_young();
        if let Some(tokens) = died {
            tracing::warn!(
                credential = self.0.config.name,
                tokens,
                "so many access tokens in a row died long before their end: does another sidecar or program use the same \
                 client at an authority that keeps one live token per client? give each a client of its own"
            );
        }
    }

    /// Renews the credential's secret whenever it is old enough, until the future is dropped; ends
    /// at once when that is not configured.
    pub async fn run_rotation(self) {
        if let Some(rotation) = &self.0.config.rotation {
            rotation::run(&self, rotation, &self.0.clock).await;
        }
    }

    /// As whom tokens are asked for at the moment.
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

    /// Has the task go on with another secret, and with the token that was granted for it.
    pub(super) fn hand_over(&self, material: Arc<Material>, grant: Grant) {
        *self
            .0
            .handed_over
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some((material, grant));
        self.0.handover.notify_one();
    }

    /// The right to ask the authority for a token, alone. Dropping it gives it back.
    pub(super) fn turn(&self) -> &Semaphore {
        &self.0.turn
    }

    fn now(&self) -> Moment {
        Moment {
            monotonic: Instant::now(),
            wall: self.0.clock.now(),
        }
    }
}
