//! A small private file of our own: read only when no other user can have written it, and replaced
//! as a whole, so that a kill at any moment leaves the old or the new content.
//!
//! What we keep decides who is let in, so a file is believed only when it is an ordinary file of
//! ours or of root that no other user may write, in a directory of which the same holds. Files that
//! the configuration names are the operator's business: Kubernetes mounts them as links.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::process::{getegid, geteuid, getgroups};
use zeroize::Zeroizing;

const SET_GROUP_ID: u32 = 0o2000;
const WRITABLE_BY_GROUP: u32 = 0o020;
const WRITABLE_BY_OTHERS: u32 = 0o002;
const PERMISSIONS: u32 = 0o7777;

/// Why a file or a directory is not believed, with the command that mends it.
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
    #[error("is no ordinary file")]
    NotAFile,
    #[error("is no directory")]
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
                    ": `chown {us} {path}` if what is in it is this sidecar's own, else `rm -r {path}`"
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

/// A path as a shell reads it.
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

/// Whose files are believed.
#[derive(Clone, Debug)]
pub struct Trusted {
    user: u32,
    groups: Vec<u32>,
}

impl Trusted {
    /// Those of the user that this process runs as, and root's.
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

    /// Those of the user whom a directory belongs to, and root's: for a command that one user runs
    /// beside the sidecar of another.
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

    /// Judges a directory. Gives the group whose members may write it: that of a volume that
    /// Kubernetes hands to a pod (`fsGroup`), whose mark is the set-group-ID bit, where it is one
    /// of our own groups.
    ///
    /// A link to it is believed when it is ours or root's: systemd makes one for `DynamicUser`.
    ///
    /// # Errors
    /// Why what lies in it is not believed. [`ErrorKind::NotFound`] is `Ok(None)`, as is a
    /// directory that only its owner may write.
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

    /// Judges a file that was opened, in a directory that this group may write.
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

    /// Opens a file and judges it and its directory; `None` when there is no file. Does not wait
    /// for a pipe's other end.
    fn open(&self, path: &Path) -> Result<Option<File>, Unusable> {
        let group = self.directory(path.parent().unwrap_or(Path::new(".")))?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(descriptor) => File::from(descriptor),
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(rustix::io::Errno::LOOP) => return Err(Unusable::new(path, Fault::Link)),
            // What a socket answers.
            Err(rustix::io::Errno::NXIO) => return Err(Unusable::new(path, Fault::NotAFile)),
            Err(error) => return Err(Unusable::new(path, Fault::Unreadable(error.into()))),
        };
        let metadata = file.metadata().map_err(Unusable::unreadable(path))?;
        self.file(path, &metadata, group)?;
        Ok(Some(file))
    }

    /// What is in `file`, at most `most` bytes; `None` when there is no file. Blocks.
    ///
    /// # Errors
    /// Why the file is not believed.
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

    /// Judges a file that something else reads, and its directory. Blocks.
    ///
    /// # Errors
    /// Why the file is not believed; that it is not there is no error.
    pub fn check(&self, file: &Path) -> Result<(), Unusable> {
        self.open(file).map(drop)
    }
}

/// What is in a file of ours, at most `most` bytes; `None` when there is no file. Blocks.
///
/// # Errors
/// Why the file is not believed.
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

