//! The store as it is found at the start: what is in it, and whether it is the one that was meant.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{StartError, unusable};
use crate::config::Config;
use crate::domain::printable::excerpt;
use crate::files::blocking;
use crate::files::private::{self, Trusted, Unusable};
use crate::store::{self, Store};
use crate::token_source;

/// The file in the state directory that holds the path of the store that was opened last.
const LAST_STORE: &str = "last-store";
/// How every SQLite file begins.
const SQLITE: &[u8; 16] = b"SQLite format 3\0";
/// At most so many other stores are named.
const MOST_NAMED: usize = 5;

/// Opens the store and says what was opened. A mistake in `store.url` would else go unnoticed until
/// every token is refused.
///
/// # Errors
/// When it cannot be opened, or must exist and does not.
pub(super) async fn open_store(config: &Config) -> Result<Arc<dyn Store>, StartError> {
    let (file, state_dir) = (
        config.store.file().map(Path::to_owned),
        config.state_dir.clone(),
    );
    if let Some(file) = file.clone() {
        blocking(move || check_files(&file))
            .await
            .map_err(|why| unusable("store.url")(why.to_string()))?;
    }
    let found = blocking(move || Found::look(file.as_deref(), &state_dir)).await;
    if config.store_must_exist && found.is_new {
        return Err(StartError::StoreMissing(found.shown));
    }
    let store = store::open(&config.store).await?;
    let (clients, keys) = (
        store.clients().await?.len(),
        store.signing_keys().await?.keys.len(),
    );
    let state = if found.is_new { "new" } else { "existing" };
    tracing::info!(
        store = found.shown,
        state,
        clients,
        keys,
        "opened the store"
    );
    if found.is_new && (found.has_traces || found.last.is_some() || !found.others.is_empty()) {
        let others = found.others.join(", ");
        tracing::warn!(
            store = found.shown,
            last_store = found.last.as_deref(),
            others = Some(others).filter(|others| !others.is_empty()),
            "the store is new although a sidecar has run here before: tokens of an earlier store are refused. If this is \
             not meant, correct `store.url`; with `store.mustExist: true` the sidecar does not start with a new store"
        );
    }
    if config.store.file().is_some() {
        let state_dir = config.state_dir.clone();
        // On a read-only root the next start knows less, and that is all.
        let _ = blocking(move || note_last(&state_dir, &found.shown)).await;
    }
    Ok(store)
}

/// Checks that no other user can have written the database, or the files beside it that SQLite
/// reads into it.
fn check_files(database: &Path) -> Result<(), Unusable> {
    let trusted = Trusted::ourselves();
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut file = database.as_os_str().to_owned();
        file.push(suffix);
        trusted.check(Path::new(&file))?;
    }
    Ok(())
}

/// Checks that no other user can have put files into the state directory, if it exists and is used.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check_state_dir(config: &Config) -> Result<(), StartError> {
    let keeps = |it: &token_source::Config| it.kept_at.is_some() || it.rotation.is_some();
    let is_used = config.issuer.is_some()
        || config.admin.is_some()
        || !config.authorities.is_empty()
        || config.credentials.iter().any(keeps);
    if !is_used {
        return Ok(());
    }
    let judged = Trusted::ourselves().directory(&config.state_dir);
    judged
        .map(drop)
        .map_err(|why| unusable("stateDir")(why.to_string()))
}

fn note_last(state_dir: &Path, store: &str) -> io::Result<()> {
    private::make_dir(state_dir)?;
    private::replace(&state_dir.join(LAST_STORE), store.as_bytes())
}

/// What there is before the store is opened.
struct Found {
    shown: String,
    is_new: bool,
    /// Whether the state directory has files that only a running sidecar makes.
    has_traces: bool,
    /// The store that was opened last with this state directory.
    last: Option<String>,
    /// Other databases beside it.
    others: Vec<String>,
}

impl Found {
    /// Blocks.
    fn look(file: Option<&Path>, state_dir: &Path) -> Self {
        let Some(file) = file else {
            // Nobody expects to find anything in memory.
            return Self {
                shown: ":memory:".to_owned(),
                is_new: true,
                has_traces: false,
                last: None,
                others: Vec::new(),
            };
        };
        Self {
            shown: file.display().to_string(),
            is_new: std::fs::metadata(file).map_or(true, |metadata| metadata.len() == 0),
            has_traces: entries(state_dir).iter().any(|path| is_trace(path)),
            last: private::read(&state_dir.join(LAST_STORE), 4096)
                .ok()
                .flatten()
                .map(|path| excerpt(&path, 4096).into_owned()),
            others: others(file),
        }
    }
}

/// The files of a directory; none when it cannot be read.
fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
        .collect()
}

/// The admin token, or the keys of an authority as they were last fetched.
fn is_trace(path: &Path) -> bool {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    name == "admin-token" || name.starts_with("jwks-") && name.ends_with(".json")
}

/// The databases in the directory of a new one.
fn others(file: &Path) -> Vec<String> {
    let dir = file
        .parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let databases = entries(dir).into_iter().filter(|path| is_database(path));
    let mut others: Vec<_> = databases.map(|path| path.display().to_string()).collect();
    others.sort();
    others.truncate(MOST_NAMED);
    others
}

fn is_database(path: &Path) -> bool {
    let mut begin = [0; SQLITE.len()];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut begin));
    read.is_ok() && begin == *SQLITE
}
