//! A credential that renews its own secret, at an issuer whose management API we may use.
//!
//! In this order, so that at no moment nobody has a working secret: a new one is made, and the old ones stay; a token is had with
//! it; it replaces the old one in its file, as a whole; only then, and after a time for others to read the file, the old ones
//! go. What fails before the file was replaced takes the new secret back. How old a secret is, its file's date says, and which
//! ones it has replaced, the issuer: both outlive us.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::{Value, json};
use url::Url;

use super::authentication::{Material, Proof};
use super::error::FetchError;
use super::token_client::{Skew, TokenClient};
use super::{Config, http_options};
use crate::domain::clock::{SharedClock, UnixTime};
use crate::domain::secret::{ExposeSecret, SecretString};
use crate::files::{self, ReadError};
use crate::http_client::{BuildError, HttpClient, HttpError};
use crate::jose::kept_file;

/// How long the old secrets are promised to live before the new one was tried: longer than anybody waits for that.
const WHILE_TRYING: Duration = Duration::from_hours(24 * 365);
/// How soon a rotation that failed is tried again.
const AGAIN: Duration = Duration::from_mins(10);
/// How often the file's age is looked at: files are replaced by people too.
const LOOK_EVERY: Duration = Duration::from_mins(1);

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
    /// How long the old secrets live on beside a new one.
    pub grace: Duration,
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
    Unreachable(HttpError),
    #[error("the management API answered with status {0}")]
    Status(u16),
    #[error("the management API's answer holds no secret")]
    NoSecret,
    #[error("no token was had with the new secret: {0}")]
    Unproven(FetchError),
    #[error("the secret's file cannot be replaced: {0}")]
    NotReplaced(std::io::Error),
}

