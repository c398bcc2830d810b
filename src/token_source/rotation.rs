//! A credential that renews its own secret, at an issuer whose management API we may use.
//!
//! In this order, so that there is a working secret at every moment: a new one is made, and the
//! others stay as they are; a token is had with it; it replaces the old one in its file, as a
//! whole; the token source goes on with the new secret and that token; after a time for others to
//! read the file, the old one is deleted, and no other. What fails before the file was replaced
//! takes the new secret back. How old a secret is, its file's date says; which one it replaced, a
//! note in the state directory. A lock on the file's directory keeps a second sidecar out.

use std::fs::{File, TryLockError};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::timeout;
use url::Url;
use zeroize::Zeroizing;

use super::access_token::Grant;
use super::authentication::Material;
use super::error::FetchError;
use super::token_client::{Skew, TokenClient};
use super::{Config, TokenSource, http_options};
use crate::domain::clock::{SharedClock, UnixTime};
use crate::domain::secret::{self, ExposeSecret, SecretString};
use crate::files::private::{self, Access};
use crate::files::{self, ReadError, blocking};
use crate::http_client::{BuildError, Failed, HttpClient, HttpError};

/// How soon a rotation that failed is tried again.
const AGAIN: Duration = Duration::from_mins(10);
/// When a new secret that was never brought into use is deleted: nobody tries one for so long.
const LEFT_BEHIND: Duration = Duration::from_hours(1);
/// How often the file's age is looked at: files are replaced by people too.
const LOOK_EVERY: Duration = Duration::from_mins(1);
/// How long an old secret lives on at least: other sidecars that share the file look at it every
/// second or two.
const READ_BY_OTHERS: Duration = Duration::from_secs(5);
/// How soon it is looked again whether our own token source goes on with the new secret.
const TAKEN_OVER: Duration = Duration::from_secs(1);

/// How a secret is renewed.
#[derive(Clone, Debug)]
pub struct RotationConfig {
    /// The issuer's management API.
    pub admin: Url,
    /// Holds its token; read when it is needed.
    pub admin_token_file: PathBuf,
    /// Holds the secret, and is replaced.
    pub secret_file: PathBuf,
    /// How old the secret may get.
    pub every: Duration,
    /// How long the old secret lives on beside a new one.
    pub grace: Duration,
    /// Where is noted which secret is to be deleted, and when.
    pub note_file: PathBuf,
}

/// Why a secret was not renewed. Says nothing of any secret.
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
    #[error("no token was had with the new secret: {0}")]
    Unproven(String),
    #[error("the secret's file cannot be replaced: {0}")]
    NotReplaced(std::io::Error),
    #[error("another sidecar is renewing it")]
    Locked,
    #[error("the secret's file was changed meanwhile")]
    Changed,
    #[error("it cannot be noted which secret is to be deleted: {0}")]
    Note(std::io::Error),
}

