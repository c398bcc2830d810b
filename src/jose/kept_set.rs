//! The last good key set on disk, so that a start during an authority's outage has keys.
//!
//! Public keys are no secret, but a changed file could make any token valid. A file is used only if
//! no other user can write it, and if it is of the same issuer and URL, intact and not from the
//! future.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::kept_record::{self, KeptAt, Record};
use super::key_set::KeySet;
use super::source::{Edition, Fetched};
use crate::domain::claims::Claims;
use crate::domain::clock::UnixTime;

/// Room for the largest document and its metadata, both escaped.
const MAX_FILE: u64 = 8 * 1024 * 1024;

#[derive(Serialize, Deserialize)]
struct KeptSet {
    identity: String,
    fetched_at: i64,
    document: String,
    metadata: Option<serde_json::Map<String, serde_json::Value>>,
}

impl Record for KeptSet {
    fn identity(&self) -> &str {
        &self.identity
    }

    fn dated(&self) -> UnixTime {
        UnixTime(self.fetched_at)
    }
}

/// The kept set; `None` when there is no file.
///
/// # Errors
/// Why the file is not used.
pub(super) async fn load(kept_at: &KeptAt, now: UnixTime) -> Result<Option<Edition>, String> {
    let Some(kept) = kept_record::load::<KeptSet>(kept_at, MAX_FILE, now).await? else {
        return Ok(None);
    };
    let keys = KeySet::parse(kept.document.as_bytes()).map_err(|_| "it holds no usable key")?;
    Ok(Some(Edition {
        keys: Arc::new(keys),
        fetched_at: kept.dated(),
        metadata: kept.metadata.map(|it| Arc::new(Claims::from(it))),
        clock_skew: None,
    }))
}

/// Keeps a set. A failure is only logged: a sidecar may run on a read-only root.
pub(super) async fn keep(kept_at: &KeptAt, fetched: &Fetched, now: UnixTime) {
    let Ok(document) = std::str::from_utf8(&fetched.document) else {
        return;
    };
    let kept = KeptSet {
        identity: kept_at.identity.clone(),
        fetched_at: now.0,
        document: document.to_owned(),
        metadata: fetched.metadata.as_ref().map(|it| it.as_map().clone()),
    };
    kept_record::keep(kept_at, &kept, "the last good keys").await;
}

#[cfg(test)]
mod tests;
