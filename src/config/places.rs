//! The lines of a configuration file, for commands that name them.

use std::path::Path;

use super::environment::{self, Environment};
use super::problem::Findings;
use super::tree::{Data, KeyPath, Node};
use super::{Problems, read, yaml};

/// The keys of a configuration file and their lines.
pub struct Places {
    tree: Node,
    file: String,
}

/// An item of a list of the file.
pub struct Item<'p> {
    places: &'p Places,
    path: KeyPath,
}

impl Places {
    /// Reads a file that is a valid configuration.
    ///
    /// # Errors
    /// The file cannot be read, or is not YAML.
    pub fn read(path: &Path, environment: Environment<'_>) -> Result<Self, Problems> {
        let (text, file) = (read(path)?, path.display().to_string());
        let mut findings = Findings::default();
        let Some(mut tree) = yaml::parse(&text, &mut findings) else {
            return Err(Problems(findings.locate(&file, None).0));
        };
        environment::interpolate(&mut tree, &KeyPath::default(), environment, &mut findings);
        Ok(Self { tree, file })
    }

    /// The client of the issuer with this id.
    #[must_use]
    pub fn client(&self, id: &str) -> Option<Item<'_>> {
        self.item(&KeyPath::root("issuer").key("clients"), "id", id)
    }

    /// The listener of `inbound` or `decisions` with this name.
    #[must_use]
    pub fn listener(&self, name: &str) -> Option<Item<'_>> {
        let found = |key| self.item(&KeyPath::root(key), "name", name);
        found("inbound").or_else(|| found("decisions"))
    }

    fn item(&self, list: &KeyPath, key: &str, value: &str) -> Option<Item<'_>> {
        let length = self.tree.find(list).map_or(0, Node::list_len);
        let mut items = (0..length).map(|index| list.index(index));
        let path = items.find(|item| {
            let named = self.tree.find(&item.key(key)).map(|node| &node.data);
            matches!(named, Some(Data::Text(text)) if text.value == value)
        })?;
        Some(Item { places: self, path })
    }

    fn shown(&self, path: &KeyPath) -> String {
        format!("{}:{}: {path}", self.file, self.tree.position(path).line)
    }
}

impl Item<'_> {
    /// File, line and key of the item.
    #[must_use]
    pub fn place(&self) -> String {
        self.places.shown(&self.path)
    }

    /// File, line and key of a member; of the item, if it has no such member.
    #[must_use]
    pub fn member(&self, key: &str) -> String {
        let path = self.path.key(key);
        match self.places.tree.find(&path) {
            Some(_) => self.places.shown(&path),
            None => format!("{} (no `{key}`)", self.place()),
        }
    }
}
