//! A kept file in JSON that belongs to one issuer and URL and has a date.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::domain::clock::UnixTime;
use crate::domain::hash::sha256_parts;
use crate::files::private::{read, replace};

/// A kept file, and the source whose state it holds.
#[derive(Clone, Debug)]
pub struct KeptAt {
    /// The file.
    pub file: PathBuf,
    /// Issuer and URL. A file of another identity is not used.
    pub identity: String,
}

impl KeptAt {
    /// A file in `directory` whose name depends on the identity.
    #[must_use]
    pub fn new(directory: &Path, prefix: &str, identity: String) -> Self {
        let digest = sha256_parts(&[identity.as_bytes()]);
        let id: String = digest[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self {
            file: directory.join(format!("{prefix}-{id}.json")),
            identity,
        }
    }
}

/// The JSON content of a kept file.
pub trait Record: Serialize + DeserializeOwned {
    /// The source that it belongs to.
    fn identity(&self) -> &str;
    /// When it was fetched.
    fn dated(&self) -> UnixTime;
}

/// The record in a kept file; `None` when there is no file.
///
/// # Errors
/// Why the file is not used.
pub async fn load<R: Record>(
    kept_at: &KeptAt,
    most: u64,
    now: UnixTime,
) -> Result<Option<R>, String> {
    let file = kept_at.file.clone();
    let bytes = tokio::task::spawn_blocking(move || read(&file, most)).await;
    let bytes = bytes.map_err(|_| "it cannot be read")?;
    let Some(bytes) = bytes.map_err(|why| why.to_string())? else {
        return Ok(None);
    };
    let record: R = serde_json::from_slice(&bytes).map_err(|_| "it is damaged")?;
    if record.identity() != kept_at.identity {
        return Err("it belongs to another issuer or URL".to_owned());
    }
    // A future date would keep the record young without end.
    if record.dated() > now {
        return Err("it is dated in the future".to_owned());
    }
    Ok(Some(record))
}

/// Writes a record. A failure is only logged: a sidecar may run on a read-only root. `subject` is
/// what the record holds.
pub async fn keep<R: Record>(kept_at: &KeptAt, record: &R, subject: &'static str) {
    let Ok(bytes) = serde_json::to_vec(record) else {
        return;
    };
    let file = kept_at.file.clone();
    let written = tokio::task::spawn_blocking(move || replace(&file, &bytes)).await;
    if !matches!(written, Ok(Ok(()))) {
        tracing::debug!(file = %kept_at.file.display(), "{subject} could not be kept on disk");
    }
}
