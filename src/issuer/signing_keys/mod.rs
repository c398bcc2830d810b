//! The keys that sign, and the key set that is published.
//!
//! `rotation` decides what becomes of each key, `vault` does it in the store together with other
//! processes, and `ring` is what comes of it. The ring is one atomic pointer that every issued
//! token reads. When the store is away the ring stays as it is, and rotation waits.

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
    /// A configured key signs, and is not rotated; stored ones can be withdrawn.
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

/// The keys that sign, one for each algorithm in use; all that are published.
pub(super) struct SigningKeys {
    vault: Vault,
    ring: ArcSwap<Ring>,
    /// Held while a ring is put in place, so that an older one never takes the place of a newer
    /// one.
    installing: Mutex<()>,
    /// The published keys, for verifiers in this process.
    live: Arc<LiveKeys>,
    /// How many seconds the longest token lives that was or will be signed here.
    longest_token: AtomicU64,
    /// The latest time seen.
    latest: AtomicI64,
    /// The proven time as of the last reload.
    proven: AtomicI64,
    /// The issuer's own algorithm.
    algorithm: Algorithm,
    /// The store's revision that was found unusable, so that it is complained of once.
    unusable: AtomicI64,
}

impl SigningKeys {
    /// Takes the keys of the store, and makes one if none of them can sign. A configured key signs
    /// in their stead; they stay published, because tokens of theirs are still alive.
    pub(super) async fn open(
        config: &Config,
        store: Arc<dyn Store>,
        clock: SharedClock,
        proven: UnixTime,
    ) -> Result<Self, OpenError> {
        let now = clock.now();
        let own = config
            .private_key
            .as_ref()
            .map(|pem| SigningKey::from_pem(pem, config.algorithm));
        let own = own
            .transpose()
            .map_err(OpenError::PrivateKey)?
            .map(Arc::new);
        let stored = Some(config.algorithm).filter(|_| own.is_none());
        let policy = Policy {
            algorithms: Vec::from_iter(
                stored.map(|algorithm| algorithm_name(algorithm).to_owned()),
            ),
            rotate_every: config.rotate_every,
            running_since: proven,
        };
        let lifetimes = config
            .clients
            .iter()
            .filter_map(|client| client.access_token_lifetime);
        let of_audiences = config
            .audiences
            .values()
            .filter_map(|settings| settings.access_token_lifetime);
        let lifetimes = lifetimes.chain(of_audiences);
        let longest_token =
            whole_seconds(lifetimes.fold(config.access_token_lifetime, Duration::max));
        let encryption = config.encryption_key.clone();
        let vault = Vault {
            store,
            encryption,
            own,
            policy: ArcSwap::from_pointee(policy),
        };
        vault.expect(config.algorithms());
        let at = Moment {
            now,
            proven,
            latest: now,
            longest_token: Duration::from_secs(longest_token),
        };
        let ring = vault.settle(at, None).await?;
        Ok(Self {
            vault,
            live: LiveKeys::in_process(KeySet::clone(&ring.verifying), clock),
            ring: ArcSwap::from_pointee(ring),
            installing: Mutex::new(()),
            longest_token: AtomicU64::new(longest_token),
            latest: AtomicI64::new(now.0),
            proven: AtomicI64::new(proven.0),
            unusable: AtomicI64::new(-1),
            algorithm: config.algorithm,
        })
    }

    /// The key that signs now with the issuer's own algorithm, for signing on another thread.
    /// `lives`: how long what it signs is good, as for [`sign_with`](Self::sign_with).
    ///
    /// # Errors
    /// As [`sign_with`](Self::sign_with).
    pub(super) fn signing_key(&self, lives: Duration) -> Result<Arc<SigningKey>, SigningKeyError> {
        self.expect_tokens_of(lives);
        self.ring
            .load()
            .signing_with(self.algorithm)
            .cloned()
            .ok_or(SigningKeyError::Unsupported)
    }

