//! Rules: which requests may pass, and with what.
//!
//! The first rule whose path and method match decides. A request that no rule matches is refused.

mod matcher;
mod nearest;

use std::time::Duration;

use super::token::TokenFacts;
use super::{Access, Check, Needs, RuleConfig, Witness};
use crate::domain::path::NormalPath;
pub use crate::domain::pattern::InvalidPattern;
use crate::domain::pattern::Pattern;
use crate::domain::reason::Reason;
use crate::domain::scope::ScopeSet;
use matcher::Matcher;
pub use nearest::{Difference, Nearest, nearest};

/// The rules of one listener, compiled.
pub struct Rules {
    rules: Vec<Rule>,
    matcher: Matcher,
    asked_claims: Vec<String>,
}

/// One rule, compiled.
pub struct Rule {
    access: Access,
    /// Where each claim that the rule asks for stands among the asked claims.
    claims: Vec<usize>,
    timeout: Option<Duration>,
}

/// Rules that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRules {
    /// A path pattern is none.
    #[error(transparent)]
    Pattern(#[from] InvalidPattern),
    /// There are more methods than bits for them.
    #[error("the rules name more than 61 methods beside GET and HEAD")]
    TooManyMethods,
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
    /// [`InvalidRules`] when a path pattern is none, or too many methods are named.
    pub fn compile(configs: &[RuleConfig]) -> Result<Self, InvalidRules> {
        let matched = |rule| Ok((patterns(rule)?, rule.methods.as_slice()));
        let matched: Vec<_> = configs.iter().map(matched).collect::<Result<_, InvalidPattern>>()?;
        let matcher = Matcher::compile(&matched).ok_or(InvalidRules::TooManyMethods)?;
        let mut asked_claims: Vec<String> = Vec::new();
        let mut place = |name: &String| {
            asked_claims.iter().position(|asked| asked == name).unwrap_or_else(|| {
                asked_claims.push(name.clone());
                asked_claims.len() - 1
            })
        };
        let mut compile = |config: &RuleConfig| {
            let claims = match &config.access {
                Access::Public => Vec::new(),
                Access::Token(needs) => needs.claims.iter().map(|need| place(&need.name)).collect(),
            };
            Rule { access: config.access.clone(), claims, timeout: config.timeout }
        };
        let rules = configs.iter().map(&mut compile).collect();
        Ok(Self { rules, matcher, asked_claims })
    }

    /// The place of the rule that decides about this path and method, counted from 0; `None` when no rule matches.
    #[must_use]
    pub fn position(&self, path: &NormalPath<'_>, method: &str) -> Option<usize> {
        self.matcher.find(path, method)
    }

    /// The rule that decides about this path and method; `None` when no rule matches.
    #[must_use]
    pub fn find(&self, path: &NormalPath<'_>, method: &str) -> Option<&Rule> {
        self.rules.get(self.position(path, method)?)
    }

    /// The claims that some rule asks about, each once. [`TokenFacts`] keeps them in this order.
    pub(super) fn asked_claims(&self) -> &[String] {
        &self.asked_claims
    }
}

impl Rule {
    /// Whether it lets everyone pass, without a token.
    #[must_use]
    pub fn is_public(&self) -> bool {
        self.access == Access::Public
    }

    /// How long to wait for each next part of the upstream's answer, when the rule says so.
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Judges a verified token by what the rule asks for.
    pub(super) fn judge(&self, token: &TokenFacts, witness: &mut impl Witness) -> Result<(), Reason> {
        let Access::Token(needs) = &self.access else {
            return Ok(());
        };
        witness.begins(Check::Scopes);
        let any_scope = needs.any_scope.is_empty() || token.has_any_scope(&needs.any_scope);
        if !any_scope || !token.has_scopes(&needs.scopes) {
            return Err(Reason::Scope);
        }
        witness.begins(Check::RuleClaims);
        let mut claims = needs.claims.iter().zip(&self.claims);
        if claims.all(|(need, place)| token.claim_is_one_of(*place, &need.values)) {
            Ok(())
        } else {
            Err(Reason::Claim)
        }
    }

