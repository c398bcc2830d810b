//! Secrets that print nothing.
//!
//! [`SecretString`] zeroizes on drop and prints `[REDACTED]`; its text is only available through
//! [`ExposeSecret::expose_secret`]. [`matches()`] compares in constant time.

pub use secrecy::ExposeSecret;

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::hash::sha256;

/// A secret text. Two are equal when [`matches()`] says so.
#[derive(Clone)]
pub struct SecretString(secrecy::SecretString);

impl PartialEq for SecretString {
    fn eq(&self, other: &Self) -> bool {
        matches(self, other)
    }
}

impl Eq for SecretString {}

impl<T: Into<secrecy::SecretString>> From<T> for SecretString {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

impl ExposeSecret<str> for SecretString {
    fn expose_secret(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for SecretString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

/// A secret that can be replaced while it is in use. It prints nothing.
#[derive(Clone)]
pub struct SharedSecret(Arc<ArcSwap<SecretString>>);

impl SharedSecret {
    /// A secret with an initial value.
    #[must_use]
    pub fn new(secret: SecretString) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(secret)))
    }

    #[must_use]
    pub fn get(&self) -> Arc<SecretString> {
        self.0.load_full()
    }

    /// Replaces the secret. Returns whether it changed.
    pub fn replace(&self, secret: SecretString) -> bool {
        let changes = !matches(&self.0.load(), &secret);
        self.0.store(Arc::new(secret));
        changes
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

/// The line ending after a secret in its file. It is not part of the secret, but programs that send
/// the whole file send it too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LineEnd {
    #[default]
    None,
    Lf,
    CrLf,
}

impl LineEnd {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Lf => "\n",
            Self::CrLf => "\r\n",
        }
    }
}

/// Fills bytes with random bits. The library ends the process rather than fail.
pub fn fill(bytes: &mut [u8]) {
    while aws_lc_rs::rand::fill(bytes).is_err() {}
}

/// A new secret: a prefix by which people and scanners recognise it, and 256 random bits.
#[must_use]
pub fn generate(prefix: &str) -> SecretString {
    let mut bits = Zeroizing::new([0; 32]);
    fill(&mut *bits);
    // Large enough: a text that grows leaves a copy of the secret behind.
    let mut text = String::with_capacity(prefix.len() + 43);
    text.push_str(prefix);
    URL_SAFE_NO_PAD.encode_string(*bits, &mut text);
    SecretString::from(text)
}

/// Whether a presented secret is the expected one.
///
/// Both sides are hashed first, so that the time reveals neither content nor length.
#[must_use]
pub fn matches(expected: &SecretString, presented: &SecretString) -> bool {
    let expected = sha256(expected.expose_secret().as_bytes());
    let presented = sha256(presented.expose_secret().as_bytes());
    aws_lc_rs::constant_time::verify_slices_are_equal(&expected, &presented).is_ok()
}
