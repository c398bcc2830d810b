//! The rule that decides about a path, and whether a server could read the path as one of an
//! earlier rule.

use super::conditions::Seen;
use super::matcher::{Ending, Matched, Matcher};
use super::{InvalidRules, RuleConfig, patterns};
use crate::domain::pattern::{InvalidPattern, Segment};
use crate::domain::settings::PathCase;
use crate::verifier::{Conditions, Request};

/// Why no rule can decide: a server could read the path as one of an earlier rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TwoReadings {
    /// A server may ignore upper and lower case.
    #[error(
        "the path differs from that of an earlier rule in upper and lower case only; write it \
         as that rule does, or set `pathCase` of the listener"
    )]
    LetterCase,
    /// A server may treat the ending of the last segment as a format.
    #[error(
        "without the ending of its last segment (such as `.json`) the path meets an earlier \
         rule; a rule for the path with its ending, before that one, allows it"
    )]
    Ending,
}

/// The rules of a listener, as they match and as a server could read the path.
pub(super) struct Readings {
    configured: Matcher,
    widest: Matcher,
    /// Whether both matchers have the same names.
    names_are_equal: bool,
    /// Those of each rule; empty if no rule has any.
    conditions: Vec<Conditions>,
}

impl Readings {
    pub fn compile(configs: &[RuleConfig], case: PathCase) -> Result<Self, InvalidRules> {
        let matched = |rule| Ok((patterns(rule)?, rule.methods.as_slice()));
        let matched: Vec<Matched<'_>> = configs
            .iter()
            .map(matched)
            .collect::<Result<_, InvalidPattern>>()?;
        let compile =
            |folding| Matcher::compile(&matched, folding).ok_or(InvalidRules::TooManyMethods);
        let is_equal = |segment: &Segment| match segment {
            Segment::Any => true,
            Segment::Exactly(name) => {
                case.folding().of(name.into()) == case.widest().of(name.into())
            }
        };
        let mut segments = matched
            .iter()
            .flat_map(|(patterns, _)| patterns)
            .flat_map(|pattern| &pattern.segments);
        let names_are_equal = segments.all(is_equal);
        let has_conditions = configs.iter().any(|rule| !rule.conditions.is_empty());
        let conditions = configs.iter().map(|rule| rule.conditions.clone());
        Ok(Self {
            conditions: conditions.filter(|_| has_conditions).collect(),
            configured: compile(case.folding())?,
            widest: compile(case.widest())?,
            names_are_equal,
        })
    }

    /// The place of the rule that decides; `None` when no rule matches.
    pub fn position(&self, request: &Request<'_>) -> Result<Option<usize>, TwoReadings> {
        if self.conditions.is_empty() {
            return self.position_of(request, |_| true);
        }
        let seen = Seen::new(request);
        self.position_of(request, |rule| {
            let conditions = self.conditions.get(rule);
            conditions.is_none_or(|conditions| conditions.hold(&seen))
        })
    }

    /// The conditions of a rule do not depend on how the path is read, so both readings are looked
    /// for among the rules whose conditions hold.
    fn position_of(
        &self,
        request: &Request<'_>,
        applies: impl Fn(usize) -> bool + Copy,
    ) -> Result<Option<usize>, TwoReadings> {
        let (path, method) = (request.path, request.method);
        let found = self.configured.find(path, method, Ending::Whole, applies);
        // Nearly every path has only one reading.
        let Some(rule) = found.filter(|_| !(self.names_are_equal && path.is_plain_small())) else {
            return Ok(found);
        };
        let meets_earlier = |ending| {
            self.widest
                .find(path, method, ending, applies)
                .is_some_and(|other| other < rule)
        };
        if !meets_earlier(Ending::Format) {
            return Ok(found);
        }
        Err(if meets_earlier(Ending::Whole) {
            TwoReadings::LetterCase
        } else {
            TwoReadings::Ending
        })
    }
}
