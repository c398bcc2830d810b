//! Path patterns: parsing, matching, and comparing how much they match.

use std::borrow::Cow;

use super::letter_case::Folding;
use super::path::{NormalPath, Ordinary};

/// A path pattern in decoded segments.
#[derive(Clone, Debug)]
pub struct Pattern {
    pub segments: Vec<Segment>,
    /// `**` at the end: any rest, including none.
    pub any_rest: bool,
}

/// One segment of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    Any,
    Exactly(String),
}

/// An invalid path pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// The pattern is not a path in normal form.
    #[error(
        "a path pattern begins with `/` and has no escapes that two servers could read differently"
    )]
    NotAPath,
    /// `**` is not at the end.
    #[error("`**` may only be the last segment")]
    RestNotLast,
    /// `*` is only part of a segment.
    #[error("`*` matches a whole segment")]
    PartialWildcard,
}

impl Pattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// [`InvalidPattern`] names the problem.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        // `*` is a valid path character, so the pattern itself has a normal form.
        let path =
            NormalPath::parse_with(text, Ordinary::ALL).map_err(|_| InvalidPattern::NotAPath)?;
        // Only an unescaped `*` is a wildcard: `%2A` is an asterisk of the path.
        let mut written: Vec<_> = path
            .as_str()
            .split('/')
            .filter(|segment| !segment.is_empty())
            .collect();
        let any_rest = written.last() == Some(&"**");
        if any_rest {
            written.pop();
        }
        let segments =
            written
                .iter()
                .zip(path.segments())
                .map(|(written, decoded)| match *written {
                    "*" => Ok(Segment::Any),
                    "**" => Err(InvalidPattern::RestNotLast),
                    text if text.contains('*') => Err(InvalidPattern::PartialWildcard),
                    _ => Ok(Segment::Exactly(decoded.into_owned())),
                });
        Ok(Self {
            segments: segments.collect::<Result<_, _>>()?,
            any_rest,
        })
    }

    /// Whether the pattern matches a path.
    #[must_use]
    pub fn matches(&self, path: &NormalPath<'_>) -> bool {
        self.matches_segments(path.segments())
    }

    /// Whether the pattern matches decoded segments.
    #[must_use]
    pub fn matches_segments<'p>(&self, mut rest: impl Iterator<Item = Cow<'p, str>>) -> bool {
        for segment in &self.segments {
            match (segment, rest.next()) {
                (Segment::Any, Some(_)) => {}
                (Segment::Exactly(expected), Some(actual)) if *expected == actual => {}
                _ => return false,
            }
        }
        self.any_rest || rest.next().is_none()
    }

    /// The pattern with folded names, for folded segments.
    #[must_use]
    pub fn folded(&self, folding: Folding) -> Self {
        let folded = |segment: &Segment| match segment {
            Segment::Any => Segment::Any,
            Segment::Exactly(name) => Segment::Exactly(folding.of(name.into()).into_owned()),
        };
        Self {
            segments: self.segments.iter().map(folded).collect(),
            any_rest: self.any_rest,
        }
    }

    /// Whether this pattern matches every path that `other` matches.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let long_enough = if self.any_rest {
            self.segments.len() <= other.segments.len()
        } else {
            !other.any_rest && self.segments.len() == other.segments.len()
        };
        let wider = |(own, others): (&Segment, &Segment)| *own == Segment::Any || own == others;
        long_enough && self.segments.iter().zip(&other.segments).all(wider)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_decoded_segments() {
        for (pattern, path, expected) in [
            ("/", "/", true),
            ("/", "/a", false),
            ("/**", "/", true),
            ("/**", "/a/b", true),
            ("/x/**", "/x", true),
            ("/x/**", "/x/", true),
            ("/x/**", "/x/y/z", true),
            ("/x/**", "/xy", false),
            ("/x/*", "/x", false),
            ("/x/*", "/x/y", true),
            ("/x/*", "/x/y/", true),
            ("/x/*", "/x/y/z", false),
            ("/x/*/z", "/x/y/z", true),
            ("/x/", "/x", true),
            ("/x", "/x/", true),
            ("/X", "/x", false),
            ("/a b", "/a%20b", false),
            ("/a%20b", "/a%20b", true),
            ("/%41", "/A", true),
            ("/a:b@c", "/a%3Ab@c", true),
            ("/caf%C3%A9/*", "/caf%c3%a9/%2A", true),
            ("/pub/%2A%2A", "/pub/secret/file", false),
            ("/pub/%2A", "/pub/secret", false),
            ("/pub/%2A", "/pub/%2a", true),
        ] {
            let path = NormalPath::parse(path).unwrap();
            let found = Pattern::parse(pattern).is_ok_and(|pattern| pattern.matches(&path));
            assert_eq!(found, expected, "{pattern} {path:?}");
        }
    }

    #[test]
    fn invalid_patterns_are_refused() {
        for (pattern, why) in [
            ("", InvalidPattern::NotAPath),
            ("x", InvalidPattern::NotAPath),
            ("/a%2f..%2fb", InvalidPattern::NotAPath),
            ("/..;/b", InvalidPattern::NotAPath),
            ("/**/x", InvalidPattern::RestNotLast),
            ("/x*", InvalidPattern::PartialWildcard),
            ("/***", InvalidPattern::PartialWildcard),
        ] {
            assert_eq!(Pattern::parse(pattern).err(), Some(why), "{pattern}");
        }
    }

    #[test]
    fn a_wider_pattern_covers_a_narrower_one() {
        for (wide, narrow, expected) in [
            ("/**", "/", true),
            ("/**", "/a/*/**", true),
            ("/a/**", "/a", true),
            ("/a/**", "/a/**", true),
            ("/a/*", "/a/b", true),
            ("/a/*", "/a/*", true),
            ("/a/b", "/a/*", false),
            ("/a/*/**", "/a/**", false),
            ("/a/*", "/a/**", false),
            ("/a/*", "/a/b/c", false),
            ("/a/**", "/b", false),
            ("/", "/**", false),
        ] {
            let parse = |text| Pattern::parse(text).unwrap();
            assert_eq!(
                parse(wide).covers(&parse(narrow)),
                expected,
                "{wide} {narrow}"
            );
        }
    }
}
