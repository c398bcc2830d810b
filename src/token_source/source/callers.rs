//! Tokens that are exchanged for those of callers (RFC 8693): one per caller.
//!
//! A caller is known by a keyed digest of its token. The task of the credential makes all
//! exchanges, and one at a time for a caller. A refusal of the caller's token is remembered for a
//! few seconds, and concerns only that caller.

mod fault;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use moka::sync::Cache;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use self::fault::{FAILING_FOR, is_of_subject, may_be_of_subject, pause};
use super::task::Change;
use super::{KnownFailure, TokenSource};
use crate::domain::keyed_digest::KeyedDigest;
use crate::domain::secret::{ExposeSecret, SecretString};
use crate::http_client::HttpError;
use crate::token_source::access_token::AccessToken;
use crate::token_source::answer::unverified_expiry;
use crate::token_source::error::{FetchError, TokenUnavailable};
use crate::token_source::token_client::TokenClient;
use crate::token_source::{CredentialStatus, schedule};

/// How many callers are known. The least used ones are forgotten.
const MOST_CALLERS: u64 = 10_000;
/// How long a caller that sends nothing is known.
const IDLE: Duration = Duration::from_mins(15);
/// How many exchanges are under way, and how many wait.
const MOST_AT_ONCE: usize = 64;
const MOST_WAITING: usize = 1024;
/// How long a refusal of a caller's token is remembered.
const REFUSED_FOR: Duration = Duration::from_secs(5);
/// After a refusal by the upstream, no exchange follows for a younger token.
const YOUNG: Duration = Duration::from_secs(5);

/// The token of a caller.
#[derive(Clone)]
pub struct Subject {
    token: SecretString,
    key: KeyedDigest,
}

impl Subject {
    /// A caller's token, verified or not: the authority verifies it.
    #[must_use]
    pub fn new(token: &str) -> Self {
        Self {
            token: SecretString::from(token),
            key: KeyedDigest::of(token.as_bytes()),
        }
    }
}

/// Why a caller gets no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotExchanged {
    /// The authority refuses the caller's token.
    Refused(FetchError),
    /// There is no token for anyone now.
    Unavailable(TokenUnavailable),
}

/// The callers of a credential, and their exchanges.
pub(super) struct Callers {
    known: Cache<KeyedDigest, Arc<Caller>>,
    queue: Mutex<VecDeque<Demand>>,
    demand: Notify,
}

/// A caller's token, or the try to get one.
struct Caller {
    state: watch::Sender<CallerState>,
}

#[derive(Clone)]
enum CallerState {
    Unknown,
    /// An exchange waits or is under way.
    Asked,
    Token(AccessToken),
    /// The authority refuses the caller's token, until then without another try.
    Refused(FetchError, Instant),
    Failed(FetchError, Instant),
}

/// A wanted exchange.
struct Demand {
    caller: Arc<Caller>,
    subject: SecretString,
    /// The token that the upstream has refused. It stays in use if no other one comes.
    before: Option<AccessToken>,
    is_settled: bool,
}

impl Demand {
    fn settle(&mut self, state: CallerState) {
        self.is_settled = true;
        let kept = self.before.clone().map(CallerState::Token);
        let settled = match (state, kept) {
            (CallerState::Failed(..), Some(kept)) => kept,
            (state, _) => state,
        };
        self.caller.state.send_replace(settled);
    }
}

impl Drop for Demand {
    /// A task that ends leaves no caller waiting.
    fn drop(&mut self) {
        if !self.is_settled {
            let until = Instant::now() + FAILING_FOR[0];
            self.settle(CallerState::Failed(FetchError::Stopped, until));
        }
    }
}

impl Callers {
    pub fn new() -> Self {
        let known = Cache::builder()
            .max_capacity(MOST_CALLERS)
            .time_to_idle(IDLE);
        Self {
            known: known.build(),
            queue: Mutex::default(),
            demand: Notify::new(),
        }
    }

    fn get(&self, subject: &Subject) -> Arc<Caller> {
        self.known.get_with(subject.key, || {
            Arc::new(Caller {
                state: watch::Sender::new(CallerState::Unknown),
            })
        })
    }

