//! The owners that a client may choose for its tokens.

use std::fmt;

/// The longest owner or device id that a request may choose, in bytes.
pub const MAX_CHOSEN: usize = 256;

/// One owner, or with `*` at the end all owners that begin so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerPattern {
    beginning: String,
    is_prefix: bool,
}

impl OwnerPattern {
    /// Parses `owner`, `prefix*` or `*`.
    ///
    /// # Errors
    /// The fault of the text.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (beginning, is_prefix) = match text.strip_suffix('*') {
            Some(beginning) => (beginning, true),
            None => (text, false),
        };
        if !is_chosen(text) {
            return Err("it must have 1 to 256 bytes and no control characters");
        }
        if beginning.contains('*') {
            return Err("`*` may only be at the end, where it stands for any rest");
        }
        Ok(Self {
            beginning: beginning.to_owned(),
            is_prefix,
        })
    }

    /// Whether it allows an owner. Texts are compared byte by byte.
    #[must_use]
    pub fn allows(&self, owner: &str) -> bool {
        if self.is_prefix {
            owner.starts_with(&self.beginning)
        } else {
            owner == self.beginning
        }
    }

    /// Whether it allows every owner.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.is_prefix && self.beginning.is_empty()
    }
}

impl fmt::Display for OwnerPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.beginning)?;
        f.write_str(if self.is_prefix { "*" } else { "" })
    }
}

/// Whether a request may choose this owner or device id.
#[must_use]
pub fn is_chosen(text: &str) -> bool {
    (1..=MAX_CHOSEN).contains(&text.len()) && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_allows_one_owner_or_a_beginning_or_all() {
        for (pattern, allowed, other) in [
            ("1", vec!["1"], vec!["11", "", "1 ", "01"]),
            (
                "tenant-*",
                vec!["tenant-", "tenant-a", "tenant-*"],
                vec!["tenant", "Tenant-a", " tenant-a"],
            ),
            ("*", vec!["1", "ä", "*"], vec![]),
        ] {
            let parsed = OwnerPattern::parse(pattern).unwrap();
            assert_eq!(parsed.to_string(), pattern);
            assert_eq!(parsed.is_any(), pattern == "*");
            assert!(allowed.iter().all(|owner| parsed.allows(owner)));
            assert!(!other.iter().any(|owner| parsed.allows(owner)));
        }
    }

    #[test]
    fn a_star_elsewhere_and_unprintable_texts_are_no_patterns() {
        for text in ["", "a*b", "*a", "**", "a\nb", &"a".repeat(257)] {
            assert!(OwnerPattern::parse(text).is_err(), "{text:?}");
        }
    }
}
