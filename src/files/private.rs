//! The private files of this program, such as kept tokens and key sets: written by one writer, and
//! read only when no other user can have written them.
//!
//! A file is replaced as a whole, so that a kill at any moment leaves the old or the new content.
//! It is trusted when it is an ordinary file of this user or of root that no other user may write,
//! in such a directory. Files that the configuration names are not checked: Kubernetes mounts them
//! as links.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::process::{getegid, geteuid, getgroups};
use zeroize::Zeroizing;

const SET_GROUP_ID: u32 = 0o2000;
const WRITABLE_BY_GROUP: u32 = 0o020;
const WRITABLE_BY_OTHERS: u32 = 0o002;
const PERMISSIONS: u32 = 0o7777;

/// Why a file or a directory is not trusted, with the command that mends it.
#[derive(Debug, thiserror::Error)]
#[error("{} {fault}{}", .path.display(), .fault.cure(.path))]
pub struct Unusable {
    path: PathBuf,
    fault: Fault,
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    #[error("is a link, which may lead to another user's file")]
    Link,
    #[error("is not an ordinary file")]
    NotAFile,
    #[error("is not a directory")]
    NotADirectory,
    #[error("belongs to user {of}, not to user {us}")]
    Owner { of: u32, us: u32 },
    #[error("can be written by others (mode {mode:04o})")]
    File { mode: u32 },
    #[error("can be written by others (mode {mode:04o})")]
    Directory { mode: u32 },
    #[error("is larger than {0} bytes")]
    TooLarge(u64),
}

impl Fault {
    fn cure(&self, path: &Path) -> String {
        let path = quoted(path);
        match self {
            Self::Unreadable(_) | Self::NotADirectory => String::new(),
            Self::Link | Self::NotAFile | Self::TooLarge(_) => format!(": `rm -r {path}`"),
            Self::Owner { us, .. } => {
                format!(
                    ": `chown {us} {path}` if its content is this sidecar's own, else \
                     `rm -r {path}`"
                )
            }
            Self::File { .. } => format!(": `chmod go-w {path}`"),
            Self::Directory { .. } => {
                format!(
                    ": `chmod go-w {path}`, or name a directory in it that the sidecar makes itself"
                )
            }
        }
    }
}

/// A path, quoted for a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@".contains(c);
    if text.chars().all(is_plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

impl Unusable {
    fn new(path: &Path, fault: Fault) -> Self {
        Self {
            path: path.to_owned(),
            fault,
        }
    }

    fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::new(path, Fault::Unreadable(error))
    }
}

/// The users whose files are trusted.
#[derive(Clone, Debug)]
pub struct Trusted {
    user: u32,
    groups: Vec<u32>,
}

impl Trusted {
    /// The user that this process runs as, and root.
    #[must_use]
    pub fn ourselves() -> Self {
        let mut groups: Vec<u32> = getgroups()
            .unwrap_or_default()
            .into_iter()
            .map(rustix::process::Gid::as_raw)
            .collect();
        groups.push(getegid().as_raw());
        Self {
            user: geteuid().as_raw(),
            groups,
        }
    }

    /// The owner of a directory, and root: for a command that one user runs beside the sidecar of
    /// another.
    ///
    /// # Errors
    /// When the directory cannot be looked at.
    pub fn owner_of(directory: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(directory)?;
        Ok(Self {
            user: metadata.uid(),
            groups: vec![metadata.gid()],
        })
    }

    fn is_owner(&self, user: u32) -> bool {
        user == self.user || user == 0
    }

