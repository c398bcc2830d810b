//! Checks the tree against the JSON Schema of the raw structs.
//!
//! This is the published schema, derived from the structs that are deserialized afterwards. Only
//! the keywords that the derive writes are supported. Every deviation is reported; none ends the
//! check.

use serde_json::Value;

use super::formats;
use super::not_yet;
use super::problem::Findings;
use super::tree::{Data, KeyPath, Node, Text};
use super::yaml::resolve_plain;
use crate::domain::name::nearest;

/// Checks a whole configuration. Values from the environment become numbers or booleans where the
/// schema requires them.
pub(super) fn check(tree: &mut Node, schema: &Value, findings: &mut Findings) {
    Checker {
        root: schema,
        findings,
    }
    .node(tree, schema, &KeyPath::default());
}

struct Checker<'a> {
    root: &'a Value,
    findings: &'a mut Findings,
}

impl<'a> Checker<'a> {
    fn node(&mut self, node: &mut Node, schema: &'a Value, path: &KeyPath) {
        let schema = self.follow(schema);
        match &node.data {
            Data::Broken => return,
            Data::Text(text) if not_yet::is_value(path, &text.value) => {
                self.findings.error(path, "this value is not supported yet");
                return;
            }
            _ => {}
        }
        if let Some(variants) = schema.get("anyOf").and_then(Value::as_array) {
            return self.any_of(node, variants, path);
        }
        if let Some(values) = constants(schema) {
            return self.constant(node, &values, path);
        }
        match schema.get("type").and_then(Value::as_str) {
            Some("object") => self.object(node, schema, path),
            Some("array") => self.array(node, schema, path),
            Some("string") => self.string(node, schema, path),
            Some("boolean") => self.boolean(node, path),
            Some("integer") => self.integer(node, schema, path),
            _ => self.anything(node, path),
        }
    }

