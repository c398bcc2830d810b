//! Effects of the order of rules: rules that never decide, and rules that a wider one undoes.

use super::{Access, Mode, Needs, RuleConfig, methods, patterns};
use crate::domain::letter_case::Folding;
use crate::domain::pattern::{Pattern, Segment};
use crate::verifier::Conditions;

/// The rules that can never decide, with the earlier rules that match all their requests. A pattern
/// that only several earlier ones cover together is not found.
#[must_use]
pub fn never_reached(rules: &[RuleConfig], folding: Folding) -> Vec<(usize, Vec<usize>)> {
    let parsed: Vec<(Vec<Pattern>, Vec<&str>)> = rules
        .iter()
        .map(|rule| {
            let patterns = patterns(rule).unwrap_or_default();
            (
                patterns
                    .iter()
                    .map(|pattern| pattern.folded(folding))
                    .collect(),
                methods(rule),
            )
        })
        .collect();
    let covering = |index: usize| {
        let (patterns, methods) = parsed.get(index)?;
        let conditions = &rules.get(index)?.conditions;
        // A rule with other conditions is skipped for some of the requests.
        let covers = |earlier: usize| {
            rules
                .get(earlier)
                .is_some_and(|earlier| earlier.conditions.cover(conditions))
        };
        let mut by = Vec::new();
        for pattern in patterns {
            // No method named: only a rule that names none either has all of them.
            let wanted = if methods.is_empty() {
                vec![None]
            } else {
                methods.iter().map(Some).collect()
            };
            for method in wanted {
                let mut earlier = parsed.iter().take(index).enumerate();
                let (found, _) = earlier.find(|(place, (earlier, allowed))| {
                    (allowed.is_empty() || method.is_some_and(|method| allowed.contains(method)))
                        && earlier.iter().any(|wide| wide.covers(pattern))
                        && covers(*place)
                })?;
                by.push(found);
            }
        }
        by.sort_unstable();
        by.dedup();
        (!by.is_empty()).then_some((index, by))
    };
    (0..rules.len()).filter_map(covering).collect()
}

/// The rules with the first later one that is wider and needs less. A service that ignores letter
/// case could read a path of the latter as one of the former.
#[must_use]
pub fn weaker_later(rules: &[RuleConfig]) -> Vec<(usize, usize)> {
    let weaker = |(index, strict): (usize, &RuleConfig)| {
        let strict_patterns = patterns(strict).unwrap_or_default();
        let mut later = rules.iter().enumerate().skip(index + 1);
        let (found, _) = later.find(|(_, later)| {
            asks_for_less(later, strict)
                && share_a_method(strict, later)
                && strict.conditions.meet(&later.conditions)
                && patterns(later).unwrap_or_default().iter().any(|wide| {
                    strict_patterns
                        .iter()
                        .any(|narrow| takes_other_case(wide, narrow))
                })
        })?;
        Some((index, found))
    };
    rules.iter().enumerate().filter_map(weaker).collect()
}

/// The rules for certain hosts with the first later one that is as wide, for other hosts too, and
/// needs less. The client chooses the host that it names.
#[must_use]
pub fn weaker_for_other_hosts(rules: &[RuleConfig]) -> Vec<(usize, usize)> {
    let weaker = |(index, strict): (usize, &RuleConfig)| {
        if strict.conditions.hosts.is_empty() {
            return None;
        }
        let for_any_host = Conditions {
            hosts: Vec::new(),
            networks: strict.conditions.networks.clone(),
        };
        let strict_patterns = patterns(strict).unwrap_or_default();
        let mut later = rules.iter().enumerate().skip(index + 1);
        let (found, _) = later.find(|(_, later)| {
            asks_for_less(later, strict)
                && share_a_method(strict, later)
                && for_any_host.meet(&later.conditions)
                && !strict.conditions.cover(&later.conditions)
                && patterns(later)
                    .unwrap_or_default()
                    .iter()
                    .any(|wide| strict_patterns.iter().any(|narrow| wide.covers(narrow)))
        })?;
        Some((index, found))
    };
    rules.iter().enumerate().filter_map(weaker).collect()
}

/// Whether a pattern covers another one, and also paths that differ from it in letter case only.
fn takes_other_case(wide: &Pattern, narrow: &Pattern) -> bool {
    let is_open = |(place, segment): (usize, &Segment)| match segment {
        Segment::Exactly(name) => {
            name.chars().any(char::is_alphabetic)
                && !matches!(wide.segments.get(place), Some(Segment::Exactly(_)))
        }
        Segment::Any => false,
    };
    wide.covers(narrow) && narrow.segments.iter().enumerate().any(is_open)
}

fn share_a_method(one: &RuleConfig, other: &RuleConfig) -> bool {
    let (one, other) = (methods(one), methods(other));
    one.is_empty() || other.is_empty() || one.iter().any(|method| other.contains(method))
}

/// Whether some request that passes `later` would not pass `strict`.
fn asks_for_less(later: &RuleConfig, strict: &RuleConfig) -> bool {
    if later.mode == Some(Mode::Shadow) && strict.mode != later.mode {
        return strict.access != Access::Public;
    }
    match (&later.access, &strict.access) {
        (_, Access::Public) | (Access::Optional | Access::Token(_), Access::Optional) => false,
        (Access::Public, _) | (Access::Optional, Access::Token(_)) => true,
        (Access::Token(later), Access::Token(strict)) => !implies(later, strict),
    }
}

/// Whether every token that fulfils `given` fulfils `wanted`.
fn implies(given: &Needs, wanted: &Needs) -> bool {
    let scopes = wanted
        .scopes
        .iter()
        .all(|scope| given.scopes.contains(scope));
    let any_of_given = || {
        let mut any = given.any_scope.iter().peekable();
        any.peek().is_some() && any.all(|scope| wanted.any_scope.contains(scope))
    };
    let any_scope = wanted.any_scope.is_empty()
        || wanted
            .any_scope
            .iter()
            .any(|scope| given.scopes.contains(scope))
        || any_of_given();
    let mut claims = wanted.claims.iter();
    let claims = claims.all(|wanted| {
        given.claims.iter().any(|given| {
            given.name == wanted.name
                && given
                    .values
                    .iter()
                    .all(|value| wanted.values.contains(value))
        })
    });
    let mut equals = wanted.equals.iter();
    let equals = equals.all(|wanted| given.equals.contains(wanted));
    let mut authorities = given.authorities.iter().peekable();
    let authorities = wanted.authorities.is_empty()
        || authorities.peek().is_some() && authorities.all(|it| wanted.authorities.contains(it));
    scopes && any_scope && claims && equals && authorities
}

#[cfg(test)]
mod tests;
