//! The keys that sign, and the key set that is published.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Config, OpenError};
use crate::domain::clock::UnixTime;
use crate::jose::Algorithm;
use crate::jose::key_set::KeySet;
use crate::jose::sign::SigningKey;
use crate::store::{KeyState, Store, StoredKey};

/// One key that signs; all that are published.
pub(super) struct SigningKeys {
    signing: SigningKey,
    public: Arc<str>,
    /// The same, to verify with.
    verifying: KeySet,
}

impl SigningKeys {
    /// Takes the configured key, or the newest one of the store, or makes one and keeps it there.
    ///
    /// Every other key of the store stays published: after a change of algorithm or of the configured key, tokens of
    /// the old one are still alive.
    pub(super) async fn open(config: &Config, store: &dyn Store, now: UnixTime) -> Result<Self, OpenError> {
        let (mut signing, stored) = if let Some(pem) = &config.private_key {
            let key = SigningKey::from_pem(pem, config.algorithm).map_err(OpenError::PrivateKey)?;
            (Some(key), store.signing_keys().await?)
        } else {
            (None, stored_keys(config.algorithm, store, now).await?)
        };
        let mut others = Vec::new();
        for key in &stored {
            let parsed = parse(key)?;
            let signs = key.state == KeyState::Active && parsed.algorithm() == config.algorithm;
            if signs && signing.is_none() {
                signing = Some(parsed);
            } else {
                others.push(parsed);
            }
        }
        // Cannot be none: the store has just answered with an active key of this algorithm.
        let signing = signing.ok_or(OpenError::NoKey)?;
        let public = key_set(&signing, &others);
        let verifying = KeySet::parse(public.as_bytes()).map_err(|_| OpenError::NoKey)?;
        Ok(Self { signing, public, verifying })
    }

    /// The key that signs.
    pub(super) fn signing_key(&self) -> &SigningKey {
        &self.signing
    }

    /// The published keys as a JWK set.
    pub(super) fn public(&self) -> Arc<str> {
        Arc::clone(&self.public)
    }

    /// The published keys, to verify a token of ours with.
    pub(super) fn verifying_keys(&self) -> &KeySet {
        &self.verifying
    }

    /// The algorithm of new tokens.
    pub(super) fn algorithm(&self) -> Algorithm {
        self.signing.algorithm()
    }
}

/// The store's keys, after making sure that one of them can sign.
async fn stored_keys(
    algorithm: Algorithm,
    store: &dyn Store,
    now: UnixTime,
) -> Result<Vec<StoredKey>, OpenError> {
    let stored = store.signing_keys().await?;
    let name = algorithm_name(algorithm);
    if stored.iter().any(|key| key.state == KeyState::Active && key.algorithm == name) {
        return Ok(stored);
    }
    let key = SigningKey::generate(algorithm).map_err(OpenError::NewKey)?;
    let new = StoredKey {
        kid: key.kid().to_owned(),
        algorithm: name,
        private_key: key.to_pem(),
        created_at: now,
        state: KeyState::Active,
    };
    // Another process may have been first: then its key comes back, and ours is forgotten.
    Ok(store.insert_signing_key_if_none(&new).await?)
}

fn parse(stored: &StoredKey) -> Result<SigningKey, OpenError> {
    let unusable = || OpenError::StoredKey(stored.kid.clone());
    let algorithm = stored.algorithm.parse().map_err(|_| unusable())?;
    let key = SigningKey::from_pem(&stored.private_key, algorithm).map_err(|_| unusable())?;
    // The kid is derived from the key: another one means that the row was tampered with or mixed up.
    if key.kid() == stored.kid { Ok(key) } else { Err(unusable()) }
}

/// The name of RFC 7518 §3.1, which is what jsonwebtoken calls its variants.
fn algorithm_name(algorithm: Algorithm) -> String {
    format!("{algorithm:?}")
}

fn key_set(signing: &SigningKey, others: &[SigningKey]) -> Arc<str> {
    let others = others.iter().filter(|key| key.kid() != signing.kid());
    let keys: Vec<Value> = std::iter::once(signing).chain(others).map(public_jwk).collect();
    json!({ "keys": keys }).to_string().into()
}

/// A JWK with the members that verifiers choose by.
fn public_jwk(key: &SigningKey) -> Value {
    let mut jwk = key.public_jwk();
    if let Some(members) = jwk.as_object_mut() {
        members.entry("kid").or_insert_with(|| key.kid().into());
        members.entry("alg").or_insert_with(|| algorithm_name(key.algorithm()).into());
        members.entry("use").or_insert_with(|| "sig".into());
    }
    jwk
}
