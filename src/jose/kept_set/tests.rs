use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::*;
use crate::jose::Algorithm;
use crate::jose::sign::SigningKey;

const NOW: UnixTime = UnixTime(1_800_000_000);

fn fetched() -> Fetched {
    let document =
        json!({ "keys": [SigningKey::generate(Algorithm::ES256).unwrap().public_jwk()] })
            .to_string();
    Fetched {
        keys: KeySet::parse(document.as_bytes()).unwrap(),
        document: document.into_bytes(),
        metadata: None,
        max_age: None,
        clock_skew: None,
    }
}

struct Kept {
    _dir: tempfile::TempDir,
    at: KeptAt,
}

impl Kept {
    /// A good file, written by [`keep`].
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = KeptAt {
            file: dir.path().join("jwks.json"),
            identity: "https://a discovery".to_owned(),
        };
        keep(&at, &fetched(), NOW).await;
        Self { _dir: dir, at }
    }

    fn change(&self, change: impl FnOnce(&mut serde_json::Value)) {
        let mut kept = serde_json::from_slice(&fs::read(&self.at.file).unwrap()).unwrap();
        change(&mut kept);
        fs::write(&self.at.file, kept.to_string()).unwrap();
    }

    fn mode(&self, mode: u32) {
        fs::set_permissions(&self.at.file, fs::Permissions::from_mode(mode)).unwrap();
    }

    async fn load(&self) -> Result<Option<UnixTime>, String> {
        load(&self.at, NOW)
            .await
            .map(|kept| kept.map(|edition| edition.fetched_at))
    }

    async fn refused(&self) -> String {
        self.load().await.unwrap_err()
    }
}

#[tokio::test]
async fn a_kept_set_is_private_and_is_loaded_unchanged() {
    let kept = Kept::new().await;
    assert_eq!(
        fs::metadata(&kept.at.file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(kept.load().await, Ok(Some(NOW)));
    fs::remove_file(&kept.at.file).unwrap();
    assert_eq!(kept.load().await, Ok(None));
}

#[tokio::test]
async fn a_file_that_others_may_write_is_not_used() {
    let kept = Kept::new().await;
    kept.mode(0o644);
    assert_eq!(kept.load().await, Ok(Some(NOW)));
    for mode in [0o620, 0o602, 0o666] {
        kept.mode(mode);
        assert!(kept.refused().await.contains("chmod go-w"), "{mode:o}");
    }
    // Keeping the next set makes the file private again.
    keep(&kept.at, &fetched(), NOW).await;
    assert_eq!(
        fs::metadata(&kept.at.file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(kept.load().await, Ok(Some(NOW)));
}

#[tokio::test]
async fn a_file_of_another_issuer_or_from_the_future_is_not_used() {
    let kept = Kept::new().await;
    kept.change(|set| set["identity"] = "https://b discovery".into());
    assert_eq!(kept.refused().await, "it belongs to another issuer or URL");
    let kept = Kept::new().await;
    kept.change(|set| set["fetched_at"] = (NOW.0 + 1).into());
    assert_eq!(kept.refused().await, "it is dated in the future");
}

#[tokio::test]
async fn a_damaged_file_is_not_used() {
    let kept = Kept::new().await;
    let whole = fs::read(&kept.at.file).unwrap();
    for length in 0..whole.len() {
        fs::write(&kept.at.file, &whole[..length]).unwrap();
        assert_eq!(kept.refused().await, "it is damaged", "{length} bytes");
    }
    for document in ["", "{}", r#"{"keys":[]}"#, "\u{0}"] {
        let kept = Kept::new().await;
        kept.change(|set| set["document"] = document.into());
        assert_eq!(
            kept.refused().await,
            "it holds no usable key",
            "{document:?}"
        );
    }
    fs::write(
        &kept.at.file,
        vec![b' '; usize::try_from(MAX_FILE).unwrap() + 1],
    )
    .unwrap();
    assert!(kept.refused().await.contains("is larger than"));
}

#[tokio::test]
async fn links_and_directories_are_not_opened() {
    let kept = Kept::new().await;
    let elsewhere = kept.at.file.with_extension("elsewhere");
    fs::rename(&kept.at.file, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &kept.at.file).unwrap();
    assert!(kept.refused().await.contains("is a link"));
    fs::remove_file(&kept.at.file).unwrap();
    fs::create_dir(&kept.at.file).unwrap();
    assert!(kept.refused().await.contains("is not an ordinary file"));
}
