//! The store: its state before it is opened, and whether it is the intended one. A wrong
//! `store.url` is logged here; otherwise only the refused tokens would show it.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::part::{Life, Part};
use super::Build;
use crate::app::error::{StartError, unusable};
use crate::config::Config;
use crate::domain::printable::excerpt;
use crate::files::blocking;
use crate::files::private::{self, Trusted, Unusable};
use crate::store::{self, Store};
use crate::token_source;

/// The file in the state directory that holds the path of the store that was opened last.
const LAST_STORE: &str = "last-store";
/// The first bytes of every SQLite file.
const SQLITE: &[u8; 16] = b"SQLite format 3\0";
/// How many other stores a warning names.
const MOST_NAMED: usize = 5;

impl Build<'_> {
    /// The store, which another generation may have opened already.
    pub(super) async fn store(&mut self) -> Result<Arc<Part<Arc<dyn Store>>>, StartError> {
        let key = &self.config.store;
        let part = match self.before.store.find(key) {
            Some(part) => part,
            None => self.open_store().await?,
        };
        Ok(self.parts.store.put(key.clone(), part))
    }

    async fn open_store(&self) -> Result<Arc<Part<Arc<dyn Store>>>, StartError> {
        let config = self.config;
        let file = config.store.file().map(Path::to_owned);
        let state_dir = config.state_dir.clone();
        if let Some(file) = file.clone() {
            let checked = blocking(move || check_files(&file)).await;
            checked.map_err(unusable("store.url"))?;
        }
        let found = blocking(move || Found::look(file.as_deref(), &state_dir)).await;
        if config.store_must_exist && found.is_new {
            return Err(StartError::StoreMissing(found.shown));
        }
        let store = store::open(&config.store).await?;
        let clients = store.clients().await?.len();
        let keys = store.signing_keys().await?.keys.len();
        let noted_in = config.store.file().map(|_| config.state_dir.clone());
        let begin = move |_: &mut Life| {
            found.log(clients, keys);
            if let Some(state_dir) = noted_in {
                // On a read-only root the next start cannot name this store in its warning.
                let _ = note_last(&state_dir, &found.shown);
            }
        };
        let (closed, process) = (store.clone(), self.process.clone());
        let end = move || {
            let close = async move { closed.close().await };
            process.last_work.spawn_on(close, &process.runtime);
        };
        Ok(Part::with_end(store, begin, end))
    }
}

/// Checks that no other user can have written the database, or the files beside it that SQLite
/// merges into it.
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
/// The directory is unsafe.
pub(super) fn check_state_dir(config: &Config) -> Result<(), StartError> {
    let keeps = |it: &token_source::Config| it.kept_at.is_some() || it.rotation.is_some();
    let is_used = config.issuer.is_some()
        || config.admin.is_some()
        || !config.authorities.is_empty()
        || config.credentials.iter().any(keeps);
    if !is_used {
        return Ok(());
    }
    let checked = Trusted::ourselves().directory(&config.state_dir);
    checked.map(drop).map_err(unusable("stateDir"))
}

/// Makes the directory for the last good keys and lists. A read-only root has none.
pub(super) fn make_state_dir(dir: &Path) {
    if let Err(error) = private::make_dir(dir) {
        tracing::warn!(
            dir = %dir.display(),
            %error,
            "the state directory cannot be made; keys are kept in memory only"
        );
    }
}

fn note_last(state_dir: &Path, store: &str) -> io::Result<()> {
    private::make_dir(state_dir)?;
    private::replace(&state_dir.join(LAST_STORE), store.as_bytes())
}

/// The state before the store is opened.
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

    fn log(&self, clients: usize, keys: usize) {
        let state = if self.is_new { "new" } else { "existing" };
        let store = &self.shown;
        tracing::info!(store, state, clients, keys, "opened the store");
        let has_run_before = self.has_traces || self.last.is_some() || !self.others.is_empty();
        if self.is_new && has_run_before {
            let others = self.others.join(", ");
            tracing::warn!(
                store,
                last_store = self.last.as_deref(),
                others = Some(others).filter(|others| !others.is_empty()),
                "the store is new although a sidecar has run here before: tokens of an earlier \
                 store are refused. If this is not intended, correct `store.url`; with \
                 `store.mustExist: true` the sidecar does not start with a new store"
            );
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
