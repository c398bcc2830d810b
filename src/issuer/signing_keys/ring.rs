//! The keys of one moment, parsed: the signing ones, and all published ones.

use std::sync::Arc;

use serde_json::{Value, json};

use super::rotation::{Policy, published_until};
use crate::domain::clock::UnixTime;
use crate::issuer::OpenError;
use crate::jose::key_set::KeySet;
use crate::jose::sign::SigningKey;
use crate::jose::{Algorithm, algorithm_name, parse_algorithm};
use crate::store::{KeyRecord, KeyState, StoredKey, StoredKeys};

/// A signing key, for administrators. Times are in Unix seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyView {
    pub kid: String,
    pub algorithm: &'static str,
    /// The state. Exactly one key of each algorithm in use is [`KeyState::Active`].
    pub state: KeyState,
    /// When it was made and published; `None` for a configured key.
    pub created_at: Option<UnixTime>,
    /// The time from which it signs; `None` for a configured key.
    pub signs_from: Option<UnixTime>,
    /// When it stopped signing.
    pub retired_at: Option<UnixTime>,
    /// The end of its publication, when the last token it may have signed has expired.
    /// [`UnixTime::NEVER`] if it may have signed an endless one; `None` unless it is retired.
    pub published_until: Option<UnixTime>,
}

/// The keys of one moment.
pub(super) struct Ring {
    /// The revision of the store.
    pub revision: i64,
    /// The stored keys.
    pub records: Vec<KeyRecord>,
    /// The signing keys, one for each algorithm in use, that of the issuer's own algorithm first.
    pub signing: Vec<Arc<SigningKey>>,
    /// The published keys as a JWK set.
    pub public: Arc<str>,
    /// The same, for verification.
    pub verifying: Arc<KeySet>,
    /// Their algorithms, the issuer's own first.
    pub algorithms: Vec<Algorithm>,
}

impl Ring {
    /// Parses every key. A configured key signs, and one stored key for each algorithm of the
    /// policy.
    ///
    /// # Errors
    /// If a key is unusable: without it, the tokens it has signed would be refused.
    pub(super) fn new(
        own: Option<&Arc<SigningKey>>,
        policy: &Policy,
        stored: StoredKeys,
    ) -> Result<Self, OpenError> {
        let keys = stored
            .keys
            .iter()
            .map(parse)
            .collect::<Result<Vec<_>, _>>()?;
        let records: Vec<_> = stored.keys.into_iter().map(|key| key.record).collect();
        let stored_one = |algorithm: &String| {
            let record = policy.signing(&records, algorithm)?;
            keys.iter().find(|key| key.kid() == record.kid)
        };
        let stored_ones = policy
            .algorithms
            .iter()
            .map(|algorithm| stored_one(algorithm).ok_or(OpenError::NoKey));
        let signing = own
            .map(Ok)
            .into_iter()
            .chain(stored_ones)
            .map(|key| key.cloned());
        let signing = signing.collect::<Result<Vec<Arc<SigningKey>>, _>>()?;
        let is_signing = |kid: &str| signing.iter().any(|key| key.kid() == kid);
        // The next ones follow, because they are the newest. The own key may be stored too.
        let others = keys.iter().filter(|key| !is_signing(key.kid()));
        let published: Vec<_> = signing.iter().chain(others).collect();
        let jwks: Vec<Value> = published.iter().map(|key| key.public_jwk()).collect();
        let public = json!({ "keys": jwks }).to_string();
        let verifying = KeySet::parse(public.as_bytes()).map_err(|_| OpenError::NoKey)?;
        let mut algorithms = Vec::new();
        for key in published {
            if !algorithms.contains(&key.algorithm()) {
                algorithms.push(key.algorithm());
            }
        }
        Ok(Self {
            revision: stored.revision,
            records,
            signing,
            public: public.into(),
            verifying: Arc::new(verifying),
            algorithms,
        })
    }

    /// The signing key of an algorithm; `None` while there is none.
    pub(super) fn signing_with(&self, algorithm: Algorithm) -> Option<&Arc<SigningKey>> {
        self.signing.iter().find(|key| key.algorithm() == algorithm)
    }

    /// Whether there is a key for each algorithm of a policy. A later announced algorithm has none,
    /// although the store may have one.
    pub(super) fn signs_all(&self, policy: &Policy) -> bool {
        let signs = |name: &String| {
            self.signing
                .iter()
                .any(|key| algorithm_name(key.algorithm()) == name)
        };
        policy.algorithms.iter().all(signs)
    }

    /// Its keys, the signing ones first.
    pub(super) fn views(&self) -> Vec<KeyView> {
        let is_signing = |kid: &str| self.signing.iter().any(|key| key.kid() == kid);
        let mut views: Vec<_> = self
            .records
            .iter()
            .map(|record| view(record, is_signing(&record.kid)))
            .collect();
        // A configured key is not in the store.
        let is_stored = |kid: &str| self.records.iter().any(|record| record.kid == kid);
        for key in self.signing.iter().filter(|key| !is_stored(key.kid())) {
            views.push(KeyView {
                kid: key.kid().to_owned(),
                algorithm: algorithm_name(key.algorithm()),
                state: KeyState::Active,
                created_at: None,
                signs_from: None,
                retired_at: None,
                published_until: None,
            });
        }
        // A stable sort keeps the order of the store: the newest first.
        views.sort_by_key(|view| view.state != KeyState::Active);
        views
    }
}

fn view(record: &KeyRecord, signs: bool) -> KeyView {
    let state = match record.state {
        _ if signs => KeyState::Active,
        // A process with another configuration signs with it, or did. Here it is only published.
        KeyState::Active => KeyState::Retired,
        state => state,
    };
    KeyView {
        kid: record.kid.clone(),
        algorithm: parse_algorithm(&record.algorithm).map_or("none", algorithm_name),
        state,
        created_at: Some(record.created_at),
        signs_from: Some(record.signs_from),
        retired_at: record.retired_at,
        published_until: published_until(record),
    }
}

///
/// # Errors
/// If it is unusable, or not the key of its row.
pub(super) fn parse(stored: &StoredKey) -> Result<Arc<SigningKey>, OpenError> {
    let kid = &stored.record.kid;
    let unusable = || OpenError::StoredKey(kid.clone());
    let algorithm = parse_algorithm(&stored.record.algorithm).ok_or_else(unusable)?;
    let key = SigningKey::from_pem(&stored.private_key, algorithm).map_err(|_| unusable())?;
    // The kid is derived from the key: another one means that the row was changed or mixed up.
    if key.kid() == kid {
        Ok(Arc::new(key))
    } else {
        Err(unusable())
    }
}
