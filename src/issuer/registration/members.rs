//! The members of a request's JSON object, read one by one.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::domain::clock::UnixTime;
use crate::domain::duration;
use crate::domain::name::nearest;

/// The members of answers that only the server sets.
pub(super) const READ_ONLY: [&str; 6] = [
    "client_id_issued_at",
    "client_secret_expires_at",
    "created_at",
    "updated_at",
    "version",
    "source",
];

/// The longest lifetime of an access token.
pub(super) const YEAR: Duration = Duration::from_hours(366 * 24);
pub(super) const MAX_TEXT: usize = 256;
pub(super) const MAX_ITEMS: usize = 100;

/// A problem of one member of a request, without its value, which may be a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldProblem {
    /// The member's name.
    pub field: String,
    /// The problem.
    pub problem: String,
}

impl FieldProblem {
    /// A problem of a member.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
        }
    }
}

/// The members of a JSON object, read one by one, and their problems.
pub(in crate::issuer) struct Members<'a> {
    object: &'a Map<String, Value>,
    pub(super) problems: Vec<FieldProblem>,
}

impl<'a> Members<'a> {
    /// Reads an object. A member that is not among `known` is a problem.
    pub(in crate::issuer) fn new(object: &'a Map<String, Value>, known: &[&str]) -> Self {
        let mut members = Self {
            object,
            problems: Vec::new(),
        };
        for name in object.keys().filter(|name| !known.contains(&name.as_str())) {
            let shown: String = name.chars().take(64).collect();
            let problem = match nearest(name, known.iter().copied()) {
                _ if READ_ONLY.contains(&name.as_str()) => {
                    "the server sets it: leave it out".to_owned()
                }
                Some(nearest) => format!("unknown; the nearest known member is `{nearest}`"),
                None => "unknown: this request has no such member".to_owned(),
            };
            members.problem(&shown, problem);
        }
        members
    }

    /// Notes a problem.
    pub(in crate::issuer) fn problem(&mut self, field: &str, problem: impl Into<String>) {
        self.problems.push(FieldProblem::new(field, problem));
    }

    /// Ends the reading.
    pub(in crate::issuer) fn end(self) -> Result<(), Vec<FieldProblem>> {
        if self.problems.is_empty() {
            Ok(())
        } else {
            Err(self.problems)
        }
    }

    /// A member; null counts as left out.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// A text that programs send empty when nothing is set.
    pub(super) fn text_or_empty(&mut self, name: &str, most: usize) -> Option<String> {
        if self.get(name)? == "" {
            None
        } else {
            self.text(name, most)
        }
    }

    /// A text that is not empty.
    pub(in crate::issuer) fn text(&mut self, name: &str, most: usize) -> Option<String> {
        let text = self.get(name)?.as_str();
        match text {
            Some(text)
                if (1..=most).contains(&text.len()) && !text.chars().any(char::is_control) =>
            {
                Some(text.to_owned())
            }
            _ => {
                self.problem(
                    name,
                    format!("it must be a text of 1 to {most} bytes without control characters"),
                );
                None
            }
        }
    }

    /// `true` or `false`; the latter when left out.
    pub(in crate::issuer) fn flag(&mut self, name: &str) -> bool {
        match self.get(name) {
            None | Some(Value::Bool(false)) => false,
            Some(Value::Bool(true)) => true,
            Some(_) => {
                self.problem(name, "it must be `true` or `false`");
                false
            }
        }
    }

    pub(super) fn list(&mut self, name: &str) -> Option<Vec<&'a str>> {
        let value = self.get(name)?;
        self.items(name, value)
    }

    /// A list of texts, or one text with spaces between the items.
    pub(super) fn list_or_joined(&mut self, name: &str) -> Option<Vec<&'a str>> {
        match self.get(name)? {
            Value::String(joined) => {
                Some(joined.split(' ').filter(|item| !item.is_empty()).collect())
            }
            value => self.items(name, value),
        }
    }

    fn items(&mut self, name: &str, value: &'a Value) -> Option<Vec<&'a str>> {
        let items = value
            .as_array()
            .map(|items| items.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
        match items {
            Some(Some(items)) if items.len() <= MAX_ITEMS => Some(items),
            _ => {
                self.problem(
                    name,
                    format!("it must be a list of at most {MAX_ITEMS} texts"),
                );
                None
            }
        }
    }

    /// A future time. A past one is accepted only if it is already registered.
    pub(in crate::issuer) fn time_to_come(
        &mut self,
        name: &str,
        now: UnixTime,
        registered: Option<UnixTime>,
    ) -> Option<UnixTime> {
        let time = self.time(name)?;
        if time <= now && Some(time) != registered {
            self.problem(
                name,
                format!("it must be still to come: {}", time.beside(now)),
            );
        }
        Some(time)
    }

    /// A time of RFC 3339.
    pub(in crate::issuer) fn time(&mut self, name: &str) -> Option<UnixTime> {
        let time = self
            .get(name)?
            .as_str()
            .and_then(UnixTime::from_rfc3339)
            .filter(|time| time.0 >= 0);
        if time.is_none() {
            self.problem(
                name,
                "it must be a time such as `2027-01-01T00:00:00Z` (RFC 3339)",
            );
        }
        time
    }

    /// A duration in whole seconds: a number, the same as a text, or a text such as `1h30m`.
    pub(in crate::issuer) fn seconds(&mut self, name: &str) -> Option<Duration> {
        let value = whole_seconds(self.get(name)?).filter(|value| *value <= YEAR * 100);
        if value.is_none() {
            let problem =
                "it must be a whole number of seconds, or a duration such as `1h30m` or `7d`";
            self.problem(name, problem);
        }
        value
    }
}

/// 3600, 3600.0, "3600", "3600.0" and "1h" are the same duration.
fn whole_seconds(value: &Value) -> Option<Duration> {
    let text = match value {
        // A float is written without an exponent.
        Value::Number(number) => match number.as_u64() {
            Some(seconds) => return Some(Duration::from_secs(seconds)),
            None => format!("{}", number.as_f64()?),
        },
        Value::String(text) => text.clone(),
        _ => return None,
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let is_number =
        (1..=18).contains(&whole.len()) && whole.bytes().all(|byte| byte.is_ascii_digit());
    if is_number && fraction.bytes().all(|byte| byte == b'0') {
        return whole.parse().ok().map(Duration::from_secs);
    }
    duration::parse(&text)
        .ok()
        .filter(|duration| duration.subsec_nanos() == 0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_length_of_time_has_many_spellings() {
        for value in [
            json!(3600),
            json!(3600.0),
            json!(3.6e3),
            json!("3600"),
            json!("3600.0"),
            json!("3600.00"),
            json!("1h"),
            json!("60m"),
            json!("3600s"),
            json!("0.5h30m"),
        ] {
            assert_eq!(
                whole_seconds(&value),
                Some(Duration::from_secs(3600)),
                "{value}"
            );
        }
        assert_eq!(whole_seconds(&json!("0")), Some(Duration::ZERO));
        for value in [
            json!(3600.5),
            json!(-1),
            json!(-1.0),
            json!(1e300),
            json!("3600.5"),
            json!("1.5s"),
            json!("1500ms"),
            json!("-1"),
            json!("1e3"),
            json!(" 1"),
            json!(""),
            json!("."),
            json!(".0"),
            json!("x"),
            json!(true),
            json!([1]),
            json!("9".repeat(30)),
        ] {
            assert_eq!(whole_seconds(&value), None, "{value}");
        }
    }
}
