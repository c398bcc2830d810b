//! Which rule comes nearest to a request that none matches, and what differs.

use std::fmt;
use std::net::IpAddr;

use http::header::HOST;

use super::{PathCase, RuleConfig, methods};
use crate::domain::letter_case::Folding;
use crate::domain::pattern::{Pattern, Segment};
use crate::verifier::Request;

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
const OTHER_CONDITION: f64 = 0.3;
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

/// Something by which a request misses a rule: its method, a condition or a segment. Segments are
/// counted from 1 and decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The path matches, or not, but the method does not.
    Method {
        /// The request's.
        is: String,
        /// The rule's.
        wanted: Vec<String>,
    },
    /// The host is another one, or missing.
    Host {
        /// The request's.
        is: Option<String>,
        /// The rule's.
        wanted: Vec<String>,
    },
    /// The client is in none of the rule's networks.
    Source {
        /// The client; `None` if it is unknown.
        is: Option<IpAddr>,
        /// The rule's networks.
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
            Self::Host { is, wanted } => {
                let is = is.as_deref().map_or("missing".to_owned(), shown);
                write!(f, "the host is {is}, the rule has {}", wanted.join(" "))
            }
            Self::Source { is, wanted } => {
                let is = is.map_or("unknown".to_owned(), |is| is.to_string());
                write!(f, "the client is {is}, the rule has {}", wanted.join(" "))
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

/// The rule that comes nearest to a request that no rule matches: one whose path matches, else the
/// one that differs least. `None` when there are no rules.
#[must_use]
pub fn nearest(rules: &[RuleConfig], request: &Request<'_>, case: PathCase) -> Option<Nearest> {
    let folding = case.folding();
    let segments = request
        .path
        .segments()
        .take(MOST_SEGMENTS)
        .map(|segment| cut(&folding.of(segment)));
    let segments: Vec<String> = segments.collect();
    let mut best: Option<(f64, Nearest)> = None;
    for (rule, config) in rules.iter().enumerate() {
        let (beside_cost, beside) = beside_path(config, request);
        for text in &config.paths {
            let Ok(pattern) = Pattern::parse(text) else {
                continue;
            };
            let pattern = pattern.folded(folding);
            let (cost, mut differences) = compare_path(&pattern, request, folding, &segments);
            // A rule for this very path says more than one for this method or host.
            let cost = if differences.is_empty() {
                cost
            } else {
                cost + beside_cost
            };
            if best.as_ref().is_some_and(|(least, _)| cost >= *least) {
                continue;
            }
            differences.extend(beside.iter().cloned());
            let nearest = Nearest {
                rule,
                pattern: text.clone(),
                differences,
            };
            best = Some((cost, nearest));
        }
    }
    best.map(|(_, nearest)| nearest)
}

fn compare_path(
    pattern: &Pattern,
    request: &Request<'_>,
    folding: Folding,
    segments: &[String],
) -> (f64, Vec<Difference>) {
    let mut whole = request.path.segments().map(|segment| folding.of(segment));
    if pattern.matches_segments(&mut whole) {
        (0.0, Vec::new())
    } else {
        compare(pattern, segments)
    }
}

/// The cost and the differences of method, host and source.
fn beside_path(config: &RuleConfig, request: &Request<'_>) -> (f64, Vec<Difference>) {
    let (mut cost, mut differences) = (0.0, Vec::new());
    let allowed = methods(config);
    if !allowed.is_empty() && !allowed.contains(&request.method) {
        cost += OTHER_METHOD;
        differences.push(Difference::Method {
            is: request.method.to_owned(),
            wanted: allowed.iter().map(ToString::to_string).collect(),
        });
    }
    let conditions = &config.conditions;
    if !conditions.have_host(request.host().as_ref()) {
        cost += OTHER_CONDITION;
        let is = request.headers.get(HOST);
        differences.push(Difference::Host {
            is: is.map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned()),
            wanted: conditions.hosts.iter().map(ToString::to_string).collect(),
        });
    }
    if !conditions.have_source(request.client) {
        cost += OTHER_CONDITION;
        differences.push(Difference::Source {
            is: request.client,
            wanted: conditions
                .networks
                .iter()
                .map(ToString::to_string)
                .collect(),
        });
    }
    (cost, differences)
}

fn cut(text: &str) -> String {
    text.chars().take(MOST_CHARACTERS).collect()
}

/// The costs of an edit distance between the segments of a pattern and of a path.
struct Costs<'p> {
    wanted: Vec<&'p Segment>,
    path: &'p [String],
    /// `table[i][j]`: from the first i segments of the pattern to the first j of the path.
    table: Vec<Vec<f64>>,
}