    /// Scopes that would do for the rule (RFC 6750 §3), if it asks for any: all that are needed, and the first of those
    /// of which one is needed. Naming each of these would make clients ask for more than they need.
    pub(super) fn sufficient_scopes(&self) -> Option<ScopeSet> {
        let Access::Token(Needs { scopes, any_scope, .. }) = &self.access else {
            return None;
        };
        let sufficient = ScopeSet::from_tokens(scopes.iter().chain(any_scope.iter().take(1))).ok()?;
        (!sufficient.is_empty()).then_some(sufficient)
    }
}

fn patterns(rule: &RuleConfig) -> Result<Vec<Pattern>, InvalidPattern> {
    rule.paths.iter().map(|path| Pattern::parse(path)).collect()
}

/// The rules that can never decide, because earlier ones match everything that they match; with these, in order. What only
/// several earlier patterns cover together is not found.
#[must_use]
pub fn never_reached(rules: &[RuleConfig]) -> Vec<(usize, Vec<usize>)> {
    let parsed: Vec<(Vec<Pattern>, Vec<&str>)> =
        rules.iter().map(|rule| (patterns(rule).unwrap_or_default(), methods(rule))).collect();
    let covering = |index: usize| {
        let (patterns, methods) = parsed.get(index)?;
        let mut by = Vec::new();
        for pattern in patterns {
            // No method named: only a rule that names none either has all of them.
            let wanted = if methods.is_empty() { vec![None] } else { methods.iter().map(Some).collect() };
            for method in wanted {
                by.push(parsed.iter().take(index).position(|(earlier, allowed)| {
                    (allowed.is_empty() || method.is_some_and(|method| allowed.contains(method)))
                        && earlier.iter().any(|wide| wide.covers(pattern))
                })?);
            }
        }
        by.sort_unstable();
        by.dedup();
        (!by.is_empty()).then_some((index, by))
    };
    (0..rules.len()).filter_map(covering).collect()
}

