//! The signing keys, and the published key set.
//!
//! `rotation` decides the next state of each key, `vault` stores it together with other processes,
//! and `ring` is the result: one atomic pointer that every issued token reads. While the store does
//! not answer, the ring stays and rotation waits.

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

/// Why a rotation on demand failed.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// A configured key signs, and is not rotated; stored keys can be withdrawn.
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

/// The signing keys, one for each algorithm in use, and the published keys.
pub(super) struct SigningKeys {
    vault: Vault,
    ring: ArcSwap<Ring>,
    /// Held while a ring is replaced, so that an older one never replaces a newer one.
    installing: Mutex<()>,
    /// The published keys, for verifiers in this process.
    live: Arc<LiveKeys>,
    /// The longest lifetime of a token that was or will be signed here, in seconds.
    longest_token: AtomicU64,
    /// The latest time seen.
    latest: AtomicI64,
    /// The proven time at the last reload.
    proven: AtomicI64,
    /// The issuer's own algorithm.
    algorithm: Algorithm,
    /// The revision of the store that was unusable, so that it is logged once.
    unusable: AtomicI64,
}

impl SigningKeys {
    /// Loads the keys of the store, and makes one if none can sign. If a configured key signs
    /// instead, the stored ones stay published, because their tokens are still valid.
    pub(super) async fn open(
        config: &Config,
        store: Arc<dyn Store>,
        clock: SharedClock,
        proven: UnixTime,
    ) -> Result<Self, OpenError> {
        let now = clock.now();
        let pem = config.private_key.as_ref();
        let own = pem
            .map(|pem| SigningKey::from_pem(pem, config.algorithm))
            .transpose();
        let own = own.map_err(OpenError::PrivateKey)?.map(Arc::new);
        let stored = Some(config.algorithm).filter(|_| own.is_none());
        let policy = Policy {
            algorithms: Vec::from_iter(
                stored.map(|algorithm| algorithm_name(algorithm).to_owned()),
            ),
            rotate_every: config.rotate_every,
            running_since: proven,
        };
        let longest_token = whole_seconds(longest_lifetime(config));
        let encryption = config.encryption_key.clone();
        let vault = Vault {
            store,
            encryption,
            former: config.former_encryption_key.clone(),
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

    /// The key that signs with the issuer's own algorithm, for signing on another thread.
    /// `lifetime` is that of the signed content, as for [`sign_with`](Self::sign_with).
    ///
    /// # Errors
    /// As [`sign_with`](Self::sign_with).
    pub(super) fn signing_key(
        &self,
        lifetime: Duration,
    ) -> Result<Arc<SigningKey>, SigningKeyError> {
        self.expect_tokens_of(lifetime);
        self.ring
            .load()
            .signing_with(self.algorithm)
            .cloned()
            .ok_or(SigningKeyError::Unsupported)
    }

    /// Signs claims as a compact JWS. `lifetime` is that of the token, [`Duration::MAX`] without
    /// end; the key stays published for as long after it is retired.
    ///
    /// # Errors
    /// [`SigningKeyError::Unsupported`] while there is no key of the algorithm:
    /// [`expect`](Self::expect) announces one. [`SigningKeyError::Failed`] if the key does not
    /// sign.
    pub(super) fn sign_with<T: Serialize>(
        &self,
        algorithm: Algorithm,
        typ: &str,
        claims: &T,
        lifetime: Duration,
    ) -> Result<SecretString, SigningKeyError> {
        self.expect_tokens_of(lifetime);
        self.ring
            .load()
            .signing_with(algorithm)
            .ok_or(SigningKeyError::Unsupported)?
            .sign(typ, claims)
    }

    /// Announces algorithms of future tokens. The next [`reload`](Self::reload) makes their keys.
    /// They stay announced until the process ends: an unused key costs one entry in the key set.
    pub(super) fn expect(&self, algorithms: impl IntoIterator<Item = Algorithm>) {
        self.vault.expect(algorithms);
    }

    /// Announces the lifetime of future tokens. The first such token announces it too, but a crash
    /// within the next seconds would lose that.
    pub(super) fn expect_tokens_of(&self, lifetime: Duration) {
        let seconds = whole_seconds(lifetime);
        // A plain read in the usual case, because many threads sign.
        if self.longest_token.load(Ordering::Relaxed) < seconds {
            self.longest_token.fetch_max(seconds, Ordering::Relaxed);
        }
    }

    /// Reads what other processes changed, and makes the due changes. `revision` is that of the
    /// store's keys. A key is deleted by the time `proven`, which may be before the clock.
    ///
    /// # Errors
    /// If the store does not answer. Unusable keys are logged, and the ring stays.
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
                tracing::error!(%error, "the signing keys of the store are not taken over; those \
                    in use stay");
            }
        }
        Ok(())
    }

    /// Rotates on demand. If only a configured key signs, stored keys can be withdrawn, and nothing
    /// else changes.
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
        // The same stored keys, read again for a further algorithm, are newer too.
        let age = |ring: &Ring| (ring.revision, ring.signing.len());
        if age(&ring) > age(&self.ring.load()) {
            // Verifiers first: no token is signed with a key that the verifiers of this process do
            // not have.
            self.live.replace(KeySet::clone(&ring.verifying), None);
            self.ring.store(Arc::new(ring));
        }
    }

    /// The keys, the signing ones first.
    pub(super) fn views(&self) -> Vec<KeyView> {
        self.ring.load().views()
    }

    /// The published keys as a JWK set.
    pub(super) fn public(&self) -> Arc<str> {
        Arc::clone(&self.ring.load().public)
    }

    /// The published keys, to verify own tokens.
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

/// The longest lifetime of an access token in a configuration.
fn longest_lifetime(config: &Config) -> Duration {
    let of_clients = config
        .clients
        .iter()
        .filter_map(|client| client.access_token_lifetime);
    let of_audiences = config
        .audiences
        .values()
        .filter_map(|it| it.access_token_lifetime);
    of_clients
        .chain(of_audiences)
        .fold(config.access_token_lifetime, Duration::max)
}

/// Rounded up, and within the range of the store.
fn whole_seconds(lifetime: Duration) -> u64 {
    let up = u64::from(lifetime.subsec_nanos() > 0);
    lifetime
        .as_secs()
        .saturating_add(up)
        .min(i64::MAX.unsigned_abs())
}

#[cfg(test)]
mod tests;
