//! Scopes and their space-joined form (RFC 6749 §3.3).

use std::fmt;

/// An ordered set of scope tokens. The order is for display; comparisons ignore it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScopeSet(Vec<String>);

/// An invalid list of scope tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a scope consists of printable ASCII characters without spaces, quotes and backslashes")]
pub struct InvalidScope;

impl ScopeSet {
    /// Parses a space-joined list. Repeated spaces and duplicates are ignored.
    ///
    /// # Errors
    /// [`InvalidScope`] if a token contains a character that RFC 6749 §3.3 does not allow.
    pub fn parse(text: &str) -> Result<Self, InvalidScope> {
        Self::from_tokens(text.split(' ').filter(|token| !token.is_empty()))
    }

    /// A set of the given tokens without duplicates.
    ///
    /// # Errors
    /// [`InvalidScope`] if a token is empty or contains a character that RFC 6749 §3.3 does not
    /// allow.
    pub fn from_tokens<T: AsRef<str>>(
        tokens: impl IntoIterator<Item = T>,
    ) -> Result<Self, InvalidScope> {
        let mut set = Self::default();
        for token in tokens {
            let token = token.as_ref();
            let allowed = |b: u8| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
            if token.is_empty() || !token.bytes().all(allowed) {
                return Err(InvalidScope);
            }
            if !set.contains(token) {
                set.0.push(token.to_owned());
            }
        }
        Ok(set)
    }

    #[must_use]
    pub fn contains(&self, scope: &str) -> bool {
        self.0.iter().any(|s| s == scope)
    }

    /// Whether every scope of `self` is in `other`.
    #[must_use]
    pub fn is_subset_of(&self, other: &Self) -> bool {
        self.0.iter().all(|s| other.contains(s))
    }

    /// Whether both contain the same scopes, in any order.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.is_subset_of(other) && other.is_subset_of(self)
    }

    /// The scopes of both.
    #[must_use]
    pub fn with(mut self, other: &Self) -> Self {
        for scope in &other.0 {
            if !self.contains(scope) {
                self.0.push(scope.clone());
            }
        }
        self
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_form_round_trips_and_collapses_duplicates() {
        let set = ScopeSet::parse("devices:read  devices:write devices:read").unwrap();
        assert_eq!(set.to_string(), "devices:read devices:write");
        assert!(set.contains("devices:write"));
        assert!(ScopeSet::parse("devices:read").unwrap().is_subset_of(&set));
        assert!(!ScopeSet::parse("admin").unwrap().is_subset_of(&set));
    }

    #[test]
    fn characters_outside_the_grammar_are_refused() {
        for bad in ["a\"b", "a\\b", "a\tb", "ä", "a\nb"] {
            assert_eq!(ScopeSet::parse(bad), Err(InvalidScope), "{bad:?}");
        }
        assert_eq!(ScopeSet::from_tokens([""]), Err(InvalidScope));
        assert!(ScopeSet::parse("").unwrap().is_empty());
    }
}