    /// Begins an exchange unless one is under way. Callers beyond the limit get an error.
    fn ask(
        &self,
        caller: &Arc<Caller>,
        subject: &Subject,
        before: Option<&AccessToken>,
        is_usable: impl Fn(&AccessToken) -> bool,
    ) {
        let is_first = caller.state.send_if_modified(|state| {
            let is_current = match (&*state, before) {
                (CallerState::Asked, _) => true,
                // Another request has got a token meanwhile.
                (CallerState::Token(token), None) => is_usable(token),
                (CallerState::Token(token), Some(before)) => token.serial() != before.serial(),
                _ => false,
            };
            if !is_current {
                *state = CallerState::Asked;
            }
            !is_current
        });
        if !is_first {
            return;
        }
        let mut demand = Demand {
            caller: caller.clone(),
            subject: subject.token.clone(),
            before: before.cloned(),
            is_settled: false,
        };
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.len() < MOST_WAITING {
            queue.push_back(demand);
            drop(queue);
            self.demand.notify_one();
        } else {
            drop(queue);
            let until = Instant::now() + FAILING_FOR[0];
            demand.settle(CallerState::Failed(FetchError::Busy, until));
        }
    }

    fn next(&self) -> Option<Demand> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.pop_front()
    }

    fn clear_queue(&self) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let left = std::mem::take(&mut *queue);
        drop(queue);
        drop(left);
    }
}

impl TokenSource {
    /// Whether it gives each caller a token that is exchanged for the caller's own, by
    /// [`token_for`](Self::token_for). Then it has no token of its own.
    #[must_use]
    pub fn is_exchanging(&self) -> bool {
        self.0.callers.is_some()
    }

    /// A usable token for a caller: the known one, or a new one.
    ///
    /// # Errors
    /// If the authority refuses the caller's token, or gives none now.
    pub async fn token_for(&self, subject: &Subject) -> Result<AccessToken, NotExchanged> {
        let stopped = || {
            let unavailable = TokenUnavailable::new(FetchError::Stopped, Duration::ZERO);
            NotExchanged::Unavailable(unavailable)
        };
        let callers = self.0.callers.as_ref().ok_or_else(stopped)?;
        let caller = callers.get(subject);
        let wait = async {
            let mut state = caller.state.subscribe();
            loop {
                let seen = state.borrow_and_update().clone();
                let now = Instant::now();
                match seen {
                    CallerState::Token(token) if token.is_usable(self.now()) => return Ok(token),
                    CallerState::Refused(error, until) if now < until => {
                        return Err(NotExchanged::Refused(error));
                    }
                    CallerState::Failed(error, until) if now < until => {
                        return Err(unavailable(error, until));
                    }
                    CallerState::Asked => {}
                    _ => {
                        if let Some(KnownFailure { error, until }) = self.known_failure() {
                            return Err(unavailable(error, until));
                        }
                        let is_usable = |token: &AccessToken| token.is_usable(self.now());
                        callers.ask(&caller, subject, None, is_usable);
                    }
                }
                if state.changed().await.is_err() {
                    return Err(stopped());
                }
            }
        };
        let limit = schedule::wait_limit(self.0.config.timeouts.total);
        let waited = timeout(limit, wait).await;
        let late = FetchError::Http(HttpError::Timeout);
        waited.unwrap_or_else(|_| Err(unavailable(late, Instant::now())))
    }

