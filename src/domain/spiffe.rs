//! SPIFFE IDs (SPIFFE-ID §2), and patterns of them.

/// The scheme of SPIFFE IDs.
pub const SCHEME: &str = "spiffe://";
/// The longest SPIFFE ID and the longest trust domain, in bytes (SPIFFE-ID §2.3).
const MAX_ID: usize = 2048;
const MAX_TRUST_DOMAIN: usize = 255;

/// The name of a workload: `spiffe://trust-domain/path`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpiffeId<'a> {
    trust_domain: &'a str,
    /// Without the first slash; never empty.
    path: &'a str,
}

impl<'a> SpiffeId<'a> {
    /// Parses the SPIFFE ID of a workload. `None`: it is none, or only the ID of a trust domain.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let (trust_domain, path) = text.strip_prefix(SCHEME)?.split_once('/')?;
        let is_valid = text.len() <= MAX_ID
            && is_trust_domain(trust_domain)
            && path.split('/').all(is_segment);
        is_valid.then_some(Self { trust_domain, path })
    }

    /// Its trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &'a str {
        self.trust_domain
    }
}

/// The trust domain that is written `spiffe://trust-domain`.
#[must_use]
pub fn trust_domain(text: &str) -> Option<&str> {
    let name = text.strip_prefix(SCHEME)?;
    is_trust_domain(name).then_some(name)
}

fn is_trust_domain(name: &str) -> bool {
    let is_allowed = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_')
    };
    (1..=MAX_TRUST_DOMAIN).contains(&name.len()) && name.bytes().all(is_allowed)
}

fn is_segment(segment: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !segment.is_empty() && !matches!(segment, "." | "..") && segment.bytes().all(is_allowed)
}

/// A SPIFFE ID in whose path `*` is any segment, and `**` at the end any rest. It never matches
/// another trust domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpiffePattern {
    trust_domain: String,
    /// `None`: any segment.
    segments: Vec<Option<String>>,
    /// Whether further segments may follow, at least one.
    any_rest: bool,
}

/// The text is no pattern of SPIFFE IDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a SPIFFE ID with a path, such as `spiffe://example.org/ns/prod/sa/api`; in the path, `*` \
     is any segment and `**` at the end any rest"
)]
pub struct InvalidSpiffePattern;

impl SpiffePattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// [`InvalidSpiffePattern`].
    pub fn parse(text: &str) -> Result<Self, InvalidSpiffePattern> {
        let rest = text.strip_prefix(SCHEME).filter(|_| text.len() <= MAX_ID);
        let (trust_domain, path) = rest
            .and_then(|rest| rest.split_once('/'))
            .filter(|(name, _)| is_trust_domain(name))
            .ok_or(InvalidSpiffePattern)?;
        let mut written: Vec<_> = path.split('/').collect();
        let any_rest = written.last() == Some(&"**");
        if any_rest {
            written.pop();
        }
        let segments = written.into_iter().map(|segment| match segment {
            "*" => Ok(None),
            segment if is_segment(segment) => Ok(Some(segment.to_owned())),
            _ => Err(InvalidSpiffePattern),
        });
        Ok(Self {
            trust_domain: trust_domain.to_owned(),
            segments: segments.collect::<Result<_, _>>()?,
            any_rest,
        })
    }

    /// Its trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// Whether a text is a SPIFFE ID that it matches.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let Some(id) = SpiffeId::parse(text) else {
            return false;
        };
        let mut rest = id.path.split('/');
        let all = self.segments.iter().all(|expected| {
            rest.next()
                .is_some_and(|actual| expected.as_ref().is_none_or(|it| it == actual))
        });
        id.trust_domain == self.trust_domain && all && (rest.next().is_some() == self.any_rest)
    }
}

