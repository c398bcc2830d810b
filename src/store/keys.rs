//! Signing keys, as they are stored.

use std::time::Duration;

use async_trait::async_trait;

use super::StoreError;
use crate::domain::clock::UnixTime;
use crate::domain::secret::SecretString;

/// Keeps the issuer's signing keys.
#[async_trait]
pub trait KeyStore {
    /// Every signing key, and by what to recognise that one of them was changed.
    async fn signing_keys(&self) -> Result<StoredKeys, StoreError>;

    /// Changes keys, if nobody has changed any since they were read as of `revision`; then
    /// [`Revisions::keys`](super::Revisions::keys) is one higher. `false`: somebody has, and
    /// nothing was changed.
    ///
    /// What is replaced or deleted leaves no trace in the database's files, as far as that is in
    /// the store's power.
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

/// What is to become of some keys, all of it or nothing.
#[derive(Clone, Debug, Default)]
pub struct KeyChange {
    /// Keys that are new, or take the place of those with the same id.
    pub put: Vec<StoredKey>,
    /// The ids of keys that go.
    pub delete: Vec<String>,
}

/// A signing key as it is stored.
#[derive(Clone, Debug)]
pub struct StoredKey {
    /// What is known of it.
    pub record: KeyRecord,
    /// PKCS#8 PEM, or what an [`EncryptionKey`](crate::domain::encryption::EncryptionKey) made of
    /// it.
    pub private_key: SecretString,
}

/// What is known of a signing key, without the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// The key id.
    pub kid: String,
    /// The JWS algorithm, by its name in RFC 7518 §3.1.
    pub algorithm: String,
    /// When it was made, and published.
    pub created_at: UnixTime,
    /// What it is used for.
    pub state: KeyState,
    /// From when on it is to sign; once it does, since when.
    pub signs_from: UnixTime,
    /// When it ceased to sign: with [`KeyState::Retired`], and only then.
    pub retired_at: Option<UnixTime>,
    /// How long the longest token lives that it may have signed, in whole seconds.
    pub longest_token: Duration,
    /// Since when a process runs that signs with another key or algorithm; none while none does.
    pub foreign_since: Option<UnixTime>,
}

/// What a signing key is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// It is published, so that verifiers know it before it signs.
    Next,
    /// It signs.
    Active,
    /// It is only published, for tokens that are still alive.
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
