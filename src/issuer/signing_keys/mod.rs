//! The keys that sign, and the key set that is published.
//!
//! `rotation` decides what becomes of each key, `vault` does it in the store together with other processes, and `ring`
//! is what comes of it. The ring is one atomic pointer that every issued token reads. When the store is away the ring
//! stays as it is, and rotation waits.

mod ring;
mod rotation;
mod vault;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::Serialize;

use super::{Config, OpenError};
use crate::domain::clock::{SharedClock, UnixTime};
use crate::domain::secret::SecretString;
use crate::jose::key_set::KeySet;
use crate::jose::live_keys::LiveKeys;
use crate::jose::sign::{SigningKey, SigningKeyError};
use crate::jose::{Algorithm, algorithm_name};
use crate::store::{Store, StoreError};

pub use ring::KeyView;
use ring::Ring;
pub use rotation::RotateNow;
use rotation::{Moment, Policy};
use vault::Vault;

/// Why keys are not rotated on demand.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// A configured key signs.
    #[error("the signing key is configured (`privateKeyFile`): put another one into its place")]
    OwnKey,
    /// The store does not answer.
    #[error(transparent)]
    Store(StoreError),
    /// No key can be made, or one of the store cannot be used.
    #[error(transparent)]
    Keys(OpenError),
}

impl From<OpenError> for RotateError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Store(error) => Self::Store(error),
            error => Self::Keys(error),
        }
    }
}

/// One key that signs; all that are published.
pub(super) struct SigningKeys {
    vault: Vault,
    ring: ArcSwap<Ring>,
    /// Held while a ring is put in place, so that an older one never takes the place of a newer one.
    installing: Mutex<()>,
    /// The published keys, for verifiers in this process.
    live: Arc<LiveKeys>,
    /// How many seconds the longest token lives that was or will be signed here.
    longest_token: AtomicU64,
    /// The latest time seen.
    latest: AtomicI64,
    /// The store's revision that was found unusable, so that it is complained of once.
    unusable: AtomicI64,
}

impl SigningKeys {
    /// Takes the keys of the store, and makes one if none of them can sign. A configured key signs in their stead; they
    /// stay published, because tokens of theirs are still alive.
    pub(super) async fn open(
        config: &Config,
        store: Arc<dyn Store>,
        clock: SharedClock,
    ) -> Result<Self, OpenError> {
        let now = clock.now();
        let own = config.private_key.as_ref().map(|pem| SigningKey::from_pem(pem, config.algorithm));
        let own = own.transpose().map_err(OpenError::PrivateKey)?.map(Arc::new);
        let policy = Policy {
            algorithm: algorithm_name(config.algorithm).to_owned(),
            own_key: own.is_some(),
            rotate_every: config.rotate_every,
            running_since: now,
        };
        let lifetimes = config.clients.iter().filter_map(|client| client.access_token_lifetime);
        let longest_token = whole_seconds(lifetimes.fold(config.access_token_lifetime, Duration::max));
        let encryption = config.encryption_key.clone();
        let vault = Vault { store, encryption, own, algorithm: config.algorithm, policy };
        let at = Moment { now, latest: now, longest_token: Duration::from_secs(longest_token) };
        let ring = vault.settle(at, None).await?;
        Ok(Self {
            vault,
            live: LiveKeys::in_process(KeySet::clone(&ring.verifying), clock),
            ring: ArcSwap::from_pointee(ring),
            installing: Mutex::new(()),
            longest_token: AtomicU64::new(longest_token),
            latest: AtomicI64::new(now.0),
            unusable: AtomicI64::new(-1),
        })
    }

    /// Signs claims as a compact JWS. `lives`: how long it will be good from now on, [`Duration::MAX`] for ever; for so
    /// long the key stays published after it was retired.
    pub(super) fn sign<T: Serialize>(
        &self,
        typ: &str,
        claims: &T,
        lives: Duration,
    ) -> Result<SecretString, SigningKeyError> {
        self.expect_tokens_of(lives);
        self.ring.load().signing.sign(typ, claims)
    }

    /// Says beforehand that tokens may be issued that live so long. The first such token says it too, but what only it
    /// said is forgotten by a crash within the next few seconds.
    pub(super) fn expect_tokens_of(&self, lives: Duration) {
        let seconds = whole_seconds(lives);
        // A plain read in the usual case: many threads sign.
        if self.longest_token.load(Ordering::Relaxed) < seconds {
            self.longest_token.fetch_max(seconds, Ordering::Relaxed);
        }
    }

    /// Takes over what others have changed and does what is due; `revision` is the store's of its keys.
    ///
    /// # Errors
    /// When the store does not answer. Keys that cannot be used are logged, and the ring stays as it is.
    pub(super) async fn reload(&self, revision: i64, now: UnixTime) -> Result<(), StoreError> {
        let (at, ring) = (self.moment(now), self.ring.load_full());
        let is_settled = || revision == ring.revision && self.vault.policy.due(&ring.records, at).is_empty();
        if revision == self.unusable.load(Ordering::Relaxed) || is_settled() {
            return Ok(());
        }
        match self.vault.settle(at, None).await {
            Ok(ring) => self.install(ring),
            Err(OpenError::Store(error)) => return Err(error),
            Err(error) => {
                self.unusable.store(revision, Ordering::Relaxed);
                tracing::error!(%error, "the signing keys of the store are not taken over; those in use stay");
            }
        }
        Ok(())
    }

    /// Rotates on demand.
    pub(super) async fn rotate(&self, how: RotateNow, now: UnixTime) -> Result<Vec<KeyView>, RotateError> {
        if self.vault.own.is_some() {
            return Err(RotateError::OwnKey);
        }
        let ring = self.vault.settle(self.moment(now), Some(how)).await?;
        let views = ring.views();
        self.install(ring);
        Ok(views)
    }

    fn moment(&self, now: UnixTime) -> Moment {
        let latest = UnixTime(self.latest.fetch_max(now.0, Ordering::Relaxed)).max(now);
        let longest_token = Duration::from_secs(self.longest_token.load(Ordering::Relaxed));
        Moment { now, latest, longest_token }
    }

    fn install(&self, ring: Ring) {
        let _installing = self.installing.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.revision > self.ring.load().revision {
            // Verifiers first: no token is signed with a key that those beside us do not know.
            self.live.replace(KeySet::clone(&ring.verifying), None);
            self.ring.store(Arc::new(ring));
        }
    }

    /// What is known of the keys, the one that signs first.
    pub(super) fn views(&self) -> Vec<KeyView> {
        self.ring.load().views()
    }

    /// The published keys as a JWK set.
    pub(super) fn public(&self) -> Arc<str> {
        Arc::clone(&self.ring.load().public)
    }

    /// The published keys, to verify a token of ours with.
    pub(super) fn verifying_keys(&self) -> Arc<KeySet> {
        Arc::clone(&self.ring.load().verifying)
    }

    /// The same, always the newest.
    pub(super) fn live(&self) -> &Arc<LiveKeys> {
        &self.live
    }

    /// The algorithms of the published keys, that of new tokens first.
    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        self.ring.load().algorithms.clone()
    }
}

/// Rounded up, and within what a store can keep.
fn whole_seconds(lives: Duration) -> u64 {
    let up = u64::from(lives.subsec_nanos() > 0);
    lives.as_secs().saturating_add(up).min(i64::MAX.unsigned_abs())
}

#[cfg(test)]
mod tests;
