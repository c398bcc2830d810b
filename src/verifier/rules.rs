//! Rules: which requests may pass, and with which token.
//!
//! The first rule whose path, method and conditions match decides. A request that no rule matches
//! is refused.

mod conditions;
mod equals;
mod matcher;
mod nearest;
mod order;
mod readings;

use std::time::Duration;

use super::token::TokenFacts;
use super::{Access, Check, CheckObserver, Mode, Needs, Refusal, Request, RuleConfig};
use crate::domain::path::NormalPath;
pub use crate::domain::pattern::InvalidPattern;
use crate::domain::pattern::Pattern;
use crate::domain::reason::Reason;
use crate::domain::scope::ScopeSet;
use equals::Equals;
pub use nearest::{Nearest, nearest};
pub use order::{never_reached, weaker_for_other_hosts, weaker_later};
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
    /// Its place in the configuration.
    position: usize,
    access: Access,
    /// The index of each claim that the rule needs in [`Rules::claims`].
    claims: Vec<usize>,
    equals: Option<Equals>,
    mode: Option<Mode>,
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
        let mut place = |name: &str| {
            let known = compared.iter().position(|known| known == name);
            known.unwrap_or_else(|| {
                compared.push(name.to_owned());
                compared.len() - 1
            })
        };
        let mut compile = |(position, config): (usize, &RuleConfig)| {
            let claims = match &config.access {
                Access::Public | Access::Optional => Vec::new(),
                Access::Token(needs) => needs.claims.iter().map(|need| place(&need.name)).collect(),
            };
            Ok(Rule {
                position,
                access: config.access.clone(),
                claims,
                equals: Equals::compile(config, case, &mut place)?,
                mode: config.mode,
                timeout: config.timeout,
            })
        };
        let rules = configs.iter().enumerate().map(&mut compile);
        let rules = rules.collect::<Result<_, InvalidPattern>>()?;
        Ok(Self {
            rules,
            readings,
            claims: compared,
        })
    }

    /// The index of the rule that decides about a request; `None` when no rule matches.
    ///
    /// # Errors
    /// [`TwoReadings`] when a server could read the path as one of an earlier rule.
    pub fn position(&self, request: &Request<'_>) -> Result<Option<usize>, TwoReadings> {
        self.readings.position(request)
    }

    /// The rule that decides about a request; `None` when no rule matches.
    ///
    /// # Errors
    /// As [`Rules::position`].
    pub fn find(&self, request: &Request<'_>) -> Result<Option<&Rule>, TwoReadings> {
        Ok(self
            .position(request)?
            .and_then(|position| self.rules.get(position)))
    }

    /// Whether no rule stops a request, on a listener in this mode.
    pub(super) fn are_in_shadow(&self, of_listener: Mode) -> bool {
        let mut modes = self
            .rules
            .iter()
            .map(|rule| rule.mode.unwrap_or(of_listener));
        of_listener == Mode::Shadow && modes.all(|mode| mode == Mode::Shadow)
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

    /// Whether requests pass without a token too.
    pub(super) fn is_optional(&self) -> bool {
        self.access == Access::Optional
    }

    /// Whether its requests are stopped, when the rule says so.
    pub(super) fn mode(&self) -> Option<Mode> {
        self.mode
    }

    /// The place of the rule in the configuration.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// How long to wait for each next part of the upstream's answer, when the rule says so.
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Checks whether a verified token of this authority fulfils the rule's needs.
    pub(super) fn check(
        &self,
        request: &Request<'_>,
        (token, authority): (&TokenFacts, &str),
        observer: &mut impl CheckObserver,
    ) -> Result<(), Refusal> {
        let Access::Token(needs) = &self.access else {
            return Ok(());
        };
        observer.checking(Check::RuleAuthority);
        let accepted = &needs.authorities;
        if !accepted.is_empty() && !accepted.iter().any(|name| name == authority) {
            return Err(self.refusal(Reason::Authority));
        }
        observer.checking(Check::Scopes);
        let any_scope = needs.any_scope.is_empty() || token.has_any_scope(&needs.any_scope);
        if !any_scope || !token.has_scopes(&needs.scopes) {
            return Err(self.refusal(Reason::Scope));
        }
        observer.checking(Check::RuleClaims);
        let mut claims = needs.claims.iter().zip(&self.claims);
        if !claims.all(|(need, place)| token.claim_is_one_of(*place, &need.values)) {
            return Err(self.refusal(Reason::Claim));
        }
        observer.checking(Check::Equals);
        let equals = self.equals.as_ref();
        let checked = equals.map_or(Ok(()), |equals| equals.check(request, token));
        checked.map_err(|why| Refusal {
            detail: why.detail().map(Into::into),
            ..self.refusal(Reason::Equals)
        })
    }

    fn refusal(&self, reason: Reason) -> Refusal {
        Refusal {
            needed: self.sufficient_scopes(),
            ..Refusal::new(reason)
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