/// The costs of the three ways to a cell.
struct Step {
    other: f64,
    missing: f64,
    extra: f64,
}

impl<'p> Costs<'p> {
    fn new(pattern: &'p Pattern, path: &'p [String]) -> Self {
        let wanted: Vec<_> = pattern.segments.iter().take(MOST_SEGMENTS).collect();
        let table = vec![vec![0.0; path.len() + 1]; wanted.len() + 1];
        let mut costs = Self {
            wanted,
            path,
            table,
        };
        for i in 0..=costs.wanted.len() {
            for j in 0..=path.len() {
                let Step {
                    other,
                    missing,
                    extra,
                } = costs.step(i, j);
                if (i, j) != (0, 0)
                    && let Some(cost) = costs.table.get_mut(i).and_then(|row| row.get_mut(j))
                {
                    *cost = other.min(missing).min(extra);
                }
            }
        }
        costs
    }

    fn at(&self, i: Option<usize>, j: Option<usize>) -> f64 {
        let cell = i.zip(j).and_then(|(i, j)| self.table.get(i)?.get(j));
        cell.copied().unwrap_or(f64::INFINITY)
    }

    fn step(&self, i: usize, j: usize) -> Step {
        let (above, left) = (i.checked_sub(1), j.checked_sub(1));
        let pair = above
            .and_then(|i| self.wanted.get(i))
            .zip(left.and_then(|j| self.path.get(j)));
        Step {
            other: pair.map_or(f64::INFINITY, |(wanted, is)| {
                self.at(above, left) + unlike(wanted, is)
            }),
            missing: self.at(above, Some(j)) + MISSING,
            extra: self.at(Some(i), left) + EXTRA,
        }
    }

    /// The cell of the whole pattern. `**` takes the rest of the path.
    fn end(&self, any_rest: bool) -> (usize, usize) {
        let (i, j) = (self.wanted.len(), self.path.len());
        let cost = |j: &usize| self.at(Some(i), Some(*j));
        let cheapest = (0..=j).min_by(|a, b| cost(a).total_cmp(&cost(b)));
        (i, cheapest.filter(|_| any_rest).unwrap_or(j))
    }
}

/// The cost and the differences between a pattern and a path.
fn compare(pattern: &Pattern, path: &[String]) -> (f64, Vec<Difference>) {
    let costs = Costs::new(pattern, path);
    let (mut i, mut j) = costs.end(pattern.any_rest);
    let total = costs.at(Some(i), Some(j));
    let is_name = |segment: &&Segment| matches!(segment, Segment::Exactly(_));
    let mut in_common = !costs.wanted.iter().any(is_name);
    let mut differences = Vec::new();
    while i > 0 || j > 0 {
        let step = costs.step(i, j);
        let (wanted, is) = (
            costs.wanted.get(i.wrapping_sub(1)),
            path.get(j.wrapping_sub(1)),
        );
        if step.other <= step.missing && step.other <= step.extra {
            (i, j) = (i.saturating_sub(1), j.saturating_sub(1));
            if let (Some(segment @ Segment::Exactly(wanted)), Some(is)) = (wanted, is) {
                in_common |= unlike(segment, is) < ALIKE;
                if wanted != is {
                    differences.push(Difference::Segment {
                        place: j + 1,
                        is: is.clone(),
                        wanted: wanted.clone(),
                    });
                }
            }
        } else if step.missing <= step.extra {
            i = i.saturating_sub(1);
            let wanted = match wanted {
                Some(Segment::Exactly(name)) => name.clone(),
                _ => "*".to_owned(),
            };
            differences.push(Difference::Missing {
                place: j + 1,
                wanted,
            });
        } else {
            j = j.saturating_sub(1);
            let is = is.cloned().unwrap_or_default();
            differences.push(Difference::Extra { place: j + 1, is });
        }
    }
    differences.reverse();
    let nothing_in_common = if in_common { 0.0 } else { NOTHING_IN_COMMON };
    (total + nothing_in_common, differences)
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
