//! A small private file: read only if no other user can have written it, and replaced as a whole, so
//! that a kill at any moment leaves the old or the new content.
//!
//! Kept files decide which tokens are valid. A file is used only if it is an ordinary file of our
//! user or of root that no other user may write, in a directory of the same kind. Files that the
//! configuration names are not checked: Kubernetes mounts them as links.

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

/// Why a file or a directory is not used, with the command that repairs it.
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
                    ": `chown {us} {path}` if its content is this sidecar's own, else `rm -r {path}`"
                )
            }
            Self::File { .. } => format!(": `chmod go-w {path}`"),
            Self::Directory { .. } => {
                format!(
                    ": `chmod go-w {path}`, or name a subdirectory that the sidecar creates itself"
                )
            }
        }
    }
}

/// A path quoted for a shell.
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

/// The user and groups whose files are used.
#[derive(Clone, Debug)]
pub struct Trusted {
    user: u32,
    groups: Vec<u32>,
}

impl Trusted {
    /// Files of the user of this process, and of root.
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

    /// Files of a directory's owner, and of root: for a command that runs as another user than the
    /// sidecar.
    ///
    /// # Errors
    /// When the directory cannot be inspected.
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

    /// Checks a directory. Gives the group that may write it, if that is allowed: Kubernetes gives a
    /// pod's volume the pod's group (`fsGroup`) and the set-group-ID bit.
    ///
    /// A link of our user or of root is followed: systemd makes one for `DynamicUser`.
    ///
    /// # Errors
    /// Why files in it are not used. A missing directory is `Ok(None)`, as is one that only its owner
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

    /// Checks an open file in a directory that `group` may write.
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

    /// Opens a file and checks it and its directory; `None` when there is no file. A pipe does not
    /// block.
    fn open(&self, path: &Path) -> Result<Option<File>, Unusable> {
        let group = self.directory(path.parent().unwrap_or(Path::new(".")))?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(descriptor) => File::from(descriptor),
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(rustix::io::Errno::LOOP) => return Err(Unusable::new(path, Fault::Link)),
            // It is a socket.
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
    /// Why the file is not used.
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
    /// Why the file is not used. A missing file is no error.
    pub fn check(&self, file: &Path) -> Result<(), Unusable> {
        self.open(file).map(drop)
    }
}

/// The content of a file of our own, at most `most` bytes; `None` when there is no file. Blocks.
///
/// # Errors
/// Why the file is not used.
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

/// Mode and owner of a file.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// The permission bits.
    pub mode: u32,
    /// User and group; `None` for our own.
    pub owner: Option<(u32, u32)>,
}

/// [`replace`] for a file that other users read.
///
/// # Errors
/// When the directory cannot be written, or the file cannot be given to its owner.
pub fn replace_for(file: &Path, content: &[u8], access: Access) -> io::Result<()> {
    // A unique name: another writer may be replacing the same file.
    let next = file.with_extension(format!("{:016x}", fastrand::u64(..)));
    let mut opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&next)?;
    let replaced = opened
        .write_all(content)
        // The process's mask would reduce a mode that is given to `open`.
        .and_then(|()| opened.set_permissions(fs::Permissions::from_mode(access.mode)))
        .and_then(|()| give(&opened, access.owner))
        .and_then(|()| opened.sync_all())
        .and_then(|()| fs::rename(&next, file));
    match &replaced {
        Err(_) => drop(fs::remove_file(&next)),
        // Without it a loss of power could bring the old file back.
        Ok(()) => {
            drop(File::open(file.parent().unwrap_or(Path::new("."))).and_then(|dir| dir.sync_all()))
        }
    }
    replaced
}

#[cfg(test)]
mod tests;
