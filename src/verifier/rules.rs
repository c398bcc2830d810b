//! Rules: which requests may pass, and with what.
//!
//! The first rule whose path and method match decides. A request that no rule matches is refused.

use super::{Access, RuleConfig};
use crate::domain::path::{NormalPath, Ordinary};

/// The rules of one listener, compiled.
pub struct Rules(Vec<Rule>);

struct Rule {
    patterns: Vec<Pattern>,
    methods: Vec<String>,
    access: Access,
}

/// A path pattern in decoded segments.
struct Pattern {
    segments: Vec<Segment>,
    /// `**` at the end: any rest, also none.
    any_rest: bool,
}

enum Segment {
    /// `*`
    Any,
    Exactly(String),
}

/// A path pattern is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// The pattern is no path in normal form.
    #[error("a path pattern begins with `/` and has no escapes that two servers could read differently")]
    NotAPath,
    /// `**` stands elsewhere than at the end.
    #[error("`**` may only be the last segment")]
    RestNotLast,
    /// `*` stands beside other characters.
    #[error("`*` stands for a whole segment")]
    PartialWildcard,
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, InvalidPattern> {
        // `*` is a legal path character, so the pattern itself has a normal form.
        let path = NormalPath::parse_with(text, Ordinary::ALL).map_err(|_| InvalidPattern::NotAPath)?;
        // A wildcard is one as it is written: `%2A` is an asterisk of the path.
        let mut written: Vec<_> = path.as_str().split('/').filter(|segment| !segment.is_empty()).collect();
        let any_rest = written.last() == Some(&"**");
        if any_rest {
            written.pop();
        }
        let segments = written.iter().zip(path.segments()).map(|(written, decoded)| match *written {
            "*" => Ok(Segment::Any),
            "**" => Err(InvalidPattern::RestNotLast),
            text if text.contains('*') => Err(InvalidPattern::PartialWildcard),
            _ => Ok(Segment::Exactly(decoded.into_owned())),
        });
        Ok(Self { segments: segments.collect::<Result<_, _>>()?, any_rest })
    }

    fn matches(&self, path: &NormalPath<'_>) -> bool {
        let mut rest = path.segments();
        for segment in &self.segments {
            match (segment, rest.next()) {
                (Segment::Any, Some(_)) => {}
                (Segment::Exactly(expected), Some(actual)) if *expected == actual => {}
                _ => return false,
            }
        }
        self.any_rest || rest.next().is_none()
    }
}

/// Checks one path pattern.
///
/// # Errors
/// [`InvalidPattern`] says what is wrong with it.
pub fn check_pattern(text: &str) -> Result<(), InvalidPattern> {
    Pattern::parse(text).map(|_| ())
}

/// Whether a pattern matches a path in normal form.
///
/// # Errors
/// [`InvalidPattern`] when it is no pattern.
pub fn pattern_matches(pattern: &str, path: &NormalPath<'_>) -> Result<bool, InvalidPattern> {
    Pattern::parse(pattern).map(|pattern| pattern.matches(path))
}

impl Rules {
    /// Compiles the rules.
    ///
    /// # Errors
    /// [`InvalidPattern`] when a path pattern is none.
    pub fn compile(rules: &[RuleConfig]) -> Result<Self, InvalidPattern> {
        let compile = |rule: &RuleConfig| {
            Ok(Rule {
                patterns: rule.paths.iter().map(|path| Pattern::parse(path)).collect::<Result<_, _>>()?,
                methods: rule.methods.clone(),
                access: rule.access.clone(),
            })
        };
        Ok(Self(rules.iter().map(compile).collect::<Result<_, _>>()?))
    }

    /// Who may pass with this path and method; `None` when no rule matches.
    #[must_use]
    pub fn find(&self, path: &NormalPath<'_>, method: &str) -> Option<&Access> {
        let rule = self.0.iter().find(|rule| {
            rule.allows_method(method) && rule.patterns.iter().any(|pattern| pattern.matches(path))
        })?;
        Some(&rule.access)
    }
}

impl Rule {
    fn allows_method(&self, method: &str) -> bool {
        self.methods.is_empty()
            || self.methods.iter().any(|allowed| allowed == method || (allowed == "GET" && method == "HEAD"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::scope::ScopeSet;

    fn matches(pattern: &str, path: &str) -> bool {
        pattern_matches(pattern, &NormalPath::parse(path).unwrap()).unwrap()
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
            ("/caf%C3%A9/*", "/caf%c3%a9/%2A", true),
            ("/pub/%2A%2A", "/pub/secret/file", false),
            ("/pub/%2A", "/pub/secret", false),
            ("/pub/%2A", "/pub/%2a", true),
        ] {
            let found = pattern_matches(pattern, &NormalPath::parse(path).unwrap()).unwrap_or(false);
            assert_eq!(found, expected, "{pattern} {path}");
        }
        assert!(matches("/a:b@c", "/a%3Ab@c"));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for (pattern, why) in [
            ("", InvalidPattern::NotAPath),
            ("x", InvalidPattern::NotAPath),
            ("/a%2f..%2fb", InvalidPattern::NotAPath),
            ("/..;/b", InvalidPattern::NotAPath),
            ("/**/x", InvalidPattern::RestNotLast),
            ("/x*", InvalidPattern::PartialWildcard),
            ("/***", InvalidPattern::PartialWildcard),
        ] {
            assert_eq!(check_pattern(pattern), Err(why), "{pattern}");
        }
    }

    #[test]
    fn the_first_match_wins_and_get_includes_head() {
        let rule = |path: &str, methods: &[&str], access: Access| RuleConfig {
            paths: vec![path.into()],
            methods: methods.iter().map(ToString::to_string).collect(),
            access,
        };
        let scoped = Access::Token { scopes: ScopeSet::parse("write").unwrap() };
        let any = Access::Token { scopes: ScopeSet::default() };
        let rules = Rules::compile(&[
            rule("/health", &["GET"], Access::Public),
            rule("/api/**", &["POST", "PUT"], scoped.clone()),
            rule("/**", &[], any.clone()),
        ])
        .unwrap();
        let find = |path, method| rules.find(&NormalPath::parse(path).unwrap(), method).cloned();
        assert_eq!(find("/health", "GET"), Some(Access::Public));
        assert_eq!(find("/health", "HEAD"), Some(Access::Public));
        assert_eq!(find("/health", "POST"), Some(any.clone()));
        assert_eq!(find("/health", "get"), Some(any.clone()));
        assert_eq!(find("/api/x", "POST"), Some(scoped));
        assert_eq!(find("/api/x", "GET"), Some(any));
        assert_eq!(Rules::compile(&[]).unwrap().find(&NormalPath::parse("/").unwrap(), "GET"), None);
    }
}
