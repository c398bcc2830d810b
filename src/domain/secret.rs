//! Secrets that print nothing.
//!
//! [`SecretString`] zeroizes on drop and prints `[REDACTED]`; the only way to its text is the
//! greppable [`ExposeSecret::expose_secret`]. Comparison goes through [`matches()`], which takes
//! the same time whatever differs.

pub use secrecy::{ExposeSecret, SecretString};

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::hash::sha256;

/// A secret that may be replaced while it is in use. Prints nothing.
#[derive(Clone)]
pub struct SharedSecret(Arc<ArcSwap<SecretString>>);

impl SharedSecret {
    /// A secret, for now.
    #[must_use]
    pub fn new(secret: SecretString) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(secret)))
    }

    /// The secret of this moment.
    #[must_use]
    pub fn get(&self) -> Arc<SecretString> {
        self.0.load_full()
    }

    /// Puts another into its place. Gives whether that is a change.
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

/// The line end behind a secret in its file. It is no part of the secret, but a program that reads
/// the file as it is sends it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LineEnd {
    /// None: the file ends with the secret.
    #[default]
    None,
    /// LF.
    Lf,
    /// CRLF.
    CrLf,
}

impl LineEnd {
    /// The line end as it stands in the file.
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
/// Both sides are hashed first, so neither content nor length shows in the time taken.
#[must_use]
pub fn matches(expected: &SecretString, presented: &SecretString) -> bool {
    let expected = sha256(expected.expose_secret().as_bytes());
    let presented = sha256(presented.expose_secret().as_bytes());
    aws_lc_rs::constant_time::verify_slices_are_equal(&expected, &presented).is_ok()
}
