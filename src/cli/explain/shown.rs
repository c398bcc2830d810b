//! The parts of a token that `explain` prints: the issuer, subject, client, audience and times.

use serde_json::Value;

use crate::cli::token;
use crate::domain::claims::Claims;
use crate::domain::clock::{Clock, SystemClock};

/// The printable parts of a token: header and claims, verified or not.
pub(super) struct Shown {
    /// The length of the token.
    pub bytes: usize,
    header: Value,
    claims: Value,
}

impl Shown {
    /// Reads a token without verifying it.
    pub fn read(token: &str) -> Self {
        let (header, claims) = token::parts(token).unwrap_or_default();
        Self {
            bytes: token.len(),
            header,
            claims,
        }
    }

    /// The same token with these claims, which its authority names.
    pub fn with_claims(self, claims: &Claims) -> Self {
        Self {
            claims: Value::Object(claims.as_map().clone()),
            ..self
        }
    }

    /// A claim with a text value.
    pub fn text(&self, claim: &str) -> Option<&str> {
        self.claims.get(claim)?.as_str()
    }

    /// A member of the header.
    pub fn header_text(&self, name: &str) -> String {
        self.header.get(name).map_or("none".to_owned(), plain)
    }

    /// Issuer, subject, client and audience.
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

    /// The times, relative to now.
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
