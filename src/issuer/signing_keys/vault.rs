//! The stored keys: read, decrypted, and changed together with other processes.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::ring::{Ring, parse};
use super::rotation::{Make, Moment, Plan, Policy, RotateNow};
use crate::domain::encryption::{EncryptionKey, is_sealed};
use crate::issuer::OpenError;
use crate::jose::sign::{SigningKey, SigningKeyError};
use crate::jose::{Algorithm, algorithm_name, parse_algorithm};
use crate::store::{KeyChange, KeyRecord, KeyState, Store, StoreError, StoredKey, StoredKeys};

/// How often a change is repeated while other processes change the same keys. Each of their changes
/// brings ours closer.
const ATTEMPTS: usize = 10;

/// The stored keys of a process.
pub(super) struct Vault {
    pub store: Arc<dyn Store>,
    pub encryption: Option<EncryptionKey>,
    /// The key before `encryption`.
    pub former: Option<EncryptionKey>,
    /// A configured signing key.
    pub own: Option<Arc<SigningKey>>,
    /// Replaced when a client or an audience needs a further algorithm.
    pub policy: ArcSwap<Policy>,
}

impl Vault {
    /// Adds algorithms of stored keys. A configured key signs with its own.
    pub(super) fn expect(&self, algorithms: impl IntoIterator<Item = Algorithm>) {
        let own = self.own.as_ref().map(|own| own.algorithm());
        for algorithm in algorithms
            .into_iter()
            .filter(|algorithm| Some(*algorithm) != own)
        {
            let name = algorithm_name(algorithm);
            if !self.policy.load().signs_with(name) {
                self.policy.rcu(|policy| policy.with(name));
            }
        }
    }

    /// Makes the due and the demanded changes, and gives the keys.
    ///
    /// # Errors
    /// If the store does not answer, or has an unusable key.
    pub(super) async fn settle(
        &self,
        at: Moment,
        mut demanded: Option<RotateNow>,
    ) -> Result<Ring, OpenError> {
        let policy = self.policy.load_full();
        for _ in 0..ATTEMPTS {
            let mut stored = self.store.signing_keys().await?;
            let revision = stored.revision;
            let withdraws = demanded.is_some_and(|how| how.withdraw);
            // A withdrawn key may be unusable.
            if !withdraws {
                self.leave_out_planted(&mut stored);
            }
            let is_to_seal = |key| self.is_bare(key) || self.is_sealed_before(key);
            let is_plain = !withdraws && stored.keys.iter().any(is_to_seal);
            if !withdraws {
                stored = self.open(stored)?;
                // Checked first, so that an unusable store is not changed.
                stored
                    .keys
                    .iter()
                    .try_for_each(|key| parse(key).map(drop))?;
            }
            let records: Vec<_> = stored.keys.iter().map(|key| key.record.clone()).collect();
            let plan = match demanded {
                Some(how) => policy.on_demand(&records, at, how),
                None => policy.due(&records, at),
            };
            let is_settled = plan.is_empty() && !is_plain;
            if !is_settled {
                let change = self.change(plan, &stored.keys, is_plain, at).await?;
                if !self
                    .store
                    .change_signing_keys(revision, &self.seal(&change)?)
                    .await?
                {
                    continue;
                }
                report(&change, &records);
            }
            if is_settled && demanded.is_none() {
                return Ring::new(self.own.as_ref(), &policy, stored);
            }
            demanded = None;
        }
        Err(StoreError::Unavailable("others change the signing keys without end".to_owned()).into())
    }

    /// Ignores keys in plain text beside encrypted ones: once encryption is on, every key is
    /// written encrypted. If all are in plain text, encryption was just switched on.
    fn leave_out_planted(&self, stored: &mut StoredKeys) {
        if self.encryption.is_none() || stored.keys.iter().all(|key| !is_sealed(&key.private_key)) {
            return;
        }
        stored.keys.retain(|key| {
            let is_sealed = is_sealed(&key.private_key);
            if !is_sealed {
                tracing::error!(
                    kid = key.record.kid,
                    "a signing key in the store is not encrypted like the others and is ignored: \
                     an \
                     attacker may have put it there; `m2m-sidecar keys rotate --withdraw` removes \
                     it with all others"
                );
            }
            is_sealed
        });
    }

    /// Whether a key is in plain text and should not be.
    fn is_bare(&self, key: &StoredKey) -> bool {
        self.encryption.is_some() && !is_sealed(&key.private_key)
    }

