//! The background task of one credential: its files, its token requests, and their results.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Fuse, FusedFuture};
use tokio::sync::Notify;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep_until, timeout};

use super::{Current, KnownFailure, State, TokenSource};
use crate::files::{Watched, blocking};
use crate::http_client::HttpError;
use crate::token_source::access_token::{AccessToken, Grant};
use crate::token_source::authentication::{Material, UnusableFiles};
use crate::token_source::error::{Failure, FetchError};
use crate::token_source::schedule::{self, Held, Pace, Situation};
use crate::token_source::token_client::TokenClient;
use crate::token_source::{CredentialStatus, Event, TokenEndpoint, kept_token};

/// The pause before unusable files are read again without a change.
const READ_AGAIN: Duration = Duration::from_secs(10);

/// The longest sleep. The monotonic clock stops while the machine sleeps, so due work is checked at
/// least this often.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// The deadline of callers while no task runs.
const NO_LIMIT: Duration = Duration::from_hours(24);

/// A change of a credential's files.
pub(super) enum Change {
    /// The identity or the trusted certificates changed. The current token stays in use until a
    /// token for the new content arrives.
    Identity,
    /// The same, with a token for the new content.
    Proven(Grant),
    /// The content changed without effect on the identity; a refused request may succeed now.
    Content,
}

