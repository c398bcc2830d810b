//! Issuers, and which texts name the same one.

use std::borrow::Cow;

/// The issuer of an authority, with the way in which others are compared with it.
///
/// As a rule that is character by character (RFC 8414 §3.3, RFC 9068 §4). plgd takes two issuers
/// for the same one when they differ only by how many slashes stand in a row and at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerName {
    written: String,
    /// The spelling that stands for all of them, where slashes do not count.
    canonical: Option<String>,
}

impl IssuerName {
    /// An issuer that is compared character by character.
    #[must_use]
    pub fn exact(written: &str) -> Self {
        Self {
            written: written.to_owned(),
            canonical: None,
        }
    }

    /// An issuer that is compared as plgd does.
    #[must_use]
    pub fn as_plgd_compares(written: &str) -> Self {
        Self {
            written: written.to_owned(),
            canonical: Some(canonical(written).into_owned()),
        }
    }

    /// As the configuration has it.
    #[must_use]
    pub fn written(&self) -> &str {
        &self.written
    }

    /// The one spelling under which its users are known, however the configuration and tokens spell
    /// it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.canonical.as_deref().unwrap_or(&self.written)
    }

    /// Whether another text names this issuer.
    #[must_use]
    pub fn is(&self, other: &str) -> bool {
        self.written == other
            || self
                .canonical
                .as_ref()
                .is_some_and(|canonical| *canonical == self::canonical(other))
    }

    /// Whether another text does not name this issuer, but would if slashes did not count.
    #[must_use]
    pub fn is_nearly(&self, other: &str) -> bool {
        self.canonical.is_none()
            && self.written != other
            && canonical(&self.written) == canonical(other)
    }

    /// The spellings under which its users may have been stored: the name, and those of versions
    /// that stored what tokens said.
    #[must_use]
    pub fn spellings(&self) -> Vec<String> {
        let mut spellings = vec![self.name().to_owned()];
        if let Some(canonical) = &self.canonical {
            let earlier = [self.written.clone(), format!("{canonical}/")];
            spellings.extend(earlier.into_iter().filter(|spelling| spelling != canonical));
            spellings.dedup();
        }
        spellings
    }
}

/// An issuer as plgd compares it: slashes in a row are one, and none is at the end. Those behind
/// the scheme stay.
#[must_use]
pub fn canonical(issuer: &str) -> Cow<'_, str> {
    let (scheme, rest) = match issuer.find("://") {
        Some(at) => issuer.split_at(at + 3),
        None => ("", issuer),
    };
    if !rest.contains("//") {
        // A scheme without anything behind it ends in slashes of its own.
        let end = scheme.len() + rest.trim_end_matches('/').len();
        return Cow::Borrowed(issuer.get(..end).unwrap_or(issuer));
    }
    let mut canonical = scheme.to_owned();
    for character in rest.chars() {
        if character != '/'
            || !canonical
                .get(scheme.len()..)
                .is_some_and(|so_far| so_far.ends_with('/'))
        {
            canonical.push(character);
        }
    }
    let end = scheme.len()
        + canonical
            .get(scheme.len()..)
            .unwrap_or_default()
            .trim_end_matches('/')
            .len();
    canonical.truncate(end);
    Cow::Owned(canonical)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn slashes_in_a_row_are_one_and_those_at_the_end_none() {
        for (issuer, expected) in [
            ("https://host", "https://host"),
            ("https://host/", "https://host"),
            ("https://host//", "https://host"),
            ("https://host/a//b///c/", "https://host/a/b/c"),
            ("https://host/a/b", "https://host/a/b"),
            ("https:////host", "https:///host"),
            ("https://", "https://"),
            ("https:///", "https://"),
            ("/a///a", "/a/a"),
            ("//a/a//", "/a/a"),
            ("host/", "host"),
            ("https://host/x://y", "https://host/x:/y"),
            ("https://HOST/ä//", "https://HOST/ä"),
            ("/", ""),
            ("", ""),
        ] {
            assert_eq!(canonical(issuer), expected, "{issuer}");
        }
    }

    #[test]
    fn slashes_count_unless_they_are_compared_as_plgd_does() {
        let (exact, plgd) = (
            IssuerName::exact("https://host/"),
            IssuerName::as_plgd_compares("https://host/"),
        );
        assert!(
            exact.is("https://host/")
                && !exact.is("https://host")
                && exact.is_nearly("https://host")
        );
        assert!(!exact.is_nearly("https://host/") && !exact.is_nearly("https://other"));
        for spelling in ["https://host", "https://host/", "https://host//"] {
            assert!(plgd.is(spelling) && !plgd.is_nearly(spelling), "{spelling}");
        }
        for other in [
            "http://host",
            "https://host.example",
            "https://host/a",
            "https://HOST",
            "",
        ] {
            assert!(
                !plgd.is(other) && !plgd.is_nearly(other) && !exact.is_nearly(other),
                "{other}"
            );
        }
        assert_eq!(
            (exact.name(), plgd.name()),
            ("https://host/", "https://host")
        );
        assert_eq!(exact.spellings(), ["https://host/"]);
        assert_eq!(plgd.spellings(), ["https://host", "https://host/"]);
        let odd = IssuerName::as_plgd_compares("https://host//a");
        assert_eq!(
            odd.spellings(),
            ["https://host/a", "https://host//a", "https://host/a/"]
        );
    }

    proptest! {
        #[test]
        fn what_is_canonical_stays_so_and_slashes_do_not_change_it(text in "(https?://)?[a-z:/]{0,20}") {
            let once = canonical(&text).into_owned();
            prop_assert_eq!(canonical(&once), once.clone());
            // Behind `://` there is room for more slashes that change nothing.
            if !once.ends_with("://") && !once.is_empty() && !once.ends_with(':') {
                let more = format!("{once}//");
                prop_assert_eq!(canonical(&more), once);
            }
        }
    }
}
