//! A `jwksFile`: read, and looked at every second for a change.
//!
//! Looked at rather than watched through the kernel: that way a file that is replaced by rename, a link that is set anew
//! (as Kubernetes does with mounted ConfigMaps) and a network file system are all the same.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::jose::key_set::KeySet;
use crate::jose::live_keys::{FetchError, Fetched, Source};

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// It is read at least so often, whatever it looks like; what `Cache-Control` is to a URL.
const LIFETIME: Duration = Duration::from_secs(60);
/// The largest file that is read.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// What tells one edition of a file from the next: device, inode, size, and both times in nanoseconds. `None`: there is
/// no file.
type Stamp = Option<(u64, u64, u64, (i64, i64), (i64, i64))>;

struct KeyFile {
    path: PathBuf,
    /// What was read last.
    seen: Mutex<Stamp>,
}

/// The source of a key set in a file.
pub(super) fn source(path: &Path) -> Source {
    let file = Arc::new(KeyFile { path: path.to_owned(), seen: Mutex::default() });
    let watched = file.clone();
    Source {
        fetch: Arc::new(move || Box::pin(on_blocking_thread(file.clone(), |file| file.read()))),
        changed: Arc::new(move || Box::pin(changed(watched.clone()))),
        kept_at: None,
    }
}

async fn on_blocking_thread(
    file: Arc<KeyFile>,
    read: fn(&KeyFile) -> Result<Fetched, FetchError>,
) -> Result<Fetched, FetchError> {
    let read = tokio::task::spawn_blocking(move || read(&file)).await;
    read.unwrap_or_else(|_| Err("the JWKS file cannot be read".into()))
}

async fn changed(file: Arc<KeyFile>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let file = file.clone();
        if matches!(tokio::task::spawn_blocking(move || file.differs()).await, Ok(true)) {
            return;
        }
    }
}

impl KeyFile {
    fn differs(&self) -> bool {
        stamp(&self.path) != *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> Result<Fetched, FetchError> {
        let unreadable = |error: std::io::Error| format!("the JWKS file cannot be read: {error}");
        // Before it is read: a change in between is seen by the next look.
        let stamp = stamp(&self.path);
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = stamp;
        if !std::fs::metadata(&self.path).map_err(unreadable)?.is_file() {
            return Err("the JWKS file is no ordinary file".into());
        }
        let mut document = Vec::new();
        let file = std::fs::File::open(&self.path).map_err(unreadable)?;
        file.take(MAX_BYTES + 1).read_to_end(&mut document).map_err(unreadable)?;
        if document.len() as u64 > MAX_BYTES {
            return Err("the JWKS file is too large".into());
        }
        let keys = KeySet::parse(&document)
            .map_err(|error| format!("the JWKS file is of no use, the last good keys stay: {error}"))?;
        Ok(Fetched { document, keys, metadata: None, max_age: Some(LIFETIME), clock_skew: None })
    }
}

/// Of what the path leads to in the end, through all links.
fn stamp(path: &Path) -> Stamp {
    let metadata = std::fs::metadata(path).ok()?;
    let (modified, changed) =
        ((metadata.mtime(), metadata.mtime_nsec()), (metadata.ctime(), metadata.ctime_nsec()));
    Some((metadata.dev(), metadata.ino(), metadata.len(), modified, changed))
}