    /// Signs claims as a compact JWS with an algorithm. `lives`: how long it is good from now on,
    /// [`Duration::MAX`] without end; the key stays published for so long after it was retired.
    ///
    /// # Errors
    /// [`SigningKeyError::Unsupported`] while no key of the algorithm is there:
    /// [`expect`](Self::expect) announces one; [`SigningKeyError::Failed`] when the key does not
    /// sign.
    pub(super) fn sign_with<T: Serialize>(
        &self,
        algorithm: Algorithm,
        typ: &str,
        claims: &T,
        lives: Duration,
    ) -> Result<SecretString, SigningKeyError> {
        self.expect_tokens_of(lives);
        self.ring
            .load()
            .signing_with(algorithm)
            .ok_or(SigningKeyError::Unsupported)?
            .sign(typ, claims)
    }

    /// Announces algorithms that tokens are signed with from now on. A key of each is made by the
    /// next [`reload`](Self::reload). They stay announced until the process ends: a key that no
    /// client needs any more costs one entry in the key set.
    pub(super) fn expect(&self, algorithms: impl IntoIterator<Item = Algorithm>) {
        self.vault.expect(algorithms);
    }

    /// Says beforehand that tokens may be issued that live so long. The first such token says it
    /// too, but what only it said is forgotten by a crash within the next few seconds.
    pub(super) fn expect_tokens_of(&self, lives: Duration) {
        let seconds = whole_seconds(lives);
        // A plain read in the usual case: many threads sign.
        if self.longest_token.load(Ordering::Relaxed) < seconds {
            self.longest_token.fetch_max(seconds, Ordering::Relaxed);
        }
    }

    /// Takes over what others have changed and does what is due; `revision` is the store's of its
    /// keys. A key goes by the time `proven`, which the clock may be ahead of.
    ///
    /// # Errors
    /// When the store does not answer. Keys that cannot be used are logged, and the ring stays as
    /// it is.
    pub(super) async fn reload(
        &self,
        revision: i64,
        now: UnixTime,
        proven: UnixTime,
    ) -> Result<(), StoreError> {
        self.proven.store(proven.0, Ordering::Relaxed);
        let (at, ring) = (self.moment(now), self.ring.load_full());
        let policy = self.vault.policy.load();
        let is_settled = || {
            let is_current = revision == ring.revision && ring.signs_all(&policy);
            is_current && policy.due(&ring.records, at).is_empty()
        };
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

    /// Rotates on demand. Where only a configured key signs, stored keys can be withdrawn, and
    /// nothing else is done.
    pub(super) async fn rotate(
        &self,
        how: RotateNow,
        now: UnixTime,
    ) -> Result<Vec<KeyView>, RotateError> {
        if self.vault.policy.load().algorithms.is_empty() && !how.withdraw {
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
        let proven = UnixTime(self.proven.load(Ordering::Relaxed));
        Moment {
            now,
            proven,
            latest,
            longest_token,
        }
    }

    fn install(&self, ring: Ring) {
        let _installing = self
            .installing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // The same keys of the store, read again because a further algorithm is needed, are newer
        // too.
        let age = |ring: &Ring| (ring.revision, ring.signing.len());
        if age(&ring) > age(&self.ring.load()) {
            // Verifiers first: no token is signed with a key that those beside us do not know.
            self.live.replace(KeySet::clone(&ring.verifying), None);
            self.ring.store(Arc::new(ring));
        }
    }

    /// What is known of the keys, the ones that sign first.
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

    /// The algorithms of the published keys, the issuer's own first.
    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        self.ring.load().algorithms.clone()
    }
}

/// Rounded up, and within what a store can keep.
fn whole_seconds(lives: Duration) -> u64 {
    let up = u64::from(lives.subsec_nanos() > 0);
    lives
        .as_secs()
        .saturating_add(up)
        .min(i64::MAX.unsigned_abs())
}

#[cfg(test)]
mod tests;