/// Gives a file to its owner; nothing is done where it is theirs, for not every file system lets
/// one.
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
    // A name of its own: another process, or another part of this one, may be replacing the same
    // file.
    let next = file.with_extension(format!("{:016x}", fastrand::u64(..)));
    let mut opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&next)?;
    let replaced = opened
        .write_all(content)
        // Afterwards: what is asked for at the opening is cut by the process's mask.
        .and_then(|()| opened.set_permissions(fs::Permissions::from_mode(access.mode)))
        .and_then(|()| give(&opened, access.owner))
        .and_then(|()| opened.sync_all())
        .and_then(|()| fs::rename(&next, file));
    match &replaced {
        Err(_) => drop(fs::remove_file(&next)),
        // Otherwise a loss of power could bring the old one back. The new one is there all the
        // same.
        Ok(()) => {
            drop(File::open(file.parent().unwrap_or(Path::new("."))).and_then(|dir| dir.sync_all()))
        }
    }
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("kept");
        replace(&file, b"content").unwrap();
        (dir, file)
    }

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn refused(file: &Path) -> String {
        read(file, 100).unwrap_err().to_string()
    }

    #[test]
    fn a_file_of_ours_is_read_whoever_may_read_it_too() {
        let (dir, file) = place();
        for (of_dir, of_file) in [(0o700, 0o600), (0o755, 0o644), (0o500, 0o400)] {
            chmod(&file, of_file);
            chmod(dir.path(), of_dir);
            assert_eq!(&**read(&file, 7).unwrap().unwrap(), b"content");
        }
        chmod(dir.path(), 0o700);
        assert!(read(&dir.path().join("none"), 7).unwrap().is_none());
        assert!(read(&dir.path().join("no/dir"), 7).unwrap().is_none());
    }

    #[test]
    fn what_others_may_write_is_refused_with_the_command_that_mends_it() {
        let (dir, file) = place();
        for mode in [0o620, 0o602, 0o666, 0o777] {
            chmod(&file, mode);
            let said = refused(&file);
            assert!(
                said.contains(&format!("`chmod go-w {}`", file.display())),
                "{said}"
            );
        }
        chmod(&file, 0o600);
        for mode in [0o770, 0o702, 0o777, 0o1777, 0o2777] {
            chmod(dir.path(), mode);
            let said = refused(&file);
            assert!(
                said.contains(&format!("`chmod go-w {}`", dir.path().display())),
                "{mode:o} {said}"
            );
        }
    }

    #[test]
    fn a_volume_of_kubernetes_that_its_own_group_may_write_is_believed() {
        let (dir, file) = place();
        chmod(dir.path(), 0o2770);
        chmod(&file, 0o660);
        assert!(read(&file, 100).unwrap().is_some());
        chmod(&file, 0o666);
        assert!(refused(&file).contains("mode 0666"));
        chmod(&file, 0o660);
        let stranger = Trusted {
            groups: Vec::new(),
            ..Trusted::ourselves()
        };
        assert!(
            stranger
                .read(&file, 100)
                .unwrap_err()
                .to_string()
                .contains("mode 2770")
        );
    }

    #[test]
    fn what_belongs_to_somebody_else_is_refused() {
        let (dir, file) = place();
        let stranger = Trusted {
            user: 4_000_000,
            groups: Vec::new(),
        };
        if geteuid().is_root() {
            fchown(File::open(&file).unwrap(), Some(4_000_001), None).unwrap();
            assert!(refused(&file).contains("`chown 0 "));
            fchown(File::open(dir.path()).unwrap(), Some(4_000_000), None).unwrap();
            fchown(File::open(&file).unwrap(), Some(0), None).unwrap();
            assert!(
                stranger.read(&file, 100).unwrap().is_some(),
                "root may write what it wants"
            );
            assert!(
                refused(&file).contains("belongs to user 4000000"),
                "the directory"
            );
            assert!(
                Trusted::owner_of(dir.path())
                    .unwrap()
                    .read(&file, 100)
                    .is_ok()
            );
        } else {
            let said = stranger.read(&file, 100).unwrap_err().to_string();
            assert!(said.contains("`chown 4000000 "), "{said}");
        }
    }

    #[test]
    fn links_pipes_sockets_directories_and_large_files_are_refused_and_nothing_waits() {
        let (dir, file) = place();
        let at = |name: &str| dir.path().join(name);
        std::os::unix::fs::symlink(&file, at("link")).unwrap();
        std::os::unix::fs::symlink("nowhere", at("loose")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), Mode::RUSR | Mode::WUSR).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        fs::create_dir(at("directory")).unwrap();
        for (name, words) in [
            ("link", "is a link"),
            ("loose", "is a link"),
            ("pipe", "is no ordinary file"),
            ("socket", "is no ordinary file"),
            ("directory", "is no ordinary file"),
        ] {
            let said = refused(&at(name));
            assert!(said.contains(words), "{name}: {said}");
        }
        assert!(
            read(&file, 6)
                .unwrap_err()
                .to_string()
                .contains("larger than 6 bytes")
        );
    }

    #[test]
    fn a_directory_behind_a_link_of_ours_is_judged_itself() {
        let (dir, file) = place();
        let outer = tempfile::tempdir().unwrap();
        let link = outer.path().join("state");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        assert!(read(&link.join("kept"), 100).unwrap().is_some());
        chmod(dir.path(), 0o777);
        assert!(read(&link.join("kept"), 100).is_err());
        assert!(
            Trusted::ourselves()
                .directory(&file)
                .unwrap_err()
                .to_string()
                .contains("is no directory")
        );
    }

    #[test]
    fn a_command_is_fit_for_a_shell() {
        assert_eq!(quoted(Path::new("/a b/it's")), r"'/a b/it'\''s'");
        assert_eq!(quoted(Path::new("./data/x-1.json")), "./data/x-1.json");
    }
}
