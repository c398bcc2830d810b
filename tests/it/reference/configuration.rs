//! Generates `docs/configuration.md` from the JSON Schema and the list of unsupported keys.

use std::collections::BTreeMap;

use m2m_sidecar::for_tests::config;
use serde_json::{Map, Value};

use super::cell;

/// The order of the page; other sections follow.
const ORDER: &[&str] = &[
    "log",
    "threads",
    "shutdown",
    "stateDir",
    "store",
    "probes",
    "readiness",
    "admin",
    "issuer",
    "authorities",
    "inbound",
    "credentials",
    "outbound",
    "localApi",
];
/// Up to this many words, each is explained.
const FEW: usize = 6;

/// The page.
pub fn page() -> String {
    let schema = config::json_schema();
    let mut page = Page {
        root: &schema,
        text: include_str!("configuration.md").to_owned(),
    };
    page.text.push_str("\n## Top level\n\n");
    page.table("", &schema);
    for key in page.keys("", &schema) {
        page.sections(&key, &schema["properties"][&key], 2);
    }
    page.not_served_yet();
    page.text
}

struct Page<'a> {
    root: &'a Value,
    text: String,
}

impl<'a> Page<'a> {
    fn follow(&self, schema: &'a Value) -> &'a Value {
        let pointer = schema
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|it| it.strip_prefix('#'));
        pointer
            .and_then(|pointer| self.root.pointer(pointer))
            .unwrap_or(schema)
    }

    /// The mapping with keys that a value is or contains, and its path.
    fn mapping(&self, path: &str, schema: &'a Value) -> Option<(String, &'a Value)> {
        let schema = self.follow(schema);
        if schema.get("properties").is_some() {
            return Some((path.to_owned(), schema));
        }
        let within = |keyword: &str, suffix: &str| {
            self.mapping(
                &format!("{path}{suffix}"),
                schema.get(keyword).filter(|it| it.is_object())?,
            )
        };
        let variants = schema
            .get("anyOf")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        within("items", "[]")
            .or_else(|| within("additionalProperties", ".*"))
            .or_else(|| {
                variants
                    .into_iter()
                    .find_map(|variant| self.mapping(path, variant))
            })
    }

    /// The kind of a value that may be a mapping with keys.
    fn kind_with(&self, target: &str, full: &str, schema: &'a Value) -> String {
        let Some(variants) = self.follow(schema).get("anyOf").and_then(Value::as_array) else {
            return link(target);
        };
        let kinds = variants
            .iter()
            .map(|variant| match self.mapping(full, variant) {
                Some((target, _)) if target == full => {
                    format!("a mapping [`{target}`](#{})", anchor(&target))
                }
                Some((target, _)) => link(&target),
                None => self.kind(variant),
            });
        kinds.collect::<Vec<_>>().join(" or ")
    }

    /// Required keys first, then by name; the top level in the order of `ORDER`.
    fn keys(&self, path: &str, schema: &'a Value) -> Vec<String> {
        let mut keys: Vec<&String> = members(schema).keys().collect();
        keys.sort_by_key(|key| {
            let place = ORDER.iter().position(|it| it == key).unwrap_or(ORDER.len());
            (
                if path.is_empty() { place } else { 0 },
                !is_required(schema, key),
            )
        });
        keys.into_iter().cloned().collect()
    }

    fn sections(&mut self, path: &str, schema: &'a Value, level: usize) {
        let Some((path, mapping)) = self.mapping(path, schema) else {
            return;
        };
        let said = schema
            .get("description")
            .or_else(|| mapping.get("description"));
        let said = said.and_then(Value::as_str).unwrap_or_default();
        self.text.push_str(&format!(
            "\n{} <a id=\"{}\"></a>`{path}`\n\n{}\n\n",
            "#".repeat(level),
            anchor(&path),
            cell(said)
        ));
        self.table(&path, mapping);
        for key in self.keys(&path, mapping) {
            self.sections(&format!("{path}.{key}"), &members(mapping)[&key], 3);
        }
    }

