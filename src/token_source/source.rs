//! The token cell of one credential, as callers use it. [`task`] keeps it filled.

mod callers;
mod settle;
mod sink;
mod task;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use http::HeaderValue;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, timeout};

use self::callers::Callers;
pub use self::callers::{NotExchanged, Subject};
pub use self::sink::Sink;
use super::access_token::{AccessToken, Grant, Moment};
use super::authentication::Material;
use super::error::{FetchError, TokenUnavailable};
use super::proofs::{Nonce, ProofKey};
use super::refused::{Refusals, Replacement};
use super::rotation;
use super::schedule;
use super::skew::Skew;
use super::{Config, CredentialGrant, CredentialStatus, Observer};
use crate::domain::clock::{SharedClock, UnixTime};
use crate::domain::secret::ExposeSecret;
use crate::jose::dpop::NewProof;

/// Access tokens for one credential. Clones share all state.
#[derive(Clone)]
pub struct TokenSource(Arc<Cell>);

struct Cell {
    config: Config,
    clock: SharedClock,
    observer: Observer,
    current: ArcSwapOption<Current>,
    /// Sent after each settled try, also without a change, so that waiting callers look again.
    state: watch::Sender<State>,
    /// Notified by callers without a usable token.
    demand: Notify,
    /// The upstream's refusals, and their notification.
    refusals: Mutex<Refusals>,
    refused: Notify,
    /// The serial of the token that replaced a refused one, until the upstream has accepted it; 0
    /// for none.
    successor: AtomicU64,
    /// Notified for each fetched token.
    arrived: Notify,
    /// Whether a try is in progress.
    fetching: AtomicBool,
    /// Held during a token request, so that there is never more than one.
    fetch_permit: Semaphore,
    /// The identity of the files' content in use.
    identity: Mutex<[u8; 32]>,
    /// The result of a secret rotation until the task takes it over, and its notification.
    handed_over: Mutex<Option<(Arc<Material>, Grant)>>,
    handover: Notify,
    skew: Skew,
    /// The key of the tokens, with DPoP.
    proof_key: Option<Arc<ProofKey>>,
    /// The callers whose tokens are exchanged, if they are.
    callers: Option<Callers>,
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
    /// The failure that callers without a token get.
    failing: Option<KnownFailure>,
}

#[derive(Clone, Copy)]
struct KnownFailure {
    error: FetchError,
    /// Callers get it without a new try until then.
    until: Instant,
}

impl TokenSource {
    /// A source without a token. [`Self::run`] reads and fetches.
    #[must_use]
    pub fn new(config: Config, clock: SharedClock, observer: Observer) -> Self {
        Self(Arc::new(Cell {
            proof_key: ProofKey::of(&config),
            callers: (config.grant == CredentialGrant::TokenExchange).then(Callers::new),
            clock,
            observer,
            current: ArcSwapOption::empty(),
            state: watch::Sender::new(State::default()),
            demand: Notify::new(),
            refusals: Mutex::new(Refusals::of(&config.endpoint)),
            refused: Notify::new(),
            successor: AtomicU64::new(0),
            arrived: Notify::new(),
            fetching: AtomicBool::new(false),
            fetch_permit: Semaphore::new(1),
            identity: Mutex::default(),
            handed_over: Mutex::default(),
            handover: Notify::new(),
            skew: Skew::default(),
            status: ArcSwap::default(),
            config,
        }))
    }

    /// The configuration.
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

    /// Whether its tokens are bound by DPoP: then each request needs a [`proof`](Self::proof).
    #[must_use]
    pub fn is_dpop(&self) -> bool {
        self.0.config.dpop.is_some()
    }

    /// The header `DPoP` of a request to this URL with this token. `None`: it cannot be made.
    #[must_use]
    pub fn proof(
        &self,
        token: &AccessToken,
        (method, url): (&str, &str),
        nonce: &Nonce,
    ) -> Option<HeaderValue> {
        let nonce = nonce.get();
        self.0.proof_key.as_ref()?.prove(&NewProof {
            method,
            url,
            token: Some(token.secret().expose_secret()),
            nonce: nonce.as_ref().map(|nonce| nonce.as_str()),
            // The authority's clock is more likely to be that of the upstream than ours.
            now: self.0.skew.theirs(self.0.clock.now()),
        })
    }

    pub(super) fn proof_key(&self) -> Option<Arc<ProofKey>> {
        self.0.proof_key.clone()
    }

