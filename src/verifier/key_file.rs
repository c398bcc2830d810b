//! A `jwksFile`, read at start and whenever it changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::files::{MAX_PUBLIC, ReadError, Watched, read};
use crate::jose::bundle::bundle_of;
use crate::jose::key_set::KeySet;
use crate::jose::live_keys::{FetchError, Fetched, Source};

/// The file is read at least this often.
const LIFETIME: Duration = Duration::from_secs(60);

struct KeyFile {
    path: PathBuf,
    /// The trust domain of the bundle, if the authority is one of SPIFFE.
    trust_domain: Option<String>,
    watched: Arc<Watched>,
}

/// The source of a key set in a file.
pub(super) fn source(path: &Path, trust_domain: Option<&str>) -> Source {
    let watched = Watched::new([path.to_owned()]);
    let file = Arc::new(KeyFile {
        path: path.to_owned(),
        trust_domain: trust_domain.map(str::to_owned),
        watched: watched.clone(),
    });
    Source {
        fetch: Arc::new(move || Box::pin(read_in_background(file.clone()))),
        changed: Arc::new(move || {
            let watched = watched.clone();
            Box::pin(async move { watched.changed().await })
        }),
        kept_at: None,
    }
}

async fn read_in_background(file: Arc<KeyFile>) -> Result<Fetched, FetchError> {
    let read = tokio::task::spawn_blocking(move || file.read()).await;
    read.unwrap_or_else(|_| Err("the JWKS file cannot be read".into()))
}

impl KeyFile {
    fn read(&self) -> Result<Fetched, FetchError> {
        self.watched.note();
        let document = read(&self.path, MAX_PUBLIC)
            .map_err(|error: ReadError| format!("the JWKS file {error}"))?;
        let bundle = bundle_of(&document, self.trust_domain.as_deref());
        let keys = KeySet::parse(&bundle).map_err(|error| {
            format!("the JWKS file is not usable, the last good keys stay: {error}")
        })?;
        Ok(Fetched {
            document,
            keys,
            metadata: None,
            max_age: Some(LIFETIME),
            clock_skew: None,
        })
    }
}
