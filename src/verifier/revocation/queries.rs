//! Tokens whose state is queried one by one: at plgd's tokens endpoint, or by introspection (RFC
//! 7662).
//!
//! States are cached under the digest of the token: an active one for `maxAge`, and for `maxStale`
//! while the authority does not answer; a revoked one until another answer comes. There is one
//! query at a time per token. After a query without an answer the token is not queried again for a
//! second.
//!
//! The authority itself is spared while an [`Outage`] is assumed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::query::{self, Query, State};
use super::{Observe, Revocation, TokenFacts};
use crate::domain::keyed_digest::KeyedDigest;
use crate::domain::reason::Reason;
use crate::http_client::{HttpClient, HttpError};
use crate::verifier::introspection::Failure;
use crate::verifier::outage::{self, Outage};

/// How many tokens' states are cached.
const MAX_CACHED: u64 = 50_000;
/// How many queries run at once, and how many more wait.
const MAX_FLIGHTS: usize = 64;
const MAX_WAITING: usize = 1024;
/// The longest that a request waits for its query to be sent and answered.
const LONGEST_WAIT: Duration = Duration::from_millis(2500);
/// How long a failure, or an answer that may soon change, is cached.
const FAILURE_LIFETIME: Duration = outage::LENGTH;

/// The last answer about a token.
#[derive(Clone, Copy, Default)]
enum Last {
    #[default]
    None,
    /// Active at this time of the query.
    Active(Instant),
    Refused,
}

/// The cached state of one token.
#[derive(Default)]
struct Cached {
    known: Mutex<Option<(State, Instant)>>,
    last: Mutex<Last>,
    /// Held by the request that queries.
    flight: tokio::sync::Mutex<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cached {
    fn state(&self, max_age: Duration) -> Option<State> {
        let (state, at) = (*lock(&self.known))?;
        let lifetime = match state {
            State::Revoked => Duration::MAX,
            State::Active => max_age,
            State::Refused | State::Unavailable => FAILURE_LIFETIME,
        };
        (at.elapsed() < lifetime).then_some(state)
    }

    fn put(&self, state: State, at: Instant) {
        *lock(&self.known) = Some((state, at));
        *lock(&self.last) = match state {
            State::Active => Last::Active(at),
            State::Revoked | State::Refused => Last::Refused,
            State::Unavailable => return,
        };
    }

    fn last(&self) -> Last {
        *lock(&self.last)
    }

    /// The result for a request. Without an answer the last one counts: a recent active state still
    /// accepts the token, and a refusal stands.
    fn result(&self, state: State, max_stale: Duration) -> Result<(), Reason> {
        match (state.result(), self.last()) {
            (Err(Reason::RevocationUnavailable), Last::Active(at)) if at.elapsed() < max_stale => {
                Ok(())
            }
            (Err(Reason::RevocationUnavailable), Last::Refused) => Err(Reason::Revoked),
            (result, _) => result,
        }
    }
}

/// A query on its way to the task that sends it.
struct Waiting {
    query: Query,
    token: KeyedDigest,
    answer: oneshot::Sender<State>,
}

/// The queried states of one authority's tokens.
pub(super) struct QueriedTokens {
    max_age: Duration,
    max_stale: Duration,
    tokens: Cache<KeyedDigest, Arc<Cached>>,
    outage: Mutex<Outage>,
    queue: mpsc::Sender<Waiting>,
    queued: tokio::sync::Mutex<mpsc::Receiver<Waiting>>,
}

impl QueriedTokens {
    pub fn new(max_age: Duration, max_stale: Duration) -> Self {
        let (queue, queued) = mpsc::channel(MAX_WAITING);
        Self {
            max_age,
            max_stale,
            tokens: Cache::builder()
                .max_capacity(MAX_CACHED)
                .eviction_policy(EvictionPolicy::lru())
                .build(),
            outage: Mutex::default(),
            queue,
            queued: tokio::sync::Mutex::new(queued),
        }
    }

    /// Whether the last answer about a token refused it.
    pub fn refuses(&self, facts: &TokenFacts) -> bool {
        self.tokens
            .get(&facts.digest)
            .is_some_and(|cached| matches!(cached.last(), Last::Refused))
    }

