//! A small private file that is replaced as a whole, so that a kill at any moment leaves the old or the new content.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Replaces `file` with `content`; mode 0600. Blocks.
///
/// # Errors
/// When the directory cannot be written.
pub fn replace(file: &Path, content: &[u8]) -> io::Result<()> {
    let next = file.with_extension("next");
    let mut opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
    opened.write_all(content)?;
    opened.sync_all()?;
    fs::rename(&next, file)
}
