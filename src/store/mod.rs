//! Persistence: what must outlive the process, behind one trait.
//!
//! SQL stays in the implementations. Every call answers within five seconds, with [`StoreError::Unavailable`] when the
//! database does not, so that nothing above needs a time-out of its own. No error carries a stored value.

mod sqlite;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::clock::UnixTime;
use crate::domain::secret::SecretString;

/// Where the store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Config {
    /// A SQLite database in a file; the path is as configured.
    SqliteFile(PathBuf),
    /// A SQLite database in memory: gone with the process.
    SqliteMemory,
}

/// What the issuer keeps.
#[async_trait]
pub trait Store: Send + Sync {
    /// Every signing key, the newest first.
    async fn signing_keys(&self) -> Result<Vec<StoredKey>, StoreError>;

    /// Keeps `key` unless there is already an active key of its algorithm, then answers as
    /// [`signing_keys`](Self::signing_keys) does.
    ///
    /// Look and insert are one transaction: of two processes that start at once on one store, both go on with the
    /// same key.
    async fn insert_signing_key_if_none(&self, key: &StoredKey) -> Result<Vec<StoredKey>, StoreError>;

    /// Keeps a revocation; a token that is revoked already stays as it is.
    async fn insert_revoked_token(&self, token: &RevokedToken) -> Result<(), StoreError>;

    /// The revoked tokens that have not expired before `now`, the newest first. Those that have are forgotten.
    async fn revoked_tokens(&self, now: UnixTime) -> Result<Vec<RevokedToken>, StoreError>;

    /// Whether the store answers.
    async fn ping(&self) -> Result<(), StoreError>;
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

/// An access token that was taken back before its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokedToken {
    /// Its `jti`.
    pub jti: String,
    /// Whose it was.
    pub client_id: String,
    /// When it would have expired: from then on it need not be remembered.
    pub expires_at: UnixTime,
    /// When it was revoked.
    pub revoked_at: UnixTime,
}

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database does not answer, or not in time.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// The database's file or directory cannot be made or opened.
    #[error("cannot open the store at {}: {cause}", path.display())]
    Open {
        /// The file or directory.
        path: PathBuf,
        /// The system's word on it.
        cause: std::io::ErrorKind,
    },
    /// The database has tables of a version that this program does not know.
    #[error("the store was made by another version of this program")]
    OtherVersion,
    /// A row cannot be read.
    #[error("the store holds a row that cannot be read")]
    Unreadable,
}

/// Opens the store, making it when it is not there, and brings its tables up to date.
///
/// # Errors
/// When it cannot be opened or was made by a later version.
pub async fn open(config: &Config) -> Result<Arc<dyn Store>, StoreError> {
    match config {
        Config::SqliteFile(path) => Ok(Arc::new(sqlite::Sqlite::open_file(path).await?)),
        Config::SqliteMemory => Ok(Arc::new(sqlite::Sqlite::open_memory().await?)),
    }
}
