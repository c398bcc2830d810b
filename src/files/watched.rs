//! Files that are noticed when they change.
//!
//! They are looked at every second rather than watched through the kernel. That also covers a file
//! that is replaced by rename, a link that is changed (as Kubernetes does with mounted Secrets and
//! ConfigMaps), and network file systems.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::blocking;

/// How often watched files are looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Distinguishes the versions of a file: device, inode, size, and both times in nanoseconds.
/// `None`: there is no file.
type Stamp = Option<(u64, u64, u64, (i64, i64), (i64, i64))>;

/// The stamp of the file at the end of all links.
fn stamp(path: &Path) -> Stamp {
    let metadata = std::fs::metadata(path).ok()?;
    let (modified, changed) = (
        (metadata.mtime(), metadata.mtime_nsec()),
        (metadata.ctime(), metadata.ctime_nsec()),
    );
    Some((
        metadata.dev(),
        metadata.ino(),
        metadata.len(),
        modified,
        changed,
    ))
}

/// Files that are looked at for changes.
#[derive(Debug)]
pub struct Watched {
    paths: Vec<PathBuf>,
    /// Their stamps at the last note.
    noted: Mutex<Vec<Stamp>>,
}

impl Watched {
    /// Watches these files, without a note of them.
    #[must_use]
    pub fn new(paths: impl IntoIterator<Item = PathBuf>) -> Arc<Self> {
        Arc::new(Self {
            paths: paths.into_iter().collect(),
            noted: Mutex::default(),
        })
    }

    /// Notes the present stamps. To be called before the files are read: the next look finds a
    /// change in between. Blocks.
    pub fn note(&self) {
        let now = self.stamps();
        *self.noted.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// Waits until one of the files differs from its note; without files, without end.
    pub async fn changed(self: &Arc<Self>) {
        if self.paths.is_empty() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if self.differ_now().await {
                return;
            }
        }
    }

    /// Whether one of the files differs from its note.
    pub async fn differ_now(self: &Arc<Self>) -> bool {
        let looked = self.clone();
        blocking(move || looked.differ()).await
    }

    fn differ(&self) -> bool {
        self.stamps() != *self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stamps(&self) -> Vec<Stamp> {
        self.paths.iter().map(|path| stamp(path)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::secret::ExposeSecret;
    use crate::files::read_secret;

    #[test]
    fn every_kind_of_change_is_a_difference_and_reading_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "one").unwrap();
        let watched = Watched::new([path.clone()]);
        assert!(watched.differ(), "nothing was noted yet");
        watched.note();
        let _ = read_secret(&path).unwrap();
        assert!(!watched.differ());
        let step = |change: &dyn Fn()| {
            change();
            assert!(watched.differ());
            watched.note();
            assert!(!watched.differ());
        };
        step(&|| std::fs::write(&path, "longer").unwrap());
        step(&|| {
            let other = dir.path().join("other");
            std::fs::write(&other, "longer").unwrap();
            std::fs::rename(&other, &path).unwrap();
        });
        step(&|| std::fs::remove_file(&path).unwrap());
        // As Kubernetes does it: a link to a link to a directory.
        for round in ["a", "b"] {
            std::fs::create_dir(dir.path().join(round)).unwrap();
            std::fs::write(dir.path().join(round).join("secret"), round).unwrap();
        }
        std::os::unix::fs::symlink("a", dir.path().join("data")).unwrap();
        step(&|| std::os::unix::fs::symlink("data/secret", &path).unwrap());
        step(&|| {
            std::os::unix::fs::symlink("b", dir.path().join("next")).unwrap();
            std::fs::rename(dir.path().join("next"), dir.path().join("data")).unwrap();
        });
        assert_eq!(read_secret(&path).unwrap().expose_secret(), "b");
    }
}
