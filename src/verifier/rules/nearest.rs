//! Which rule comes nearest to a request that none matches, and what differs.

use std::fmt;

use super::{PathCase, RuleConfig, methods};
use crate::domain::path::NormalPath;
use crate::domain::pattern::{Pattern, Segment};

/// How many segments of a path are compared, and how much of each.
const MOST_SEGMENTS: usize = 32;
const MOST_CHARACTERS: usize = 64;
/// The costs of differences. Another segment costs more than an extra or a missing one, unless both
/// have much in common, and less than the two together.
const MISSING: f64 = 1.0;
const EXTRA: f64 = 0.9;
const OTHER_SEGMENT: f64 = 0.5;
const OTHER_LETTERS: f64 = 0.8;
const OTHER_CASE: f64 = 0.1;
/// `*` takes a segment only where no name of the pattern does.
const WILDCARD: f64 = 0.01;
const OTHER_METHOD: f64 = 0.5;
/// More for a pattern that has names, of which the path has nothing.
const NOTHING_IN_COMMON: f64 = 0.5;
/// Two segments that cost less have something in common.
const ALIKE: f64 = 0.9;

/// The rule that comes nearest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nearest {
    /// Its place, counted from 0.
    pub rule: usize,
    /// Its pattern that comes nearest.
    pub pattern: String,
    /// The differences.
    pub differences: Vec<Difference>,
}

/// Something by which a request misses a rule. Segments are counted from 1 and decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The path matches, or not, but the method does not.
    Method {
        /// The request's.
        is: String,
        /// The rule's.
        wanted: Vec<String>,
    },
    /// A segment is another one.
    Segment {
        /// Its place in the path.
        place: usize,
        /// The path's segment.
        is: String,
        /// The pattern's.
        wanted: String,
    },
    /// The path has no segment where the pattern has one.
    Missing {
        /// The place in the path where it is missing.
        place: usize,
        /// The pattern's segment; `*` stands for any.
        wanted: String,
    },
    /// The path has a segment where the pattern has none.
    Extra {
        /// Its place in the path.
        place: usize,
        /// The path's segment.
        is: String,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method { is, wanted } => {
                write!(
                    f,
                    "the method is {}, the rule has {}",
                    shown(is),
                    wanted.join(" ")
                )
            }
            Self::Segment { place, is, wanted } if is.to_lowercase() == wanted.to_lowercase() => {
                write!(
                    f,
                    "segment {place} is `{}`, the pattern has `{}`: upper and lower case differ",
                    shown(is),
                    shown(wanted)
                )
            }
            Self::Segment { place, is, wanted } => {
                write!(
                    f,
                    "segment {place} is `{}`, the pattern has `{}`",
                    shown(is),
                    shown(wanted)
                )
            }
            Self::Missing { place, wanted } => {
                write!(f, "the path has no `{}` as segment {place}", shown(wanted))
            }
            Self::Extra { place, is } => {
                write!(f, "segment {place}, `{}`, is not in the pattern", shown(is))
            }
        }
    }
}

fn shown(text: &str) -> String {
    text.chars()
        .take(MOST_CHARACTERS)
        .collect::<String>()
        .escape_debug()
        .to_string()
}

/// The rule that comes nearest to a request that no rule matches: the first whose path matches,
/// else the one whose path and method differ least. `None` when there are no rules.
#[must_use]
pub fn nearest(
    rules: &[RuleConfig],
    path: &NormalPath<'_>,
    method: &str,
    case: PathCase,
) -> Option<Nearest> {
    let folding = case.folding();
    let segments = path
        .segments()
        .take(MOST_SEGMENTS)
        .map(|segment| cut(&folding.of(segment)));
    let segments: Vec<String> = segments.collect();
    let mut best: Option<(f64, Nearest)> = None;
    for (rule, config) in rules.iter().enumerate() {
        let allowed = methods(config);
        let other_method = !allowed.is_empty() && !allowed.contains(&method);
        for text in &config.paths {
            let Ok(pattern) = Pattern::parse(text) else {
                continue;
            };
            // A rule for this very path says more than one for this method.
            let pattern = pattern.folded(folding);
            let (cost, mut differences) =
                if pattern.matches_segments(path.segments().map(|segment| folding.of(segment))) {
                    (0.0, Vec::new())
                } else {
                    let (cost, differences) = compare(&pattern, &segments);
                    (
                        cost + if other_method { OTHER_METHOD } else { 0.0 },
                        differences,
                    )
                };
            if best.as_ref().is_some_and(|(least, _)| cost >= *least) {
                continue;
            }
            if other_method {
                let wanted = allowed.iter().map(ToString::to_string).collect();
                differences.push(Difference::Method {
                    is: method.to_owned(),
                    wanted,
                });
            }
            best = Some((
                cost,
                Nearest {
                    rule,
                    pattern: text.clone(),
                    differences,
                },
            ));
        }
    }
    best.map(|(_, nearest)| nearest)
}

