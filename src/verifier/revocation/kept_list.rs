//! The last revocation list on disk, so that a start during an outage of the issuer has one.
//!
//! The signature protects the list, but not its date: an old list would hide new revocations. It
//! counts as old as when it was kept.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use url::Url;

use crate::domain::clock::UnixTime;
use crate::jose::kept_record::{self, KeptAt, Record};

/// Room for the largest list that is fetched, and the other members.
const MAX_FILE: u64 = 9 * 1024 * 1024;

/// The directory of the kept lists.
#[derive(Clone, Debug)]
pub struct KeptLists {
    dir: PathBuf,
    writes: bool,
}

/// A kept list.
#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    identity: String,
    /// When the fetch began that brought or confirmed it.
    pub asked_at: i64,
    /// The signed list as received.
    pub list: String,
}

impl Record for Kept {
    fn identity(&self) -> &str {
        &self.identity
    }

    fn dated(&self) -> UnixTime {
        UnixTime(self.asked_at)
    }
}

impl KeptLists {
    /// Lists are read from and written to this directory.
    #[must_use]
    pub fn at(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            writes: true,
        }
    }

    /// Lists are read from this directory, and never written.
    #[must_use]
    pub fn read_only(dir: &Path) -> Self {
        Self {
            writes: false,
            ..Self::at(dir)
        }
    }

    /// The kept list of this issuer and URL; `None` when there is none.
    ///
    /// # Errors
    /// Why the file is not used.
    pub(super) async fn load(
        &self,
        issuer: &str,
        url: &Url,
        now: UnixTime,
    ) -> Result<Option<Kept>, String> {
        kept_record::load(&self.place(issuer, url), MAX_FILE, now).await
    }

    /// Keeps a list.
    pub(super) async fn keep(&self, issuer: &str, url: &Url, asked_at: UnixTime, list: &str) {
        if !self.writes {
            return;
        }
        let place = self.place(issuer, url);
        let kept = Kept {
            identity: place.identity.clone(),
            asked_at: asked_at.0,
            list: list.to_owned(),
        };
        kept_record::keep(&place, &kept, "the last list of revoked tokens").await;
    }

    fn place(&self, issuer: &str, url: &Url) -> KeptAt {
        KeptAt::new(&self.dir, "revocations", format!("{issuer} {url}"))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const NOW: UnixTime = UnixTime(1_800_000_000);

    #[tokio::test]
    async fn a_list_of_another_issuer_or_url_or_from_the_future_is_not_used() {
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
            kept.place("https://b", &url).file,
            kept.place("https://a", &url).file,
        )
        .unwrap();
        assert_eq!(
            refused(NOW).await.as_deref(),
            Some("it belongs to another issuer or URL")
        );
        fs::write(kept.place("https://a", &url).file, "{").unwrap();
        assert_eq!(refused(NOW).await.as_deref(), Some("it is damaged"));
    }

    #[tokio::test]
    async fn read_only_lists_are_never_written() {
        let dir = tempfile::tempdir().unwrap();
        let url = Url::parse("https://a/list").unwrap();
        KeptLists::read_only(dir.path())
            .keep("https://a", &url, NOW, "signed")
            .await;
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
