//! The file of a rotated secret: locked, checked and replaced.

use std::fs::{File, TryLockError};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::RotationError;
use crate::domain::secret::{self, ExposeSecret, SecretString};
use crate::files;
use crate::files::private::{self, Access};

/// The secret's file behind all links, with its content and access. While it is locked, no other
/// sidecar rotates the secret.
pub(super) struct SecretFile {
    file: PathBuf,
    pub secret: SecretString,
    access: Access,
    /// Whether it ends with a newline.
    newline: bool,
    _lock: File,
}

impl SecretFile {
    /// Locks the file and checks that it can be replaced: a secret that cannot be written must not
    /// be created.
    pub fn lock(file: &Path) -> Result<Self, RotationError> {
        let inspect = || -> std::io::Result<(PathBuf, File, Access, bool)> {
            let file = std::fs::canonicalize(file)?;
            let metadata = std::fs::metadata(&file)?;
            let owner = Some((metadata.uid(), metadata.gid()));
            let access = Access {
                mode: metadata.permissions().mode() & 0o777,
                owner,
            };
            let newline = Zeroizing::new(std::fs::read(&file)?).last() == Some(&b'\n');
            let lock = File::open(file.parent().unwrap_or(Path::new("/")))?;
            Ok((file, lock, access, newline))
        };
        let (file, lock, access, newline) = inspect().map_err(RotationError::NotReplaced)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(RotationError::Locked),
            Err(TryLockError::Error(error)) => return Err(RotationError::NotReplaced(error)),
        }
        // Read under the lock, because it may have been replaced before.
        let secret = files::read_secret(&file).map_err(|_| RotationError::Files)?;
        // A unique name, because other files beside the secret are not ours.
        let trial = private::unique_beside(&file);
        let tried =
            private::replace_for(&trial, b"", access).and_then(|()| std::fs::remove_file(&trial));
        tried.map_err(RotationError::NotReplaced)?;
        Ok(Self {
            file,
            secret,
            access,
            newline,
            _lock: lock,
        })
    }

    pub fn replace(&self, secret: &SecretString) -> Result<(), RotationError> {
        // A change by hand wins.
        let now = files::read_secret(&self.file).map_err(|_| RotationError::Changed)?;
        if !secret::matches(&now, &self.secret) {
            return Err(RotationError::Changed);
        }
        let end = if self.newline { "\n" } else { "" };
        let content = SecretString::from([secret.expose_secret(), end].concat());
        let replaced =
            private::replace_for(&self.file, content.expose_secret().as_bytes(), self.access);
        replaced.map_err(RotationError::NotReplaced)
    }
}