    /// Checks a directory, and returns the group whose members may write it. That is the group of
    /// a volume that Kubernetes gives to a pod (`fsGroup`): it has the set-group-ID bit, and is one
    /// of our own groups.
    ///
    /// A link of a trusted user is followed: systemd makes one for `DynamicUser`.
    ///
    /// # Errors
    /// Why the directory is not trusted. A missing one is `Ok(None)`, as is one that only its owner
    /// may write.
    pub fn directory(&self, directory: &Path) -> Result<Option<u32>, Unusable> {
        let directory = if directory.as_os_str().is_empty() {
            Path::new(".")
        } else {
            directory
        };
        let fails = |fault| Err(Unusable::new(directory, fault));
        for metadata in [fs::symlink_metadata(directory), fs::metadata(directory)] {
            let metadata = match metadata {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) => return fails(Fault::Unreadable(error)),
                Ok(metadata) => metadata,
            };
            if !self.is_owner(metadata.uid()) {
                return fails(Fault::Owner {
                    of: metadata.uid(),
                    us: self.user,
                });
            }
            if metadata.is_symlink() {
                continue;
            }
            if !metadata.is_dir() {
                return fails(Fault::NotADirectory);
            }
            let mode = metadata.mode() & PERMISSIONS;
            let is_volume = mode & SET_GROUP_ID != 0 && self.groups.contains(&metadata.gid());
            if mode & WRITABLE_BY_OTHERS != 0 || mode & WRITABLE_BY_GROUP != 0 && !is_volume {
                return fails(Fault::Directory { mode });
            }
            return Ok(Some(metadata.gid()).filter(|_| is_volume && mode & WRITABLE_BY_GROUP != 0));
        }
        Ok(None)
    }

    /// Checks an opened file, in a directory that this group may write.
    fn file(
        &self,
        path: &Path,
        metadata: &fs::Metadata,
        group: Option<u32>,
    ) -> Result<(), Unusable> {
        let mode = metadata.mode() & PERMISSIONS;
        let is_of_volume = group == Some(metadata.gid());
        let fault = if !metadata.is_file() {
            Fault::NotAFile
        } else if !self.is_owner(metadata.uid()) {
            Fault::Owner {
                of: metadata.uid(),
                us: self.user,
            }
        } else if mode & WRITABLE_BY_OTHERS != 0 || mode & WRITABLE_BY_GROUP != 0 && !is_of_volume {
            // Kubernetes lets the group of a volume write every file in it.
            Fault::File { mode }
        } else {
            return Ok(());
        };
        Err(Unusable::new(path, fault))
    }

    /// Opens a file and checks it and its directory; `None` when there is no file. Does not wait
    /// for the other end of a pipe.
    fn open(&self, path: &Path) -> Result<Option<File>, Unusable> {
        let group = self.directory(path.parent().unwrap_or(Path::new(".")))?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(descriptor) => File::from(descriptor),
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(rustix::io::Errno::LOOP) => return Err(Unusable::new(path, Fault::Link)),
            // The error of a socket.
            Err(rustix::io::Errno::NXIO) => return Err(Unusable::new(path, Fault::NotAFile)),
            Err(error) => return Err(Unusable::new(path, Fault::Unreadable(error.into()))),
        };
        let metadata = file.metadata().map_err(Unusable::unreadable(path))?;
        self.file(path, &metadata, group)?;
        Ok(Some(file))
    }

    /// The content of `file`, at most `most` bytes; `None` when there is no file. Blocks.
    ///
    /// # Errors
    /// Why the file is not trusted.
    pub fn read(&self, file: &Path, most: u64) -> Result<Option<Zeroizing<Vec<u8>>>, Unusable> {
        let Some(opened) = self.open(file)? else {
            return Ok(None);
        };
        let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
        let read = opened.take(most.saturating_add(1)).read_to_end(&mut bytes);
        let length = read.map_err(Unusable::unreadable(file))?;
        if length as u64 > most {
            Err(Unusable::new(file, Fault::TooLarge(most)))
        } else {
            Ok(Some(bytes))
        }
    }

    /// Checks a file that other code reads, and its directory. Blocks.
    ///
    /// # Errors
    /// Why the file is not trusted. A missing file is no error.
    pub fn check(&self, file: &Path) -> Result<(), Unusable> {
        self.open(file).map(drop)
    }
}

/// The content of a file of ours, at most `most` bytes; `None` when there is no file. Blocks.
///
/// # Errors
/// Why the file is not trusted.
pub fn read(file: &Path, most: u64) -> Result<Option<Zeroizing<Vec<u8>>>, Unusable> {
    Trusted::ourselves().read(file, most)
}

/// Replaces `file` with `content`; mode 0600. Blocks.
///
/// # Errors
/// When the directory cannot be written.
pub fn replace(file: &Path, content: &[u8]) -> io::Result<()> {
    replace_for(
        file,
        content,
        Access {
            mode: 0o600,
            owner: None,
        },
    )
}

/// Gives a file to its owner. One that has it is left alone: not every file system can change it.
fn give(file: &File, owner: Option<(u32, u32)>) -> io::Result<()> {
    let Some((user, group)) = owner else {
        return Ok(());
    };
    let now = file.metadata()?;
    if (now.uid(), now.gid()) == (user, group) {
        Ok(())
    } else {
        fchown(file, Some(user), Some(group))
    }
}

/// The mode and the owner of a file.
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
    // A unique name: other tasks and processes may be replacing the same file.
    let next = unique_beside(file);
    let mut opened = new_file(&next)?;
    let replaced = opened
        .write_all(content)
        // After the opening, whose mode the process's mask limits.
        .and_then(|()| opened.set_permissions(fs::Permissions::from_mode(access.mode)))
        .and_then(|()| give(&opened, access.owner))
        .and_then(|()| opened.sync_all())
        .and_then(|()| fs::rename(&next, file));
    match &replaced {
        Err(_) => drop(fs::remove_file(&next)),
        // Otherwise a power failure could bring the old file back. The new one is in place even
        // if this fails.
        Ok(()) => {
            drop(File::open(file.parent().unwrap_or(Path::new("."))).and_then(|dir| dir.sync_all()))
        }
    }
    replaced
}

/// Writes a new file of mode 0600; one that exists stays as it is. Other processes never see a part
/// of it. Blocks.
///
/// # Errors
/// [`ErrorKind::AlreadyExists`], or when the directory cannot be written.
pub fn create(file: &Path, content: &[u8]) -> io::Result<()> {
    let next = unique_beside(file);
    let written = new_file(&next)
        .and_then(|mut opened| opened.write_all(content).and_then(|()| opened.sync_all()))
        .and_then(|()| fs::hard_link(&next, file));
    let _ = fs::remove_file(&next);
    written
}

/// A new file of mode 0600, open for writing.
///
/// # Errors
/// When it exists, or the directory cannot be written.
pub fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// A file, open for reading and writing: a new one has mode 0600, an existing one stays as it is.
/// Blocks.
///
/// # Errors
/// When it cannot be opened or made.
pub fn open_or_create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

/// A name that no other file has, in the same directory.
#[must_use]
pub fn unique_beside(file: &Path) -> PathBuf {
    file.with_extension(format!("{:016x}", fastrand::u64(..)))
}

/// Makes a directory and those above it, of mode 0700; existing ones stay as they are. Blocks.
///
/// # Errors
/// When it cannot be made.
pub fn make_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

#[cfg(test)]
mod tests;
