//! Signing keys, as they are stored.

use async_trait::async_trait;

use super::StoreError;
use crate::domain::clock::UnixTime;
use crate::domain::secret::SecretString;

/// Keeps the issuer's signing keys.
#[async_trait]
pub trait KeyStore {
    /// Every signing key, the newest first.
    async fn signing_keys(&self) -> Result<Vec<StoredKey>, StoreError>;

    /// Keeps `key` unless there is already an active key of its algorithm, then answers as
    /// [`signing_keys`](Self::signing_keys) does.
    ///
    /// Look and insert are one transaction: of two processes that start at once on one store, both go on with the
    /// same key.
    async fn insert_signing_key_if_none(&self, key: &StoredKey) -> Result<Vec<StoredKey>, StoreError>;
}

/// A signing key as it is stored.
#[derive(Clone, Debug)]
pub struct StoredKey {
    /// The key id.
    pub kid: String,
    /// The JWS algorithm, by its name in RFC 7518 §3.1.
    pub algorithm: String,
    /// PKCS#8 PEM.
    pub private_key: SecretString,
    /// When it was made.
    pub created_at: UnixTime,
    /// What it is used for.
    pub state: KeyState,
}

/// What a stored signing key is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// It signs.
    Active,
    /// It is only published, for tokens that are still alive.
    Retired,
}
