//! The tree that is resolved, and the problems that are found.

use std::path::Path;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::config::ResolvedFile;
use crate::config::check::quoted;
use crate::config::files::{self, FileError};
use crate::config::problem::Findings;
use crate::config::tree::{Data, KeyPath, Node};
use crate::config::value::{FilePath, GoDuration};
use crate::domain::encryption::EncryptionKey;
use crate::domain::issuer_name::IssuerName;
use crate::domain::name::nearest;
use crate::domain::settings::Profile;
use crate::http_client::Egress;

/// The tree that is resolved, and the problems that are found.
pub(super) struct Resolver<'a> {
    pub tree: &'a Node,
    findings: &'a mut Findings,
    /// The files whose content is a part of the configuration.
    pub resolved_files: Vec<ResolvedFile>,
    /// The proxies of requests to authorities.
    pub egress: Egress,
}

impl<'a> Resolver<'a> {
    pub fn new(tree: &'a Node, findings: &'a mut Findings) -> Self {
        Self {
            tree,
            findings,
            resolved_files: Vec::new(),
            egress: Egress::default(),
        }
    }

    /// The names that a mapping declares, including members with errors.
    pub fn names(&self, key: &str) -> Vec<&'a str> {
        let mapping = self.tree.find(&KeyPath::root(key));
        mapping.into_iter().flat_map(Node::keys).collect()
    }

    /// The text at a key, whatever its form.
    pub fn text(&self, path: &KeyPath) -> Option<&'a str> {
        match &self.tree.find(path)?.data {
            Data::Text(text) => Some(&text.value),
            _ => None,
        }
    }

    /// `issuer.url` as the tree has it, even if the section `issuer` has errors.
    pub fn own_issuer(&self) -> Option<&'a str> {
        self.text(&KeyPath::root("issuer").key("url"))
    }

    /// The paths of a mapping's members.
    pub fn keys(&self, mapping: &KeyPath) -> Vec<KeyPath> {
        let names = self.tree.find(mapping).into_iter().flat_map(Node::keys);
        names.map(|name| mapping.key(name)).collect()
    }

    /// The paths of a list's items.
    pub fn list(&self, list: &KeyPath) -> Vec<KeyPath> {
        let count = self.tree.find(list).map_or(0, Node::list_len);
        (0..count).map(|i| list.index(i)).collect()
    }
}

