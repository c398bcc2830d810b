//! The background task of one credential: its files, its token requests, and their results.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Fuse, FusedFuture};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use super::TokenSource;
use crate::files::{Watched, blocking};
use crate::token_source::access_token::Grant;
use crate::token_source::authentication::{Material, UnusableFiles};
use crate::token_source::error::{Failure, FetchError};
use crate::token_source::schedule::{Held, Pace, Situation};
use crate::token_source::token_client::TokenClient;
use crate::token_source::{TokenEndpoint, kept_token};

/// The pause before unusable files are read again if none of them changes.
const READ_AGAIN: Duration = Duration::from_secs(10);

/// How often due work is checked. Timers use the monotonic clock, which stops while the machine
/// sleeps.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// How long callers get the failure of a stopped task.
const STOPPED_FOR: Duration = Duration::from_hours(24);

/// A change of a credential's files.
pub(super) enum Change {
    /// The credentials or the trusted certificates changed. The current token, from the old
    /// content, is used until one with the new content arrives.
    Identity,
    /// The same, with a token for the new content.
    Proven(Grant),
    /// The file of the token itself changed.
    Token,
    /// Other content changed; a refused request may be accepted now.
    Content,
}

impl TokenSource {
    /// The background task: fetches on demand and before tokens expire, until `shutdown`. Then it
    /// keeps the last token on disk, if configured. Run it once at a time; it may be run again.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let cell = &*self.0;
        let mut shutdown = pin!(shutdown);
        let watched = Watched::new(Material::watched_files(&cell.config));
        let material = tokio::select! {
            biased;
            () = &mut shutdown => {
                return self.settle_failure(FetchError::Stopped, Instant::now() + STOPPED_FOR);
            }
            material = self.first_material(&watched) => material,
        };
        self.set_identity(material.identity);
        let kept = self.take_kept(material.identity).await;
        let client = TokenClient::new(&cell.config, &cell.clock, &cell.skew, material);
        let client = client.proving(self.proof_key());
        if let Some(callers) = &cell.callers {
            let changed = || self.change(&client, &watched);
            self.serve_callers(callers, &client, shutdown, changed)
                .await;
            return self.settle_failure(FetchError::Stopped, Instant::now() + STOPPED_FOR);
        }
        let fetch = || async {
            // The wait is part of the try. The semaphore is never closed.
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

    /// The files' content. Unusable files are read again and again, and callers get the failure.
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

    /// Waits for a change of the files, or for the new secret of a rotation, and uses it.
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
                            "the credential's files have changed; the current token is used until \
                             one for the new content arrives"
                        );
                    }
                    let has_token = matches!(self.0.config.endpoint, TokenEndpoint::File(_));
                    return match (is_other, has_token) {
                        (true, _) => Change::Identity,
                        (false, true) => Change::Token,
                        (false, false) => Change::Content,
                    };
                }
                Err(error) => {
                    let consequence =
                        "a changed file of the credential cannot be used; the old content stays";
                    tracing::warn!(credential, %error, consequence);
                    // The file may be in the middle of a change.
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

    /// Begins with the token that is kept on disk; gives its serial.
    async fn take_kept(&self, identity: [u8; 32]) -> Option<u64> {
        let (config, now) = (self.0.config.clone(), self.now());
        let at = config.kept_at.clone()?;
        let grant = blocking(move || kept_token::load(&config, &at, &identity, now)).await?;
        let current = self.accept(grant).ok()?;
        tracing::info!(
            credential = self.0.config.name,
            "the kept access token is used"
        );
        let serial = current.token.serial();
        self.put(current);
        Some(serial)
    }

    /// Keeps each new token on disk until `ended` is notified, and then the last one. A slow disk
    /// delays no token. `kept` is the token on disk.
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

    /// [`Self::run`] with scripted requests and file changes, for tests.
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
        // The try under way.
        let mut attempt = pin!(Fuse::terminated());
        self.0.state.send_modify(|state| state.failing = None);
        // An earlier run may have ended within a try.
        self.0.fetching.store(false, Ordering::Release);
        // Callers that an earlier run left waiting.
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
                        // The request under way used the old credentials.
                        attempt.set(Fuse::terminated());
                        self.0.fetching.store(false, Ordering::Release);
                        refused = matches!(change, Change::Token);
                    }
                    // The cause of earlier failures may be gone.
                    wanted |= pace.failures() > 0 || self.0.state.receiver_count() > 0;
                    let failures = pace.failures();
                    pace.succeeded();
                    self.0.state.send_modify(|state| state.failing = None);
                    if let Change::Proven(grant) = change
                        && let Ok(current) = self.resolve(Ok(Ok(grant)))
                    {
                        wanted = false;
                        self.settle_success(current, failures);
                    }
                    changes.set(changed());
                }
                outcome = &mut attempt, if !attempt.is_terminated() => {
                    (wanted, refused) = (false, false);
                    match self.resolve(outcome) {
                        Ok(current) => {
                            let failures = pace.failures();
                            pace.succeeded();
                            self.settle_success(current, failures);
                        }
                        Err(failure) => {
                            let (now, held) = (Instant::now(), self.held());
                            match pace.failed(&failure, now, held, fastrand::f64()) {
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
                // The token may have come since the notification.
                () = self.0.demand.notified() => wanted |= self.current().is_none(),
                () = self.0.refused.notified() => refused = self.is_being_replaced(),
            }
        }
        self.settle_failure(FetchError::Stopped, Instant::now() + STOPPED_FOR);
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
                // It is from other files: the new ones must prove valid.
                now.monotonic
            },
            usable_until: now.monotonic + current.token.usable_for(now),
        })
    }

    /// Whether the current token is being replaced after a refusal.
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
}
