//! What of a token `explain` shows: no more of its claims than who asks for what, and when.

use serde_json::Value;

use crate::cli::token;
use crate::domain::clock::{Clock, SystemClock};

/// What may be shown of a token: header and claims as they stand in it, verified or not.
pub(super) struct Shown {
    /// How long the token is.
    pub bytes: usize,
    header: Value,
    claims: Value,
}

impl Shown {
    /// Reads a token, whoever made it.
    pub fn read(token: &str) -> Self {
        let (header, claims) = token::parts(token).unwrap_or_default();
        Self {
            bytes: token.len(),
            header,
            claims,
        }
    }

    /// A claim that is a text.
    pub fn text(&self, claim: &str) -> Option<&str> {
        self.claims.get(claim)?.as_str()
    }

    /// A member of the header, for people.
    pub fn header_text(&self, name: &str) -> String {
        self.header.get(name).map_or("none".to_owned(), plain)
    }

    /// Who asks for what, as the token has it.
    pub fn summary(&self) -> String {
        let shown = ["iss", "sub", "client_id", "aud", "scope"];
        let shown = shown
            .iter()
            .filter_map(|name| Some(format!("{name} {}", plain(self.claims.get(name)?))));
        let shown = shown.collect::<Vec<_>>().join(", ");
        if shown.is_empty() {
            "nothing in it can be read".to_owned()
        } else {
            shown
        }
    }

    /// The times, seen from now.
    pub fn times(&self) -> String {
        let now = SystemClock.now().0;
        let shown = ["exp", "nbf", "iat"].iter().filter_map(|name| {
            let value = self.claims.get(name)?;
            let Some(time) = value.as_f64().filter(|time| time.is_finite()) else {
                return Some(format!("{name} is no number"));
            };
            #[expect(clippy::cast_precision_loss, reason = "seconds, for people")]
            let left = time - now as f64;
            Some(if left < 0.0 {
                format!("{name} {:.0} s ago", -left)
            } else {
                format!("{name} in {left:.0} s")
            })
        });
        shown.collect::<Vec<_>>().join(", ")
    }
}

/// A value of a token on one line of a terminal.
fn plain(value: &Value) -> String {
    joined(value)
        .chars()
        .take(256)
        .collect::<String>()
        .escape_debug()
        .to_string()
}

fn joined(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(joined).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}