/// Renews the secret of a source whenever it is old enough, until the future is dropped.
pub(super) async fn run(source: &TokenSource, rotation: &RotationConfig, clock: &SharedClock) {
    let credential = source.name();
    loop {
        let tidied = tidy(source, rotation, clock).await;
        if let Err(error) = &tidied {
            tracing::warn!(credential, %error, "the old client secret could not be deleted");
        }
        // What is still to be deleted comes first: one rotation must not forget that of another.
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
                tracing::warn!(credential, %error, "the client secret could not be renewed; the old one stays");
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

/// How long nothing is to be done: until the next secret is to be deleted, or [`LOOK_EVERY`].
async fn next_look(rotation: &RotationConfig, clock: &SharedClock) -> Duration {
    let notes = Note::read_all(rotation).await;
    let due = notes.iter().map(|note| clock.now().until(note.until)).min();
    due.map_or(LOOK_EVERY, |due| due.clamp(TAKEN_OVER, LOOK_EVERY))
}

/// When the secret's file was last changed.
async fn changed_at(rotation: &RotationConfig) -> Option<UnixTime> {
    let file = rotation.secret_file.clone();
    let changed = blocking(move || std::fs::metadata(file)?.modified())
        .await
        .ok()?;
    let since = changed.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(UnixTime(i64::try_from(since.as_secs()).ok()?))
}

/// Gives whether there was something to do: another sidecar may have been quicker.
async fn rotate(
    source: &TokenSource,
    rotation: &RotationConfig,
    clock: &SharedClock,
) -> Result<bool, RotationError> {
    let config = source.config();
    let file = rotation.secret_file.clone();
    let place = blocking(move || Place::take(&file)).await?;
    if changed_at(rotation)
        .await
        .is_none_or(|at| at.until(clock.now()) < rotation.every)
    {
        return Ok(false);
    }
    let admin = Admin::open(config, rotation).await?;
    let mut notes = Note::read_all(rotation).await;
    if let Some(id) = in_use(&admin.secrets().await?, &place.secret) {
        // Of a rotation before this one that did not come to its end.
        notes.retain(|note| note.id != id);
        notes.push(Note {
            id,
            until: clock.now().plus(rotation.grace.max(READ_BY_OTHERS)),
        });
        Note::write_all(rotation, &notes).await?;
    }
    let (id, secret) = admin.create().await?;
    let brought = async {
        // Should we not live to see the end of it.
        notes.push(Note {
            id: id.clone(),
            until: clock.now().plus(LEFT_BEHIND),
        });
        Note::write_all(rotation, &notes).await?;
        let proven = prove(source, clock, &secret).await?;
        let secret = secret.clone();
        blocking(move || place.replace(&secret))
            .await
            .map(|()| proven)
    };
    let brought = brought.await;
    if brought.is_err()
        && let Err(error) = admin.delete(&id).await
    {
        tracing::warn!(credential = config.name, %error, "a client secret that nobody has was left behind");
    }
    let (material, grant) = brought?;
    source.hand_over(material, grant);
    Ok(true)
}

/// Deletes the secrets whose time has come: replaced ones, and new ones of a rotation that did not
/// come to its end. The one that is in the file is never deleted, and none while our own token
/// source does not ask with that one.
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
    // Whoever is just renewing it knows better.
    let place = match blocking(move || Place::take(&file)).await {
        Err(RotationError::Locked) => return Ok(()),
        place => place?,
    };
    let (of, secret) = (config.clone(), place.secret.clone());
    let in_file = blocking(move || Material::with_secret(&of, &secret)).await;
    if in_file.map_err(|_| RotationError::Files)?.identity != source.identity() {
        return Ok(());
    }
    let admin = Admin::open(config, rotation).await?;
    let in_use = in_use(&admin.secrets().await?, &place.secret);
    let notes = Note::read_all(rotation).await;
    let (due, later): (Vec<_>, Vec<_>) = notes.into_iter().partition(is_due);
    for note in due {
        // Where it is not known which one is in use, none is deleted.
        if in_use.as_ref().is_some_and(|in_use| *in_use != note.id) {
            match admin.delete(&note.id).await {
                // Somebody was quicker.
                Ok(()) | Err(RotationError::Status(404)) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Note::write_all(rotation, &later).await
}

/// The id of a secret among all; none when it is not there, or two look like it. The end of a
/// secret that somebody chose is not shown: it can be told only where it is the only one of its
/// kind.
fn in_use(all: &[Value], secret: &SecretString) -> Option<String> {
    let text = secret.expose_secret();
    let is_it = |of: &&Value| match of["last_four"].as_str() {
        Some(end) => end.len() == 4 && text.ends_with(end),
        None => !text.starts_with(GENERATED),
    };
    let mut found = all.iter().filter(is_it);
    let (only, None) = (found.next()?, found.next()) else {
        return None;
    };
    only["id"].as_str().map(str::to_owned)
}

/// By which a secret of the issuer's making is known.
const GENERATED: &str = "m2m_";

/// Which secret is to be deleted, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Note {
    id: String,
    until: UnixTime,
}

impl Note {
    /// Every note there is; what is none is passed over.
    async fn read_all(rotation: &RotationConfig) -> Vec<Self> {
        let file = rotation.note_file.clone();
        let text = match blocking(move || private::read(&file, files::MAX_SECRET)).await {
            Ok(text) => text.unwrap_or_default(),
            Err(error) => {
                tracing::warn!(%error, "which old secrets are to be deleted is not known");
                return Vec::new();
            }
        };
        String::from_utf8_lossy(&text)
            .lines()
            .filter_map(Self::parse)
            .collect()
    }

    fn parse(line: &str) -> Option<Self> {
        let (until, id) = line.split_once(' ')?;
        Some(Self {
            id: id.to_owned(),
            until: UnixTime(until.parse().ok()?),
        })
    }

    async fn write_all(rotation: &RotationConfig, notes: &[Self]) -> Result<(), RotationError> {
        let (file, notes) = (rotation.note_file.clone(), notes.to_vec());
        let write = move || -> std::io::Result<()> {
            if notes.is_empty() {
                return std::fs::remove_file(&file);
            }
            if let Some(dir) = file.parent() {
                private::make_dir(dir)?;
            }
            let lines: String = notes
                .iter()
                .map(|note| format!("{} {}\n", note.until.0, note.id))
                .collect();
            private::replace(&file, lines.as_bytes())
        };
        blocking(write).await.map_err(RotationError::Note)
    }
}

/// A token must be had with the new secret, in the way in which it will be used. Gives both.
async fn prove(
    source: &TokenSource,
    clock: &SharedClock,
    secret: &SecretString,
) -> Result<(Arc<Material>, Grant), RotationError> {
    let (config, secret) = (source.config().clone(), secret.clone());
    let material = blocking(move || Material::with_secret(&config, &secret)).await;
    let (skew, material) = (Skew::default(), material.map_err(|_| RotationError::Files)?);
    let client = TokenClient::new(source.config(), clock, &skew, material);
    let fetch = async {
        // The semaphore is never closed.
        let _permit = source.fetch_permit().acquire().await;
        client.fetch().await
    };
    let late = |_| Err(FetchError::Http(HttpError::Timeout).into());
    let fetched = timeout(source.config().timeouts.total, fetch)
        .await
        .unwrap_or_else(late);
    let grant = fetched.map_err(|failure| RotationError::Unproven(failure.text()))?;
    Ok((client.into_material(), grant))
}

/// Where the secret lies: the file at the end of all links, what is in it, and who may read it.
/// Nobody else renews it meanwhile.
struct Place {
    file: PathBuf,
    secret: SecretString,
    access: Access,
    /// Whether it ends with a newline.
    newline: bool,
    _lock: File,
}

impl Place {
    /// Also finds out whether the file could be replaced: a secret that cannot be kept must not be
    /// made.
    fn take(file: &Path) -> Result<Self, RotationError> {
        let look = || -> std::io::Result<(PathBuf, File, Access, bool)> {
            let file = std::fs::canonicalize(file)?;
            let metadata = std::fs::metadata(&file)?;
            let owner = Some((metadata.uid(), metadata.gid()));
            let access = Access {
                mode: metadata.permissions().mode() & 0o777,
                owner,
            };
            let newline = Zeroizing::new(std::fs::read(&file)?).last() == Some(&b'\n');
            let lock = File::open(file.parent().unwrap_or(Path::new("/")))?;
            Ok((file, lock, access, newline))
        };
        let (file, lock, access, newline) = look().map_err(RotationError::NotReplaced)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(RotationError::Locked),
            Err(TryLockError::Error(error)) => return Err(RotationError::NotReplaced(error)),
        }
        // Under the lock: what was read before it may have been replaced.
        let secret = files::read_secret(&file).map_err(|_| RotationError::Files)?;
        // A name that nothing has: what lies beside a secret is somebody's.
        let trial = private::unique_beside(&file);
        let tried =
            private::replace_for(&trial, b"", access).and_then(|()| std::fs::remove_file(&trial));
        tried.map_err(RotationError::NotReplaced)?;
        Ok(Self {
            file,
            secret,
            access,
            newline,
            _lock: lock,
        })
    }

    fn replace(&self, secret: &SecretString) -> Result<(), RotationError> {
        // By hand, perhaps: whoever did that knows what he wants.
        let now = files::read_secret(&self.file).map_err(|_| RotationError::Changed)?;
        if !secret::matches(&now, &self.secret) {
            return Err(RotationError::Changed);
        }
        let end = if self.newline { "\n" } else { "" };
        let content = SecretString::from([secret.expose_secret(), end].concat());
        let replaced =
            private::replace_for(&self.file, content.expose_secret().as_bytes(), self.access);
        replaced.map_err(RotationError::NotReplaced)
    }
}

/// The issuer's management API, for one client's secrets.
struct Admin {
    http: HttpClient,
    secrets: Url,
    authorization: HeaderValue,
}

impl Admin {
    async fn open(config: &Config, rotation: &RotationConfig) -> Result<Self, RotationError> {
        let (token_file, ca_file) = (rotation.admin_token_file.clone(), config.ca_file.clone());
        let token = blocking(move || files::read_secret(&token_file))
            .await
            .map_err(RotationError::AdminToken)?;
        let ca_pem = match ca_file {
            Some(file) => {
                let pem = blocking(move || files::read(&file, files::MAX_PUBLIC)).await;
                Some(pem.map_err(|_| RotationError::Files)?)
            }
            None => None,
        };
        let http = HttpClient::new(http_options(config.timeouts, ca_pem, None))
            .map_err(RotationError::Client)?;
        let text = SecretString::from(["Bearer ", token.expose_secret()].concat());
        let mut authorization = HeaderValue::from_str(text.expose_secret())
            .map_err(|_| RotationError::AdminToken(ReadError::NotText))?;
        authorization.set_sensitive(true);
        let mut secrets = rotation.admin.clone();
        if let Ok(mut path) = secrets.path_segments_mut() {
            path.pop_if_empty()
                .extend(["clients", &config.client_id, "secrets"]);
        }
        Ok(Self {
            http,
            secrets,
            authorization,
        })
    }

    async fn call(
        &self,
        method: Method,
        url: &Url,
        body: Option<String>,
    ) -> Result<Value, RotationError> {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, self.authorization.clone())]);
        let answer = self
            .http
            .send_json(method, url, headers, body)
            .await
            .map_err(RotationError::Unreachable)?;
        match answer.status {
            StatusCode::OK | StatusCode::CREATED | StatusCode::NO_CONTENT => {
                Ok(serde_json::from_slice(&answer.body).unwrap_or_default())
            }
            status => Err(RotationError::Status(status.as_u16())),
        }
    }

    /// All secrets but themselves, the oldest first.
    async fn secrets(&self) -> Result<Vec<Value>, RotationError> {
        let mut listed = self.call(Method::GET, &self.secrets, None).await?;
        match listed.get_mut("secrets").map(Value::take) {
            Some(Value::Array(secrets)) => Ok(secrets),
            _ => Err(RotationError::NoSecret),
        }
    }

    /// A new secret, its id first. The others stay as they are.
    async fn create(&self) -> Result<(String, SecretString), RotationError> {
        let body = json!({ "keep_others": true }).to_string();
        let made = self.call(Method::POST, &self.secrets, Some(body)).await?;
        match (made["id"].as_str(), made["client_secret"].as_str()) {
            (Some(id), Some(secret)) => Ok((id.to_owned(), SecretString::from(secret))),
            _ => Err(RotationError::NoSecret),
        }
    }

    async fn delete(&self, id: &str) -> Result<(), RotationError> {
        let mut url = self.secrets.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.push(id);
        }
        self.call(Method::DELETE, &url, None).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(of("m2ms_eeee"), None, "the issuer knows another");
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
        std::fs::write(dir.path().join("secret.trial"), "somebody's").unwrap();
        let place = Place::take(&file).unwrap();
        assert!(matches!(Place::take(&file), Err(RotationError::Locked)));
        place.replace(&"two".into()).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "two\n");
        assert!(matches!(
            place.replace(&"three".into()),
            Err(RotationError::Changed)
        ));
        drop(place);
        assert_eq!(Place::take(&file).unwrap().secret.expose_secret(), "two");
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            2,
            "what was there, and nothing else"
        );
    }
}
