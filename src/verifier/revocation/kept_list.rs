//! The last list of revoked tokens on disk, so that a start while the issuer is away knows what was
//! revoked.
//!
//! The list is signed, so a changed one is not believed; an old one would be. It counts as old as
//! it was when it was kept, and a file that others may write, of another issuer or URL, or from the
//! future is not used at all.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use url::Url;

use crate::domain::clock::UnixTime;
use crate::domain::hash::sha256_parts;
use crate::files::blocking;
use crate::files::private;

/// Room for the largest list that is fetched, and what stands beside it.
const MAX_FILE: u64 = 9 * 1024 * 1024;

/// Where the lists of authorities are kept.
#[derive(Clone, Debug)]
pub struct KeptLists {
    dir: PathBuf,
    writes: bool,
}

/// A list that was kept.
#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    identity: String,
    /// When the fetch that brought or confirmed it began.
    pub asked_at: i64,
    /// The signed list as it came.
    pub list: String,
}

impl KeptLists {
    /// They are kept in this directory.
    #[must_use]
    pub fn at(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            writes: true,
        }
    }

    /// Those in this directory are read, and none are written.
    #[must_use]
    pub fn read_only(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            writes: false,
        }
    }

    /// The list of this issuer and URL; `None` when none is kept.
    ///
    /// # Errors
    /// Why the file is not used.
    pub(super) async fn load(
        &self,
        issuer: &str,
        url: &Url,
        now: UnixTime,
    ) -> Result<Option<Kept>, String> {
        let (file, identity) = self.place(issuer, url);
        let read = blocking(move || private::read(&file, MAX_FILE)).await;
        let Some(bytes) = read.map_err(|why| why.to_string())? else {
            return Ok(None);
        };
        let kept: Kept = serde_json::from_slice(&bytes).map_err(|_| "it is damaged")?;
        if kept.identity != identity {
            return Err("it belongs to another issuer or URL".to_owned());
        }
        if UnixTime(kept.asked_at) > now {
            return Err("it is dated in the future".to_owned());
        }
        Ok(Some(kept))
    }

    /// Keeps a list. That it cannot be kept is no failure of the fetch: a sidecar may run on a
    /// read-only root.
    pub(super) async fn keep(&self, issuer: &str, url: &Url, asked_at: UnixTime, list: &str) {
        if !self.writes {
            return;
        }
        let (file, identity) = self.place(issuer, url);
        let kept = Kept {
            identity,
            asked_at: asked_at.0,
            list: list.to_owned(),
        };
        let Ok(bytes) = serde_json::to_vec(&kept) else {
            return;
        };
        let shown = file.display().to_string();
        if blocking(move || private::replace(&file, &bytes))
            .await
            .is_err()
        {
            tracing::debug!(
                file = shown,
                "the last list of revoked tokens could not be kept on disk"
            );
        }
    }

    fn place(&self, issuer: &str, url: &Url) -> (PathBuf, String) {
        let identity = format!("{issuer} {url}");
        let id: String = sha256_parts(&[identity.as_bytes()])[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        (self.dir.join(format!("revocations-{id}.json")), identity)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const NOW: UnixTime = UnixTime(1_800_000_000);

    #[tokio::test]
    async fn only_the_list_of_the_same_issuer_and_url_comes_back_and_none_from_the_future() {
        let dir = tempfile::tempdir().unwrap();
        let (kept, url) = (
            KeptLists::at(dir.path()),
            Url::parse("https://a/list").unwrap(),
        );
        kept.keep("https://a", &url, NOW, "signed").await;
        let loaded = kept.load("https://a", &url, NOW).await.unwrap().unwrap();
        assert_eq!((loaded.asked_at, loaded.list.as_str()), (NOW.0, "signed"));
        let refused = async |now| kept.load("https://a", &url, now).await.err();
        assert_eq!(
            refused(UnixTime(NOW.0 - 1)).await.as_deref(),
            Some("it is dated in the future")
        );
        let other = Url::parse("https://a/other").unwrap();
        assert!(kept.load("https://a", &other, NOW).await.unwrap().is_none());
        // The file of another issuer under this one's name.
        kept.keep("https://b", &url, NOW, "signed").await;
        fs::copy(
            kept.place("https://b", &url).0,
            kept.place("https://a", &url).0,
        )
        .unwrap();
        assert_eq!(
            refused(NOW).await.as_deref(),
            Some("it belongs to another issuer or URL")
        );
        fs::write(kept.place("https://a", &url).0, "{").unwrap();
        assert_eq!(refused(NOW).await.as_deref(), Some("it is damaged"));
    }

    #[tokio::test]
    async fn what_only_reads_writes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let url = Url::parse("https://a/list").unwrap();
        KeptLists::read_only(dir.path())
            .keep("https://a", &url, NOW, "signed")
            .await;
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
