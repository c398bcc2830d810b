//! Opaque tokens: an authority answers by introspection (RFC 7662) whether a token is active, and
//! with which claims.
//!
//! An answer about an active token is used for [`IntrospectionConfig::cache`] and never longer,
//! whether or not the authority answers then. All requests with one token share one question. A
//! refusal is kept for a few seconds. Active tokens, refusals and questions are kept apart and are
//! bounded, so a flood of random tokens evicts no active one and fills no memory. Only a [`Budget`]
//! of its tokens reaches the authority.
//!
//! All questions are asked in [`Introspection::run`], away from the threads that serve requests.

mod answer;
mod budget;
mod config;
mod request;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use url::Url;

pub(super) use self::answer::Answer;
use self::budget::Budget;
pub use self::config::{Asked, ConfiguredClient, IntrospectionConfig, ObserveAsked};
pub use self::request::IntrospectionClient;
pub(super) use self::request::{Failure, Verdict, ask};
use super::bearer::BearerToken;
use super::outage::{self, Outage};
use crate::domain::claims::Claims;
use crate::domain::clock::{SharedClock, UnixTime};
use crate::domain::issuer_name::IssuerName;
use crate::domain::keyed_digest::KeyedDigest;
use crate::domain::reason::Reason;
use crate::domain::secret::SecretString;
use crate::http_client::{Failed, HttpClient, HttpError};

/// The largest answer that is read.
pub(super) const MAX_ANSWER: usize = 64 * 1024;
/// The memory for the answers about active tokens, in bytes.
const MAX_ACTIVE: u64 = 32 * 1024 * 1024;
/// How many refusals are kept.
const MAX_REFUSED: u64 = 10_000;
/// How long a refusal is kept: the token may be too new for a part of the authority.
const REFUSAL_LIFETIME: Duration = Duration::from_secs(5);
/// How many questions are asked at once, and how many of them are about tokens that were not
/// active before.
const MAX_FLIGHTS: usize = 64;
const MAX_UNKNOWN_FLIGHTS: usize = 48;
/// How many more questions wait, of either kind.
const MAX_WAITING: usize = 900;
/// The limit of one question: a request waits for it.
const LONGEST_QUESTION: Duration = Duration::from_secs(2);
/// The longest that a request waits for its question to be sent and answered.
const LONGEST_WAIT: Duration = Duration::from_millis(2500);

type Outcome = Result<Arc<Answer>, Reason>;
type Flight = watch::Receiver<Option<Outcome>>;

/// A question on its way to the task that asks it.
struct Question {
    token: SecretString,
    digest: KeyedDigest,
    /// Whether it is counted in the budget.
    is_counted: bool,
    outcome: watch::Sender<Option<Outcome>>,
}

/// The queues of questions about tokens that were active before, and about others.
struct Queues {
    renewals: mpsc::Receiver<Question>,
    unknown: mpsc::Receiver<Question>,
}

/// The opaque tokens of one authority.
pub struct Introspection {
    config: IntrospectionConfig,
    issuer: IssuerName,
    client: Option<IntrospectionClient>,
    clock: SharedClock,
    active: Cache<KeyedDigest, Arc<Answer>>,
    refused: Cache<KeyedDigest, (Reason, Instant)>,
    flights: Mutex<HashMap<KeyedDigest, Flight>>,
    budget: Budget,
    outage: Mutex<Outage>,
    last_error: Mutex<Option<String>>,
    renewals: mpsc::Sender<Question>,
    unknown: mpsc::Sender<Question>,
    queues: tokio::sync::Mutex<Queues>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Introspection {
    pub(super) fn new(
        config: IntrospectionConfig,
        issuer: IssuerName,
        client: Option<IntrospectionClient>,
        clock: SharedClock,
    ) -> Self {
        let (renewals, renewals_queue) = mpsc::channel(MAX_WAITING);
        let (unknown, unknown_queue) = mpsc::channel(MAX_WAITING);
        Self {
            config,
            issuer,
            client,
            clock,
            active: Cache::builder()
                .max_capacity(MAX_ACTIVE)
                .weigher(|_, answer: &Arc<Answer>| answer.size())
                .eviction_policy(EvictionPolicy::lru())
                .build(),
            refused: Cache::builder()
                .max_capacity(MAX_REFUSED)
                .eviction_policy(EvictionPolicy::lru())
                .build(),
            flights: Mutex::default(),
            budget: Budget::default(),
            outage: Mutex::default(),
            last_error: Mutex::default(),
            renewals,
            unknown,
            queues: tokio::sync::Mutex::new(Queues {
                renewals: renewals_queue,
                unknown: unknown_queue,
            }),
        }
    }

    /// The endpoint.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.config.url
    }