    /// A usable token: the current one, or the next one.
    ///
    /// May be called from any runtime with a timer. Waits for the try under way and its quick
    /// repetitions.
    ///
    /// # Errors
    /// If the authority gives none. While it is known to be failing, the error comes at once.
    pub async fn token(&self) -> Result<AccessToken, TokenUnavailable> {
        if let Some(token) = self.current() {
            return Ok(token);
        }
        // The task's own limits are tighter; this one is for a task that is not running.
        let stopped = || TokenUnavailable::new(FetchError::Stopped, Duration::ZERO);
        let limit = schedule::wait_limit(self.0.config.timeouts.total);
        timeout(limit, self.wait())
            .await
            .unwrap_or_else(|_| Err(stopped()))
    }

    async fn wait(&self) -> Result<AccessToken, TokenUnavailable> {
        let mut state = self.0.state.subscribe();
        loop {
            // Marked as seen first, so that a later change wakes us.
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

    /// Another token in place of one that the upstream has refused; `None` if the refusal stands.
    ///
    /// A newer token is given at once; a fetch under way is waited for. Otherwise a token is
    /// fetched, and the refused one stays in use until then, because refusals often have other
    /// causes. So nothing is fetched for a token younger than 5 s, nor twice within 30 s, nor while
    /// the authority is failing. Concurrent callers share the fetch.
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
            // Another one may have come meanwhile.
            return newer().filter(|token| !token.is_same_as(refused));
        }
        let settled = state.wait_for(|state| state.settled != before);
        // A try has its own limit; this one is for a task that is not running.
        let limit = schedule::wait_limit(self.0.config.timeouts.total);
        let waited = timeout(limit, settled).await.map(|it| it.is_ok());
        if waited != Ok(true) {
            return None;
        }
        newer().filter(|token| !token.is_same_as(refused))
    }

    /// The upstream has refused a token, and no request waits for another one. Gives whether one is
    /// being fetched, under the conditions of [`replacement`](Self::replacement).
    pub fn note_refusal(&self, refused: &AccessToken) -> bool {
        let is_newest = self
            .current()
            .is_none_or(|token| token.serial() == refused.serial());
        if !is_newest || self.0.state.borrow().failing.is_some() {
            return false;
        }
        // A fetch is under way.
        if self.0.fetching.load(Ordering::Acquire) {
            return true;
        }
        let current = self.0.current.load();
        let obtained = current.as_ref().map_or(Duration::ZERO, |it| it.obtained);
        let replacement = {
            let mut refusals = self
                .0
                .refusals
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            refusals.decide(refused.serial(), obtained, self.0.clock.uptime())
        };
        if replacement == Replacement::Fetch {
            self.0.refused.notify_one();
        }
        replacement != Replacement::None
    }

    /// The upstream has accepted a token. If it replaced a refused one, that one had ended early;
    /// the log warns if that happens repeatedly. Called for each answer; usually takes no lock.
    pub fn note_accepted(&self, token: &AccessToken) {
        let successor = &self.0.successor;
        let is_it = successor.load(Ordering::Acquire) == token.serial();
        if !is_it || successor.swap(0, Ordering::AcqRel) != token.serial() {
            return;
        }
        let short_lived = self
            .0
            .refusals
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .short_lived();
        if let Some(tokens) = short_lived {
            tracing::warn!(
                credential = self.0.config.name,
                tokens,
                "several successive access tokens ended long before their expiry: does another \
                 program use the same client at an authority that keeps one token per client? \
                 Give each program its own client"
            );
        }
    }

    /// Rotates the credential's secret until the future is dropped; ends at once if that is not
    /// configured.
    pub async fn run_rotation(self) {
        if let Some(rotation) = &self.0.config.rotation {
            rotation::run(&self, rotation, &self.0.clock).await;
        }
    }

    /// The identity that tokens are requested for now.
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

    /// Makes the task use another secret and the token that was granted for it.
    pub(super) fn hand_over(&self, material: Arc<Material>, grant: Grant) {
        *self
            .0
            .handed_over
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some((material, grant));
        self.0.handover.notify_one();
    }

    /// The exclusive right to request a token.
    pub(super) fn fetch_permit(&self) -> &Semaphore {
        &self.0.fetch_permit
    }

    fn now(&self) -> Moment {
        Moment {
            monotonic: Instant::now(),
            wall: self.0.clock.now(),
        }
    }
}
