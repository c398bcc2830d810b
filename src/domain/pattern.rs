//! Path patterns: parsing, matching, and comparing how much they match.

use std::borrow::Cow;

use super::letter_case::Folding;
use super::path::{NormalPath, Ordinary};

/// A path pattern in decoded segments.
#[derive(Clone, Debug)]
pub struct Pattern {
    pub segments: Vec<Segment>,
    /// The named segments, each with its place. They match any segment.
    captures: Vec<(String, usize)>,
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
    /// Two segments have the same name.
    #[error("two segments of the pattern have the same name")]
    RepeatedName,
}

impl Pattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// [`InvalidPattern`] names the problem.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let (text, captures) = unnamed(text);
        let mut names: Vec<_> = captures.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        if names
            .windows(2)
            .any(|pair| matches!(pair, [one, other] if one == other))
        {
            return Err(InvalidPattern::RepeatedName);
        }
        // `*` is a valid path character, so the pattern itself has a normal form.
        let path =
            NormalPath::parse_with(&text, Ordinary::ALL).map_err(|_| InvalidPattern::NotAPath)?;
        // In another form the named segments could have other places.
        if !captures.is_empty() && path.as_str() != text {
            return Err(InvalidPattern::NotAPath);
        }
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
            captures,
            any_rest,
        })
    }

    /// The place of the segment with this name.
    #[must_use]
    pub fn place_of(&self, name: &str) -> Option<usize> {
        let mut captures = self.captures.iter();
        captures
            .find(|(known, _)| known == name)
            .map(|(_, place)| *place)
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
            captures: self.captures.clone(),
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

/// The name of a segment that is written `{name}`.
#[must_use]
pub fn name_of_segment(segment: &str) -> Option<&str> {
    let name = segment.strip_prefix('{')?.strip_suffix('}')?;
    is_capture_name(name).then_some(name)
}

/// Whether a segment can have this name: letters, digits and `_`, not beginning with a digit.
#[must_use]
pub fn is_capture_name(name: &str) -> bool {
    matches!(name.len(), 1..=64)
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !name.starts_with(|first: char| first.is_ascii_digit())
}

/// A pattern with `*` for each named segment, and the names with the places of their segments.
#[must_use]
pub fn unnamed(pattern: &str) -> (Cow<'_, str>, Vec<(String, usize)>) {
    if !pattern.contains('{') {
        return (pattern.into(), Vec::new());
    }
    let mut captures = Vec::new();
    // The text before the first slash is no segment.
    let segments = pattern.split('/').enumerate().map(|(place, segment)| {
        match name_of_segment(segment).zip(place.checked_sub(1)) {
            Some((name, place)) => {
                captures.push((name.to_owned(), place));
                "*"
            }
            None => segment,
        }
    });
    let text = segments.collect::<Vec<_>>().join("/");
    (text.into(), captures)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_named_segment_is_any_segment_and_has_a_place() {
        let pattern = Pattern::parse("/api/{tenant}/*/{deviceId}/**").unwrap();
        assert_eq!(pattern.place_of("tenant"), Some(1));
        assert_eq!(pattern.place_of("deviceId"), Some(3));
        assert_eq!(pattern.place_of("deviceid"), None);
        for (path, expected) in [
            ("/api/a/b/c", true),
            ("/api/a/b", false),
            ("/api/a/b/c/d", true),
        ] {
            assert_eq!(
                pattern.matches(&NormalPath::parse(path).unwrap()),
                expected,
                "{path}"
            );
        }
        for (text, why) in [
            ("/{a}/{a}", InvalidPattern::RepeatedName),
            ("//{a}", InvalidPattern::NotAPath),
            ("/./{a}", InvalidPattern::NotAPath),
        ] {
            assert_eq!(Pattern::parse(text).err(), Some(why), "{text}");
        }
        // An escaped brace is an ordinary character.
        let literal = Pattern::parse("/%7Ba%7D").unwrap();
        assert!(literal.matches(&NormalPath::parse("/{a}").unwrap()));
        assert!(!literal.matches(&NormalPath::parse("/x").unwrap()));
        assert_eq!(literal.place_of("a"), None);
    }

    fn segment() -> impl Strategy<Value = String> {
        proptest::sample::select(vec!["a", "*", "{one}", "{two}", "%7Bx%7D", "b.c"])
            .prop_map(str::to_owned)
    }

    proptest! {
        /// A named segment matches as `*` does, and its place is the one where it is written.
        #[test]
        fn names_change_nothing_but_say_a_place(
            segments in proptest::collection::vec(segment(), 0..5),
            path in "(/[ab*.]{1,3}){0,5}/?",
        ) {
            let text = format!("/{}", segments.join("/"));
            let stars = text.replace("{one}", "*").replace("{two}", "*");
            let path = format!("/{}", path.trim_start_matches('/'));
            let (Ok(named), Ok(path)) = (Pattern::parse(&text), NormalPath::parse(&path)) else {
                return Ok(());
            };
            prop_assert_eq!(named.matches(&path), Pattern::parse(&stars).unwrap().matches(&path));
            for name in ["one", "two"] {
                let written = segments.iter().position(|segment| *segment == format!("{{{name}}}"));
                prop_assert_eq!(named.place_of(name), written);
            }
        }
    }

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
