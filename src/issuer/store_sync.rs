//! Keeps the issuer in step with its store, which other processes may change too.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;

use super::client_auth::ClientAuth;
use super::client_end::ClientEnds;
use super::clients::Clients;
use super::forgetting::Forgetting;
use super::revocations::Revocations;
use super::signing_keys::SigningKeys;
use crate::domain::clock::{SharedClock, UnixTime};
use crate::store::{Revisions, Store, StoreError};

/// How long a client waits for a look at the store.
const LONGEST_LOOK: Duration = Duration::from_millis(250);
/// JSON readers represent integers exactly up to twice this one. A clock beyond it is wrong.
const MAX_FIRST_REVISION: i64 = 1 << 52;
/// How long expired rows can still be found.
const KEPT_AFTER_EXPIRY: Duration = Duration::from_hours(24);
const PURGE_EVERY: Duration = Duration::from_mins(1);
/// How many rows one write deletes: other writes wait for it.
const PORTION: u32 = 1000;
/// How many portions one purge deletes at most.
const MAX_PORTIONS: u32 = 100;

/// Keeps the state of this process in step with the store.
pub(super) struct StoreSync {
    pub(super) clients: Arc<Clients>,
    pub(super) client_auth: Arc<ClientAuth>,
    pub(super) keys: Arc<SigningKeys>,
    pub(super) revocations: Arc<Revocations>,
    pub(super) forgetting: Arc<Forgetting>,
    pub(super) ends: Arc<ClientEnds>,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: SharedClock,
    pub(super) state: SyncState,
}

/// The last reading.
pub(super) struct SyncState {
    /// The revisions that were read; `None` while the store does not answer.
    read: ArcSwapOption<Revisions>,
    /// The second of the last look for a client.
    looked_at: AtomicI64,
    purge: PurgeTimer,
}

impl SyncState {
    /// The state after everything was read at these revisions.
    pub(super) fn read(revisions: Revisions) -> Self {
        Self {
            read: ArcSwapOption::from_pointee(revisions),
            looked_at: AtomicI64::new(i64::MIN),
            purge: PurgeTimer::default(),
        }
    }
}

impl StoreSync {
    /// Whether the last reading succeeded. Otherwise a client may have been disabled or deleted
    /// without this process knowing it.
    pub(super) fn is_current(&self) -> bool {
        self.state.read.load().is_some()
    }

    /// Reads what changed in the store, ends the tokens of expired clients, and deletes what
    /// expired long ago.
    ///
    /// # Errors
    /// When the store does not answer; what was read before stays.
    pub(super) async fn reload(&self) -> Result<(), StoreError> {
        let reloaded = self.reload_changes().await;
        if reloaded.is_err() {
            self.state.read.store(None);
        } else if let Err(error) = self.client_auth.write_used_secrets(self.clock.now()).await {
            // Tokens can still be issued.
            tracing::warn!(%error, "cannot store when secrets were last used");
        }
        reloaded
    }

    /// Writes what is otherwise written from time to time. To be called after the last request.
    pub(super) async fn finish(&self) {
        let now = self.clock.now();
        if let Err(error) = self.client_auth.write_all_used_secrets(now).await {
            tracing::warn!(%error, "cannot store at the end when secrets were last used");
        }
        self.forgetting.look();
        self.forgetting.note().await;
    }

    /// Reads, at most once a second, what other processes have changed, before a client is
    /// authenticated: a secret that is deleted there is refused here after at most a second. The
    /// next [`reload`](Self::reload) handles a store that does not answer.
    pub(super) async fn look(&self, now: UnixTime) {
        if self.state.looked_at.swap(now.0, Ordering::Relaxed) == now.0 {
            return;
        }
        let looked = tokio::time::timeout(LONGEST_LOOK, self.store.revisions()).await;
        let is_changed = match (looked, self.state.read.load().as_deref()) {
            (Ok(Ok(revisions)), Some(read)) => *read != revisions,
            _ => false,
        };
        if is_changed {
            let _ = self.reload().await;
        }
    }

