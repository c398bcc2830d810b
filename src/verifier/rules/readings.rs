//! The rule that decides about a path, and whether a server could read the path as one of an
//! earlier rule.

use super::matcher::{Ending, Matched, Matcher};
use super::{InvalidRules, RuleConfig, patterns};
use crate::domain::path::NormalPath;
use crate::domain::pattern::{InvalidPattern, Segment};
use crate::domain::settings::PathCase;

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
        Ok(Self {
            configured: compile(case.folding())?,
            widest: compile(case.widest())?,
            names_are_equal,
        })
    }

    /// The place of the rule that decides; `None` when no rule matches.
    pub fn position(
        &self,
        path: &NormalPath<'_>,
        method: &str,
    ) -> Result<Option<usize>, TwoReadings> {
        let found = self.configured.find(path, method, Ending::Whole);
        // Nearly every path has only one reading.
        let Some(rule) = found.filter(|_| !(self.names_are_equal && path.is_plain_small())) else {
            return Ok(found);
        };
        let meets_earlier = |ending| {
            self.widest
                .find(path, method, ending)
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
