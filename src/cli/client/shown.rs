//! Answers of the management API, for people.

use serde_json::Value;
use unicode_width::UnicodeWidthStr;

use crate::domain::clock::{Clock, SystemClock, UnixTime};

/// Members that repeat another one, and that one.
const SAID_TWICE: [(&str, &str); 3] = [
    ("scopes", "scope"),
    ("client_id_issued_at", "created_at"),
    ("client_secret_expires_at", "client_secret"),
];
/// The first members: the secret, which is shown this once, and its client.
const FIRST: [&str; 3] = ["client_secret", "client_id", "id"];

/// The members of an object, one a line, without empty and repeated ones.
pub(in crate::cli) fn members(object: &Value) -> String {
    let Some(object) = object.as_object() else {
        return String::new();
    };
    let is_said = |name: &str| {
        SAID_TWICE
            .iter()
            .any(|(other, by)| *other == name && object.get(*by).is_some_and(|by| !by.is_null()))
    };
    let rest = object
        .keys()
        .map(String::as_str)
        .filter(|name| !FIRST.contains(name) && !is_said(name));
    let names = FIRST
        .into_iter()
        .filter(|name| object.contains_key(*name))
        .chain(rest);
    let members: Vec<_> = names
        .map(|name| (name, text(&object[name])))
        .filter(|(_, text)| !text.is_empty())
        .collect();
    let width = members
        .iter()
        .map(|(name, _)| name.width())
        .max()
        .unwrap_or(0);
    let lines = members
        .iter()
        .map(|(name, text)| format!("{}  {text}", padded(name, width)));
    lines.collect::<Vec<_>>().join("\n")
}

/// The clients of a list.
pub(super) fn clients(answer: &Value) -> String {
    let now = SystemClock.now();
    let rows = items(answer, "clients").map(|client| {
        let member = |name: &str| text(&client[name]);
        vec![
            member("client_id"),
            state(client, now).to_owned(),
            Some(member("expiry"))
                .filter(|expiry| !expiry.is_empty())
                .unwrap_or_else(|| "never".to_owned()),
            member("source"),
            member("scope"),
            member("client_name"),
        ]
    });
    table(
        &["CLIENT ID", "STATE", "EXPIRES", "SOURCE", "SCOPE", "NAME"],
        rows.collect(),
    )
}

/// Whether a client may be used, by this machine's clock.
fn state(client: &Value, now: UnixTime) -> &'static str {
    let expiry = client["expiry"].as_str().and_then(UnixTime::from_rfc3339);
    if client["disabled"] == true {
        "disabled"
    } else if expiry.is_some_and(|expiry| expiry <= now) {
        "expired"
    } else {
        "enabled"
    }
}

/// The secrets of a list.
pub(super) fn secrets(answer: &Value) -> String {
    let rows = items(answer, "secrets").map(|secret| {
        let or = |name: &str, otherwise: &str| match text(&secret[name]) {
            text if text.is_empty() => otherwise.to_owned(),
            text => text,
        };
        let safe = if secret["safe_to_delete"] == true {
            "yes"
        } else {
            "no"
        };
        vec![
            text(&secret["id"]),
            secret["last_four"]
                .as_str()
                .map_or_else(|| "supplied".to_owned(), |end| format!("…{end}")),
            or("created_at", ""),
            or("expires_at", "never"),
            or("last_used_at", "never"),
            safe.to_owned(),
        ]
    });
    table(
        &[
            "ID",
            "SECRET",
            "CREATED",
            "EXPIRES",
            "LAST USED",
            "SAFE TO DELETE",
        ],
        rows.collect(),
    )
}

/// A list whose rows show these members; the heads are their names.
pub(in crate::cli) fn list(answer: &Value, name: &str, columns: &[&str]) -> String {
    let heads: Vec<_> = columns
        .iter()
        .map(|column| column.to_uppercase().replace('_', " "))
        .collect();
    let heads: Vec<_> = heads.iter().map(String::as_str).collect();
    let rows =
        items(answer, name).map(|item| columns.iter().map(|column| text(&item[*column])).collect());
    table(&heads, rows.collect())
}

fn items<'a>(answer: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    answer
        .get(name)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        // A terminal must not interpret a client's name.
        Value::String(text) if text.chars().any(char::is_control) => {
            text.escape_debug().to_string()
        }
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// A text, padded to the width of a terminal's column: many Asian characters take two cells,
/// combining marks none.
fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let head = head.iter().map(ToString::to_string).collect();
    let all: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let columns = all.first().map_or(0, Vec::len);
    let width = |column: usize| all.iter().map(|row| row[column].width()).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| padded(cell, *width));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    all.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests;
