//! Reads plgd's configuration key by key.
//!
//! Values are interpreted like plgd's parser does (yaml.v3, into Go structs). Unread keys are
//! reported at the end, including keys that this import misses.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use crate::config::problem::Findings;
use crate::config::tree::{Data, KeyPath, Node, Position};
use crate::config::value::GoDuration;

pub(super) struct Source<'t> {
    tree: &'t Node,
    text: &'t str,
    /// Keys that were read, and their parents.
    taken: HashSet<String>,
    /// Keys that were read with everything below them.
    whole: HashSet<String>,
    /// Messages that are reported once: the first position, and the number of positions.
    repeated: BTreeMap<&'static str, (KeyPath, usize)>,
    findings: Findings,
}

impl<'t> Source<'t> {
    /// `text` is the source of `tree`.
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

    /// The value of a key; `None` if the key or its value is missing.
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

    pub(super) fn has(&mut self, path: &KeyPath) -> bool {
        self.node(path).is_some()
    }

    /// A text. An unquoted number or boolean is a text too, as the file has it. `None` if it is
    /// empty.
    pub(super) fn text(&mut self, path: &KeyPath) -> Option<String> {
        let node = self.node(path)?;
        let text = match &node.data {
            Data::Text(text) => text.value.clone(),
            Data::Bool(_) | Data::Integer(_) | Data::Float(_) => {
                self.source_text(node.at).to_owned()
            }
            _ => {
                self.wrong_kind(path, "a text", node);
                return None;
            }
        };
        Some(text).filter(|text| !text.is_empty())
    }

    /// An unquoted scalar as the file has it.
    fn source_text(&self, at: Position) -> &'t str {
        let line = self.text.lines().nth(at.line - 1).unwrap_or_default();
        let start = line
            .char_indices()
            .nth(at.column - 1)
            .map_or(line.len(), |(start, _)| start);
        let rest = &line[start..];
        // An anchor or tag may precede it.
        let rest = match rest.split_once(' ') {
            Some((before, rest)) if before.starts_with(['&', '!']) => rest.trim_start(),
            _ => rest,
        };
        let end = rest.find(|c: char| c.is_whitespace() || matches!(c, ',' | ']' | '}'));
        &rest[..end.unwrap_or(rest.len())]
    }

    /// A boolean; false if it is missing.
    pub(super) fn flag(&mut self, path: &KeyPath) -> bool {
        let Some(node) = self.node(path) else {
            return false;
        };
        match &node.data {
            Data::Bool(value) => *value,
            // plgd's parser also accepts the words of YAML 1.1.
            Data::Text(text) if text.plain => match text.value.to_ascii_lowercase().as_str() {
                "yes" | "on" | "y" => true,
                "no" | "off" | "n" => false,
                _ => self.wrong_kind(path, "true or false", node),
            },
            _ => self.wrong_kind(path, "true or false", node),
        }
    }

    /// A duration in Go's notation; a bare number counts nanoseconds.
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

    /// The paths of a list's items.
    pub(super) fn items(&mut self, path: &KeyPath) -> Vec<KeyPath> {
        let Some(node) = self.node(path) else {
            return Vec::new();
        };
        if !matches!(node.data, Data::List(_)) {
            self.wrong_kind(path, "a list", node);
        }
        (0..node.list_len()).map(|i| path.index(i)).collect()
    }

    /// The texts of a list, each with its path. A single text is a list of one.
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

    /// A mapping with any content.
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

    /// Reports an error that prevents the import.
    pub(super) fn refuse(&mut self, path: &KeyPath, message: impl Into<String>) {
        self.findings.error(path, message);
    }

    /// Reports a setting that is not imported.
    pub(super) fn lost(&mut self, path: &KeyPath, message: impl Into<String>) {
        self.findings.warning(path, message);
    }

    /// Reports a setting that is not imported, once for all its positions.
    pub(super) fn lost_once(&mut self, path: &KeyPath, message: &'static str) {
        self.repeated
            .entry(message)
            .or_insert_with(|| (path.clone(), 0))
            .1 += 1;
    }

    /// Ignores a key and everything below it.
    pub(super) fn pass(&mut self, path: &KeyPath) {
        self.node(path);
        self.whole.insert(path.to_string());
    }

    /// Ignores a key, and reports it if it has a value.
    pub(super) fn pass_lost(&mut self, path: &KeyPath, message: impl Into<String>) {
        if self.has(path) {
            self.lost(path, message);
        }
        self.pass(path);
    }

    /// The findings so far.
    pub(super) fn into_findings(self) -> Findings {
        self.findings
    }

    /// All findings, including keys that were not read.
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
                        let message = "not imported: plgd's server does not use this key";
                        self.findings.warning(&path, message);
                    }
                }
            }
            _ => {}
        }
    }
}
