//! The access rules of an inbound listener.

use std::time::Duration;

use ipnet::IpNet;

use super::resolver::Resolver;
use crate::config::name::{ClaimName, Scope};
use crate::config::raw;
use crate::config::tree::KeyPath;
use crate::domain::letter_case::Folding;
use crate::domain::path::{NormalPath, Ordinary};
use crate::domain::pattern::Pattern;
use crate::domain::scope::ScopeSet;
use crate::domain::settings::PathCase;
use crate::proxy::headers::ClientHeaders;
use crate::verifier::rules::{self, Rules};
use crate::verifier::{Access, ClaimNeed, Conditions, EqualNeed, Needs, RequestPart, RuleConfig};

/// The parts of a listener that its rules depend on.
pub(super) struct Surroundings<'l> {
    /// The paths that the sidecar answers itself on the listener.
    pub endpoints: Vec<String>,
    /// The names of its authorities.
    pub authorities: &'l [String],
    /// The client's headers that the service does not get.
    pub removed: ClientHeaders,
    pub ordinary: Ordinary,
    pub path_case: PathCase,
}

/// Resolves `inbound[].rules`.
pub(super) fn resolve(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: Vec<raw::Rule>,
    surroundings: &Surroundings<'_>,
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
    warn_of_other_hosts(resolver, path, known);
    rules
}

fn resolve_rule(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    mut raw: raw::Rule,
    surroundings: &Surroundings<'_>,
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
    let conditions = conditions(resolver, path, &mut raw);
    let rule_paths: Vec<String> = std::mem::take(&mut raw.paths)
        .into_iter()
        .map(Into::into)
        .collect();
    let methods = raw
        .methods
        .take()
        .into_iter()
        .flatten()
        .map(Into::into)
        .collect();
    let (timeout, mode) = (raw.timeout.map(|timeout| timeout.0), raw.mode);
    let access = access(resolver, path, raw, &rule_paths, surroundings)?;
    let rule = RuleConfig {
        timeout,
        mode,
        line: resolver.tree.position(path).line,
        paths: rule_paths,
        methods,
        conditions,
        access,
    };
    resolver.check_rule(path, &rule);
    Some(rule)
}

/// The hosts and networks of a rule.
fn conditions(resolver: &mut Resolver<'_>, path: &KeyPath, raw: &mut raw::Rule) -> Conditions {
    let hosts = raw.hosts.take().into_iter().flatten();
    let networks = raw.networks.take().into_iter().flatten();
    let networks: Vec<IpNet> = networks.map(Into::into).collect();
    for (i, network) in networks.iter().enumerate() {
        // Such addresses are compared as IPv4.
        if matches!(network, IpNet::V6(it) if it.addr().to_ipv4_mapped().is_some()) {
            let message = "no client has such an address: write the network in the form of IPv4";
            resolver.error(&path.key("networks").index(i), message);
        }
    }
    Conditions {
        hosts: hosts.map(|host| host.0).collect(),
        networks,
    }
}

/// The condition for a request to pass a rule with these path patterns.
fn access(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: raw::Rule,
    paths: &[String],
    surroundings: &Surroundings<'_>,
) -> Option<Access> {
    let needs = [
        ("scopes", !raw.scopes.is_empty()),
        ("anyScope", raw.any_scope.is_some()),
        ("claims", !raw.claims.is_empty()),
        ("equals", !raw.equals.is_empty()),
        ("authorities", raw.authorities.is_some()),
    ];
    if let Some(access) = raw.access {
        let (access, message) = match access {
            raw::Access::Public => (
                Access::Public,
                "a public rule needs no token: remove this key, or `access: public`",
            ),
            raw::Access::Optional => (
                Access::Optional,
                "a request without a token passes the rule: remove this key, or `access: optional`",
            ),
        };
        for (key, _) in needs.into_iter().filter(|(_, is_set)| *is_set) {
            resolver.error(&path.key(key), message);
        }
        return Some(access);
    }
    let accepted: Vec<String> = raw
        .authorities
        .into_iter()
        .flatten()
        .map(Into::into)
        .collect();
    check_accepted(
        resolver,
        &path.key("authorities"),
        &accepted,
        surroundings.authorities,
    );
    let mut equals = Vec::new();
    for (part, ClaimName(claim)) in raw.equals {
        let path = path.key("equals").key(part.as_str());
        // Its form is checked already.
        let part = part.part().ok()?;
        check_part(resolver, &path, &part, paths, &surroundings.removed);
        equals.push(EqualNeed { part, claim });
    }
    Some(Access::Token(Needs {
        scopes: scopes(raw.scopes)?,
        any_scope: scopes(raw.any_scope.unwrap_or_default())?,
        claims: raw.claims.iter().map(claim_need).collect(),
        equals,
        authorities: accepted,
    }))
}

