//! A token in a file that another program keeps fresh: a Kubernetes service account token, a SPIFFE
//! JWT-SVID, an API key.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::time::{Instant, sleep};

use super::access_token::{Grant, Moment};
use super::answer::{MAX_LIFETIME, is_attachable, unverified_expiry};
use super::error::{Failure, FetchError};
use super::file_fault::TokenFileFault;
use crate::domain::claims::Claims;
use crate::domain::clock::SharedClock;
use crate::domain::secret::{ExposeSecret, SecretString, matches};
use crate::files::{self, ReadError, blocking};

/// How long a token without `exp` is used before its file is read again.
const READ_AGAIN: Duration = Duration::from_hours(1);

/// The pause between two readings. A file whose content differs then is being written.
const SETTLE: Duration = Duration::from_millis(20);

/// The token in a file, for this identity.
pub(super) async fn read(
    file: &Path,
    clock: &SharedClock,
    identity: [u8; 32],
) -> Result<Grant, Failure> {
    let first = read_once(file).await?;
    sleep(SETTLE).await;
    let token = read_once(file).await?;
    let fault = |fault| Failure::from(FetchError::TokenFile(fault)).in_file(file, "");
    if !matches(&first, &token) || is_cut_off(token.expose_secret()) {
        return Err(fault(TokenFileFault::Changing));
    }
    let requested = Moment {
        monotonic: Instant::now(),
        wall: clock.now(),
    };
    let lifetime = match unverified_expiry(token.expose_secret()) {
        None => READ_AGAIN,
        Some(expires) => requested.wall.until(expires).min(MAX_LIFETIME),
    };
    if lifetime.is_zero() {
        return Err(fault(TokenFileFault::Expired));
    }
    Ok(Grant {
        token,
        lifetime,
        requested,
        identity,
    })
}

async fn read_once(file: &Path) -> Result<SecretString, Failure> {
    let path = file.to_owned();
    blocking(move || parse(&path)).await.map_err(|refused| {
        let (fault, why) = match refused {
            Refused::Fault(fault) => (fault, String::new()),
            Refused::Read(error) => fault_of(&error),
        };
        Failure::from(FetchError::TokenFile(fault)).in_file(file, &why)
    })
}

fn fault_of(error: &ReadError) -> (TokenFileFault, String) {
    match error {
        ReadError::Unreadable(io) if io.kind() == ErrorKind::NotFound => {
            (TokenFileFault::Missing, String::new())
        }
        ReadError::Empty => (TokenFileFault::Empty, String::new()),
        other => (TokenFileFault::Unreadable, format!(": it {other}")),
    }
}

enum Refused {
    Fault(TokenFileFault),
    Read(ReadError),
}

/// The token in a file, without the white space around it. Blocks.
fn parse(file: &Path) -> Result<SecretString, Refused> {
    let text = files::read_secret_lines(file).map_err(Refused::Read)?;
    let token = text.expose_secret().trim_ascii();
    if token.is_empty() {
        return Err(Refused::Fault(TokenFileFault::Empty));
    }
    if !is_attachable(token) {
        return Err(Refused::Fault(TokenFileFault::Malformed));
    }
    Ok(SecretString::from(token))
}

/// Checks a file of the configuration. A missing or an empty file is the other program's matter:
/// `Ok(false)`. Blocks.
///
/// # Errors
/// The problem of the file; the text follows its name.
pub fn check(file: &Path) -> Result<bool, String> {
    match parse(file) {
        Ok(_) => Ok(true),
        Err(Refused::Fault(TokenFileFault::Empty) | Refused::Read(ReadError::Empty)) => Ok(false),
        Err(Refused::Read(ReadError::Unreadable(io))) if io.kind() == ErrorKind::NotFound => {
            Ok(false)
        }
        Err(Refused::Read(error)) => Err(error.to_string()),
        Err(Refused::Fault(_)) => {
            Err("does not have one token of printable ASCII characters".to_owned())
        }
    }
}

/// Whether a token is the beginning of a JWT: a signature that is too short for its algorithm, or
/// none. Another program may be in the middle of writing it.
fn is_cut_off(token: &str) -> bool {
    let parts: Vec<&str> = token.split('.').collect();
    let (header, signature) = match parts.as_slice() {
        [header, _] => (header, ""),
        [header, _, signature] => (header, *signature),
        _ => return false,
    };
    let header = URL_SAFE_NO_PAD.decode(header).ok();
    let header = header.and_then(|header| Claims::parse(&header).ok());
    let Some(algorithm) = header.as_ref().and_then(|it| it.string("alg").ok()?) else {
        return false;
    };
    let least = match algorithm {
        "HS256" => 32,
        "HS384" => 48,
        "HS512" | "ES256" | "ES256K" | "EdDSA" | "Ed25519" => 64,
        "ES384" => 96,
        "ES512" => 132,
        "RS256" | "RS384" | "RS512" | "PS256" | "PS384" | "PS512" => 128,
        _ => 1,
    };
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
    let is_rsa = algorithm.starts_with("RS") || algorithm.starts_with("PS");
    // The moduli of RSA keys in use have whole 64 bits.
    signature.len() < least || is_rsa && !signature.len().is_multiple_of(8)
}

#[cfg(test)]
mod tests;