    /// Checks a token by its cached state, if that counts without a query.
    pub fn check_at_once(&self, facts: &TokenFacts) -> Option<Result<(), Reason>> {
        let cached = self.tokens.get(&facts.digest)?;
        let state = cached.state(self.max_age)?;
        Some(cached.result(state, self.max_stale))
    }

    /// Checks a token by its cached state or by a query. `before_query` is called before a query is
    /// sent, or joined.
    ///
    /// # Errors
    /// As [`Revocation::check`].
    pub async fn check(
        &self,
        facts: &TokenFacts,
        before_query: impl FnOnce() -> Result<(), Reason>,
        query: impl FnOnce() -> Option<Query>,
    ) -> Result<(), Reason> {
        let cached = self.tokens.get_with(facts.digest, Arc::default);
        if let Some(state) = cached.state(self.max_age) {
            return cached.result(state, self.max_stale);
        }
        before_query()?;
        let state = timeout(LONGEST_WAIT, self.query(&cached, facts.digest, query)).await;
        cached.result(state.unwrap_or(Ok(State::Unavailable))?, self.max_stale)
    }

    /// Queries the state, unless another request has done so meanwhile.
    async fn query(
        &self,
        cached: &Cached,
        token: KeyedDigest,
        query: impl FnOnce() -> Option<Query>,
    ) -> Result<State, Reason> {
        let _flight = cached.flight.lock().await;
        if let Some(state) = cached.state(self.max_age) {
            return Ok(state);
        }
        let query = query().ok_or(Reason::MalformedClaims)?;
        if lock(&self.outage).is_assumed() {
            return Ok(State::Unavailable);
        }
        let sent_at = Instant::now();
        let state = self.send(query, token).await;
        // An active state is as old as its query. A failure counts from now, because a slow one
        // would otherwise expire at once.
        let at = if state == State::Active {
            sent_at
        } else {
            Instant::now()
        };
        cached.put(state, at);
        Ok(state)
    }

    async fn send(&self, query: Query, token: KeyedDigest) -> State {
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting {
            query,
            token,
            answer,
        };
        // Behind a full queue the answer would come too late.
        if self.queue.try_send(waiting).is_err() {
            return State::Unavailable;
        }
        answered.await.unwrap_or(State::Unavailable)
    }

    /// Sends the queries to the authority.
    pub async fn run(&self, of: &Revocation, http: &HttpClient, observe: &Observe) {
        let mut queued = self.queued.lock().await;
        let mut flights = FuturesUnordered::new();
        loop {
            tokio::select! {
                waiting = queued.recv(), if flights.len() < MAX_FLIGHTS => match waiting {
                    Some(waiting) => flights.push(self.answer(of, http, observe, waiting)),
                    None => return,
                },
                Some(()) = flights.next(), if !flights.is_empty() => {}
            }
        }
    }

    async fn answer(
        &self,
        of: &Revocation,
        http: &HttpClient,
        observe: &Observe,
        waiting: Waiting,
    ) {
        let state = query::send(of, http, &waiting.query).await;
        let failed = state.as_ref().map(|_| ()).map_err(Failure::text);
        observe(failed.as_ref().copied().map_err(|text| &**text));
        match &state {
            Err(Failure::NoAnswer(failed)) if failed.kind() != HttpError::TooLarge => {
                lock(&self.outage).note_failure(waiting.token, failed.kind());
            }
            _ => lock(&self.outage).end(),
        }
        // The request may have ended meanwhile.
        let _ = waiting.answer.send(state.unwrap_or(State::Unavailable));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn without_an_answer_a_refusal_stands() {
        let cached = Cached::default();
        let later = async || tokio::time::advance(Duration::from_hours(24)).await;
        for refused in [State::Refused, State::Revoked] {
            cached.put(refused, Instant::now());
            later().await;
            cached.put(State::Unavailable, Instant::now());
            assert_eq!(
                cached.result(State::Unavailable, Duration::MAX),
                Err(Reason::Revoked)
            );
        }
        cached.put(State::Active, Instant::now());
        assert_eq!(
            cached.result(State::Unavailable, Duration::from_secs(1)),
            Ok(())
        );
        later().await;
        let stale = cached.result(State::Unavailable, Duration::from_secs(1));
        assert_eq!(stale, Err(Reason::RevocationUnavailable));
    }
}