/// Checks that a rule narrows the authorities of its listener.
fn check_accepted(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    names: &[String],
    of_listener: &[String],
) {
    for (i, name) in names.iter().enumerate() {
        let path = path.index(i);
        resolver.reference(&path, name, "authorities", "authority");
        if resolver.names("authorities").contains(&name.as_str()) && !of_listener.contains(name) {
            let known = of_listener.join(", ");
            let message = format!(
                "the listener does not trust `{name}`, so no token of it reaches the rule: add it \
                 to the listener's `authorities` ({known}), or remove it here"
            );
            resolver.error(&path, message);
        }
    }
}

/// Checks that a compared part exists in every request of the rule, and reaches the service.
fn check_part(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    part: &RequestPart,
    paths: &[String],
    removed: &ClientHeaders,
) {
    match part {
        RequestPart::Segment(name) => {
            let has_it = |pattern: &&String| {
                Pattern::parse(pattern).is_ok_and(|pattern| pattern.place_of(name).is_some())
            };
            if let Some(pattern) = paths.iter().find(|pattern| !has_it(pattern)) {
                let message = format!(
                    "the pattern `{pattern}` has no segment `{{{name}}}`: write it there, or use \
                     `query.NAME` or `header.NAME`"
                );
                resolver.error(path, message);
            }
        }
        RequestPart::Header(name) if removed.removes(name.as_str(), false) => {
            let message = "the sidecar removes this header of the client or writes its own, so the \
                           service does not get the compared value";
            resolver.error(path, message);
        }
        RequestPart::Header(_) | RequestPart::Query(_) => {}
    }
}

fn check_pattern(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    pattern: &str,
    surroundings: &Surroundings<'_>,
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
            "the sidecar answers `{endpoint}` on this listener, so the rule does not apply to it"
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

/// The accepted values of a claim as texts.
pub(super) fn claim_need((name, values): (&ClaimName, &raw::ClaimValues)) -> ClaimNeed {
    let text = |value: &raw::Scalar| match value {
        raw::Scalar::Text(text) => text.0.clone(),
        raw::Scalar::Integer(number) => number.to_string(),
        raw::Scalar::Bool(value) => value.to_string(),
    };
    let values = match values {
        raw::ClaimValues::OneOf(values) => values.iter().map(text).collect(),
        raw::ClaimValues::Text(value) => vec![value.0.clone()],
        raw::ClaimValues::Integer(value) => vec![value.to_string()],
        raw::ClaimValues::Bool(value) => vec![value.to_string()],
    };
    ClaimNeed {
        name: name.0.clone(),
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

fn warn_of_other_hosts(resolver: &mut Resolver<'_>, path: &KeyPath, rules: &[RuleConfig]) {
    for (strict, weaker) in rules::weaker_for_other_hosts(rules) {
        let weaker = path.index(weaker);
        let message = format!(
            "a request that names another host passes by {weaker}, which requires less: make sure \
             that the service does not answer it as one for this rule's hosts (servers have a \
             default host), or give that rule `hosts` too"
        );
        resolver.warn(&path.index(strict).key("hosts"), message);
    }
}
