//! Answers of the management API, for people.

use serde_json::Value;

/// The members of an object, one a line; what is empty is left out.
pub(super) fn members(object: &Value) -> String {
    let members: Vec<_> =
        object.as_object().into_iter().flatten().map(|(name, value)| (name, text(value))).collect();
    let width = members.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines = members
        .iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(name, text)| format!("{name:width$}  {text}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The clients of a list.
pub(super) fn clients(answer: &Value) -> String {
    let state = |client: &Value| if client["disabled"] == true { "disabled" } else { "enabled" };
    let rows = items(answer, "clients").map(|client| {
        let member = |name: &str| text(&client[name]);
        vec![
            member("client_id"),
            state(client).to_owned(),
            member("source"),
            member("scope"),
            member("client_name"),
        ]
    });
    table(&["CLIENT ID", "STATE", "SOURCE", "SCOPE", "NAME"], rows.collect())
}

/// The secrets of a list.
pub(super) fn secrets(answer: &Value) -> String {
    let rows = items(answer, "secrets").map(|secret| {
        let or = |name: &str, otherwise: &str| match text(&secret[name]) {
            text if text.is_empty() => otherwise.to_owned(),
            text => text,
        };
        let safe = if secret["safe_to_delete"] == true { "safe to delete" } else { "" };
        vec![
            text(&secret["id"]),
            format!("…{}", text(&secret["last_four"])),
            or("created_at", ""),
            or("expires_at", "never"),
            or("last_used_at", "never"),
            safe.to_owned(),
        ]
    });
    table(&["ID", "SECRET", "CREATED", "EXPIRES", "LAST USED", ""], rows.collect())
}

fn items<'a>(answer: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    answer.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let head = head.iter().map(ToString::to_string).collect();
    let all: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let columns = all.first().map_or(0, Vec::len);
    let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    all.iter().map(line).collect::<Vec<_>>().join("\n")
}