impl std::fmt::Display for SpiffePattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{SCHEME}{}", self.trust_domain)?;
        for segment in &self.segments {
            write!(f, "/{}", segment.as_deref().unwrap_or("*"))?;
        }
        f.write_str(if self.any_rest { "/**" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_ids_of_workloads_are_parsed() {
        let id = SpiffeId::parse("spiffe://example.org/ns/a.b/sa/X_1").unwrap();
        assert_eq!(
            (id.trust_domain(), id.path),
            ("example.org", "ns/a.b/sa/X_1")
        );
        let long = format!("spiffe://a/{}", "b".repeat(2048));
        for text in [
            "",
            "spiffe://",
            "spiffe://example.org",
            "spiffe://example.org/",
            "spiffe:///a",
            "spiffe://Example.org/a",
            "SPIFFE://example.org/a",
            "spiffe://example.org:1/a",
            "spiffe://user@example.org/a",
            "spiffe://example.org//a",
            "spiffe://example.org/a/",
            "spiffe://example.org/a/../b",
            "spiffe://example.org/./a",
            "spiffe://example.org/a%2fb",
            "spiffe://example.org/a?b",
            "spiffe://example.org/a#b",
            "spiffe://example.org/*",
            "spiffe://example.org/ä",
            "https://example.org/a",
            &long,
        ] {
            assert_eq!(SpiffeId::parse(text), None, "{text}");
        }
        assert_eq!(trust_domain("spiffe://example.org"), Some("example.org"));
        for text in [
            "example.org",
            "spiffe://",
            "spiffe://example.org/",
            "spiffe://A",
        ] {
            assert_eq!(trust_domain(text), None, "{text}");
        }
    }

    #[test]
    fn a_pattern_matches_whole_segments_of_its_own_trust_domain() {
        for (pattern, id, expected) in [
            (
                "spiffe://a.b/ns/prod/sa/x",
                "spiffe://a.b/ns/prod/sa/x",
                true,
            ),
            (
                "spiffe://a.b/ns/prod/sa/x",
                "spiffe://a.b/ns/prod/sa/y",
                false,
            ),
            (
                "spiffe://a.b/ns/prod/sa/*",
                "spiffe://a.b/ns/prod/sa/y",
                true,
            ),
            (
                "spiffe://a.b/ns/prod/sa/*",
                "spiffe://a.b/ns/prod/sa/y/z",
                false,
            ),
            (
                "spiffe://a.b/ns/prod/sa/*",
                "spiffe://a.b/ns/prod/sa",
                false,
            ),
            (
                "spiffe://a.b/ns/prod/sa/*",
                "spiffe://a.b.c/ns/prod/sa/y",
                false,
            ),
            ("spiffe://a.b/ns/*/sa/x", "spiffe://a.b/ns/dev/sa/x", true),
            ("spiffe://a.b/ns/prod/**", "spiffe://a.b/ns/prod/sa/y", true),
            ("spiffe://a.b/ns/prod/**", "spiffe://a.b/ns/prod", false),
            (
                "spiffe://a.b/ns/prod/**",
                "spiffe://a.b/ns/production/x",
                false,
            ),
            ("spiffe://a.b/**", "spiffe://a.b/x", true),
            ("spiffe://a.b/**", "spiffe://a.b", false),
            ("spiffe://a.b/**", "spiffe://c.b/x", false),
            ("spiffe://a.b/*", "spiffe://a.b/../c/x", false),
        ] {
            let parsed = SpiffePattern::parse(pattern).unwrap();
            assert_eq!(parsed.matches(id), expected, "{pattern} {id}");
            assert_eq!(parsed.to_string(), pattern);
        }
        for text in [
            "spiffe://a.b",
            "spiffe://a.b/",
            "spiffe://*/x",
            "spiffe://*.b/x",
            "spiffe://a.b/x*",
            "spiffe://a.b/**/x",
            "spiffe://a.b/x/",
            "spiffe://a.b/../x",
            "https://a.b/x",
        ] {
            assert_eq!(
                SpiffePattern::parse(text),
                Err(InvalidSpiffePattern),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_match_is_always_of_the_same_trust_domain(
            pattern in "spiffe://[a-c.]{1,3}(/[ab*]{1,2}){1,3}",
            id in "spiffe://[a-c.]{1,3}(/[ab.]{1,2}){1,4}",
        ) {
            let Ok(pattern) = SpiffePattern::parse(&pattern) else {
                return Ok(());
            };
            if pattern.matches(&id) {
                let id = SpiffeId::parse(&id).unwrap();
                prop_assert_eq!(id.trust_domain(), pattern.trust_domain());
            }
        }
    }
}