    /// Another token for a caller in place of one that the upstream has refused; `None` if the
    /// refusal stands. A young token is not replaced.
    pub async fn replacement_for(
        &self,
        subject: &Subject,
        refused: &AccessToken,
    ) -> Option<AccessToken> {
        let callers = self.0.callers.as_ref()?;
        let caller = callers.get(subject);
        let mut state = caller.state.subscribe();
        let newer = |state: &CallerState| match state {
            CallerState::Token(token) if token.serial() != refused.serial() => Some(token.clone()),
            _ => None,
        };
        let seen = state.borrow_and_update().clone();
        let is_young = refused.life().0.plus(YOUNG) > self.now().wall;
        if newer(&seen).is_none() && !matches!(seen, CallerState::Asked) {
            if is_young || self.known_failure().is_some() {
                return None;
            }
            callers.ask(&caller, subject, Some(refused), |_| true);
        }
        let settled = state.wait_for(|state| !matches!(state, CallerState::Asked));
        let limit = schedule::wait_limit(self.0.config.timeouts.total);
        let found = newer(&*timeout(limit, settled).await.ok()?.ok()?);
        found.filter(|token| token.is_usable(self.now()) && !token.is_same_as(refused))
    }

    /// The failure that all callers without a token get now.
    fn known_failure(&self) -> Option<KnownFailure> {
        let failing = self.0.state.borrow().failing;
        failing.filter(|failure| Instant::now() < failure.until)
    }

    /// Exchanges the tokens of callers until `shutdown`.
    pub(super) async fn serve_callers<C>(
        &self,
        callers: &Callers,
        client: &TokenClient<'_>,
        mut shutdown: Pin<&mut impl Future<Output = ()>>,
        changed: impl Fn() -> C,
    ) where
        C: Future<Output = Change>,
    {
        let mut changes = pin!(changed());
        let mut under_way = FuturesUnordered::new();
        self.0.state.send_modify(|state| state.failing = None);
        loop {
            while under_way.len() < MOST_AT_ONCE
                && let Some(demand) = callers.next()
            {
                under_way.push(self.exchange(client, demand));
            }
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                change = &mut changes => {
                    // The tokens of an old identity are not used by the new one.
                    if !matches!(change, Change::Content) {
                        callers.known.invalidate_all();
                    }
                    self.0.state.send_modify(|state| state.failing = None);
                    changes.set(changed());
                }
                Some(()) = under_way.next(), if !under_way.is_empty() => {}
                () = callers.demand.notified() => {}
            }
        }
        drop(under_way);
        callers.clear_queue();
    }

    async fn exchange(&self, client: &TokenClient<'_>, mut demand: Demand) {
        let exchanged = client.exchange(&demand.subject);
        let outcome = timeout(self.0.config.timeouts.total, exchanged).await;
        // The authority has verified the claims of the caller's token.
        let end = unverified_expiry(demand.subject.expose_secret());
        let mut is_cut = false;
        let outcome = outcome.map(|granted| {
            granted.map(|mut grant| {
                let requested = self.0.skew.theirs(grant.requested.wall);
                let left = end.map(|end| requested.until(end));
                if let Some(left) = left.filter(|left| *left < grant.lifetime) {
                    (grant.lifetime, is_cut) = (left, true);
                }
                grant
            })
        });
        match self.resolve(outcome) {
            Ok(current) => {
                let now = self.0.clock.now();
                self.0.status.rcu(|s| CredentialStatus {
                    last_refresh: Some(now),
                    fetches: s.fetches + 1,
                    ..(**s).clone()
                });
                if self.0.state.borrow().failing.is_some() {
                    self.0.state.send_modify(|state| state.failing = None);
                }
                demand.settle(CallerState::Token(current.token));
            }
            Err(failure) if is_of_subject(failure.error) || is_cut => {
                let (credential, error) = (self.name(), failure.text());
                tracing::info!(credential, error, "the token of a caller is not exchanged");
                let until = Instant::now() + REFUSED_FOR;
                demand.settle(CallerState::Refused(failure.error, until));
            }
            Err(failure) => {
                let until = Instant::now() + pause(&failure);
                let failures = u32::try_from(self.status().failures);
                self.log_failure(&failure, failures.unwrap_or(u32::MAX));
                if !may_be_of_subject(failure.error) {
                    self.settle_failure(failure.error, until);
                }
                demand.settle(CallerState::Failed(failure.error, until));
            }
        }
    }
}

fn unavailable(error: FetchError, until: Instant) -> NotExchanged {
    let wait = until.saturating_duration_since(Instant::now());
    NotExchanged::Unavailable(TokenUnavailable::new(error, wait))
}
