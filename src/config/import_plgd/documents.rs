//! Finds the configuration among YAML documents, such as the output of `helm template` or `kubectl
//! get -o yaml`.

use super::{helm, merge};
use crate::config::problem::Findings;
use crate::config::tree::{Data, Entry, KeyPath, Node};
use crate::config::yaml;

/// A configuration of plgd's server, and its text.
pub(super) struct Found {
    pub tree: Node,
    pub text: String,
    /// The position inside the file, added to the file's name in messages.
    pub place: Option<String>,
    /// Whether it was generated from values of the Helm chart.
    pub of_values: bool,
}

/// Finds the only configuration among the documents of a text. `None`: the findings contain the
/// reason.
pub(super) fn find(text: &str, findings: &mut Findings) -> Option<Found> {
    let mut documents = yaml::parse_all(text, findings)?;
    documents.iter_mut().for_each(merge::merge);
    let whole = |tree: Node, of_values| Found {
        tree,
        text: text.to_owned(),
        place: None,
        of_values,
    };
    let mut found: Vec<Found> = Vec::new();
    let mut values: Option<Node> = None;
    for document in &documents {
        if has(document, "oauthSigner") {
            found.push(whole(document.clone(), false));
        } else if has(document, "kind") {
            found.extend(in_kubernetes(document, findings)?);
        } else if helm::is_values(document) || values.is_some() {
            match &mut values {
                Some(values) => helm::overlay(values, document.clone()),
                None => values = Some(document.clone()),
            }
        }
    }
    found.extend(values.map(|values| whole(helm::configuration(&values), true)));
    let (read, others) = (found.len(), documents.len().saturating_sub(1));
    if read == 1 && others > 0 && found.iter().all(|found| !found.of_values) {
        let message = format!(
            "the configuration is one of {} YAML documents: the others are ignored",
            others + 1
        );
        findings.warning(&KeyPath::default(), message);
    }
    match read {
        0 => {
            let first = documents.first();
            findings.error(&KeyPath::default(), none_of_plgds(first));
            None
        }
        1 => found.pop(),
        _ => {
            let places = found.iter().map(|found| match &found.place {
                Some(place) => place.clone(),
                None => format!("line {}", found.tree.at.line),
            });
            let places = places.collect::<Vec<_>>().join(", ");
            let message = format!(
                "the input contains more than one configuration ({places}): import them \
                         one by one"
            );
            findings.error(&KeyPath::default(), message);
            None
        }
    }
}

fn none_of_plgds(document: Option<&Node>) -> &'static str {
    match document {
        Some(document) if has(document, "kind") => {
            "these Kubernetes objects contain no ConfigMap of an m2m-oauth-server: none has a \
             text with `oauthSigner` in its `data`"
        }
        Some(document) if has(document, "global") => {
            "these values of the Helm chart do not configure an m2m-oauth-server: \
             `global.m2mOAuthServer` and `m2moauthserver` are missing"
        }
        _ => "this is not a configuration of an m2m-oauth-server: `oauthSigner` is missing",
    }
}

fn has(document: &Node, key: &str) -> bool {
    document.keys().any(|known| known == key)
}

/// The configurations in an object, or in the objects of a list. `None`: one of them is invalid.
fn in_kubernetes(object: &Node, findings: &mut Findings) -> Option<Vec<Found>> {
    let member = |node: &Node, keys: &[&str]| {
        let path = keys
            .iter()
            .fold(KeyPath::default(), |path, key| path.key(key));
        node.find(&path).cloned()
    };
    let mut found = Vec::new();
    if let Some(Node {
        data: Data::List(items),
        ..
    }) = member(object, &["items"])
    {
        for item in &items {
            found.extend(in_kubernetes(item, findings)?);
        }
    }
    let text = |node: Option<Node>| match node.map(|node| node.data) {
        Some(Data::Text(text)) => Some(text.value),
        _ => None,
    };
    if text(member(object, &["kind"])).as_deref() != Some("ConfigMap") {
        return Some(found);
    }
    let name = text(member(object, &["metadata", "name"])).unwrap_or_default();
    let Some(Node {
        data: Data::Map(files),
        ..
    }) = member(object, &["data"])
    else {
        return Some(found);
    };
    for file in files {
        found.extend(in_config_map(&name, file, findings)?);
    }
    Some(found)
}

/// The configuration in a member of a ConfigMap, if it is one. The outer `None`: it is invalid.
#[expect(clippy::option_option, reason = "missing and invalid are two cases")]
fn in_config_map(name: &str, file: Entry, findings: &mut Findings) -> Option<Option<Found>> {
    let Data::Text(content) = file.value.data else {
        return Some(None);
    };
    if !content
        .value
        .lines()
        .any(|line| line.trim_end() == "oauthSigner:" || line.starts_with("oauthSigner: "))
    {
        return Some(None);
    }
    let place = format!("ConfigMap {name}, data.{}", file.key);
    let mut own = Findings::default();
    let Some(mut tree) = yaml::parse(&content.value, &mut own) else {
        let (errors, _) = own.locate(&place, None);
        for error in errors {
            findings.error_at(
                file.at,
                &KeyPath::default(),
                format!("{place}: {}", error.message),
            );
        }
        return None;
    };
    findings.extend(own);
    merge::merge(&mut tree);
    Some(Some(Found {
        tree,
        text: content.value,
        place: Some(place),
        of_values: false,
    }))
}
