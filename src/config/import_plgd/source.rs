//! plgd's configuration, read key by key.
//!
//! Values are taken as plgd's parser (yaml.v3, into Go structs) takes them. What was never asked
//! for is reported at the end: a key that plgd has and this import forgot would show there, too.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use crate::config::problem::Findings;
use crate::config::tree::{Data, KeyPath, Node, Position};
use crate::config::value::GoDuration;

/// plgd's configuration.
pub(super) struct Source<'t> {
    tree: &'t Node,
    text: &'t str,
    /// Keys that were asked for, and those above them.
    taken: HashSet<String>,
    /// Keys with everything below them.
    whole: HashSet<String>,
    /// What is said once however often it holds: where first, and at how many places.
    repeated: BTreeMap<&'static str, (KeyPath, usize)>,
    findings: Findings,
}

impl<'t> Source<'t> {
    /// `text` is what `tree` was read from.
    pub(super) fn new(tree: &'t Node, text: &'t str, findings: Findings) -> Self {
        Self {
            tree,
            text,
            taken: HashSet::new(),
            whole: HashSet::new(),
            repeated: BTreeMap::new(),
            findings,
        }
    }

    /// The value of a key; none when there is no such key, or nothing behind it.
    pub(super) fn node(&mut self, path: &KeyPath) -> Option<&'t Node> {
        let name = path.to_string();
        for (at, _) in name.match_indices(['.', '[']) {
            self.taken.insert(name[..at].to_owned());
        }
        self.taken.insert(name);
        self.tree
            .find(path)
            .filter(|node| !matches!(node.data, Data::Null))
    }

    /// Whether a key has a value.
    pub(super) fn has(&mut self, path: &KeyPath) -> bool {
        self.node(path).is_some()
    }

    /// A text. A number or truth value without quotes is one as well, spelt as in the file; an
    /// empty one is none.
    pub(super) fn text(&mut self, path: &KeyPath) -> Option<String> {
        let node = self.node(path)?;
        let text = match &node.data {
            Data::Text(text) => text.value.clone(),
            Data::Bool(_) | Data::Integer(_) | Data::Float(_) => self.spelt(node.at).to_owned(),
            _ => {
                self.wrong_kind(path, "a text", node);
                return None;
            }
        };
        Some(text).filter(|text| !text.is_empty())
    }

    /// A scalar without quotes, as it stands in the file.
    fn spelt(&self, at: Position) -> &'t str {
        let line = self.text.lines().nth(at.line - 1).unwrap_or_default();
        let start = line
            .char_indices()
            .nth(at.column - 1)
            .map_or(line.len(), |(start, _)| start);
        let rest = &line[start..];
        // An anchor or a tag may stand before it.
        let rest = match rest.split_once(' ') {
            Some((before, rest)) if before.starts_with(['&', '!']) => rest.trim_start(),
            _ => rest,
        };
        let end = rest.find(|c: char| c.is_whitespace() || matches!(c, ',' | ']' | '}'));
        &rest[..end.unwrap_or(rest.len())]
    }

    /// A truth value; false when there is none.
    pub(super) fn flag(&mut self, path: &KeyPath) -> bool {
        let Some(node) = self.node(path) else {
            return false;
        };
        match &node.data {
            Data::Bool(value) => *value,
            // YAML 1.1 has more words, and plgd's parser knows them.
            Data::Text(text) if text.plain => match text.value.to_ascii_lowercase().as_str() {
                "yes" | "on" | "y" => true,
                "no" | "off" | "n" => false,
                _ => self.wrong_kind(path, "true or false", node),
            },
            _ => self.wrong_kind(path, "true or false", node),
        }
    }

    /// A length of time, as Go writes it; a bare number counts nanoseconds.
    pub(super) fn duration(&mut self, path: &KeyPath) -> Option<Duration> {
        let node = self.node(path)?;
        let duration = match &node.data {
            Data::Text(text) => text.value.parse().ok().map(|GoDuration(duration)| duration),
            Data::Integer(nanoseconds) => {
                u64::try_from(*nanoseconds).ok().map(Duration::from_nanos)
            }
            _ => None,
        };
        if duration.is_none() {
            self.findings
                .error(path, "expected a duration such as `30s` or `24h`");
        }
        duration
    }

    /// The places of a list's items.
    pub(super) fn items(&mut self, path: &KeyPath) -> Vec<KeyPath> {
        let Some(node) = self.node(path) else {
            return Vec::new();
        };
        if !matches!(node.data, Data::List(_)) {
            self.wrong_kind(path, "a list", node);
        }
        (0..node.list_len()).map(|i| path.index(i)).collect()
    }

    /// The texts of a list, each with its place; one text alone is a list of one.
    pub(super) fn texts(&mut self, path: &KeyPath) -> Vec<(KeyPath, String)> {
        let is_list = self
            .node(path)
            .is_some_and(|node| matches!(node.data, Data::List(_)));
        let places = if is_list {
            self.items(path)
        } else {
            vec![path.clone()]
        };
        places
            .into_iter()
            .filter_map(|place| self.text(&place).map(|text| (place, text)))
            .collect()
    }

    /// A whole mapping, whatever is in it.
    pub(super) fn mapping(&mut self, path: &KeyPath) -> Option<&'t Node> {
        let node = self.node(path)?;
        self.pass(path);
        if matches!(node.data, Data::Map(_)) {
            return Some(node);
        }
        self.wrong_kind(path, "a mapping", node);
        None
    }

    fn wrong_kind(&mut self, path: &KeyPath, expected: &str, node: &Node) -> bool {
        self.findings
            .error(path, format!("expected {expected}, found {}", node.kind()));
        false
    }

    /// There can be no configuration because of this.
    pub(super) fn refuse(&mut self, path: &KeyPath, message: impl Into<String>) {
        self.findings.error(path, message);
    }

    /// Something that ours does not say.
    pub(super) fn lost(&mut self, path: &KeyPath, message: impl Into<String>) {
        self.findings.warning(path, message);
    }

    /// The same, of something that may hold at many places.
    pub(super) fn lost_once(&mut self, path: &KeyPath, message: &'static str) {
        self.repeated
            .entry(message)
            .or_insert_with(|| (path.clone(), 0))
            .1 += 1;
    }

    /// Passes over a key and everything below it.
    pub(super) fn pass(&mut self, path: &KeyPath) {
        self.node(path);
        self.whole.insert(path.to_string());
    }

    /// Passes over a key, and says so when there is something behind it.
    pub(super) fn pass_lost(&mut self, path: &KeyPath, message: impl Into<String>) {
        if self.has(path) {
            self.lost(path, message);
        }
        self.pass(path);
    }

    /// What was found so far.
    pub(super) fn into_findings(self) -> Findings {
        self.findings
    }

    /// Everything that was found, the keys that nobody asked for included.
    pub(super) fn finish(mut self) -> Findings {
        for (message, (path, places)) in std::mem::take(&mut self.repeated) {
            let more = if places > 1 {
                format!(" (at {places} places)")
            } else {
                String::new()
            };
            self.findings.warning(&path, format!("{message}{more}"));
        }
        self.unknown(self.tree, &KeyPath::default());
        self.findings
    }

    fn unknown(&mut self, node: &Node, path: &KeyPath) {
        if self.whole.contains(&path.to_string()) {
            return;
        }
        match &node.data {
            Data::List(items) => {
                for (i, item) in items.iter().enumerate() {
                    self.unknown(item, &path.index(i));
                }
            }
            Data::Map(entries) => {
                for entry in entries {
                    let path = path.key(&entry.key);
                    if self.taken.contains(&path.to_string()) {
                        self.unknown(&entry.value, &path);
                    } else {
                        let message =
                            "plgd's server knows no such key and passes over it: left out";
                        self.findings.warning(&path, message);
                    }
                }
            }
            _ => {}
        }
    }
}
