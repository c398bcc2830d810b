//! A credential that rotates its own secret, at an issuer whose management API it may use.
//!
//! The order keeps a working secret at every step: create a new secret beside the others, fetch a
//! token with it, replace the file, make the token source use both, and delete the old secret after
//! a time for other readers of the file. A failure before the replacement deletes the new secret.
//! The file's date is the age of the secret; a note in the state directory names the secret to
//! delete. A lock on the file's directory excludes a second sidecar.

mod admin;
mod note;
mod secret_file;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tokio::time::timeout;
use url::Url;

use super::TokenSource;
use super::access_token::Grant;
use super::authentication::Material;
use super::error::FetchError;
use super::skew::Skew;
use super::token_client::TokenClient;
use crate::domain::clock::{SharedClock, UnixTime};
use crate::domain::secret::{ExposeSecret, SecretString};
use crate::files::{ReadError, blocking};
use crate::http_client::{BuildError, Failed, HttpError};
use admin::Admin;
use note::Note;
use secret_file::SecretFile;

/// The pause after a failed rotation.
const AGAIN: Duration = Duration::from_mins(10);
/// When a new secret that never came into use is deleted.
const LEFT_BEHIND: Duration = Duration::from_hours(1);
/// How often the file's age is checked: people replace files too.
const LOOK_EVERY: Duration = Duration::from_mins(1);
/// How long an old secret stays at least: other sidecars read a shared file every second or two.
const READ_BY_OTHERS: Duration = Duration::from_secs(5);
/// How soon the token source is checked again for the new secret.
const TAKEN_OVER: Duration = Duration::from_secs(1);

/// How a secret is rotated.
#[derive(Clone, Debug, PartialEq)]
pub struct RotationConfig {
    /// The issuer's management API.
    pub admin: Url,
    /// The file of its token.
    pub admin_token_file: PathBuf,
    /// The secret's file, which is replaced.
    pub secret_file: PathBuf,
    /// The greatest age of the secret.
    pub every: Duration,
    /// How long the old secret stays valid beside a new one.
    pub grace: Duration,
    /// The file with the secrets to delete.
    pub note_file: PathBuf,
}

/// Why a secret was not rotated. The texts hold no secret.
#[derive(Debug, thiserror::Error)]
enum RotationError {
    #[error("the admin token's file {0}")]
    AdminToken(ReadError),
    #[error("the HTTP client: {0}")]
    Client(BuildError),
    #[error("the credential's files cannot be used")]
    Files,
    #[error("the management API cannot be reached: {0}")]
    Unreachable(Failed),
    #[error("the management API answered with status {0}")]
    Status(u16),
    #[error("the management API's answer holds no secret")]
    NoSecret,
    #[error("the new secret brings no token: {0}")]
    Unproven(String),
    #[error("the secret's file cannot be replaced: {0}")]
    NotReplaced(std::io::Error),
    #[error("another sidecar is renewing it")]
    Locked,
    #[error("the secret's file was changed meanwhile")]
    Changed,
    #[error("the note of the secret to delete cannot be written: {0}")]
    Note(std::io::Error),
}

