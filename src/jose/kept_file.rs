//! A small private file that is replaced as a whole, so that a kill at any moment leaves the old or the new content.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

/// The permission of group and others to write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// What is in `file`, at most `most` bytes; `None` when there is no file. Blocks.
///
/// # Errors
/// Why the file is not believed: anyone could have written it, or it is not what we write.
pub fn read(file: &Path, most: u64) -> Result<Option<Vec<u8>>, &'static str> {
    // Of the name itself: we write no links, so one was put there by somebody else.
    let metadata = match fs::symlink_metadata(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(_) => return Err("it cannot be read"),
        Ok(metadata) => metadata,
    };
    if !metadata.is_file() {
        return Err("it is no ordinary file");
    }
    if metadata.permissions().mode() & WRITABLE_BY_OTHERS != 0 {
        return Err("others than its owner may write it");
    }
    let mut bytes = Vec::new();
    let opened = File::open(file).and_then(|file| file.take(most.saturating_add(1)).read_to_end(&mut bytes));
    match opened {
        Err(_) => Err("it cannot be read"),
        Ok(length) if length as u64 > most => Err("it is too large"),
        Ok(_) => Ok(Some(bytes)),
    }
}

/// Replaces `file` with `content`; mode 0600. Blocks.
///
/// # Errors
/// When the directory cannot be written.
pub fn replace(file: &Path, content: &[u8]) -> io::Result<()> {
    replace_for(file, content, Access { mode: 0o600, owner: None })
}

/// Gives a file to its owner; nothing is done where it is theirs, for not every file system lets one.
fn give(file: &File, owner: Option<(u32, u32)>) -> io::Result<()> {
    let Some((user, group)) = owner else { return Ok(()) };
    let now = file.metadata()?;
    if (now.uid(), now.gid()) == (user, group) { Ok(()) } else { fchown(file, Some(user), Some(group)) }
}

/// Who may do what with a file.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// The permission bits.
    pub mode: u32,
    /// User and group; none: ours.
    pub owner: Option<(u32, u32)>,
}

/// The same for a file that others read too.
///
/// # Errors
/// When the directory cannot be written, or the file cannot be given to its owner.
pub fn replace_for(file: &Path, content: &[u8], access: Access) -> io::Result<()> {
    // A name of its own: another process, or another part of this one, may be replacing the same file.
    let next = file.with_extension(format!("{:016x}", fastrand::u64(..)));
    let mut opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&next)?;
    let replaced = opened
        .write_all(content)
        // Afterwards: what is asked for at the opening is cut by the process's mask.
        .and_then(|()| opened.set_permissions(fs::Permissions::from_mode(access.mode)))
        .and_then(|()| give(&opened, access.owner))
        .and_then(|()| opened.sync_all())
        .and_then(|()| fs::rename(&next, file));
    match &replaced {
        Err(_) => drop(fs::remove_file(&next)),
        // Otherwise a loss of power could bring the old one back. The new one is there all the same.
        Ok(()) => drop(File::open(file.parent().unwrap_or(Path::new("."))).and_then(|dir| dir.sync_all())),
    }
    replaced
}