impl Resolver<'_> {
    pub fn error(&mut self, path: &KeyPath, message: impl Into<String>) {
        self.findings.error(path, message);
    }

    /// Whether something was found at or below a path.
    pub fn has_findings(&self, path: &KeyPath) -> bool {
        self.findings.any_under(path)
    }

    pub fn warn(&mut self, path: &KeyPath, message: impl Into<String>) {
        self.findings.warning(path, message);
    }

    /// A section as its raw struct; `None` if it is missing or has errors.
    fn section<T: DeserializeOwned>(&mut self, path: &KeyPath) -> Option<T> {
        let node = self.tree.find(path)?;
        if self.findings.any_broken_under(path) {
            return None;
        }
        let section = serde_json::from_value(node.to_json()).ok();
        // A skipped key may have been a misspelt required one.
        if section.is_none() && !self.findings.any_under(path) {
            // The schema is derived from the struct, so this is a bug. serde's text could reveal a
            // value.
            self.error(path, "this section cannot be read");
        }
        section
    }

    /// A section at the top of the file.
    pub fn top<T: DeserializeOwned>(&mut self, key: &str) -> Option<T> {
        self.section(&KeyPath::root(key))
    }

    /// Resolves a section. A section that resolves to nothing always has an error.
    fn resolve_at<R: DeserializeOwned, T>(
        &mut self,
        path: &KeyPath,
        resolve: impl FnOnce(&mut Self, &KeyPath, R) -> Option<T>,
    ) -> Option<T> {
        let raw = self.section(path)?;
        let resolved = resolve(self, path, raw);
        if resolved.is_none() && !self.findings.any_under(path) {
            self.error(path, "this section cannot be used");
        }
        resolved
    }

    /// Resolves an optional section at the top of the file.
    pub fn entry<R: DeserializeOwned, T>(
        &mut self,
        key: &str,
        resolve: impl FnOnce(&mut Self, &KeyPath, R) -> Option<T>,
    ) -> Option<T> {
        self.resolve_at(&KeyPath::root(key), resolve)
    }

    /// Resolves the items of a list.
    pub fn items<R: DeserializeOwned, T>(
        &mut self,
        key: &str,
        resolve: impl Fn(&mut Self, &KeyPath, R) -> Option<T>,
    ) -> Vec<T> {
        let paths = self.list(&KeyPath::root(key)).into_iter();
        paths
            .filter_map(|path| self.resolve_at(&path, &resolve))
            .collect()
    }

    /// Resolves the members of a mapping, each with its name.
    pub fn members<R: DeserializeOwned, T>(
        &mut self,
        key: &str,
        resolve: impl Fn(&mut Self, &KeyPath, &str, R) -> Option<T>,
    ) -> Vec<T> {
        let (mapping, names) = (KeyPath::root(key), self.names(key));
        let resolve_one = |name: &str| {
            self.resolve_at(&mapping.key(name), |resolver, path, raw| {
                resolve(resolver, path, name, raw)
            })
        };
        names.into_iter().filter_map(resolve_one).collect()
    }

    /// A text for messages: as the file has it, without the values of variables.
    pub fn shown(&self, path: &KeyPath, text: &str) -> String {
        let template = match self.tree.find(path).map(|node| &node.data) {
            Some(Data::Text(text)) => text.template.as_deref(),
            _ => None,
        };
        template.unwrap_or(text).escape_debug().to_string()
    }

    /// Checks a reference to a member of `section`, which is called `what`.
    pub fn reference(&mut self, path: &KeyPath, name: &str, section: &str, what: &str) {
        let known = self.names(section);
        if known.contains(&name) {
            return;
        }
        let known = match (known.as_slice(), nearest(name, known.iter().copied())) {
            ([], _) => format!("`{section}` is empty"),
            ([only], _) => format!("the only one is `{only}`"),
            (_, Some(nearest)) => {
                format!("the nearest is `{nearest}`, known are {}", quoted(&known))
            }
            (_, None) => format!("known are {}", quoted(&known)),
        };
        let shown = self.shown(path, name);
        self.error(path, format!("no {what} is named `{shown}`; {known}"));
    }

    /// The issuer of an authority as the tree has it, even if the authority has errors.
    pub fn issuer_of(&self, authority: &str) -> Option<IssuerName> {
        let authority = KeyPath::root("authorities").key(authority);
        let is_plgd = self.text(&authority.key("profile")) == Some("plgd");
        let profile = if is_plgd {
            Profile::Plgd
        } else {
            Profile::Standard
        };
        Some(profile.issuer(self.text(&authority.key("issuer"))?))
    }

    /// Notes a file whose content becomes a part of the configuration. To be called before it is
    /// read.
    pub fn resolved(&mut self, path: &KeyPath, file: &FilePath) {
        let noted = ResolvedFile::noted(path.to_string(), file.0.clone());
        self.resolved_files.push(noted);
    }

    /// Reads the file of a key.
    pub fn file<T>(
        &mut self,
        path: &KeyPath,
        file: &FilePath,
        read: impl FnOnce(&Path) -> Result<T, FileError>,
    ) -> Option<T> {
        read(&file.0)
            .map_err(|error| self.file_error(path, file, &error.to_string()))
            .ok()
    }

    /// Reports a problem of a key's file.
    pub fn file_error(&mut self, path: &KeyPath, file: &FilePath, problem: &str) {
        let shown = self.shown(path, &file.0.to_string_lossy());
        self.error(path, format!("the file `{shown}` {problem}"));
    }

    /// Reads the file of a key that holds a secret, and warns if others can read it too.
    pub fn secret<T>(
        &mut self,
        path: &KeyPath,
        file: &FilePath,
        read: fn(&Path) -> Result<T, FileError>,
    ) -> Option<T> {
        let content = self.file(path, file, read)?;
        self.check_readers(path, file);
        Some(content)
    }

    /// Warns if every user of the machine can read the file of a secret.
    pub fn check_readers(&mut self, path: &KeyPath, file: &FilePath) {
        if let Some(mode) = files::read_by_others(&file.0) {
            self.warn_of_readers(path, file, mode);
        }
    }

    /// Warns that every user of the machine can read a secret.
    pub fn warn_of_readers(&mut self, path: &KeyPath, file: &FilePath, mode: u32) {
        let shown = self.shown(path, &file.0.to_string_lossy());
        let message = format!(
            "others can read the file `{shown}` (mode {mode:04o}): run `chmod o-r {shown}`"
        );
        self.warn(path, message);
    }

    /// Reads the certificates of an optional key. The outer `None` means that reading failed.
    #[expect(clippy::option_option, reason = "missing and unreadable are two cases")]
    pub fn certificates(
        &mut self,
        path: &KeyPath,
        file: Option<&FilePath>,
    ) -> Option<Option<Vec<u8>>> {
        match file {
            None => Some(None),
            Some(file) => self.file(path, file, files::read_certificates).map(Some),
        }
    }

    /// Reads the certificates of an optional key, which become a part of the configuration.
    #[expect(clippy::option_option, reason = "missing and unreadable are two cases")]
    pub fn resolved_certificates(
        &mut self,
        path: &KeyPath,
        file: Option<&FilePath>,
    ) -> Option<Option<Vec<u8>>> {
        if let Some(file) = file {
            self.resolved(path, file);
        }
        self.certificates(path, file)
    }

    /// Reads the key that encrypts private keys in the store.
    pub fn encryption_key(&mut self, file: Option<&FilePath>) -> Option<EncryptionKey> {
        let path = KeyPath::root("store").key("encryptionKeyFile");
        self.resolved(&path, file?);
        let text = self.secret(&path, file?, files::read_secret)?;
        let key = EncryptionKey::parse(&text);
        key.map_err(|why| self.error(&path, format!("the file {why}")))
            .ok()
    }

    /// Checks the bounds of a duration.
    pub fn duration(&mut self, path: &KeyPath, value: GoDuration, least: Duration, most: Duration) {
        if value.0 < least || value.0 > most {
            let (least, most) = (GoDuration(least), GoDuration(most));
            self.error(path, format!("it must be from {least} to {most}"));
        }
    }
}
