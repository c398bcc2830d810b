//! All patterns of a listener as one tree of segments. The cost of a request depends on the length
//! of its path, not on the number of rules.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::domain::letter_case::Folding;
use crate::domain::path::NormalPath;
use crate::domain::pattern::{Pattern, Segment};

/// How many endings of a path's last segment are tried, counted from its first dot; its last ending
/// is tried beside them.
const MOST_ENDINGS: usize = 8;

/// Which rule matches a path and a method first.
pub(super) struct Matcher {
    /// The root is the first.
    nodes: Vec<Node>,
    methods: Methods,
    folding: Folding,
}

/// How the last segment of a path is matched.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// As it is.
    Whole,
    /// Also without an ending: some servers read `reports.json` as `reports` in the format JSON.
    Format,
}

/// A position in the tree.
struct Node {
    named: BTreeMap<String, usize>,
    any: Option<usize>,
    /// The rules that match when the path ends here.
    here: Vec<Candidate>,
    /// The rules that match whatever follows.
    rest: Vec<Candidate>,
    /// The first rule that can match here or further down.
    first: usize,
}

#[derive(Clone, Copy)]
struct Candidate {
    rule: usize,
    methods: u64,
}

/// A rule's patterns, and the methods it names; none: every method.
pub(super) type Matched<'r> = (Vec<Pattern>, &'r [String]);

impl Matcher {
    /// Compiles rules in their order; segments that are equal under `folding` are the same. `None`
    /// when the rules name more than 63 different methods.
    pub fn compile(rules: &[Matched<'_>], folding: Folding) -> Option<Self> {
        let methods = Methods::named_by(rules.iter().flat_map(|(_, methods)| methods.iter()))?;
        let mut matcher = Self {
            nodes: vec![Node::reached_by(usize::MAX)],
            methods,
            folding,
        };
        for (rule, (patterns, named)) in rules.iter().enumerate() {
            let candidate = Candidate {
                rule,
                methods: matcher.methods.set(named),
            };
            patterns
                .iter()
                .for_each(|pattern| matcher.add(pattern, candidate));
        }
        Some(matcher)
    }

    fn add(&mut self, pattern: &Pattern, candidate: Candidate) {
        let mut at = 0;
        self.nodes[at].first = self.nodes[at].first.min(candidate.rule);
        for segment in &pattern.segments {
            let new = self.nodes.len();
            let node = &mut self.nodes[at];
            at = match segment {
                Segment::Any => *node.any.get_or_insert(new),
                Segment::Exactly(name) => {
                    let name = self.folding.of(name.into()).into_owned();
                    *node.named.entry(name).or_insert(new)
                }
            };
            // Rules come in their order, so the one that makes a node is the first that needs it.
            if at == new {
                self.nodes.push(Node::reached_by(candidate.rule));
            }
        }
        let node = &mut self.nodes[at];
        if pattern.any_rest {
            node.rest.push(candidate)
        } else {
            node.here.push(candidate)
        }
    }

    /// The index of the first rule that matches, of those that `applies` accepts.
    pub fn find(
        &self,
        path: &NormalPath<'_>,
        method: &str,
        ending: Ending,
        applies: impl Fn(usize) -> bool + Copy,
    ) -> Option<usize> {
        let mut first = usize::MAX;
        let search = Search {
            method: self.methods.bit(method),
            ending,
            applies,
        };
        if self.folding == Folding::None {
            self.visit(0, path.segments(), search, &mut first);
        } else {
            self.visit(
                0,
                path.segments().map(|segment| self.folding.of(segment)),
                search,
                &mut first,
            );
        }
        (first != usize::MAX).then_some(first)
    }

    /// Looks for a rule before `first`. Each node is visited at most once for each ending, and as
    /// deep as the longest pattern goes.
    fn visit<'p>(
        &self,
        at: usize,
        mut rest: impl Iterator<Item = Cow<'p, str>> + Clone,
        search: Search<impl Fn(usize) -> bool + Copy>,
        first: &mut usize,
    ) {
        let Some(node) = self.nodes.get(at).filter(|node| node.first < *first) else {
            return;
        };
        earliest(&node.rest, search, first);
        let Some(segment) = rest.next() else {
            return earliest(&node.here, search, first);
        };
        if let Some(named) = node.named.get(segment.as_ref()) {
            self.visit(*named, rest.clone(), search, first);
        }
        if search.ending == Ending::Format && rest.clone().next().is_none() {
            for name in without_ending(&segment) {
                if let Some(named) = node.named.get(name) {
                    self.visit(*named, rest.clone(), search, first);
                }
            }
        }
        if let Some(any) = node.any {
            self.visit(any, rest, search, first);
        }
    }
}

/// The search of a visit.
#[derive(Clone, Copy)]
struct Search<F> {
    method: u64,
    ending: Ending,
    applies: F,
}

/// The parts of a segment before its dots.
fn without_ending(segment: &str) -> impl Iterator<Item = &str> {
    let dots = segment
        .match_indices('.')
        .map(|(at, _)| at)
        .take(MOST_ENDINGS)
        .chain(segment.rfind('.'));
    dots.filter_map(|at| segment.get(..at))
        .filter(|name| !name.is_empty())
}

fn earliest(candidates: &[Candidate], search: Search<impl Fn(usize) -> bool>, first: &mut usize) {
    if let Some(found) = candidates.iter().find(|candidate| {
        candidate.methods & search.method != 0 && (search.applies)(candidate.rule)
    }) {
        *first = (*first).min(found.rule);
    }
}

impl Node {
    fn reached_by(first: usize) -> Self {
        Self {
            named: BTreeMap::new(),
            any: None,
            here: Vec::new(),
            rest: Vec::new(),
            first,
        }
    }
}

/// The methods that rules name, each with a bit of its own.
struct Methods(Vec<String>);

/// Every method that no rule names.
const OTHER: u64 = 1 << 63;

impl Methods {
    fn named_by<'r>(named: impl Iterator<Item = &'r String>) -> Option<Self> {
        let mut names = vec!["GET".to_owned(), "HEAD".to_owned()];
        for name in named {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        (names.len() < 64).then_some(Self(names))
    }

    fn bit(&self, method: &str) -> u64 {
        self.0
            .iter()
            .position(|name| name == method)
            .map_or(OTHER, |index| 1 << index)
    }

    /// The methods of a rule. `GET` includes `HEAD`.
    fn set(&self, named: &[String]) -> u64 {
        if named.is_empty() {
            return u64::MAX;
        }
        let head = if named.iter().any(|name| name == "GET") {
            self.bit("HEAD")
        } else {
            0
        };
        named.iter().fold(head, |set, name| set | self.bit(name))
    }
}
