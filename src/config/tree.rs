//! A configuration as a tree with the position of every key.
//!
//! serde stops at the first error and drops positions, so the later stages work on this tree.

use std::fmt;

use serde_json::{Map, Number, Value};

/// A position in the file; line and column start at 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub line: usize,
    pub column: usize,
}

impl Default for Position {
    fn default() -> Self {
        Self { line: 1, column: 1 }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

/// The path from the root to a value, shown as `inbound[0].rules[1].scopes`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KeyPath(Vec<Step>);

impl KeyPath {
    pub fn root(key: &str) -> Self {
        Self::default().key(key)
    }

    pub fn key(&self, key: &str) -> Self {
        self.step(Step::Key(key.to_owned()))
    }

    pub fn index(&self, index: usize) -> Self {
        self.step(Step::Index(index))
    }

    fn step(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    pub fn starts_with(&self, ancestor: &Self) -> bool {
        self.0.starts_with(&ancestor.0)
    }

    /// Whether the path fits a pattern: `inbound[].rules[].claims`, `credentials.*.keyID`.
    pub fn matches(&self, pattern: &str) -> bool {
        let mut steps = self.0.iter();
        for part in pattern.split('.') {
            let name = part.trim_end_matches("[]");
            match steps.next() {
                Some(Step::Key(key)) if name == "*" || name == key => {}
                _ => return false,
            }
            for _ in 0..(part.len() - name.len()) / 2 {
                if !matches!(steps.next(), Some(Step::Index(_))) {
                    return false;
                }
            }
        }
        steps.next().is_none()
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if i == 0 => write!(f, "{}", key.escape_debug())?,
                Step::Key(key) => write!(f, ".{}", key.escape_debug())?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub at: Position,
    pub data: Data,
}

#[derive(Clone, Debug)]
pub(super) enum Data {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(Text),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// Already reported as an error; later stages skip it.
    Broken,
}

#[derive(Clone, Debug)]
pub(super) struct Text {
    /// The value after variables are replaced.
    pub value: String,
    /// Whether it is unquoted. A value from the environment can then become a number or boolean.
    pub plain: bool,
    /// The text in the file, if it contains `${…}`. Messages show it instead of the value.
    pub template: Option<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub key: String,
    pub at: Position,
    pub value: Node,
}

impl Node {
    pub fn find(&self, path: &KeyPath) -> Option<&Self> {
        path.0
            .iter()
            .try_fold(self, |node, step| node.child(step).map(|(_, child)| child))
    }

    /// The position of a path's key, or of its nearest ancestor if the path does not exist.
    pub fn position(&self, path: &KeyPath) -> Position {
        let mut at = self.at;
        let mut node = self;
        for step in &path.0 {
            let Some((child_at, child)) = node.child(step) else {
                break;
            };
            at = child_at;
            node = child;
        }
        at
    }

    fn child(&self, step: &Step) -> Option<(Position, &Self)> {
        match (step, &self.data) {
            (Step::Key(key), Data::Map(entries)) => entries
                .iter()
                .find(|entry| entry.key == *key)
                .map(|entry| (entry.at, &entry.value)),
            (Step::Index(index), Data::List(items)) => {
                items.get(*index).map(|item| (item.at, item))
            }
            _ => None,
        }
    }

    /// The keys of a mapping; none for other values.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let entries = if let Data::Map(entries) = &self.data {
            entries.as_slice()
        } else {
            &[]
        };
        entries.iter().map(|entry| entry.key.as_str())
    }

    /// Removes all other members of a mapping.
    pub fn keep_only(&mut self, keys: &[&str]) {
        if let Data::Map(entries) = &mut self.data {
            entries.retain(|entry| keys.contains(&entry.key.as_str()));
        }
    }

    /// The number of items of a list; 0 for other values.
    pub fn list_len(&self) -> usize {
        if let Data::List(items) = &self.data {
            items.len()
        } else {
            0
        }
    }

    /// The number of values here and below.
    pub fn size(&self) -> usize {
        match &self.data {
            Data::List(items) => 1 + items.iter().map(Self::size).sum::<usize>(),
            Data::Map(entries) => {
                1 + entries
                    .iter()
                    .map(|entry| entry.value.size())
                    .sum::<usize>()
            }
            _ => 1,
        }
    }

    /// The value as JSON, without members that are already reported as errors.
    pub fn to_json(&self) -> Value {
        match &self.data {
            Data::Null | Data::Broken => Value::Null,
            Data::Bool(value) => Value::Bool(*value),
            Data::Integer(value) => Value::from(*value),
            Data::Float(value) => Number::from_f64(*value).map_or(Value::Null, Value::Number),
            Data::Text(text) => Value::String(text.value.clone()),
            Data::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Data::Map(entries) => Value::Object(
                entries
                    .iter()
                    .filter(|entry| !matches!(entry.value.data, Data::Broken))
                    .map(|entry| (entry.key.clone(), entry.value.to_json()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }

    /// The kind of the value, for messages.
    pub fn kind(&self) -> &'static str {
        match &self.data {
            Data::Null | Data::Broken => "no value",
            Data::Bool(_) => "a boolean",
            Data::Integer(_) | Data::Float(_) => "a number",
            Data::Text(_) => "a text",
            Data::List(_) => "a list",
            Data::Map(_) => "a mapping",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_paths_print_and_match_patterns() {
        let path = KeyPath::root("inbound")
            .index(0)
            .key("rules")
            .index(12)
            .key("claims");
        assert_eq!(path.to_string(), "inbound[0].rules[12].claims");
        assert!(path.matches("inbound[].rules[].claims"));
        for other in [
            "inbound[].rules[]",
            "inbound.rules[].claims",
            "inbound[].rules[].claims.x",
            "inbound[].*[]",
        ] {
            assert!(!path.matches(other), "{other}");
        }
        let path = KeyPath::root("credentials").key("a.b").key("keyID");
        assert!(path.matches("credentials.*.keyID"));
        assert!(!path.matches("credentials.*"));
        assert!(path.starts_with(&KeyPath::root("credentials")));
        assert!(!KeyPath::root("credentials").starts_with(&path));
    }
}