fn cut(text: &str) -> String {
    text.chars().take(MOST_CHARACTERS).collect()
}

/// The cost and the changes between a pattern and a path: an edit distance of segments.
fn compare(pattern: &Pattern, path: &[String]) -> (f64, Vec<Difference>) {
    let wanted: Vec<&Segment> = pattern.segments.iter().take(MOST_SEGMENTS).collect();
    // costs[i][j]: from the first i segments of the pattern to the first j of the path.
    let mut costs = vec![vec![0.0; path.len() + 1]; wanted.len() + 1];
    let at = |costs: &[Vec<f64>], i: usize, j: usize| {
        costs
            .get(i)
            .and_then(|row| row.get(j))
            .copied()
            .unwrap_or(f64::INFINITY)
    };
    let step = |costs: &[Vec<f64>], i: usize, j: usize| {
        let missing = i
            .checked_sub(1)
            .map_or(f64::INFINITY, |i| at(costs, i, j) + MISSING);
        let extra = j
            .checked_sub(1)
            .map_or(f64::INFINITY, |j| at(costs, i, j) + EXTRA);
        let other = match (i.checked_sub(1), j.checked_sub(1)) {
            (Some(i), Some(j)) => match (wanted.get(i), path.get(j)) {
                (Some(wanted), Some(is)) => at(costs, i, j) + unlike(wanted, is),
                _ => f64::INFINITY,
            },
            _ => f64::INFINITY,
        };
        (other, missing, extra)
    };
    for i in 0..=wanted.len() {
        for j in 0..=path.len() {
            if (i, j) == (0, 0) {
                continue;
            }
            let (other, missing, extra) = step(&costs, i, j);
            if let Some(cost) = costs.get_mut(i).and_then(|row| row.get_mut(j)) {
                *cost = other.min(missing).min(extra);
            }
        }
    }
    let (mut i, mut j) = (wanted.len(), path.len());
    if pattern.any_rest {
        // `**` takes the rest.
        j = (0..=path.len())
            .min_by(|a, b| at(&costs, i, *a).total_cmp(&at(&costs, i, *b)))
            .unwrap_or(j);
    }
    let total = at(&costs, i, j);
    let mut in_common = !wanted
        .iter()
        .any(|segment| matches!(segment, Segment::Exactly(_)));
    let mut differences = Vec::new();
    while i > 0 || j > 0 {
        let (other, missing, extra) = step(&costs, i, j);
        if other <= missing && other <= extra {
            (i, j) = (i.saturating_sub(1), j.saturating_sub(1));
            if let (Some(segment @ Segment::Exactly(wanted)), Some(is)) =
                (wanted.get(i), path.get(j))
            {
                in_common |= unlike(segment, is) < ALIKE;
                if wanted != is {
                    let (is, wanted) = (is.clone(), wanted.clone());
                    differences.push(Difference::Segment {
                        place: j + 1,
                        is,
                        wanted,
                    });
                }
            }
        } else if missing <= extra {
            i = i.saturating_sub(1);
            let wanted = match wanted.get(i) {
                Some(Segment::Exactly(name)) => name.clone(),
                _ => "*".to_owned(),
            };
            differences.push(Difference::Missing {
                place: j + 1,
                wanted,
            });
        } else {
            j = j.saturating_sub(1);
            let is = path.get(j).cloned().unwrap_or_default();
            differences.push(Difference::Extra { place: j + 1, is });
        }
    }
    differences.reverse();
    (
        total + if in_common { 0.0 } else { NOTHING_IN_COMMON },
        differences,
    )
}

/// The cost of a different segment.
fn unlike(wanted: &Segment, is: &str) -> f64 {
    match wanted {
        Segment::Any => WILDCARD,
        Segment::Exactly(wanted) if wanted == is => 0.0,
        Segment::Exactly(wanted) if wanted.to_lowercase() == is.to_lowercase() => OTHER_CASE,
        Segment::Exactly(wanted) => {
            OTHER_SEGMENT
                + OTHER_LETTERS * (1.0 - strsim::normalized_damerau_levenshtein(&cut(wanted), is))
        }
    }
}

#[cfg(test)]
mod tests;