/// Rotates the secret of a source whenever it is old enough, until the future is dropped.
pub(super) async fn run(source: &TokenSource, rotation: &RotationConfig, clock: &SharedClock) {
    let credential = source.name();
    loop {
        let tidied = tidy(source, rotation, clock).await;
        if let Err(error) = &tidied {
            tracing::warn!(credential, %error, "the old client secret could not be deleted");
        }
        // Pending deletions come first, so that no rotation drops those of another.
        let is_due = tidied.is_ok()
            && changed_at(rotation)
                .await
                .is_some_and(|at| at.until(clock.now()) >= rotation.every);
        let rotated = if is_due {
            rotate(source, rotation, clock).await
        } else {
            Ok(false)
        };
        match rotated {
            Ok(true) => {
                tracing::info!(credential, "the client secret was renewed");
                continue;
            }
            Ok(false) => {}
            Err(RotationError::Locked) => {
                tracing::info!(credential, "another sidecar is renewing the client secret")
            }
            Err(error) => {
                tracing::warn!(
                    credential,
                    %error,
                    "the client secret could not be renewed; the old one stays"
                );
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        }
        let pause = if tidied.is_ok() {
            next_look(rotation, clock).await
        } else {
            AGAIN
        };
        tokio::time::sleep(pause).await;
    }
}

/// The time until the next deletion, at most [`LOOK_EVERY`].
async fn next_look(rotation: &RotationConfig, clock: &SharedClock) -> Duration {
    let notes = Note::read_all(rotation).await;
    let due = notes.iter().map(|note| clock.now().until(note.until)).min();
    due.map_or(LOOK_EVERY, |due| due.clamp(TAKEN_OVER, LOOK_EVERY))
}

/// When the secret's file was changed last.
async fn changed_at(rotation: &RotationConfig) -> Option<UnixTime> {
    let file = rotation.secret_file.clone();
    let changed = blocking(move || std::fs::metadata(file)?.modified())
        .await
        .ok()?;
    let since = changed.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(UnixTime(i64::try_from(since.as_secs()).ok()?))
}

/// Gives whether the secret was rotated: another sidecar may have done it.
async fn rotate(
    source: &TokenSource,
    rotation: &RotationConfig,
    clock: &SharedClock,
) -> Result<bool, RotationError> {
    let config = source.config();
    let file = rotation.secret_file.clone();
    let secret_file = blocking(move || SecretFile::lock(&file)).await?;
    if changed_at(rotation)
        .await
        .is_none_or(|at| at.until(clock.now()) < rotation.every)
    {
        return Ok(false);
    }
    let admin = Admin::open(config, rotation).await?;
    let mut notes = Note::read_all(rotation).await;
    if let Some(id) = in_use(&admin.secrets().await?, &secret_file.secret) {
        // An earlier rotation may not have completed.
        notes.retain(|note| note.id != id);
        notes.push(Note {
            id,
            until: clock.now().plus(rotation.grace.max(READ_BY_OTHERS)),
        });
        Note::write_all(rotation, &notes).await?;
    }
    let (id, secret) = admin.create().await?;
    let brought = async {
        // In case this process ends before the rotation does.
        notes.push(Note {
            id: id.clone(),
            until: clock.now().plus(LEFT_BEHIND),
        });
        Note::write_all(rotation, &notes).await?;
        let proven = prove(source, clock, &secret).await?;
        let secret = secret.clone();
        blocking(move || secret_file.replace(&secret))
            .await
            .map(|()| proven)
    };
    let brought = brought.await;
    if brought.is_err()
        && let Err(error) = admin.delete(&id).await
    {
        tracing::warn!(
            credential = config.name,
            %error,
            "a new client secret that is not in use could not be deleted"
        );
    }
    let (material, grant) = brought?;
    source.hand_over(material, grant);
    Ok(true)
}

/// Deletes the secrets that are due: replaced ones, and new ones of an incomplete rotation. The
/// secret in the file is never deleted, and none while our token source does not use that secret.
async fn tidy(
    source: &TokenSource,
    rotation: &RotationConfig,
    clock: &SharedClock,
) -> Result<(), RotationError> {
    let config = source.config();
    let is_due = |note: &Note| note.until <= clock.now();
    if !Note::read_all(rotation).await.iter().any(is_due) {
        return Ok(());
    }
    let file = rotation.secret_file.clone();
    // Another sidecar is rotating the secret.
    let secret_file = match blocking(move || SecretFile::lock(&file)).await {
        Err(RotationError::Locked) => return Ok(()),
        locked => locked?,
    };
    let (of, secret) = (config.clone(), secret_file.secret.clone());
    let in_file = blocking(move || Material::with_secret(&of, &secret)).await;
    if in_file.map_err(|_| RotationError::Files)?.identity != source.identity() {
        return Ok(());
    }
    let admin = Admin::open(config, rotation).await?;
    let in_use = in_use(&admin.secrets().await?, &secret_file.secret);
    let notes = Note::read_all(rotation).await;
    let (due, later): (Vec<_>, Vec<_>) = notes.into_iter().partition(is_due);
    for note in due {
        // Nothing is deleted unless the secret in use is known.
        if in_use.as_ref().is_some_and(|in_use| *in_use != note.id) {
            match admin.delete(&note.id).await {
                // It is deleted already.
                Ok(()) | Err(RotationError::Status(404)) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Note::write_all(rotation, &later).await
}

/// The id of a secret; `None` if it is not found, or two match. The API does not show the end of a
/// chosen secret, so such a secret is found only if it is the only one.
fn in_use(all: &[Value], secret: &SecretString) -> Option<String> {
    let text = secret.expose_secret();
    let matches = |of: &&Value| match of["last_four"].as_str() {
        Some(end) => end.len() == 4 && text.ends_with(end),
        None => !text.starts_with(GENERATED),
    };
    let mut found = all.iter().filter(matches);
    let (only, None) = (found.next()?, found.next()) else {
        return None;
    };
    only["id"].as_str().map(str::to_owned)
}

/// The prefix of the secrets that the issuer generates.
const GENERATED: &str = "m2m_";

/// Fetches a token with the new secret, as the token source will. Gives both.
async fn prove(
    source: &TokenSource,
    clock: &SharedClock,
    secret: &SecretString,
) -> Result<(Arc<Material>, Grant), RotationError> {
    let (config, secret) = (source.config().clone(), secret.clone());
    let material = blocking(move || Material::with_secret(&config, &secret)).await;
    let (skew, material) = (Skew::default(), material.map_err(|_| RotationError::Files)?);
    let client = TokenClient::new(source.config(), clock, &skew, material);
    let client = client.proving(source.proof_key());
    let fetch = async {
        // The semaphore is never closed.
        let _permit = source.fetch_permit().acquire().await;
        client.fetch().await
    };
    let fetched = timeout(source.config().timeouts.total, fetch)
        .await
        .unwrap_or_else(|_| Err(FetchError::Http(HttpError::Timeout).into()));
    let grant = fetched.map_err(|failure| RotationError::Unproven(failure.text()))?;
    Ok((client.into_material(), grant))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_secret_in_use_is_the_only_one_that_ends_like_it() {
        let secret = |id: &str, last_four: &str| json!({ "id": id, "last_four": last_four });
        let all = [
            secret("a", "aaaa"),
            secret("b", "bbbb"),
            secret("c", "cccc"),
            secret("d", "cccc"),
        ];
        let of = |current: &str| in_use(&all, &current.into());
        assert_eq!(of("m2ms_bbbb").as_deref(), Some("b"));
        assert_eq!(of("m2ms_cccc"), None, "either");
        assert_eq!(of("m2ms_eeee"), None, "the issuer has another");
        assert_eq!(in_use(&[], &"x".into()), None);
        let supplied = |id: &str| json!({ "id": id });
        assert_eq!(
            in_use(&[secret("a", "aaaa"), supplied("b")], &"chosen".into()).as_deref(),
            Some("b")
        );
        assert_eq!(
            in_use(&[secret("a", "aaaa"), supplied("b")], &"m2m_cccc".into()),
            None
        );
        assert_eq!(
            in_use(&[supplied("a"), supplied("b")], &"chosen".into()),
            None,
            "either"
        );
    }

    #[tokio::test]
    async fn notes_outlive_us_and_what_is_none_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let rotation = RotationConfig {
            admin: Url::parse("http://127.0.0.1:1").unwrap(),
            admin_token_file: "/nowhere".into(),
            secret_file: "/nowhere".into(),
            every: Duration::from_hours(1),
            grace: Duration::ZERO,
            note_file: dir.path().join("state/rotation"),
        };
        assert!(Note::read_all(&rotation).await.is_empty());
        let notes = [17, 18].map(|until| Note {
            id: format!("a {until}"),
            until: UnixTime(until),
        });
        Note::write_all(&rotation, &notes).await.unwrap();
        assert_eq!(Note::read_all(&rotation).await, notes);
        std::fs::write(&rotation.note_file, "\n17\nx a\n-\n5 b\n").unwrap();
        assert_eq!(
            Note::read_all(&rotation).await,
            [Note {
                id: "b".to_owned(),
                until: UnixTime(5)
            }]
        );
        Note::write_all(&rotation, &[]).await.unwrap();
        assert!(!rotation.note_file.exists());
    }

    #[test]
    fn only_one_renews_a_file_and_only_the_secret_that_it_has_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        std::fs::write(&file, "one\n").unwrap();
        std::fs::write(dir.path().join("secret.trial"), "foreign").unwrap();
        let place = SecretFile::lock(&file).unwrap();
        assert!(matches!(
            SecretFile::lock(&file),
            Err(RotationError::Locked)
        ));
        place.replace(&"two".into()).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "two\n");
        assert!(matches!(
            place.replace(&"three".into()),
            Err(RotationError::Changed)
        ));
        drop(place);
        assert_eq!(
            SecretFile::lock(&file).unwrap().secret.expose_secret(),
            "two"
        );
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            2,
            "what was there, and nothing else"
        );
    }
}