impl TokenSource {
    /// The background task: fetches on demand and before tokens expire, until `shutdown`; then it
    /// stores the last token where that is configured. Run it once at a time. A later run continues
    /// where the last one stopped.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let cell = &*self.0;
        let mut shutdown = pin!(shutdown);
        let watched = Watched::new(Material::watched_files(&cell.config));
        let material = tokio::select! {
            biased;
            () = &mut shutdown => return self.settle_failure(FetchError::Stopped, Instant::now() + NO_LIMIT),
            material = self.first_material(&watched) => material,
        };
        self.set_identity(material.identity);
        let kept = self.take_kept(material.identity).await;
        let client = TokenClient::new(&cell.config, &cell.clock, &cell.skew, material);
        let fetch = || async {
            // Waiting for the permit counts as part of the try. The semaphore is never closed.
            let _permit = self.fetch_permit().acquire().await;
            client.fetch().await
        };
        let ended = Notify::new();
        let drive = async {
            self.drive(shutdown, fetch, || self.change(&client, &watched))
                .await;
            ended.notify_one();
        };
        tokio::join!(drive, self.keep_tokens(kept, &ended));
    }

    /// Reads the files. While they are unusable, it reads them repeatedly and callers get an error.
    async fn first_material(&self, watched: &Arc<Watched>) -> Material {
        loop {
            match self.load(watched).await {
                Ok(material) => return material,
                Err(error) => {
                    let credential = &self.0.config.name;
                    tracing::warn!(credential, %error, "the credential's files cannot be used");
                    self.settle_failure(FetchError::Files, Instant::now() + READ_AGAIN);
                    let _ = timeout(READ_AGAIN, watched.changed()).await;
                }
            }
        }
    }

    /// Waits for changed files and adopts their content, or for a new secret from a rotation.
    async fn change(&self, client: &TokenClient<'_>, watched: &Arc<Watched>) -> Change {
        let credential = &self.0.config.name;
        tokio::select! {
            () = watched.changed() => {}
            () = self.0.handover.notified() => {}
        }
        let handed_over = self
            .0
            .handed_over
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some((material, grant)) = handed_over {
            self.set_identity(material.identity);
            client.use_material(material);
            return Change::Proven(grant);
        }
        loop {
            match self.load(watched).await {
                Ok(material) => {
                    let is_other = material.identity != client.identity();
                    self.set_identity(material.identity);
                    client.use_material(Arc::new(material));
                    if is_other {
                        tracing::info!(
                            credential,
                            "the credential's files have changed; the current token stays in use until a new one arrives"
                        );
                    }
                    return if is_other {
                        Change::Identity
                    } else {
                        Change::Content
                    };
                }
                Err(error) => {
                    let consequence =
                        "a changed file of the credential cannot be used; the old content stays";
                    tracing::warn!(credential, %error, consequence);
                    // The file may have been read in the middle of a change.
                    let _ = timeout(READ_AGAIN, watched.changed()).await;
                }
            }
        }
    }

    async fn load(&self, watched: &Arc<Watched>) -> Result<Material, UnusableFiles> {
        let (config, watched) = (self.0.config.clone(), watched.clone());
        blocking(move || {
            watched.note();
            Material::load(&config)
        })
        .await
    }

    /// Starts with the stored token; returns its serial.
    async fn take_kept(&self, identity: [u8; 32]) -> Option<u64> {
        let (config, now) = (self.0.config.clone(), self.now());
        let at = config.kept_at.clone()?;
        let grant = blocking(move || kept_token::load(&config, &at, &identity, now)).await?;
        let current = self.accept(grant).ok()?;
        tracing::info!(
            credential = self.0.config.name,
            "the stored access token is used"
        );
        let serial = current.token.serial();
        self.put(current);
        Some(serial)
    }

    /// Stores each new token until `ended` is signalled, and then the last one if necessary. Runs
    /// separately, so that a slow disk delays no token. `kept` is the stored token.
    async fn keep_tokens(&self, mut kept: Option<u64>, ended: &Notify) {
        let Some(at) = &self.0.config.kept_at else {
            return;
        };
        let mut is_last = false;
        while !is_last {
            tokio::select! {
                biased;
                () = self.0.arrived.notified() => {}
                () = ended.notified() => is_last = true,
            }
            let token = self
                .0
                .current
                .load_full()
                .map(|current| current.token.clone());
            if let Some(token) = token.filter(|token| Some(token.serial()) != kept) {
                kept = Some(token.serial());
                let (config, at) = (self.0.config.clone(), at.clone());
                blocking(move || kept_token::keep(&config, &at, &token)).await;
            }
        }
    }

    /// [`Self::run`] with the request and the file changes as parameters, for scripted tests.
    pub(super) async fn drive<F, R, C>(
        &self,
        shutdown: impl Future<Output = ()>,
        fetch: F,
        changed: impl Fn() -> C,
    ) where
        F: Fn() -> R,
        R: Future<Output = Result<Grant, Failure>>,
        C: Future<Output = Change>,
    {
        let mut shutdown = pin!(shutdown);
        let mut changes = pin!(changed());
        let mut pace = Pace::new(self.0.config.timeouts.total);
        // The current try.
        let mut attempt = pin!(Fuse::terminated());
        self.0.state.send_modify(|state| state.failing = None);
        // An earlier run may have ended within a try.
        self.0.fetching.store(false, Ordering::Release);
        // Callers that an earlier run left waiting, and callers of a first token.
        let mut wanted = self.0.config.prefetch || self.0.state.receiver_count() > 0;
        let mut refused = false;
        loop {
            let situation = Situation {
                held: self.held(),
                in_flight: !attempt.is_terminated(),
                wanted,
                refused,
            };
            let next = pace.next(&situation);
            let look = Instant::now() + LOOK_EVERY;
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                change = &mut changes => {
                    if !matches!(change, Change::Content) {
                        // The current try uses an outdated identity.
                        attempt.set(Fuse::terminated());
                        self.0.fetching.store(false, Ordering::Release);
                        refused = false;
                    }
                    // The cause of earlier failures may be gone.
                    wanted |= pace.failures() > 0 || self.0.state.receiver_count() > 0;
                    let failures = pace.failures();
                    pace.succeeded();
                    self.0.state.send_modify(|state| state.failing = None);
                    if let Change::Proven(grant) = change
                        && let Ok(current) = self.settle_outcome(Ok(Ok(grant)))
                    {
                        wanted = false;
                        self.settle_success(current, failures);
                    }
                    changes.set(changed());
                }
                outcome = &mut attempt, if !attempt.is_terminated() => {
                    (wanted, refused) = (false, false);
                    match self.settle_outcome(outcome) {
                        Ok(current) => {
                            let failures = pace.failures();
                            pace.succeeded();
                            self.settle_success(current, failures);
                        }
                        Err(failure) => {
                            let (now, held) = (Instant::now(), self.held());
                            let told = pace.failed(&failure, now, held, fastrand::f64());
                            match told {
                                Some(until) => {
                                    self.log_failure(&failure, pace.failures());
                                    self.settle_failure(failure.error, until);
                                }
                                None => self.settle(|_| {}),
                            }
                        }
                    }
                }
                () = sleep_until(next.map_or(look, |next| next.min(look))) => {
                    let began = Instant::now();
                    if next.is_none_or(|next| next > began) {
                        continue;
                    }
                    pace.began(began, fastrand::f64());
                    self.0.fetching.store(true, Ordering::Release);
                    attempt.set(timeout(self.0.config.timeouts.total, fetch()).fuse());
                }
                // The signal may be outdated, because a token has arrived since.
                () = self.0.demand.notified() => wanted |= self.current().is_none(),
                () = self.0.refused.notified() => refused = self.is_being_replaced(),
            }
        }
        self.settle_failure(FetchError::Stopped, Instant::now() + NO_LIMIT);
    }

    fn held(&self) -> Option<Held> {
        let (now, identity) = (self.now(), self.identity());
        self.0.current.load().as_ref().map(|current| Held {
            usable: current.token.is_usable(now),
            refresh_due: if *current.token.identity() == identity {
                current
                    .refresh_due
                    .min(now.monotonic + now.wall.until(current.refresh_due_at))
            } else {
                // The token belongs to older files; the new ones must be tried.
                now.monotonic
            },
            usable_until: now.monotonic + current.token.usable_for(now),
        })
    }

    /// Whether a newer token was requested because the current one was refused.
    fn is_being_replaced(&self) -> bool {
        let current = self
            .0
            .current
            .load()
            .as_ref()
            .map(|current| current.token.serial());
        let refusals = self
            .0
            .refusals
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        current.is_some_and(|serial| refusals.is_being_replaced(serial))
    }

    /// Handles the result of a try.
    fn settle_outcome(
        &self,
        outcome: Result<Result<Grant, Failure>, Elapsed>,
    ) -> Result<Current, Failure> {
        let cell = &*self.0;
        let result = match outcome {
            Ok(Ok(grant)) => self.accept(grant),
            Ok(Err(failure)) => Err(failure),
            Err(_) => {
                let (TokenEndpoint::Url(url) | TokenEndpoint::Discovery(url)) =
                    &cell.config.endpoint;
                Err(Failure::from(FetchError::Http(HttpError::Timeout)).at(url))
            }
        };
        let credential = &cell.config.name;
        match &result {
            Ok(_) => (cell.observer)(Event::Fetched { credential }),
            Err(failure) => {
                let (at, error, text) = (
                    cell.clock.now(),
                    failure.error,
                    Arc::<str>::from(failure.text()),
                );
                cell.status.rcu(|s| CredentialStatus {
                    last_error: Some(error),
                    last_error_text: Some(text.clone()),
                    last_error_at: Some(at),
                    failures: s.failures + 1,
                    ..(**s).clone()
                });
                (cell.observer)(Event::Failed { credential, error });
            }
        }
        result
    }

    /// Turns a grant into the current token, unless the token expired in transit.
    pub(super) fn accept(&self, grant: Grant) -> Result<Current, Failure> {
        let Grant {
            lifetime,
            requested,
            ..
        } = grant;
        let token = AccessToken::new(grant);
        if !token.is_usable(self.now()) {
            return Err(FetchError::Late.into());
        }
        let age = requested.monotonic.elapsed();
        let after = schedule::refresh_after(lifetime, self.0.config.refresh_at, fastrand::f64());
        Ok(Current {
            token,
            refresh_due: requested.monotonic + after,
            // Later than by the monotonic clock while both run, because wall time is truncated to
            // seconds at both ends.
            refresh_due_at: requested.wall.plus(after + Duration::from_millis(1999)),
            obtained: self.0.clock.uptime().saturating_sub(age),
        })
    }

    pub(super) fn put(&self, current: Current) {
        let expires_at = current.token.expires_at();
        self.0.status.rcu(|s| CredentialStatus {
            expires_at: Some(expires_at),
            ..(**s).clone()
        });
        self.0.current.store(Some(Arc::new(current)));
    }

    fn settle_success(&self, current: Current, failures: u32) {
        let cell = &*self.0;
        let (now, serial) = (cell.clock.now(), current.token.serial());
        self.put(current);
        let for_refusal = cell
            .refusals
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .fetched();
        cell.successor
            .store(if for_refusal { serial } else { 0 }, Ordering::Release);
        cell.status.rcu(|s| CredentialStatus {
            last_refresh: Some(now),
            fetches: s.fetches + 1,
            ..(**s).clone()
        });
        cell.arrived.notify_one();
        // Last, so that a woken caller finds the token.
        self.settle(|state| state.failing = None);
        let credential = &cell.config.name;
        if failures > 0 {
            tracing::info!(credential, failures, "access token fetched again");
        } else {
            tracing::info!(credential, "access token fetched");
        }
    }

    /// Logs a failure, but not the same one each second.
    fn log_failure(&self, failure: &Failure, failures: u32) {
        let told_before = self.0.state.borrow().failing.map(|told| told.error);
        if told_before != Some(failure.error) || failures.is_power_of_two() {
            let credential = &self.0.config.name;
            tracing::warn!(
                credential,
                error = failure.text(),
                failures,
                "no access token fetched"
            );
        }
    }

    /// Publishes a failure to the callers.
    fn settle_failure(&self, error: FetchError, until: Instant) {
        self.settle(|state| state.failing = Some(KnownFailure { error, until }));
    }

    fn settle(&self, change: impl FnOnce(&mut State)) {
        // After a success nothing is left to be replaced.
        self.0
            .refusals
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .failed();
        self.0.fetching.store(false, Ordering::Release);
        self.0.state.send_modify(|state| {
            state.settled += 1;
            change(state);
        });
    }
}