    fn table(&mut self, path: &str, mapping: &'a Value) {
        self.text
            .push_str("| key | value | default | meaning |\n|---|---|---|---|\n");
        for key in self.keys(path, mapping) {
            let schema = &members(mapping)[&key];
            let full = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            let (kind, meaning) = match self.mapping(&full, schema) {
                Some((target, _)) => (self.kind_with(&target, &full, schema), String::new()),
                None => (self.kind(schema), self.words(schema)),
            };
            let default = if is_required(mapping, &key) {
                "**required**".to_owned()
            } else {
                default(schema)
            };
            let said = schema
                .get("description")
                .and_then(Value::as_str)
                .unwrap_or_default();
            self.text.push_str(&format!(
                "| `{key}` | {} | {default} | {}{meaning} |\n",
                cell(&kind),
                cell(said)
            ));
        }
    }

    /// The kind of a value.
    fn kind(&self, schema: &'a Value) -> String {
        let schema = self.follow(schema);
        if let Some(variants) = schema.get("anyOf").and_then(Value::as_array) {
            let mut kinds: Vec<String> = Vec::new();
            for kind in variants.iter().map(|variant| self.kind(variant)) {
                // "… or a number of bytes" is already listed.
                if !kinds.iter().any(|other| other.contains(&kind)) {
                    kinds.push(kind);
                }
            }
            return kinds.join(" or ");
        }
        if let Some(words) = words(schema) {
            let words: Vec<_> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
            return words.join(", ");
        }
        let of = |keyword: &str| {
            let schema = schema.get(keyword).filter(|it| it.is_object())?;
            let many = words(self.follow(schema)).is_some_and(|words| words.len() > 1);
            Some(format!(
                "{}{}",
                if many { "one of " } else { "" },
                self.kind(schema)
            ))
        };
        match schema.get("type").and_then(Value::as_str) {
            Some("array") if schema.get("minItems").is_some() => {
                format!(
                    "a list, not empty, each item {}",
                    of("items").unwrap_or_default()
                )
            }
            Some("array") => format!("a list, each item {}", of("items").unwrap_or_default()),
            Some("object") => {
                let name = schema
                    .pointer("/propertyNames/format")
                    .and_then(Value::as_str)
                    .and_then(config::shape);
                let value = of("additionalProperties").unwrap_or("any value".to_owned());
                format!("a mapping of {} to {value}", name.unwrap_or("a name"))
            }
            Some("boolean") => "`true` or `false`".to_owned(),
            Some("integer") => match (schema.get("minimum"), schema.get("maximum")) {
                (Some(least), Some(most)) => format!("a number, {least} to {most}"),
                _ if schema.get("format").is_some_and(|format| format == "int64") => {
                    "a whole number".to_owned()
                }
                _ => "a number of bytes".to_owned(),
            },
            _ => {
                let shape = schema
                    .get("format")
                    .and_then(Value::as_str)
                    .and_then(config::shape);
                shape.unwrap_or("a text").to_owned()
            }
        }
    }

    /// The meanings of a few words, below the meaning of the key.
    fn words(&self, schema: &'a Value) -> String {
        let words = words(self.follow(schema)).unwrap_or_default();
        if words.len() > FEW {
            return String::new();
        }
        let said = schema
            .get("description")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let is_new = |word: &str| !said.contains(&format!("`{word}`"));
        let said = words
            .into_iter()
            .filter(|(word, meaning)| !meaning.is_empty() && is_new(word));
        said.map(|(word, meaning)| format!("<br>`{word}`: {}", cell(meaning)))
            .collect()
    }

    fn not_served_yet(&mut self) {
        self.text.push_str(
            "\n## Not served yet\n\nThese keys and values are reserved for planned features. A \
             file \
             that has one is refused with \"not supported yet\", so that no setting is silently \
             ignored.\n\n| key | value |\n|---|---|\n",
        );
        let mut all: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (key, values) in config::not_served_yet() {
            all.entry(key).or_default().extend(values);
        }
        for (key, values) in all {
            let values: Vec<_> = values.iter().map(|value| format!("`{value}`")).collect();
            let values = if values.is_empty() {
                "any".to_owned()
            } else {
                values.join(", ")
            };
            self.text.push_str(&format!("| `{key}` | {values} |\n"));
        }
    }
}

fn members(schema: &Value) -> &Map<String, Value> {
    schema["properties"]
        .as_object()
        .expect("a mapping with keys of its own")
}

