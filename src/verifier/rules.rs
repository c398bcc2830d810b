//! Rules: which requests may pass, and with which token.
//!
//! The first rule whose path and method match decides. A request that no rule matches is refused.

mod matcher;
mod nearest;
mod order;
mod readings;

use std::time::Duration;

use super::token::TokenFacts;
use super::{Access, Check, CheckObserver, Needs, RuleConfig};
use crate::domain::path::NormalPath;
pub use crate::domain::pattern::InvalidPattern;
use crate::domain::pattern::Pattern;
use crate::domain::reason::Reason;
use crate::domain::scope::ScopeSet;
pub use nearest::{Nearest, nearest};
pub use order::{never_reached, weaker_later};
use readings::Readings;
pub use readings::TwoReadings;

pub use crate::domain::settings::PathCase;

/// The compiled rules of one listener.
pub struct Rules {
    rules: Vec<Rule>,
    readings: Readings,
    claims: Vec<String>,
}

/// One compiled rule.
pub struct Rule {
    access: Access,
    /// The index of each claim that the rule needs in [`Rules::claims`].
    claims: Vec<usize>,
    timeout: Option<Duration>,
}

/// Rules that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRules {
    /// A path pattern is not valid.
    #[error(transparent)]
    Pattern(#[from] InvalidPattern),
    /// There are more methods than bits.
    #[error("the rules name more than 61 methods beside GET and HEAD")]
    TooManyMethods,
}

/// Whether a pattern matches a path in normal form.
///
/// # Errors
/// [`InvalidPattern`] when it is not a pattern.
pub fn pattern_matches(pattern: &str, path: &NormalPath<'_>) -> Result<bool, InvalidPattern> {
    Pattern::parse(pattern).map(|pattern| pattern.matches(path))
}

impl Rules {
    /// Compiles the rules. `case` says whether letter case distinguishes two paths.
    ///
    /// # Errors
    /// [`InvalidRules`] when a path pattern is not valid, or too many methods are named.
    pub fn compile(configs: &[RuleConfig], case: PathCase) -> Result<Self, InvalidRules> {
        let readings = Readings::compile(configs, case)?;
        let mut compared: Vec<String> = Vec::new();
        let mut place = |name: &String| {
            compared
                .iter()
                .position(|known| known == name)
                .unwrap_or_else(|| {
                    compared.push(name.clone());
                    compared.len() - 1
                })
        };
        let mut compile = |config: &RuleConfig| {
            let claims = match &config.access {
                Access::Public => Vec::new(),
                Access::Token(needs) => needs.claims.iter().map(|need| place(&need.name)).collect(),
            };
            Rule {
                access: config.access.clone(),
                claims,
                timeout: config.timeout,
            }
        };
        let rules = configs.iter().map(&mut compile).collect();
        Ok(Self {
            rules,
            readings,
            claims: compared,
        })
    }

    /// The index of the rule that decides about this path and method; `None` when no rule matches.
    ///
    /// # Errors
    /// [`TwoReadings`] when a server could read the path as one of an earlier rule.
    pub fn position(
        &self,
        path: &NormalPath<'_>,
        method: &str,
    ) -> Result<Option<usize>, TwoReadings> {
        self.readings.position(path, method)
    }

    /// The rule that decides about this path and method; `None` when no rule matches.
    ///
    /// # Errors
    /// As [`Rules::position`].
    pub fn find(&self, path: &NormalPath<'_>, method: &str) -> Result<Option<&Rule>, TwoReadings> {
        Ok(self
            .position(path, method)?
            .and_then(|position| self.rules.get(position)))
    }

    /// The claims that rules compare, each once. [`TokenFacts`] keeps them in this order.
    pub(super) fn claims(&self) -> &[String] {
        &self.claims
    }
}

impl Rule {
    /// Whether requests pass without a token.
    #[must_use]
    pub fn is_public(&self) -> bool {
        self.access == Access::Public
    }

    /// How long to wait for each next part of the upstream's answer, when the rule says so.
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Checks whether a verified token fulfils the rule's needs.
    pub(super) fn check(
        &self,
        token: &TokenFacts,
        observer: &mut impl CheckObserver,
    ) -> Result<(), Reason> {
        let Access::Token(needs) = &self.access else {
            return Ok(());
        };
        observer.checking(Check::Scopes);
        let any_scope = needs.any_scope.is_empty() || token.has_any_scope(&needs.any_scope);
        if !any_scope || !token.has_scopes(&needs.scopes) {
            return Err(Reason::Scope);
        }
        observer.checking(Check::RuleClaims);
        let mut claims = needs.claims.iter().zip(&self.claims);
        if claims.all(|(need, place)| token.claim_is_one_of(*place, &need.values)) {
            Ok(())
        } else {
            Err(Reason::Claim)
        }
    }

    /// Scopes that suffice for the rule (RFC 6750 §3), if it needs any: all of `scopes`, and the
    /// first of `any_scope`. Naming all of these would make clients request too much.
    pub(super) fn sufficient_scopes(&self) -> Option<ScopeSet> {
        let Access::Token(Needs {
            scopes, any_scope, ..
        }) = &self.access
        else {
            return None;
        };
        let sufficient =
            ScopeSet::from_tokens(scopes.iter().chain(any_scope.iter().take(1))).ok()?;
        (!sufficient.is_empty()).then_some(sufficient)
    }
}

fn patterns(rule: &RuleConfig) -> Result<Vec<Pattern>, InvalidPattern> {
    rule.paths.iter().map(|path| Pattern::parse(path)).collect()
}

/// The methods of a rule, with `HEAD` for `GET`; empty means every method.
fn methods(rule: &RuleConfig) -> Vec<&str> {
    let head = rule
        .methods
        .iter()
        .any(|method| method == "GET")
        .then_some("HEAD");
    rule.methods
        .iter()
        .map(String::as_str)
        .chain(head)
        .collect()
}

#[cfg(test)]
mod tests;