    /// Whether a key is encrypted with the former key.
    fn is_sealed_before(&self, key: &StoredKey) -> bool {
        let opens = |with: &Option<EncryptionKey>| {
            let with = with.as_ref();
            with.is_some_and(|with| with.open(&key.record.kid, &key.private_key).is_ok())
        };
        is_sealed(&key.private_key) && !opens(&self.encryption) && opens(&self.former)
    }

    /// The changes to write. With `all`, also the unchanged keys, so that they are encrypted.
    async fn change(
        &self,
        plan: Plan,
        stored: &[StoredKey],
        all: bool,
        at: Moment,
    ) -> Result<KeyChange, OpenError> {
        let mut put: Vec<_> = stored
            .iter()
            .filter(|key| !plan.delete.contains(&key.record.kid))
            .filter_map(|key| {
                let changed = plan
                    .update
                    .iter()
                    .find(|record| record.kid == key.record.kid);
                let record = changed.or(all.then_some(&key.record))?.clone();
                Some(StoredKey {
                    record,
                    private_key: key.private_key.clone(),
                })
            })
            .collect();
        for make in plan.make {
            put.push(self.make(make, at).await?);
        }
        Ok(KeyChange {
            put,
            delete: plan.delete,
        })
    }

    /// Making an RSA key would noticeably delay other requests.
    async fn make(&self, make: Make, at: Moment) -> Result<StoredKey, OpenError> {
        let unsupported = OpenError::NewKey(SigningKeyError::Unsupported);
        let algorithm = parse_algorithm(&make.algorithm).ok_or(unsupported)?;
        let made = tokio::task::spawn_blocking(move || SigningKey::generate(algorithm)).await;
        let key = made
            .unwrap_or(Err(SigningKeyError::Failed))
            .map_err(OpenError::NewKey)?;
        let record = KeyRecord {
            kid: key.kid().to_owned(),
            algorithm: make.algorithm,
            created_at: at.now,
            state: make.state,
            signs_from: make.signs_from,
            retired_at: None,
            foreign_since: None,
            longest_token: at.longest_token,
        };
        Ok(StoredKey {
            record,
            private_key: key.to_pem(),
        })
    }

    fn open(&self, stored: StoredKeys) -> Result<StoredKeys, OpenError> {
        let open = |key: StoredKey| {
            if !is_sealed(&key.private_key) {
                return Ok(key);
            }
            let kid = || key.record.kid.clone();
            let encryption = self
                .encryption
                .as_ref()
                .ok_or_else(|| OpenError::Encrypted(kid()))?;
            let mut keys = std::iter::once(encryption).chain(&self.former);
            let private_key = keys
                .find_map(|with| with.open(&key.record.kid, &key.private_key).ok())
                .ok_or_else(|| OpenError::OtherEncryptionKey(kid()))?;
            Ok(StoredKey { private_key, ..key })
        };
        let keys = stored
            .keys
            .into_iter()
            .map(open)
            .collect::<Result<_, OpenError>>()?;
        Ok(StoredKeys {
            revision: stored.revision,
            keys,
        })
    }

    fn seal(&self, change: &KeyChange) -> Result<KeyChange, OpenError> {
        let Some(encryption) = &self.encryption else {
            return Ok(change.clone());
        };
        let seal = |key: &StoredKey| {
            let kid = &key.record.kid;
            let sealed = encryption.seal(kid, &key.private_key);
            let private_key = sealed.map_err(|_| OpenError::OtherEncryptionKey(kid.clone()))?;
            Ok(StoredKey {
                record: key.record.clone(),
                private_key,
            })
        };
        let put = change
            .put
            .iter()
            .map(seal)
            .collect::<Result<_, OpenError>>()?;
        Ok(KeyChange {
            put,
            delete: change.delete.clone(),
        })
    }
}

/// One audit line for each key whose state changed, by the process that changed it.
fn report(change: &KeyChange, before: &[KeyRecord]) {
    let state = |kid: &str| {
        before
            .iter()
            .find(|record| record.kid == kid)
            .map(|record| record.state)
    };
    let changed = change
        .put
        .iter()
        .map(|key| (&key.record.kid, Some(key.record.state)));
    let deleted = change.delete.iter().map(|kid| (kid, None));
    for (kid, now) in changed
        .chain(deleted)
        .filter(|(kid, now)| state(kid) != *now)
    {
        let (before, now) = (
            state(kid).map(KeyState::as_str),
            now.map_or("deleted", KeyState::as_str),
        );
        tracing::info!(target: "audit", kid, before, now, "signing key");
    }
}
