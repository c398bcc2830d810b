//! Copies of the store: made while it is in use, put back while it is not, and proven.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Config, sqlite};

/// The content of a copy, counted in the copy itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Clients of the management API.
    pub clients: u64,
    /// Signing keys: the one that signs, a next one, and those that are still published.
    pub signing_keys: u64,
    /// Access tokens that are kept.
    pub tokens: u64,
    /// Revoked tokens, and clients whose tokens ended.
    pub revocations: u64,
    /// The size of the file.
    pub bytes: u64,
}

/// Why a copy was not made or not put back. Says nothing of what is in it.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The store is in memory, or in no file that can be copied.
    #[error("this store is not kept in a file (`store.url`): there is nothing to copy")]
    NoFile,
    /// There is no file to copy.
    #[error("{} does not exist", .0.display())]
    Missing(PathBuf),
    /// The target is there already.
    #[error("{} exists already: name another file, or say `--force` to replace it", .0.display())]
    Exists(PathBuf),
    /// The target belongs to the store itself.
    #[error("{} belongs to the store itself: name another file", .0.display())]
    IsStore(PathBuf),
    /// A sidecar has the store open.
    #[error("{} is in use: stop every sidecar that uses this store, then restore", .0.display())]
    InUse(PathBuf),
    /// It is no store, or not a whole one.
    #[error("{} is no usable store: {why}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The fault.
        why: String,
    },
    /// The file system refuses.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
}

/// Copies the store into a new file, which only this user can read. The store may be in use
/// meanwhile; the copy holds what was committed when it began. It is read back before it gets its
/// name.
///
/// # Errors
/// When the store is in no file or cannot be read, or `target` exists (unless `replace`) or cannot
/// be written.
pub async fn backup(
    config: &Config,
    target: &Path,
    replace: bool,
) -> Result<Contents, BackupError> {
    let source = file_of(config)?;
    let own = ["", "-wal", "-shm", "-journal"].map(|suffix| beside(source, suffix));
    if own.iter().any(|own| is_same_file(own, target)) {
        return Err(BackupError::IsStore(target.to_owned()));
    }
    if !replace && target.try_exists().unwrap_or(true) {
        return Err(BackupError::Exists(target.to_owned()));
    }
    sqlite::copy::copy(source, target).await
}

/// Replaces the store with a copy, or creates it. The earlier content is lost, its `-wal` included.
///
/// # Errors
/// When a sidecar has the store open, `copy` is no whole store of this or an earlier version, or
/// the file system refuses; the store is then as it was.
pub async fn restore(config: &Config, copy: &Path) -> Result<Contents, BackupError> {
    sqlite::copy::replace(copy, file_of(config)?).await
}

/// Checks that every page of a copy is intact and that this program supports its tables, and counts
/// its content. Changes nothing.
///
/// # Errors
/// When it is not there, or no usable store.
pub async fn verify(copy: &Path) -> Result<Contents, BackupError> {
    sqlite::copy::verify(copy).await
}

/// Whether two paths name one file that exists.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| {
        std::fs::metadata(path)
            .ok()
            .map(|found| (found.dev(), found.ino()))
    };
    identity(one).is_some() && identity(one) == identity(other)
}

/// The file beside the store whose name has this at its end.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(suffix);
    PathBuf::from(name)
}

fn file_of(config: &Config) -> Result<&Path, BackupError> {
    match config {
        Config::SqliteFile(path) => Ok(path),
        Config::SqliteMemory => Err(BackupError::NoFile),
    }
}