/// Renews the secret whenever it is old enough, for ever.
pub(super) async fn run(config: &Config, rotation: &RotationConfig, clock: &SharedClock) {
    let credential = &config.name;
    let mut tidied = None;
    loop {
        let Some(changed) = changed_at(rotation).await else {
            tokio::time::sleep(LOOK_EVERY).await;
            continue;
        };
        let age = changed.until(clock.now());
        if age >= rotation.every {
            match rotate(config, rotation, clock).await {
                Ok(()) => tracing::info!(credential, "the client secret was renewed"),
                Err(error) => {
                    tracing::warn!(credential, %error, "the client secret could not be renewed; the old one stays");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        } else if age >= rotation.grace && tidied != Some(changed) {
            match tidy(config, rotation).await {
                Ok(()) => tidied = Some(changed),
                Err(error) => {
                    tracing::warn!(credential, %error, "old client secrets could not be deleted");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        } else {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// When the secret's file was last changed.
async fn changed_at(rotation: &RotationConfig) -> Option<UnixTime> {
    let file = rotation.secret_file.clone();
    let changed = blocking(move || std::fs::metadata(file)?.modified()).await.ok()?;
    let since = changed.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(UnixTime(i64::try_from(since.as_secs()).ok()?))
}

async fn rotate(
    config: &Config,
    rotation: &RotationConfig,
    clock: &SharedClock,
) -> Result<(), RotationError> {
    let file = rotation.secret_file.clone();
    let place = blocking(move || Place::look(&file)).await.map_err(RotationError::NotReplaced)?;
    let admin = Admin::open(config, rotation).await?;
    let (id, secret) = admin.create(WHILE_TRYING).await?;
    let brought = async {
        prove(config, clock, &secret).await?;
        let secret = secret.clone();
        blocking(move || place.replace(&secret)).await.map_err(RotationError::NotReplaced)
    };
    let brought = brought.await;
    if brought.is_err()
        && let Err(error) = admin.delete(&id).await
    {
        tracing::warn!(credential = config.name, %error, "a client secret that nobody has was left behind");
    }
    brought
}

/// Deletes the secrets that the one in use has replaced: those that are older, and were given an end when it was made.
async fn tidy(config: &Config, rotation: &RotationConfig) -> Result<(), RotationError> {
    let file = rotation.secret_file.clone();
    let secret = blocking(move || files::read_secret(&file)).await.map_err(|_| RotationError::Files)?;
    let admin = Admin::open(config, rotation).await?;
    for id in replaced(&admin.secrets().await?, &secret) {
        match admin.delete(&id).await {
            // Somebody was quicker.
            Ok(()) | Err(RotationError::Status(404)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Of all secrets, the oldest first, the ids of those that `current` has replaced; none when it is not among them.
fn replaced(all: &[Value], current: &SecretString) -> Vec<String> {
    let ends_like_it = |secret: &Value| {
        secret["last_four"]
            .as_str()
            .is_some_and(|end| end.len() == 4 && current.expose_secret().ends_with(end))
    };
    let in_use = all.iter().rposition(ends_like_it).unwrap_or(0);
    let older = all.iter().take(in_use).filter(|secret| secret["expires_at"].is_string());
    older.filter_map(|secret| secret["id"].as_str().map(str::to_owned)).collect()
}

/// A token must be had with the new secret, in the way in which it will be used.
async fn prove(config: &Config, clock: &SharedClock, secret: &SecretString) -> Result<(), RotationError> {
    let of = config.clone();
    let mut material = blocking(move || Material::load(&of)).await.map_err(|_| RotationError::Files)?;
    material.proof = match material.proof {
        Proof::Basic(_) => Proof::Basic(secret.clone()),
        Proof::Post(_) => Proof::Post(secret.clone()),
        _ => return Err(RotationError::Files),
    };
    let skew = Skew::default();
    let client = TokenClient::new(config, clock, &skew, material);
    client.fetch().await.map(drop).map_err(|failure| RotationError::Unproven(failure.error))
}

/// Where the secret lies: the file at the end of all links, and who may read it.
#[derive(Clone)]
struct Place {
    file: PathBuf,
    mode: u32,
    /// Whether it ends with a newline.
    newline: bool,
}

impl Place {
    /// Also finds out whether it could be replaced: a secret that cannot be kept must not be made.
    fn look(file: &Path) -> std::io::Result<Self> {
        let file = std::fs::canonicalize(file)?;
        let mode = std::fs::metadata(&file)?.permissions().mode() & 0o777;
        let newline = zeroize::Zeroizing::new(std::fs::read(&file)?).last() == Some(&b'\n');
        let trial = file.with_extension(format!("{:016x}", fastrand::u64(..)));
        std::fs::File::create_new(&trial)?;
        std::fs::remove_file(&trial)?;
        Ok(Self { file, mode, newline })
    }

    fn replace(&self, secret: &SecretString) -> std::io::Result<()> {
        let end = if self.newline { "\n" } else { "" };
        let content = SecretString::from([secret.expose_secret(), end].concat());
        kept_file::replace_with_mode(&self.file, content.expose_secret().as_bytes(), self.mode)
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // The runtime is ending: nobody will look at it.
        Err(_) => std::future::pending().await,
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
        let token =
            blocking(move || files::read_secret(&token_file)).await.map_err(RotationError::AdminToken)?;
        let ca_pem = match ca_file {
            Some(file) => {
                let pem = blocking(move || files::read(&file, files::MAX_PUBLIC)).await;
                Some(pem.map_err(|_| RotationError::Files)?)
            }
            None => None,
        };
        let http = HttpClient::new(http_options(ca_pem, None)).map_err(RotationError::Client)?;
        let text = SecretString::from(["Bearer ", token.expose_secret()].concat());
        let mut authorization = HeaderValue::from_str(text.expose_secret())
            .map_err(|_| RotationError::AdminToken(ReadError::NotText))?;
        authorization.set_sensitive(true);
        let mut secrets = rotation.admin.clone();
        if let Ok(mut path) = secrets.path_segments_mut() {
            path.pop_if_empty().extend(["clients", &config.client_id, "secrets"]);
        }
        Ok(Self { http, secrets, authorization })
    }

    async fn call(&self, method: Method, url: &Url, body: Option<String>) -> Result<Value, RotationError> {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, self.authorization.clone())]);
        let answer =
            self.http.send_json(method, url, headers, body).await.map_err(RotationError::Unreachable)?;
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

    /// A new secret, its id first.
    async fn create(&self, grace: Duration) -> Result<(String, SecretString), RotationError> {
        let body = json!({ "grace": grace.as_secs() }).to_string();
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
    fn only_older_secrets_that_were_given_an_end_are_replaced_ones() {
        let secret = |id: &str, last_four: &str, expires_at: Value| json!({ "id": id, "last_four": last_four, "expires_at": expires_at });
        let end = json!("2027-01-01T00:00:00Z");
        let all = [
            secret("a", "aaaa", end.clone()),
            secret("b", "bbbb", Value::Null),
            secret("c", "cccc", end.clone()),
            secret("d", "dddd", end),
        ];
        let of = |current: &str| replaced(&all, &current.into());
        assert_eq!(of("m2ms_cccc"), ["a"]);
        assert_eq!(of("m2ms_dddd"), ["a", "c"]);
        assert!(of("m2ms_aaaa").is_empty());
        assert!(of("m2ms_eeee").is_empty(), "another one is in use than the issuer knows");
        assert!(replaced(&[], &"x".into()).is_empty());
    }
}
