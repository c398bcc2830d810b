//! The JSON Schema for editors and other validators.
//!
//! They read the file before `${NAME}` is replaced, so such a text is allowed in place of a number,
//! a boolean or a word. They do not support our formats, so the descriptions contain an example.

use serde_json::{Map, Value, json};

use super::formats;

/// The keywords that do not restrict values.
const ANNOTATIONS: &[&str] = &["title", "description", "default"];

/// Converts the schema of the check.
pub(super) fn schema(mut schema: Value) -> Value {
    rewrite(&mut schema);
    schema["$defs"]["FromEnvironment"] = json!({
        "description": "Taken from the environment.",
        "type": "string",
        "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*\}",
    });
    schema
}

fn rewrite(schema: &mut Value) {
    match schema {
        // A key may be called `type` or `enum`, so keywords are recognized by their content too.
        Value::Object(members) if is_closed(members) => allow_variable(members),
        Value::Object(members) => {
            explain_form(members);
            members.values_mut().for_each(rewrite);
        }
        Value::Array(items) => items.iter_mut().for_each(rewrite),
        _ => {}
    }
}

/// Whether the schema refuses a text with a variable.
fn is_closed(schema: &Map<String, Value>) -> bool {
    let is = |keyword: &str, value: &str| schema.get(keyword).is_some_and(|it| it == value);
    let words = ["const", "enum", "oneOf"]
        .iter()
        .any(|it| schema.get(*it).is_some_and(|it| !it.is_object()));
    is("type", "integer") || is("type", "boolean") || is("format", "date-time") || words
}

fn allow_variable(schema: &mut Map<String, Value>) {
    let (annotations, restrictions): (Map<_, _>, Map<_, _>) = std::mem::take(schema)
        .into_iter()
        .partition(|(keyword, _)| ANNOTATIONS.contains(&keyword.as_str()));
    *schema = annotations;
    schema.insert(
        "anyOf".to_owned(),
        json!([restrictions, { "$ref": "#/$defs/FromEnvironment" }]),
    );
}

fn explain_form(schema: &mut Map<String, Value>) {
    let shape = schema
        .get("format")
        .and_then(Value::as_str)
        .and_then(formats::find)
        .map(|form| form.shape);
    // Other shapes only repeat the name of the key.
    let shape = shape.filter(|shape| shape.contains("such as"));
    if let (Some(shape), Some(Value::String(description))) = (shape, schema.get_mut("description"))
    {
        description.push_str("\n\nWritten as ");
        description.push_str(shape);
        description.push('.');
    }
}
