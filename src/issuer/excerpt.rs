//! Short, printable excerpts of a client's text, for answers and log lines.

use std::fmt;

use url::Url;

/// The longest excerpt, in bytes.
const LONGEST: usize = 80;
/// Replaces the rest.
const CUT: &str = "...";

/// The beginning of a text. It has only characters that an `error_description` may have (RFC 6749
/// §5.2) and no backtick; the others are percent-encoded as UTF-8 (RFC 3986 §2.1). It is never made
/// from a secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Excerpt {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Excerpt {
    /// The excerpt of a text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut excerpt = Self {
            bytes: [0; LONGEST],
            length: 0,
        };
        for byte in text.bytes() {
            let is_plain = matches!(byte, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x5f | 0x61..=0x7e);
            let kept = if is_plain {
                excerpt.push(&[byte])
            } else {
                excerpt.push(format!("%{byte:02X}").as_bytes())
            };
            if !kept {
                excerpt.put(CUT.as_bytes());
                break;
            }
        }
        excerpt
    }

    /// The excerpt of a URI. User, password, query and fragment of a URL may be secrets and are
    /// removed.
    #[must_use]
    pub fn of_uri(text: &str) -> Self {
        let Ok(mut url) = Url::parse(text) else {
            return Self::of(text);
        };
        let holds_more = url.query().is_some() || url.fragment().is_some();
        // Unchanged if nothing has to be removed.
        if url.username().is_empty() && url.password().is_none() && !holds_more {
            return Self::of(text);
        }
        url.set_query(None);
        url.set_fragment(None);
        // This fails only for a URL that cannot have a user.
        let _ = url.set_username("").and_then(|()| url.set_password(None));
        Self::of(&format!("{url}{}", if holds_more { CUT } else { "" }))
    }

    /// Appends bytes, if there is room for them and [`CUT`].
    fn push(&mut self, bytes: &[u8]) -> bool {
        let fits = self.length + bytes.len() + CUT.len() <= LONGEST;
        if fits {
            self.put(bytes);
        }
        fits
    }

    fn put(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        if let Some(place) = self.bytes.get_mut(self.length..end) {
            place.copy_from_slice(bytes);
            self.length = end;
        }
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self
            .bytes
            .get(..self.length)
            .and_then(|bytes| std::str::from_utf8(bytes).ok());
        f.write_str(text.unwrap_or_default())
    }
}

impl fmt::Debug for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_is_escaped_and_cut() {
        for (text, shown) in [
            ("", ""),
            ("devices:read", "devices:read"),
            ("a\"b\\c`d\n\u{e4}", "a%22b%5Cc%60d%0A%C3%A4"),
            (&"a".repeat(77), &"a".repeat(77)),
            (&"a".repeat(78), &format!("{}...", "a".repeat(77))),
            (
                &"\u{e4}".repeat(13),
                &format!("{}...", "%C3%A4".repeat(12) + "%C3"),
            ),
        ] {
            assert_eq!(Excerpt::of(text).to_string(), shown, "{text}");
        }
    }

    #[test]
    fn of_a_url_neither_password_nor_query_is_shown() {
        for (text, shown) in [
            ("HTTPS://Api.example:443/a", "HTTPS://Api.example:443/a"),
            ("urn:x", "urn:x"),
            ("not a uri", "not a uri"),
            (
                "https://user:password@api.example/a",
                "https://api.example/a",
            ),
            (
                "https://api.example/a?key=secret",
                "https://api.example/a...",
            ),
            (
                "https://api.example/a#key=secret",
                "https://api.example/a...",
            ),
        ] {
            assert_eq!(Excerpt::of_uri(text).to_string(), shown);
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_a_short_one_of_allowed_characters(text in any::<String>()) {
            for shown in [Excerpt::of(&text), Excerpt::of_uri(&text)] {
                let shown = shown.to_string();
                prop_assert!(shown.len() <= LONGEST);
                prop_assert!(shown.bytes().all(|b| matches!(b, 0x20..=0x7e) && !br#""\`"#.contains(&b)));
            }
        }
    }
}
