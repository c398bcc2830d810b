//! Patterns of claims: an exact text, a beginning, or SPIFFE IDs.

use std::fmt;

use serde_json::Value;

use super::spiffe::{InvalidSpiffePattern, SCHEME, SpiffePattern};

/// An expected value of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimPattern {
    /// This text, number or boolean, as JSON writes it.
    Exactly(String),
    /// A text that begins so.
    Prefix(String),
    /// A SPIFFE ID.
    Spiffe(SpiffePattern),
}

/// The text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidClaimPattern {
    #[error("it must not be empty")]
    Empty,
    #[error(
        "`*` alone permits every value: write the beginning of the permitted ones, as in \
         `repo:example/*`"
    )]
    Anything,
    #[error("`*` may only be the last character: it stands for any rest")]
    WildcardNotLast,
    #[error(transparent)]
    Spiffe(#[from] InvalidSpiffePattern),
}

impl ClaimPattern {
    /// Parses `text`, `prefix*`, or a SPIFFE ID with `*` for segments and `**` for any rest.
    ///
    /// # Errors
    /// [`InvalidClaimPattern`].
    pub fn parse(text: &str) -> Result<Self, InvalidClaimPattern> {
        if text.is_empty() {
            return Err(InvalidClaimPattern::Empty);
        }
        if text.starts_with(SCHEME) {
            return Ok(Self::Spiffe(SpiffePattern::parse(text)?));
        }
        let prefix = text.strip_suffix('*');
        match prefix {
            Some("") => Err(InvalidClaimPattern::Anything),
            _ if prefix.unwrap_or(text).contains('*') => Err(InvalidClaimPattern::WildcardNotLast),
            Some(prefix) => Ok(Self::Prefix(prefix.to_owned())),
            None => Ok(Self::Exactly(text.to_owned())),
        }
    }

    /// Whether it matches a text.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exactly(expected) => expected == text,
            Self::Prefix(prefix) => text.starts_with(prefix.as_str()),
            Self::Spiffe(pattern) => pattern.matches(text),
        }
    }

    /// Whether it matches a claim. Of a list, one item must match.
    #[must_use]
    pub fn matches_value(&self, value: &Value) -> bool {
        match value {
            Value::String(text) => self.matches(text),
            Value::Number(number) => self.is_exactly(&number.to_string()),
            Value::Bool(value) => self.is_exactly(if *value { "true" } else { "false" }),
            Value::Array(items) => items
                .iter()
                .any(|item| !item.is_array() && self.matches_value(item)),
            Value::Null | Value::Object(_) => false,
        }
    }

    fn is_exactly(&self, text: &str) -> bool {
        matches!(self, Self::Exactly(expected) if expected == text)
    }
}

impl fmt::Display for ClaimPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(text) => f.write_str(text),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
            Self::Spiffe(pattern) => pattern.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pattern_is_exact_a_beginning_or_a_spiffe_id() {
        for (pattern, value, expected) in [
            ("repo:a/b", json!("repo:a/b"), true),
            ("repo:a/b", json!("repo:a/b "), false),
            ("repo:a/*", json!("repo:a/b:ref"), true),
            ("repo:a/*", json!("repo:a/"), true),
            ("repo:a/*", json!("repo:ab"), false),
            ("a", json!(["b", "a"]), true),
            ("a", json!([["a"]]), false),
            ("a", json!({"a": "a"}), false),
            ("7", json!(7), true),
            ("7*", json!(70), false),
            ("true", json!(true), true),
            ("null", json!(null), false),
            ("spiffe://a/b/*", json!("spiffe://a/b/c"), true),
            ("spiffe://a/b/*", json!("spiffe://a/b/c/d"), false),
        ] {
            let parsed = ClaimPattern::parse(pattern).unwrap();
            assert_eq!(parsed.matches_value(&value), expected, "{pattern} {value}");
            assert_eq!(parsed.to_string(), pattern);
        }
        for (text, why) in [
            ("", InvalidClaimPattern::Empty),
            ("*", InvalidClaimPattern::Anything),
            ("a*b", InvalidClaimPattern::WildcardNotLast),
            ("a**", InvalidClaimPattern::WildcardNotLast),
            (
                "spiffe://a*",
                InvalidClaimPattern::Spiffe(InvalidSpiffePattern),
            ),
        ] {
            assert_eq!(ClaimPattern::parse(text), Err(why), "{text}");
        }
    }
}
