//! The names of parameters.

use super::TokenError;
use crate::issuer::excerpt::Excerpt;

/// The known parameters.
pub(super) const KNOWN: [&str; 17] = [
    "grant_type",
    "client_id",
    "client_secret",
    "client_assertion",
    "client_assertion_type",
    "scope",
    "audience",
    "resource",
    "expiration",
    "token_name",
    "token",
    "refresh_token",
    "subject_token",
    "subject_token_type",
    "actor_token",
    "actor_token_type",
    "requested_token_type",
];
/// Further names that are read in a token request.
const FURTHER: [&str; 6] = [
    AUD,
    "token_type",
    "req_cnf",
    "dpop_jkt",
    "assertion",
    "token_type_hint",
];
/// The audience in a form of plgd's clients, as its server names it.
pub(super) const AUD: &str = "aud";
/// The longest name of an unknown parameter in an answer.
const MAX_SHOWN_NAME: usize = 32;

/// The parameter of token requests whose name is this one, or differs from it only in case,
/// separators or a plural.
#[must_use]
pub fn parameter_like(name: &str) -> Option<&'static str> {
    let like = folded(name);
    let mut names = KNOWN.into_iter().chain(FURTHER);
    names.find(|known| folded(known) == like)
}

/// The known names; in forms of plgd's clients also `aud`.
pub(super) fn known(with_aud: bool) -> impl Iterator<Item = &'static str> {
    KNOWN.into_iter().chain(with_aud.then_some(AUD))
}

/// The error of a repeated parameter. An unknown name is shown only if it looks like a name: it may
/// be a secret.
pub(super) fn repeated(name: &str) -> TokenError {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let is_name = name.len() <= MAX_SHOWN_NAME && name.bytes().all(is_plain);
    if is_name {
        TokenError::Repeated(Excerpt::of(name))
    } else {
        TokenError::RepeatedUnknown
    }
}

/// A parameter's name without case, separators and plural.
pub(super) fn folded(name: &str) -> String {
    let letters = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|letter| letter.to_ascii_lowercase());
    let letters: String = letters.collect();
    letters
        .strip_suffix('s')
        .map(str::to_owned)
        .unwrap_or(letters)
}
