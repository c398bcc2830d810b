//! Signing keys, as they are stored.

use std::time::Duration;

use async_trait::async_trait;

use super::StoreError;
use crate::domain::clock::UnixTime;
use crate::domain::secret::SecretString;

/// Keeps the issuer's signing keys.
#[async_trait]
pub trait KeyStore {
    /// Every signing key, and the revision at which they were read.
    async fn signing_keys(&self) -> Result<StoredKeys, StoreError>;

    /// Changes keys if the revision of the keys is still `revision`, and raises
    /// [`Revisions::keys`](super::Revisions::keys). `false`: another process changed them first,
    /// and nothing was written.
    ///
    /// Replaced or deleted keys leave no trace in the database's files, as far as the store
    /// controls them.
    async fn change_signing_keys(
        &self,
        revision: i64,
        change: &KeyChange,
    ) -> Result<bool, StoreError>;
}

/// Every signing key at one moment.
#[derive(Clone, Debug)]
pub struct StoredKeys {
    /// [`Revisions::keys`](super::Revisions::keys) at that moment.
    pub revision: i64,
    /// The keys, the newest first.
    pub keys: Vec<StoredKey>,
}

/// A change of keys, which is applied as a whole.
#[derive(Clone, Debug, Default)]
pub struct KeyChange {
    /// New keys, and replacements of keys with the same id.
    pub put: Vec<StoredKey>,
    /// The ids of the keys to delete.
    pub delete: Vec<String>,
}

/// A signing key as it is stored.
#[derive(Clone, Debug)]
pub struct StoredKey {
    /// Its metadata.
    pub record: KeyRecord,
    /// PKCS#8 PEM, possibly encrypted with an
    /// [`EncryptionKey`](crate::domain::encryption::EncryptionKey).
    pub private_key: SecretString,
}

/// The metadata of a signing key, without the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// The key id.
    pub kid: String,
    /// The JWS algorithm, by its name in RFC 7518 §3.1.
    pub algorithm: String,
    /// When it was made, and published.
    pub created_at: UnixTime,
    /// Its use.
    pub state: KeyState,
    /// The time from which it signs.
    pub signs_from: UnixTime,
    /// When it stopped signing; only with [`KeyState::Retired`].
    pub retired_at: Option<UnixTime>,
    /// The longest lifetime of a token that it may have signed, in whole seconds.
    pub longest_token: Duration,
    /// Since when another process signs with another key or algorithm; none while there is no such
    /// process.
    pub foreign_since: Option<UnixTime>,
}

/// The use of a signing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// It is published, so that verifiers have it before it signs.
    Next,
    /// It signs.
    Active,
    /// It is only published, for tokens that are still valid.
    Retired,
}

impl KeyState {
    /// Its name in the store and on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Active => "active",
            Self::Retired => "retired",
        }
    }

    /// The state of a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Next, Self::Active, Self::Retired]
            .into_iter()
            .find(|state| state.as_str() == name)
    }
}