    fn follow(&self, schema: &'a Value) -> &'a Value {
        let reference = schema.get("$ref").and_then(Value::as_str);
        reference
            .and_then(|reference| reference.strip_prefix('#'))
            .and_then(|pointer| self.root.pointer(pointer))
            .unwrap_or(schema)
    }

    fn wrong_kind(&mut self, node: &Node, expected: &str, path: &KeyPath) {
        let message = match &node.data {
            Data::Null if matches!(expected, "a mapping" | "a list") => format!(
                "expected {expected}, but there is no value; indent the content below the key, or \
                 remove the key"
            ),
            Data::Null => {
                format!(
                    "expected {expected}, but there is no value; remove the key to use its default"
                )
            }
            _ => format!("expected {expected}, found {}", node.kind()),
        };
        self.findings.error(path, message);
    }

    fn object(&mut self, node: &mut Node, schema: &'a Value, path: &KeyPath) {
        let Data::Map(entries) = &mut node.data else {
            return self.wrong_kind(node, "a mapping", path);
        };
        let properties = schema.get("properties").and_then(Value::as_object);
        let others = schema
            .get("additionalProperties")
            .filter(|others| **others != Value::Bool(false));
        // Required keys are not reported if an unsupported key may replace them, or if a misspelt
        // one is already reported.
        let mut any_not_yet = false;
        let mut misspelt = Vec::new();
        for entry in entries.iter_mut() {
            let entry_path = path.key(&entry.key);
            if let Some(member) = properties.and_then(|members| members.get(&entry.key)) {
                self.node(&mut entry.value, member, &entry_path);
            } else if not_yet::is_key(&entry_path) {
                any_not_yet = true;
                self.findings
                    .error_skipped(&entry_path, "not supported yet");
                entry.value.data = Data::Broken;
            } else if let Some(others) = others {
                self.member_name(&entry_path, &entry.key, schema);
                self.node(&mut entry.value, others, &entry_path);
            } else {
                let known = properties
                    .into_iter()
                    .flat_map(|members| members.keys().map(String::as_str));
                let nearest = nearest(&entry.key, known.chain(not_yet::keys_in(path)));
                misspelt.extend(nearest.map(ToOwned::to_owned));
                self.unknown_key(&entry_path, nearest);
                entry.value.data = Data::Broken;
            }
        }
        let required = schema
            .get("required")
            .and_then(Value::as_array)
            .filter(|_| !any_not_yet);
        for name in required.into_iter().flatten().filter_map(Value::as_str) {
            if !entries.iter().any(|entry| entry.key == name)
                && !misspelt.iter().any(|meant| meant == name)
            {
                self.findings.error(&path.key(name), "this key is required");
            }
        }
    }

    fn member_name(&mut self, path: &KeyPath, name: &str, schema: &Value) {
        let format = schema
            .pointer("/propertyNames/format")
            .and_then(Value::as_str);
        if let Some(Err(why)) = format
            .and_then(formats::find)
            .map(|format| (format.check)(name))
        {
            self.findings.error(path, why.to_string());
        }
    }

    fn unknown_key(&mut self, path: &KeyPath, nearest: Option<&str>) {
        let message = match (not_yet::instead_of(path), nearest) {
            (Some(instead), _) => instead.to_owned(),
            (None, Some(nearest)) => format!("unknown key; the nearest known key is `{nearest}`"),
            (None, None) => "unknown key".to_owned(),
        };
        self.findings.error_skipped(path, message);
    }

    fn array(&mut self, node: &mut Node, schema: &'a Value, path: &KeyPath) {
        let Data::List(items) = &mut node.data else {
            return self.wrong_kind(node, "a list", path);
        };
        if items.is_empty() && schema.get("minItems").and_then(Value::as_u64).unwrap_or(0) > 0 {
            self.findings.error(path, "the list must not be empty");
        }
        if let Some(schema) = schema.get("items") {
            for (i, item) in items.iter_mut().enumerate() {
                self.node(item, schema, &path.index(i));
            }
        }
    }

    fn string(&mut self, node: &Node, schema: &Value, path: &KeyPath) {
        let format = schema
            .get("format")
            .and_then(Value::as_str)
            .and_then(formats::find);
        let shape = format.map_or("a text", |format| format.shape);
        let Data::Text(text) = &node.data else {
            if is_text_without_quotes(node, format) {
                let message = format!(
                    "expected {shape}, found {}: put it into quotes",
                    node.kind()
                );
                return self.findings.error(path, message);
            }
            return self.wrong_kind(node, shape, path);
        };
        if let Some(Err(why)) = format.map(|format| (format.check)(&text.value)) {
            self.findings.error(path, format!("not {shape}: {why}"));
        }
    }

    fn boolean(&mut self, node: &mut Node, path: &KeyPath) {
        resolve_interpolated(node);
        if !matches!(node.data, Data::Bool(_)) {
            self.wrong_kind(node, "`true` or `false`", path);
        }
    }

    fn integer(&mut self, node: &mut Node, schema: &Value, path: &KeyPath) {
        resolve_interpolated(node);
        let Data::Integer(value) = node.data else {
            return self.wrong_kind(node, "a whole number", path);
        };
        let bound = |name| schema.get(name).and_then(Value::as_i64);
        let (least, most) = (
            bound("minimum").unwrap_or(i64::MIN),
            bound("maximum").unwrap_or(i64::MAX),
        );
        if value < least {
            self.findings
                .error(path, format!("the number must be at least {least}"));
        } else if value > most {
            self.findings
                .error(path, format!("the number must be at most {most}"));
        }
    }

    fn constant(&mut self, node: &mut Node, values: &[&str], path: &KeyPath) {
        number_as_text(node, values);
        let Data::Text(text) = &node.data else {
            return self.wrong_kind(node, &format!("one of {}", quoted(values)), path);
        };
        if !values.contains(&text.value.as_str()) {
            let shown = text.template.as_ref().unwrap_or(&text.value).escape_debug();
            self.findings
                .error(path, format!("`{shown}` is not one of {}", quoted(values)));
        }
    }

    /// Checks the variant that has the kind of the value.
    fn any_of(&mut self, node: &mut Node, variants: &'a [Value], path: &KeyPath) {
        let kind = match node.data {
            Data::Text(_) => "string",
            Data::Integer(_) => "integer",
            Data::Bool(_) => "boolean",
            Data::List(_) => "array",
            Data::Map(_) => "object",
            Data::Null | Data::Float(_) | Data::Broken => "",
        };
        let variants: Vec<&Value> = variants
            .iter()
            .map(|variant| self.follow(variant))
            .collect();
        let fitting = variants.iter().find(|variant| type_of(variant) == kind);
        match (fitting, &node.data) {
            (Some(variant), Data::Text(text))
                if constants(variant)
                    .is_some_and(|values| !values.contains(&text.value.as_str())) =>
            {
                self.findings
                    .error(path, format!("expected {}", expected(&variants)));
            }
            (Some(variant), _) => self.node(node, variant, path),
            (None, _) => self.wrong_kind(node, &expected(&variants), path),
        }
    }

    /// A value that is used as JSON. Only numbers that JSON does not have are wrong.
    fn anything(&mut self, node: &Node, path: &KeyPath) {
        match &node.data {
            Data::Float(value) if !value.is_finite() => {
                self.findings
                    .error(path, "JSON does not support this number");
            }
            Data::List(items) => {
                for (i, item) in items.iter().enumerate() {
                    self.anything(item, &path.index(i));
                }
            }
            Data::Map(entries) => {
                for entry in entries {
                    self.anything(&entry.value, &path.key(&entry.key));
                }
            }
            _ => {}
        }
    }
}

/// `threads: ${THREADS}` is a number if the variable holds one.
fn resolve_interpolated(node: &mut Node) {
    if let Data::Text(text) = &node.data
        && text.plain
        && text.template.is_some()
        && let Some(data) = resolve_plain(&text.value)
    {
        node.data = data;
    }
}

fn type_of(schema: &Value) -> &str {
    match schema.get("type").and_then(Value::as_str) {
        Some(name) => name,
        None if constants(schema).is_some() => "string",
        None => "",
    }
}

/// Reads a number without quotes as a text if that is one of the texts that a key has, such as
/// `minVersion: 1.2`.
fn number_as_text(node: &mut Node, values: &[&str]) {
    let Data::Float(number) = node.data else {
        return;
    };
    let value = number.to_string();
    if values.contains(&value.as_str()) {
        node.data = Data::Text(Text {
            value,
            plain: true,
            template: None,
        });
    }
}

/// The texts that an enumeration allows; the derive writes them as `enum`, `const`, or `oneOf` of
/// these.
fn constants(schema: &Value) -> Option<Vec<&str>> {
    if let Some(value) = schema.get("const").and_then(Value::as_str) {
        return Some(vec![value]);
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return Some(values.iter().filter_map(Value::as_str).collect());
    }
    let variants = schema.get("oneOf").and_then(Value::as_array)?;
    Some(variants.iter().filter_map(constants).flatten().collect())
}

/// Whether a value would be a valid text, but YAML reads it as a number or boolean.
fn is_text_without_quotes(node: &Node, format: Option<&formats::Format>) -> bool {
    let text = match &node.data {
        Data::Integer(value) => value.to_string(),
        Data::Float(value) => value.to_string(),
        Data::Bool(value) => value.to_string(),
        _ => return false,
    };
    format.is_none_or(|format| (format.check)(&text).is_ok())
}

fn expected(variants: &[&Value]) -> String {
    let names: Vec<String> = variants
        .iter()
        .map(|variant| match (constants(variant), type_of(variant)) {
            (Some(values), _) => quoted(&values),
            (None, "array") => "a list".to_owned(),
            (None, "integer") => "a whole number".to_owned(),
            (None, "boolean") => "`true` or `false`".to_owned(),
            (None, "object") => "a mapping".to_owned(),
            (None, "string") => {
                let format = variant
                    .get("format")
                    .and_then(Value::as_str)
                    .and_then(formats::find);
                format.map_or("a text", |format| format.shape).to_owned()
            }
            (None, other) => other.to_owned(),
        })
        .collect();
    names.join(" or ")
}

pub(super) fn quoted(values: &[&str]) -> String {
    values
        .iter()
        .map(|value| format!("`{value}`"))
        .collect::<Vec<_>>()
        .join(", ")
}
