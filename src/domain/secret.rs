//! Secrets that print nothing.
//!
//! [`SecretString`] zeroizes on drop and prints `[REDACTED]`; the only way to its text is the greppable
//! [`ExposeSecret::expose_secret`]. Comparison goes through [`matches()`], which takes the same time whatever differs.

pub use secrecy::{ExposeSecret, SecretString};

use super::hash::sha256;

/// Whether a presented secret is the expected one.
///
/// Both sides are hashed first, so neither content nor length shows in the time taken.
#[must_use]
pub fn matches(expected: &SecretString, presented: &SecretString) -> bool {
    let expected = sha256(expected.expose_secret().as_bytes());
    let presented = sha256(presented.expose_secret().as_bytes());
    aws_lc_rs::constant_time::verify_slices_are_equal(&expected, &presented).is_ok()
}
