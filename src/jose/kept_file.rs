//! A small private file that is replaced as a whole, so that a kill at any moment leaves the old or the new content.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Replaces `file` with `content`; mode 0600. Blocks.
///
/// # Errors
/// When the directory cannot be written.
pub fn replace(file: &Path, content: &[u8]) -> io::Result<()> {
    replace_with_mode(file, content, 0o600)
}

/// The same with another mode, for a file that others read too.
///
/// # Errors
/// When the directory cannot be written.
pub fn replace_with_mode(file: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    // A name of its own: another process, or another part of this one, may be replacing the same file.
    let next = file.with_extension(format!("{:016x}", fastrand::u64(..)));
    let mut opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&next)?;
    let replaced = opened
        .write_all(content)
        // Afterwards: what is asked for at the opening is cut by the process's mask.
        .and_then(|()| opened.set_permissions(fs::Permissions::from_mode(mode)))
        .and_then(|()| opened.sync_all())
        .and_then(|()| fs::rename(&next, file));
    if replaced.is_err() {
        let _ = fs::remove_file(&next);
    }
    replaced
}
