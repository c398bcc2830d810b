//! Secrets of the clients in the store: their generation, and their stored forms.
//!
//! A generated secret has 256 random bits and cannot be guessed, so SHA-256 is enough. A supplied
//! one may be a password: it is stored as Argon2id (RFC 9106), which makes each guess cost memory
//! and time. All supplied secrets of a client share one salt, so that a presented secret is hashed
//! once.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::domain::clock::UnixTime;
use crate::domain::hash::sha256;
use crate::domain::secret::{self, ExposeSecret, SecretString};
use crate::store::StoredSecret;

/// The prefix by which people and scanners recognise a generated secret.
const PREFIX: &str = "m2m_";
/// The least length of a supplied secret.
pub const MIN_BYTES: usize = 16;
/// Memory in KiB, passes and lanes: the first choice of OWASP's list for Argon2id.
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);
/// The beginning of every stored Argon2id secret, in the PHC string format. Other costs are
/// refused, so that every evaluation costs the same.
const ARGON2: &str = "$argon2id$v=19$m=19456,t=2,p=1$";
const SHA256: &str = "sha256:";

/// The salt of a client's supplied secrets.
pub type Salt = [u8; 16];
/// A digest by SHA-256 or Argon2id.
pub type Digest = [u8; 32];

/// Why a supplied secret is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnusableSecret {
    /// It could be guessed.
    #[error("a secret needs at least 16 bytes")]
    TooShort,
    /// There was no memory for hashing it.
    #[error("the secret could not be hashed")]
    Hashing,
}

/// The stored form of a secret, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// A generated one.
    Sha256(Digest),
    /// A supplied one.
    Argon2(Salt, Digest),
}

/// Whether a text looks like a secret or token of this program's making.
#[must_use]
pub fn is_generated(text: &SecretString) -> bool {
    let text = text.expose_secret();
    let prefixes = [PREFIX, "m2ma_", "m2mr_"];
    prefixes.iter().any(|prefix| {
        text.strip_prefix(prefix)
            .is_some_and(|bits| bits.len() >= 40)
    })
}

/// Whether a text has exactly the form of a generated secret or admin token: a prefix and 256 bits
/// in base64url, possibly with the line end of a file. It cannot be guessed, so no delay needs to
/// protect it.
#[must_use]
pub fn is_beyond_guessing(text: &SecretString) -> bool {
    let text = text.expose_secret();
    let text = text
        .strip_suffix('\n')
        .map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    let bits = [PREFIX, "m2ma_"]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix));
    let is_base64url = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    bits.is_some_and(|bits| bits.len() == 43 && bits.bytes().all(is_base64url))
}

/// A new secret of 256 random bits, and its stored part.
#[must_use]
pub fn generate(now: UnixTime, expires_at: Option<UnixTime>) -> (SecretString, StoredSecret) {
    let secret = secret::generate(PREFIX);
    let digest = sha256(secret.expose_secret().as_bytes());
    let hash = digest.iter().fold(SHA256.to_owned(), |hash, byte| {
        hash + &format!("{byte:02x}")
    });
    let characters: Vec<_> = secret.expose_secret().chars().rev().take(4).collect();
    let last_four = Some(characters.into_iter().rev().collect());
    let stored = StoredSecret {
        last_four,
        ..stored(hash, now, expires_at)
    };
    (secret, stored)
}

/// The stored part of a supplied secret, beside the client's other secrets.
///
/// # Errors
/// [`UnusableSecret`].
pub async fn hashed(
    secret: SecretString,
    of_client: &[StoredSecret],
    now: UnixTime,
    expires_at: Option<UnixTime>,
) -> Result<StoredSecret, UnusableSecret> {
    if secret.expose_secret().len() < MIN_BYTES {
        return Err(UnusableSecret::TooShort);
    }
    let salt = of_client
        .iter()
        .rev()
        .find_map(|other| match parse(other.hash.expose_secret())? {
            Stored::Argon2(salt, _) => Some(salt),
            Stored::Sha256(_) => None,
        });
    let salt = salt.unwrap_or_else(random_salt);
    let hashing = tokio::task::spawn_blocking(move || argon2id(&secret, &salt));
    let digest = hashing.await.map_err(|_| UnusableSecret::Hashing)?;
    let digest = digest.ok_or(UnusableSecret::Hashing)?;
    let hash = format!(
        "{ARGON2}{}${}",
        STANDARD_NO_PAD.encode(salt),
        STANDARD_NO_PAD.encode(digest)
    );
    Ok(stored(hash, now, expires_at))
}

fn stored(hash: String, now: UnixTime, expires_at: Option<UnixTime>) -> StoredSecret {
    StoredSecret {
        secret_id: uuid::Uuid::new_v4().to_string(),
        hash: SecretString::from(hash),
        last_four: None,
        created_at: now,
        expires_at,
        last_used_at: None,
    }
}

/// Reads the stored form of a secret. `None`: this program does not write such a form.
#[must_use]
pub fn parse(hash: &str) -> Option<Stored> {
    if let Some(digest) = hash.strip_prefix(SHA256) {
        return Some(Stored::Sha256(digest_from_hex(digest)?));
    }
    let (salt, digest) = hash.strip_prefix(ARGON2)?.split_once('$')?;
    let decode = |text: &str| STANDARD_NO_PAD.decode(text).ok();
    Some(Stored::Argon2(
        decode(salt)?.try_into().ok()?,
        decode(digest)?.try_into().ok()?,
    ))
}

/// The Argon2id digest of a secret. Takes some 20 ms and 19 MiB: not for a thread that serves
/// requests. `None`: there is no memory.
#[must_use]
pub fn argon2id(secret: &SecretString, salt: &Salt) -> Option<Digest> {
    let (memory, passes, lanes) = COST;
    let params = Params::new(memory, passes, lanes, Some(32)).ok()?;
    let mut digest = [0; 32];
    let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    hasher
        .hash_password_into(secret.expose_secret().as_bytes(), salt, &mut digest)
        .ok()?;
    Some(digest)
}

/// A new random salt.
#[must_use]
pub fn random_salt() -> Salt {
    let mut salt = Salt::default();
    secret::fill(&mut salt);
    salt
}

fn digest_from_hex(text: &str) -> Option<Digest> {
    let digits: Vec<u8> = text
        .chars()
        .map(|digit| u8::try_from(digit.to_digit(16)?).ok())
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits
        .chunks_exact(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect();
    if digits.len() == 64 {
        bytes.try_into().ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