fn is_required(schema: &Value, key: &str) -> bool {
    let required = schema.get("required").and_then(Value::as_array);
    required.is_some_and(|required| required.iter().any(|it| it == key))
}

fn link(path: &str) -> String {
    let what = match path {
        _ if path.ends_with("[]") => "a list of",
        _ if path.ends_with(".*") => "a mapping of names to",
        _ => "",
    };
    format!("{what} [`{path}`](#{})", anchor(path))
}

/// Some renderers do not support brackets and stars in links.
fn anchor(path: &str) -> String {
    path.replace("[]", "").replace(".*", "")
}

/// The words of an enumeration with their meanings.
fn words(schema: &Value) -> Option<Vec<(&str, &str)>> {
    fn text<'a>(schema: &'a Value, keyword: &str) -> Option<&'a str> {
        schema.get(keyword).and_then(Value::as_str)
    }
    if let Some(word) = text(schema, "const") {
        return Some(vec![(
            word,
            text(schema, "description").unwrap_or_default(),
        )]);
    }
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        return Some(
            words
                .iter()
                .filter_map(Value::as_str)
                .map(|word| (word, ""))
                .collect(),
        );
    }
    let variants = schema.get("oneOf").and_then(Value::as_array)?;
    Some(variants.iter().filter_map(words).flatten().collect())
}

fn default(schema: &Value) -> String {
    match schema.get("default") {
        None => "–".to_owned(),
        Some(Value::Array(items)) if items.is_empty() => "none".to_owned(),
        Some(Value::Object(members)) if members.is_empty() => "none".to_owned(),
        Some(value) => format!("`{}`", yaml(value)),
    }
}

/// A value in YAML.
fn yaml(value: &Value) -> String {
    match value {
        Value::String(text) if text.contains([' ', '#']) || text.is_empty() => {
            format!("\"{text}\"")
        }
        Value::String(text) => text.clone(),
        Value::Array(items) => format!(
            "[{}]",
            items.iter().map(yaml).collect::<Vec<_>>().join(", ")
        ),
        Value::Object(members) => {
            let members: Vec<_> = members
                .iter()
                .map(|(key, value)| format!("{key}: {}", yaml(value)))
                .collect();
            format!("{{ {} }}", members.join(", "))
        }
        other => other.to_string(),
    }
}

/// Every key of a schema: the path of its mapping, and its name. Visits every keyword that can
/// contain a schema.
fn keys_of(
    root: &Value,
    schema: &Value,
    path: &str,
    depth: usize,
    found: &mut Vec<(String, String)>,
) {
    assert!(depth < 32, "a schema that holds itself: {path}");
    if let Some(pointer) = schema
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|it| it.strip_prefix('#'))
    {
        keys_of(
            root,
            root.pointer(pointer).expect("it leads somewhere"),
            path,
            depth + 1,
            found,
        );
    }
    for (key, value) in schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        found.push((path.to_owned(), key.clone()));
        let below = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        keys_of(root, value, &below, depth + 1, found);
    }
    for (keyword, suffix) in [("items", "[]"), ("additionalProperties", ".*")] {
        if let Some(inner) = schema.get(keyword).filter(|inner| inner.is_object()) {
            keys_of(root, inner, &format!("{path}{suffix}"), depth + 1, found);
        }
    }
    for keyword in ["anyOf", "oneOf", "allOf"] {
        for variant in schema
            .get(keyword)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            keys_of(root, variant, path, depth + 1, found);
        }
    }
}

#[test]
fn the_reference_lists_every_key_of_the_schema() {
    let (schema, page) = (config::json_schema(), page());
    let mut found = Vec::new();
    keys_of(&schema, &schema, "", 0, &mut found);
    assert!(found.len() > 100, "{}", found.len());
    let missing: Vec<_> = found
        .iter()
        .filter(|(path, key)| {
            let head = if path.is_empty() {
                "## Top level\n".to_owned()
            } else {
                format!("`{path}`\n")
            };
            let section = page
                .split("\n#")
                .find(|section| format!("#{section}").contains(&head) && section.contains('|'));
            !section.is_some_and(|section| section.contains(&format!("| `{key}` |")))
        })
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