    /// The beginning of its tokens, if they have one.
    pub(super) fn prefix(&self) -> Option<&str> {
        self.config.prefix.as_deref()
    }

    /// Why the last question had no answer; `None`: it had one.
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        lock(&self.last_error).clone()
    }

    /// How many active tokens are known, about.
    #[must_use]
    pub fn known(&self) -> u64 {
        self.active.entry_count()
    }

    /// The last answer about an active token, however old.
    #[must_use]
    pub fn last_claims(&self, bearer: &BearerToken<'_>) -> Option<Claims> {
        let digest = KeyedDigest::of(bearer.text().as_bytes());
        Some(self.active.get(&digest)?.claims.clone())
    }

    /// The answer about a token that is active now.
    ///
    /// # Errors
    /// [`Reason::Inactive`]; [`Reason::IntrospectionUnavailable`],
    /// [`Reason::IntrospectionCredentials`] or [`Reason::IntrospectionAnswer`] without a usable
    /// answer; [`Reason::IntrospectionLimited`] if there are too many questions.
    pub(super) async fn answer(&self, bearer: &BearerToken<'_>, digest: KeyedDigest) -> Outcome {
        self.answer_within(bearer, digest, self.config.cache).await
    }

    /// Checks a token that was active when its stream began. The question is asked when half of
    /// the answer's time has passed, so that a short outage ends no stream.
    ///
    /// # Errors
    /// As [`answer`](Self::answer).
    pub(super) async fn check_again(
        &self,
        bearer: Option<&BearerToken<'_>>,
        digest: KeyedDigest,
    ) -> Result<(), Reason> {
        let checked = match bearer {
            Some(bearer) => {
                let half = self.config.cache / 2;
                self.answer_within(bearer, digest, half).await.map(drop)
            }
            None => Err(Reason::IntrospectionUnavailable),
        };
        match checked {
            Err(reason) if reason != Reason::Inactive => {
                let current = self.current(&digest, self.config.cache);
                current.map(drop).ok_or(reason)
            }
            checked => checked,
        }
    }

    async fn answer_within(
        &self,
        bearer: &BearerToken<'_>,
        digest: KeyedDigest,
        max_age: Duration,
    ) -> Outcome {
        let mut flight = match self.join(bearer, digest, max_age) {
            Joined::Known(outcome) => return outcome,
            Joined::Flight(flight) => flight,
        };
        let landed = timeout(LONGEST_WAIT, flight.wait_for(Option::is_some)).await;
        match landed {
            Ok(Ok(outcome)) => outcome.clone(),
            _ => None,
        }
        .unwrap_or(Err(Reason::IntrospectionUnavailable))
    }

    /// The outcome that is known, or the question that will give it.
    fn join(&self, bearer: &BearerToken<'_>, digest: KeyedDigest, max_age: Duration) -> Joined {
        if let Some(outcome) = self.known_outcome(&digest, max_age) {
            return Joined::Known(outcome);
        }
        let mut flights = lock(&self.flights);
        if let Some(flight) = flights.get(&digest) {
            return Joined::Flight(flight.clone());
        }
        // A flight leaves the table when its outcome is known.
        if let Some(outcome) = self.known_outcome(&digest, max_age) {
            return Joined::Known(outcome);
        }
        if lock(&self.outage).is_assumed() {
            return Joined::Known(Err(Reason::IntrospectionUnavailable));
        }
        let is_counted = !self.active.contains_key(&digest);
        if is_counted && !self.budget.take() {
            return Joined::Known(Err(Reason::IntrospectionLimited));
        }
        let (outcome, flight) = watch::channel(None);
        let question = Question {
            token: SecretString::from(bearer.text()),
            digest,
            is_counted,
            outcome,
        };
        let queue = if is_counted {
            &self.unknown
        } else {
            &self.renewals
        };
        if queue.try_send(question).is_err() {
            if is_counted {
                self.budget.give_back();
            }
            return Joined::Known(Err(Reason::IntrospectionLimited));
        }
        flights.insert(digest, flight.clone());
        Joined::Flight(flight)
    }

    fn known_outcome(&self, digest: &KeyedDigest, max_age: Duration) -> Option<Outcome> {
        if let Some(answer) = self.current(digest, max_age) {
            return Some(Ok(answer));
        }
        let (reason, at) = self.refused.get(digest)?;
        let lifetime = if reason == Reason::Inactive {
            REFUSAL_LIFETIME.min(self.config.cache)
        } else {
            outage::LENGTH
        };
        (at.elapsed() < lifetime).then_some(Err(reason))
    }

    /// The answer about an active token, if it is recent enough.
    fn current(&self, digest: &KeyedDigest, max_age: Duration) -> Option<Arc<Answer>> {
        let answer = self.active.get(digest)?;
        let until = answer.until.min(answer.asked_at.plus(max_age));
        // After the clock was set back its age is unknown.
        let is_current = (answer.asked_at..until).contains(&self.clock.now());
        is_current.then_some(answer)
    }

    /// Asks the authority until the future is dropped.
    pub async fn run(self: Arc<Self>, http: HttpClient, observe: ObserveAsked) {
        let mut queues = self.queues.lock().await;
        let Queues { renewals, unknown } = &mut *queues;
        let mut flights = FuturesUnordered::new();
        // Those of an earlier run of the task have ended without an outcome.
        lock(&self.flights).retain(|_, flight| flight.has_changed().is_ok());
        loop {
            tokio::select! {
                biased;
                Some(()) = flights.next(), if !flights.is_empty() => {}
                Some(question) = renewals.recv(), if flights.len() < MAX_FLIGHTS => {
                    flights.push(self.fly(&http, &observe, question));
                }
                Some(question) = unknown.recv(), if flights.len() < MAX_UNKNOWN_FLIGHTS => {
                    flights.push(self.fly(&http, &observe, question));
                }
                else => return,
            }
        }
    }

    async fn fly(&self, http: &HttpClient, observe: &ObserveAsked, question: Question) {
        let asked_at = self.clock.now();
        let url = &self.config.url;
        let asking = ask(http, url, self.client.as_ref(), &question.token);
        let asked = timeout(LONGEST_QUESTION, asking).await;
        let timed_out = |_| Err(Failure::NoAnswer(Failed::of(HttpError::Timeout, url)));
        let outcome = self.note(
            &question,
            asked.unwrap_or_else(timed_out),
            asked_at,
            observe,
        );
        lock(&self.flights).remove(&question.digest);
        question.outcome.send_replace(Some(outcome));
    }

    /// Keeps the outcome of a question.
    fn note(
        &self,
        question: &Question,
        asked: Result<Verdict, Failure>,
        asked_at: UnixTime,
        observe: &ObserveAsked,
    ) -> Outcome {
        let digest = question.digest;
        if question.is_counted && !matches!(asked, Ok(Verdict::Inactive)) {
            self.budget.give_back();
        }
        match &asked {
            Err(Failure::NoAnswer(failed)) if failed.kind() != HttpError::TooLarge => {
                lock(&self.outage).note_failure(digest, failed.kind());
            }
            _ => lock(&self.outage).end(),
        }
        let error = asked.as_ref().err().map(Failure::text);
        observe(match (&asked, &error) {
            (_, Some(text)) => Asked::Failed(text),
            (Ok(Verdict::Inactive), None) => Asked::Inactive,
            _ => Asked::Active,
        });
        *lock(&self.last_error) = error.map(std::borrow::Cow::into_owned);
        let reason = match asked {
            Ok(Verdict::Active(claims)) => {
                let until = asked_at.plus(self.config.cache);
                let answer = Answer::new(claims, &self.issuer, asked_at, until);
                let answer = Arc::new(answer);
                self.refused.invalidate(&digest);
                self.active.insert(digest, answer.clone());
                return Ok(answer);
            }
            Ok(Verdict::Inactive) => {
                self.active.invalidate(&digest);
                Reason::Inactive
            }
            Err(Failure::NoAnswer(failed)) if failed.kind() == HttpError::TooLarge => {
                Reason::IntrospectionAnswer
            }
            Err(Failure::NoAnswer(_)) => Reason::IntrospectionUnavailable,
            Err(Failure::Credentials(_)) => Reason::IntrospectionCredentials,
            Err(Failure::Answer(_)) => Reason::IntrospectionAnswer,
        };
        self.refused.insert(digest, (reason, Instant::now()));
        Err(reason)
    }
}

enum Joined {
    Known(Outcome),
    Flight(Flight),
}

#[cfg(test)]
mod tests;
