//! The current token on disk, encrypted, so that a restart does not have to fetch one.
//!
//! It opens only with the configured key, and only for the credential as it is configured now,
//! including its secret.

use std::path::PathBuf;
use std::time::Duration;

use super::access_token::{AccessToken, Grant, Moment};
use super::{Config, TokenEndpoint};
use crate::domain::clock::UnixTime;
use crate::domain::encryption::EncryptionKey;
use crate::domain::hash::sha256_parts;
use crate::domain::oauth::MAX_TOKEN_SIZE;
use crate::domain::secret::{ExposeSecret, SecretString};
use crate::files;
use crate::files::private;

/// The largest file: the longest token, encrypted and in base64.
const MAX_FILE: u64 = 2 * MAX_TOKEN_SIZE as u64;

#[derive(Clone, Debug, PartialEq)]
pub struct KeptAt {
    pub file: PathBuf,
    /// The encryption key.
    pub key: EncryptionKey,
}

/// The credential and identity of a token, as the name that it is sealed under.
fn name(config: &Config, identity: &[u8; 32]) -> String {
    let endpoint = match &config.endpoint {
        TokenEndpoint::Url(url) => format!("url {url}"),
        TokenEndpoint::Discovery(authority) => format!("authority {authority}"),
        TokenEndpoint::File(file) => format!("file {}", file.display()),
        // Headers and body choose the user whose token it is.
        TokenEndpoint::Login(login) => format!("login {login:?}"),
    };
    let lists = format!(
        "{:?} {:?} {:?} {:?}",
        config.scopes.to_string(),
        config.audiences,
        config.resources,
        config.extra_parameters
    );
    let parts: [&[u8]; 5] = [
        config.name.as_bytes(),
        endpoint.as_bytes(),
        config.client_id.as_bytes(),
        lists.as_bytes(),
        identity,
    ];
    sha256_parts(&parts)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The kept token; `None` if there is no usable one. Blocks.
pub(super) fn load(
    config: &Config,
    at: &KeptAt,
    identity: &[u8; 32],
    now: Moment,
) -> Option<Grant> {
    let read = private::read(&at.file, MAX_FILE).map_err(|why| why.to_string());
    let sealed = match read.and_then(|bytes| {
        bytes
            .map(|bytes| files::one_line(&bytes))
            .transpose()
            .map_err(|why| why.to_string())
    }) {
        Ok(Some(sealed)) => sealed,
        Ok(None) => return None,
        Err(error) => {
            tracing::warn!(
                credential = config.name,
                error,
                "the kept token is not used"
            );
            return None;
        }
    };
    // Another key, secret or scope is a reason to fetch, not an error.
    let opened = at.key.open(&name(config, identity), &sealed).ok()?;
    let (requested_at, lifetime, token) = parse(opened.expose_secret())?;
    // A future date would keep the token young without end.
    if requested_at > now.wall {
        return None;
    }
    let age = requested_at.until(now.wall);
    let left = lifetime.checked_sub(age)?;
    // If the monotonic clock is younger than the token, only the rest of its lifetime counts.
    let (requested, lifetime) = match now.monotonic.checked_sub(age) {
        Some(monotonic) => (
            Moment {
                monotonic,
                wall: requested_at,
            },
            lifetime,
        ),
        None => (now, left),
    };
    Some(Grant {
        token: SecretString::from(token),
        lifetime,
        requested,
        identity: *identity,
    })
}

/// The sealed text: time of the request, lifetime in seconds, and the token, which has no space.
fn parse(text: &str) -> Option<(UnixTime, Duration, &str)> {
    let mut words = text.splitn(3, ' ');
    let requested_at = UnixTime(words.next()?.parse().ok()?);
    let lifetime = Duration::from_secs(words.next()?.parse().ok()?);
    Some((requested_at, lifetime, words.next()?))
}

/// Keeps a token. A failure is only logged: a sidecar may run on a read-only root. Blocks.
pub(super) fn keep(config: &Config, at: &KeptAt, token: &AccessToken) {
    let (requested_at, lifetime) = token.life();
    let times = format!("{} {} ", requested_at.0, lifetime.as_secs());
    let text = SecretString::from([times.as_str(), token.secret().expose_secret()].concat());
    let Ok(sealed) = at.key.seal(&name(config, token.identity()), &text) else {
        return;
    };
    if let Err(error) = write(at, &sealed) {
        tracing::warn!(credential = config.name, %error, "the token could not be kept on disk");
    }
}

fn write(at: &KeptAt, sealed: &SecretString) -> std::io::Result<()> {
    if let Some(dir) = at.file.parent() {
        private::make_dir(dir)?;
    }
    private::replace(&at.file, sealed.expose_secret().as_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use tokio::time::Instant;

    use super::*;
    use crate::token_source::testing;

    const ME: [u8; 32] = [7; 32];

    fn key(first: u8) -> EncryptionKey {
        let bytes: Vec<u8> = (first..first + 32).collect();
        EncryptionKey::parse(&STANDARD.encode(bytes).into()).unwrap()
    }

    #[tokio::test]
    async fn a_kept_token_is_loaded_only_for_its_credential_and_lifetime() {
        let dir = tempfile::tempdir().unwrap();
        let at = KeptAt {
            file: dir.path().join("state/token"),
            key: key(1),
        };
        let config = testing::config(&testing::Authority::start().await);
        let now = Moment {
            monotonic: Instant::now(),
            wall: UnixTime(1_000_000),
        };
        let later = |secs: u64| Moment {
            monotonic: now.monotonic + Duration::from_secs(secs),
            wall: now.wall.plus(Duration::from_secs(secs)),
        };
        assert!(load(&config, &at, &ME, now).is_none());
        let lifetime = Duration::from_secs(100);
        let grant = Grant {
            token: "t0k3n".into(),
            lifetime,
            requested: now,
            identity: ME,
        };
        keep(&config, &at, &AccessToken::new(grant));
        let file = std::fs::read_to_string(&at.file).unwrap();
        assert!(!file.contains("t0k3n"), "{file}");
        assert_eq!(
            std::fs::metadata(&at.file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let found = load(&config, &at, &ME, later(60)).unwrap();
        assert_eq!(found.token.expose_secret(), "t0k3n");
        assert_eq!(
            (found.lifetime, found.requested.wall),
            (Duration::from_secs(100), now.wall)
        );
        assert!(load(&config, &at, &ME, later(101)).is_none(), "it has died");
        let before = Moment {
            wall: UnixTime(now.wall.0 - 1),
            ..now
        };
        assert!(
            load(&config, &at, &ME, before).is_none(),
            "it is from the future"
        );
        assert!(
            load(&config, &at, &[8; 32], now).is_none(),
            "another secret"
        );
        let other = Config {
            scopes: crate::domain::scope::ScopeSet::parse("more").unwrap(),
            ..config.clone()
        };
        assert!(load(&other, &at, &ME, now).is_none(), "other scopes");
        let other = Config {
            client_id: "other".into(),
            ..config.clone()
        };
        assert!(load(&other, &at, &ME, now).is_none(), "another client");
        assert!(
            load(
                &config,
                &KeptAt {
                    key: key(2),
                    ..at.clone()
                },
                &ME,
                now
            )
            .is_none(),
            "another key"
        );
        for length in 0..file.len() {
            std::fs::write(&at.file, &file[..length]).unwrap();
            assert!(
                load(&config, &at, &ME, now).is_none(),
                "cut off at {length}"
            );
        }
    }
}
