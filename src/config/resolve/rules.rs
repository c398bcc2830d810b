//! The access rules of an inbound listener.

use std::time::Duration;

use super::resolver::Resolver;
use crate::config::name::{ClaimName, Scope};
use crate::config::raw;
use crate::config::tree::KeyPath;
use crate::domain::letter_case::Folding;
use crate::domain::path::{NormalPath, Ordinary};
use crate::domain::scope::ScopeSet;
use crate::domain::settings::PathCase;
use crate::verifier::rules::{self, Rules};
use crate::verifier::{Access, ClaimNeed, Needs, RuleConfig};

/// The parts of a listener that its rules depend on.
pub(super) struct Surroundings {
    /// The paths that the issuer answers on the listener.
    pub endpoints: Vec<String>,
    pub ordinary: Ordinary,
    pub path_case: PathCase,
}

/// Resolves `inbound[].rules`.
pub(super) fn resolve(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: Vec<raw::Rule>,
    surroundings: &Surroundings,
) -> Option<Vec<RuleConfig>> {
    let resolved: Vec<Option<RuleConfig>> = raw
        .into_iter()
        .enumerate()
        .map(|(i, rule)| resolve_rule(resolver, &path.index(i), rule, surroundings))
        .collect();
    let rules = resolved.into_iter().collect::<Option<Vec<_>>>();
    let (known, case) = (rules.as_deref().unwrap_or_default(), surroundings.path_case);
    if let Err(why) = Rules::compile(known, case) {
        resolver.error(path, why.to_string());
    }
    warn_of_unreachable(resolver, path, known, case);
    if case == PathCase::Unset {
        warn_of_letter_case(resolver, path, known);
    }
    rules
}

fn resolve_rule(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: raw::Rule,
    surroundings: &Surroundings,
) -> Option<RuleConfig> {
    for (i, pattern) in raw.paths.iter().enumerate() {
        check_pattern(
            resolver,
            &path.key("paths").index(i),
            &pattern.0,
            surroundings,
        );
    }
    if raw
        .timeout
        .is_some_and(|timeout| timeout.0 < Duration::from_millis(1))
    {
        resolver.error(&path.key("timeout"), "it must be at least 1ms");
    }
    let needs = [
        ("scopes", !raw.scopes.is_empty()),
        ("anyScope", raw.any_scope.is_some()),
        ("claims", !raw.claims.is_empty()),
    ];
    let access = match raw.access {
        Some(raw::Access::Public) => {
            for (key, _) in needs.into_iter().filter(|(_, is_set)| *is_set) {
                let message = "a public rule needs no token: remove this key, or `access: public`";
                resolver.error(&path.key(key), message);
            }
            Access::Public
        }
        None => Access::Token(Needs {
            scopes: scopes(raw.scopes)?,
            any_scope: scopes(raw.any_scope.unwrap_or_default())?,
            claims: raw.claims.into_iter().map(claim_need).collect(),
        }),
    };
    let rule = RuleConfig {
        timeout: raw.timeout.map(|timeout| timeout.0),
        line: resolver.tree.position(path).line,
        paths: raw.paths.into_iter().map(Into::into).collect(),
        methods: raw.methods.into_iter().flatten().map(Into::into).collect(),
        access,
    };
    resolver.check_rule(path, &rule);
    Some(rule)
}

fn check_pattern(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    pattern: &str,
    surroundings: &Surroundings,
) {
    if let Err(why) = NormalPath::parse_with(pattern, surroundings.ordinary) {
        let cure = why
            .allowed_by()
            .map_or(String::new(), |key| format!("; `{key}: keep` allows it"));
        let message = format!(
            "no path matches it, because such paths are refused: {}{cure}",
            why.text()
        );
        resolver.error(path, message);
    }
    if let Some(endpoint) = surroundings.endpoints.iter().find(|it| covers(pattern, it)) {
        let message = format!(
            "the issuer answers `{endpoint}` on this listener, so the rule does not apply to it"
        );
        resolver.warn(path, message);
    }
}

/// Whether a pattern matches a path that is in normal form.
fn covers(pattern: &str, path: &str) -> bool {
    NormalPath::parse(path)
        .is_ok_and(|path| rules::pattern_matches(pattern, &path).unwrap_or(false))
}

fn scopes(scopes: Vec<Scope>) -> Option<ScopeSet> {
    ScopeSet::from_tokens(scopes.iter().map(|scope| &scope.0)).ok()
}

fn claim_need((name, values): (ClaimName, raw::ClaimValues)) -> ClaimNeed {
    let text = |value: raw::Scalar| match value {
        raw::Scalar::Text(text) => text.0,
        raw::Scalar::Integer(number) => number.to_string(),
        raw::Scalar::Bool(value) => value.to_string(),
    };
    let values = match values {
        raw::ClaimValues::OneOf(values) => values.into_iter().map(text).collect(),
        raw::ClaimValues::Text(value) => vec![text(raw::Scalar::Text(value))],
        raw::ClaimValues::Integer(value) => vec![text(raw::Scalar::Integer(value))],
        raw::ClaimValues::Bool(value) => vec![text(raw::Scalar::Bool(value))],
    };
    ClaimNeed {
        name: name.0,
        values,
    }
}

fn warn_of_unreachable(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    rules: &[RuleConfig],
    case: PathCase,
) {
    let exactly = rules::never_reached(rules, Folding::None);
    for (idle, by) in rules::never_reached(rules, case.widest()) {
        let is_by_case = !exactly.iter().any(|(exactly, _)| *exactly == idle);
        let cause = if is_by_case {
            "; only `pathCase: sensitive` distinguishes upper and lower case"
        } else {
            ""
        };
        let by: Vec<_> = by
            .iter()
            .map(|index| path.index(*index).to_string())
            .collect();
        let message = format!(
            "this rule is never used: earlier rules match all its requests, {}{cause}",
            by.join(", ")
        );
        resolver.warn(&path.index(idle), message);
    }
}

fn warn_of_letter_case(resolver: &mut Resolver<'_>, path: &KeyPath, rules: &[RuleConfig]) {
    for (strict, weaker) in rules::weaker_later(rules) {
        let weaker = path.index(weaker);
        let message = format!(
            "{weaker} matches more paths and requires less. If the service ignores upper and \
             lower case, `/Admin` would bypass a rule for `/admin`, so such a path is refused \
             (400). Set `pathCase: insensitive`, or `pathCase: sensitive` if the service \
             distinguishes them"
        );
        resolver.warn(&path.index(strict), message);
    }
}