    async fn reload_changes(&self) -> Result<(), StoreError> {
        let step = self.forgetting.look();
        let revisions = self.store.revisions().await?;
        let read = self.state.read.load_full().filter(|_| step.is_none());
        if let Some(seconds) = step {
            let time = self.clock.now().to_rfc3339();
            tracing::warn!(seconds, time, "the clock was set: the store is read again");
        }
        let proven = self.forgetting.time();
        if read.is_none_or(|read| read.clients != revisions.clients) {
            self.clients.reload(&*self.store).await?;
            expect_clients(&self.keys, &self.clients);
        }
        self.ends.end_departed().await?;
        self.ends.end_expired().await;
        // Also without a change: keys come of age, and revocations expire.
        self.keys
            .reload(revisions.keys, self.clock.now(), proven)
            .await?;
        match step {
            None => self.revocations.catch_up().await?,
            Some(_) => self.revocations.reload(proven).await?,
        }
        self.revocations.forget_expired(proven).await;
        self.revocations.note_time(self.clock.now()).await;
        self.forgetting.note_when_due().await;
        self.state.read.store(Some(Arc::new(revisions)));
        self.purge_when_due().await;
        Ok(())
    }

    /// Deletes rows that expired a day ago. A failure does not stop issuing: the next purge
    /// repeats it.
    async fn purge_when_due(&self) {
        if !self.state.purge.is_due(self.clock.now()) {
            return;
        }
        for _ in 0..MAX_PORTIONS {
            let before = self.forgetting.time().minus(KEPT_AFTER_EXPIRY);
            match self.store.purge(before, PORTION).await {
                Ok(purged) if purged >= PORTION.into() => {}
                Ok(_) => return,
                Err(error) => return tracing::warn!(%error, "cannot delete expired tokens"),
            }
        }
    }
}

/// Prepares the signing keys for the algorithms and lifetimes of the clients.
pub(super) fn expect_clients(keys: &SigningKeys, clients: &Clients) {
    if let Some(lifetime) = clients.longest_lifetime() {
        keys.expect_tokens_of(lifetime);
    }
    keys.expect(clients.algorithms());
}

/// Reads the revisions of a store that is opened. Those of a new store begin above those of the
/// store before it: sidecars refuse a list of a lower revision than they have.
pub(super) async fn first_revisions(
    store: &dyn Store,
    now: UnixTime,
) -> Result<Revisions, StoreError> {
    let revisions = store.revisions().await?;
    if revisions.revocations != 0 {
        return Ok(revisions);
    }
    // In milliseconds: a store with fewer than a thousand changes a second never counts ahead of
    // the clock.
    let first = now.0.saturating_mul(1000).clamp(0, MAX_FIRST_REVISION);
    if let Err(error) = store.begin_revocations(first).await {
        tracing::warn!(
            %error,
            "cannot store the first revision; sidecars may accept the first list late"
        );
    }
    store.revisions().await
}

/// When the last purge was.
struct PurgeTimer(AtomicI64);

impl Default for PurgeTimer {
    fn default() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }
}

impl PurgeTimer {
    /// Whether a purge is due, which then counts as done. Also after the clock was set back.
    fn is_due(&self, now: UnixTime) -> bool {
        let last = UnixTime(self.0.load(Ordering::Relaxed));
        let is_due = now < last || last.until(now) >= PURGE_EVERY;
        if is_due {
            self.0.store(now.0, Ordering::Relaxed);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purge_is_due_once_a_minute_also_after_the_clock_was_set_back() {
        let timer = PurgeTimer::default();
        let due =
            [100, 101, 159, 160, 161, 40, 41, 100].map(|second| timer.is_due(UnixTime(second)));
        assert_eq!(due, [true, false, false, true, false, true, false, true]);
    }
}
