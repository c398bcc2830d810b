//! Persistence behind one trait.
//!
//! SQL stays in the implementations. Every call returns within five seconds, with
//! [`StoreError::Unavailable`] when the database does not answer, so that callers need no time-out.
//! No error contains a stored value.

pub mod backup;
pub mod clients;
#[cfg(test)]
mod contract;
pub mod keys;
mod refresh_tokens;
mod revocations;
mod sqlite;
mod times;
pub mod tokens;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

pub use clients::{ClientStore, DeletedSecret, SecretsOf, StoredClient, StoredSecret};
pub use keys::{KeyChange, KeyRecord, KeyState, KeyStore, StoredKey, StoredKeys};
pub use refresh_tokens::RefreshTokenStore;
pub use revocations::RevocationStore;
pub use times::TimeStore;
pub use tokens::{RevokedToken, TokenStore};

/// Where the store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Config {
    /// A SQLite database in a file; the path is as configured.
    SqliteFile(PathBuf),
    /// A SQLite database in memory: gone with the process.
    SqliteMemory,
}

impl Config {
    /// The file; none for a store in memory.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::SqliteFile(path) => Some(path),
            Self::SqliteMemory => None,
        }
    }
}

/// The issuer's store.
#[async_trait]
pub trait Store:
    KeyStore + ClientStore + TokenStore + RevocationStore + RefreshTokenStore + TimeStore + Send + Sync
{
    /// How often any process changed each kind of content. Also shows whether the store answers.
    async fn revisions(&self) -> Result<Revisions, StoreError>;

    /// Closes the store. Its file is then complete and needs no file beside it, unless other
    /// processes have it open. Every later call fails.
    async fn close(&self);

    /// Why the last write was not kept; none when it was.
    fn write_fault(&self) -> Option<&'static str>;
}

/// Counters that only rise: an equal value means that nothing was changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Revisions {
    /// Of signing keys.
    pub keys: i64,
    /// Of clients and their secrets.
    pub clients: i64,
    /// Of revocations.
    pub revocations: i64,
}

/// Why a call of the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database does not answer, or not in time.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// Nothing can be written; what is there can be read.
    #[error("the store cannot be written: {0}")]
    Unwritable(&'static str),
    /// The database's file or directory cannot be made or opened.
    #[error("cannot open the store at {}: {cause}", path.display())]
    Open {
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        cause: std::io::ErrorKind,
    },
    /// The database cannot be opened.
    #[error("cannot open the store at {}: {cause}", path.display())]
    NotOpened {
        /// Its file.
        path: PathBuf,
        /// The fault.
        cause: String,
    },
    /// The tables are of a version that this program does not support.
    #[error("the store was made by another version of this program")]
    OtherVersion,
    /// A row cannot be read.
    #[error("the store holds a row that cannot be read")]
    Unreadable,
}

/// Opens the store, or creates it, and migrates its tables.
///
/// # Errors
/// When it cannot be opened or was made by a later version. The error names the file.
pub async fn open(config: &Config) -> Result<Arc<dyn Store>, StoreError> {
    match config {
        Config::SqliteFile(path) => {
            // Before the opening, which may empty the file when it fails.
            let hint = leftover_wal(path);
            match sqlite::Sqlite::open_file(path).await {
                Ok(store) => Ok(Arc::new(store)),
                Err(error) => Err(not_opened(path, error, &hint)),
            }
        }
        Config::SqliteMemory => Ok(Arc::new(sqlite::Sqlite::open_memory().await?)),
    }
}

/// An error of the first reading, with the name of the file: often only this reading finds damage.
#[must_use]
pub fn unreadable_at_start(config: &Config, error: StoreError) -> StoreError {
    match config {
        Config::SqliteFile(path) => not_opened(path, error, &leftover_wal(path)),
        Config::SqliteMemory => error,
    }
}

fn not_opened(path: &Path, error: StoreError, hint: &str) -> StoreError {
    let cause = match error {
        StoreError::Open { .. } => return error,
        StoreError::Unavailable(cause) => cause,
        error => error.to_string(),
    };
    StoreError::NotOpened {
        path: path.to_owned(),
        cause: format!("{cause}{hint}"),
    }
}

/// A hint for an error when a `-wal` file is beside the store. A backup that is copied over a store
/// fails on the `-wal` of the old one.
fn leftover_wal(path: &Path) -> String {
    let wal = backup::beside(path, "-wal");
    match std::fs::metadata(&wal) {
        Ok(found) if found.len() > 0 => format!(
            "; {} is beside it: if the file is a backup, put it there with \
             `m2m-sidecar store restore`",
            wal.display()
        ),
        _ => String::new(),
    }
}