/// The methods of a rule, `HEAD` beside `GET`; none: every method.
fn methods(rule: &RuleConfig) -> Vec<&str> {
    let head = rule.methods.iter().any(|method| method == "GET").then_some("HEAD");
    rule.methods.iter().map(String::as_str).chain(head).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(paths: &[&str], methods: &[&str], access: Access) -> RuleConfig {
        let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        RuleConfig { paths: owned(paths), methods: owned(methods), access, timeout: None, line: 1 }
    }

    fn token(paths: &[&str], methods: &[&str]) -> RuleConfig {
        rule(paths, methods, Access::Token(Needs::default()))
    }

    #[test]
    fn the_first_match_wins_and_get_includes_head() {
        let rules = Rules::compile(&[
            rule(&["/health"], &["GET"], Access::Public),
            token(&["/api/**"], &["POST", "PUT"]),
            token(&["/**"], &[]),
        ])
        .unwrap();
        let find = |path, method| rules.position(&NormalPath::parse(path).unwrap(), method);
        for (path, method, expected) in [
            ("/health", "GET", 0),
            ("/health", "HEAD", 0),
            ("/health", "POST", 2),
            ("/health", "get", 2),
            ("/health", "PURGE", 2),
            ("/api/x", "POST", 1),
            ("/api/x", "GET", 2),
        ] {
            assert_eq!(find(path, method), Some(expected), "{method} {path}");
        }
        assert!(rules.find(&NormalPath::parse("/health").unwrap(), "GET").unwrap().is_public());
        assert_eq!(Rules::compile(&[]).unwrap().position(&NormalPath::parse("/").unwrap(), "GET"), None);
    }

    #[test]
    fn an_earlier_wildcard_wins_over_a_later_name_and_the_other_way_round() {
        let rules = |first: &str, second: &str| {
            Rules::compile(&[token(&[first], &[]), token(&[second], &[])]).unwrap()
        };
        let path = NormalPath::parse("/a/b/c").unwrap();
        for (one, other) in
            [("/a/*/c", "/a/b/c"), ("/*/b/**", "/a/b/c"), ("/**", "/a/b/c"), ("/a/**", "/*/*/*")]
        {
            assert_eq!(rules(one, other).position(&path, "GET"), Some(0), "{one} {other}");
            assert_eq!(rules(other, one).position(&path, "GET"), Some(0), "{other} {one}");
        }
        // What begins like one rule and ends like another is found all the same.
        assert_eq!(rules("/a/b/x", "/*/*/c").position(&path, "GET"), Some(1));
    }

    #[test]
    fn more_methods_than_bits_are_refused_not_confused() {
        let named = |count: usize| {
            let methods: Vec<_> = (0..count).map(|n| format!("M{n}")).collect();
            Rules::compile(&[RuleConfig { methods, ..token(&["/"], &[]) }])
        };
        assert!(named(61).is_ok());
        assert_eq!(named(62).err(), Some(InvalidRules::TooManyMethods));
    }

    #[test]
    fn a_rule_that_earlier_ones_cover_is_found() {
        let found = never_reached(&[
            token(&["/a/**"], &["GET"]),
            token(&["/b", "/c/*"], &[]),
            token(&["/a/x"], &["HEAD"]),
            token(&["/a/x"], &["GET", "POST"]),
            token(&["/a/x"], &[]),
            token(&["/b", "/c/d", "/a/y"], &["GET"]),
            token(&["/**"], &[]),
            token(&["/new"], &["GET"]),
        ]);
        assert_eq!(found, [(2, vec![0]), (5, vec![0, 1]), (7, vec![6])]);
    }

    #[test]
    fn a_challenge_names_what_would_do() {
        let compiled = |scopes: &str, any: &str| {
            let set = |text| ScopeSet::parse(text).unwrap();
            let needs = Needs { scopes: set(scopes), any_scope: set(any), claims: Vec::new() };
            let rules = Rules::compile(&[rule(&["/"], &[], Access::Token(needs))]).unwrap();
            rules.find(&NormalPath::parse("/").unwrap(), "GET").unwrap().sufficient_scopes()
        };
        assert_eq!(compiled("a b", "x y").unwrap().to_string(), "a b x");
        assert_eq!(compiled("", "x y").unwrap().to_string(), "x");
        assert_eq!(compiled("", ""), None);
    }

    fn segment() -> impl Strategy<Value = String> {
        proptest::sample::select(vec!["a", "b", "c%20d"]).prop_map(str::to_owned)
    }

    fn pattern() -> impl Strategy<Value = String> {
        let part = prop_oneof![3 => segment(), 2 => Just("*".to_owned())];
        (proptest::collection::vec(part, 0..4), any::<bool>()).prop_map(|(mut parts, any_rest)| {
            if any_rest {
                parts.push("**".to_owned());
            }
            format!("/{}", parts.join("/"))
        })
    }

    fn arbitrary_rule() -> impl Strategy<Value = RuleConfig> {
        let methods = proptest::sample::subsequence(vec!["GET", "HEAD", "POST", "PURGE"], 0..3);
        (proptest::collection::vec(pattern(), 1..4), methods).prop_map(|(paths, methods)| {
            let paths: Vec<_> = paths.iter().map(String::as_str).collect();
            token(&paths, &methods)
        })
    }

    proptest! {
        /// The tree, and the loop over all rules that it stands for; and no rule that decides is said to be unreachable.
        #[test]
        fn the_compiled_matcher_decides_as_trying_each_rule_does(
            rules in proptest::collection::vec(arbitrary_rule(), 0..8),
            path in proptest::collection::vec(segment(), 0..5),
            method in proptest::sample::select(vec!["GET", "HEAD", "POST", "PURGE", "DELETE", "get"]),
        ) {
            let path = format!("/{}", path.join("/"));
            let path = NormalPath::parse(&path).unwrap();
            let naive = rules.iter().position(|rule| {
                let allowed = methods(rule);
                (allowed.is_empty() || allowed.contains(&method))
                    && rule.paths.iter().any(|pattern| pattern_matches(pattern, &path).unwrap())
            });
            prop_assert_eq!(Rules::compile(&rules).unwrap().position(&path, method), naive);
            for (never, _) in never_reached(&rules) {
                prop_assert_ne!(naive, Some(never));
            }
        }
    }
}
