//! The form of an error's body, depending on the requested path.
//!
//! plgd's clients parse every error as a google.rpc.Status and accept no other members. OAuth
//! clients expect the members of RFC 6749 §5.2 at the token endpoint. So in the plgd profile the
//! path decides, for errors of endpoints, limits and the HTTP parser.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::path::NormalPath;

/// The paths of the token endpoint below the issuer's.
const TOKEN_PATHS: [&str; 3] = ["/oauth/token", "/token", "/oauth2/token"];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ErrorForm {
    /// `error` and `error_description`.
    #[default]
    OAuth,
    /// `code`, `message` and `details`: only a google.rpc.Status.
    Status,
    Both,
}

impl ErrorForm {
    /// The members of an error with an HTTP status.
    #[must_use]
    pub fn members(self, status: u16, error: &str, description: &str) -> Map<String, Value> {
        let mut members = Map::new();
        let mut set = |name: &str, value: Value| members.insert(name.to_owned(), value);
        if self != Self::OAuth {
            set("code", rpc_code(status).into());
            set("message", description.into());
            set("details", json!([]));
        }
        if self != Self::Status {
            set("error", error.into());
            set("error_description", description.into());
        }
        members
    }
}

/// The google.rpc.Code for an HTTP status.
#[must_use]
pub fn rpc_code(status: u16) -> u8 {
    match status {
        400 | 417 => 3,
        401 => 16,
        403 => 7,
        404 => 5,
        405 | 501 => 12,
        408 | 504 => 4,
        413 | 429 | 431 => 8,
        502 | 503 => 14,
        _ => 13,
    }
}

/// The paths of a listener whose errors plgd's clients parse. None by default.
#[derive(Clone, Debug, Default)]
pub struct ErrorForms(Option<Arc<PlgdPaths>>);

#[derive(Debug)]
struct PlgdPaths {
    /// The issuer's path without a slash at its end.
    base: String,
    /// The issuer's paths below it, if the others belong to the upstream.
    only: Option<HashSet<String>>,
    /// Whether the listener serves only the issuer.
    is_own: bool,
}

impl ErrorForms {
    /// The paths of an issuer's own listener in the plgd profile; `base` is the issuer's path
    /// without a slash at its end.
    #[must_use]
    pub fn of_issuer(base: &str) -> Self {
        Self(Some(Arc::new(PlgdPaths {
            base: base.to_owned(),
            only: None,
            is_own: true,
        })))
    }

    /// The paths of an inbound listener that answers for the issuer. If the issuer has no path of
    /// its own, all other paths belong to the upstream.
    #[must_use]
    pub fn of_shared(base: &str, paths: &HashSet<String>) -> Self {
        let only = base.is_empty().then(|| paths.clone());
        Self(Some(Arc::new(PlgdPaths {
            base: base.to_owned(),
            only,
            is_own: false,
        })))
    }

    /// The form for a path in normal form.
    #[must_use]
    pub fn of_path(&self, path: &str) -> ErrorForm {
        let Some(plgd) = &self.0 else {
            return ErrorForm::OAuth;
        };
        let Some(below) = path
            .strip_prefix(plgd.base.as_str())
            .filter(|it| it.is_empty() || it.starts_with('/'))
        else {
            return ErrorForm::OAuth;
        };
        if plgd.only.as_ref().is_some_and(|only| !only.contains(path)) {
            return ErrorForm::OAuth;
        }
        let is_token = TOKEN_PATHS.contains(&below.strip_suffix('/').unwrap_or(below));
        if is_token {
            ErrorForm::Both
        } else {
            ErrorForm::Status
        }
    }

    /// The form for a target (RFC 9112 §3.2), which may be truncated or malformed.
    #[must_use]
    pub fn of_target(&self, target: &[u8]) -> ErrorForm {
        if self.0.is_none() {
            return ErrorForm::OAuth;
        }
        let text = String::from_utf8_lossy(target);
        let path = match text.split_once("://") {
            Some((scheme, rest)) if !scheme.contains('/') => {
                rest.find(['/', '?']).map_or("", |at| &rest[at..])
            }
            _ => &text,
        };
        let path = path.split(['?', '#']).next().unwrap_or_default();
        match NormalPath::parse(path) {
            Ok(normal) => self.of_path(normal.as_str()),
            // A path without a normal form is below the issuer's path if it begins with it.
            Err(_) => self.of_path(path),
        }
    }

    /// The form for a head (RFC 9112 §2.1), as far as it has arrived.
    #[must_use]
    pub fn of_head(&self, head: &[u8]) -> ErrorForm {
        if self.0.is_none() {
            return ErrorForm::OAuth;
        }
        let line = head.trim_ascii_start();
        let line = line
            .split(|byte| matches!(byte, b'\r' | b'\n'))
            .next()
            .unwrap_or_default();
        let mut words = line
            .split(|byte| *byte == b' ')
            .filter(|word| !word.is_empty());
        words
            .nth(1)
            .map_or(self.of_no_request(), |target| self.of_target(target))
    }

    /// The form if no path was read.
    #[must_use]
    pub fn of_no_request(&self) -> ErrorForm {
        let is_own = self.0.as_ref().is_some_and(|plgd| plgd.is_own);
        if is_own {
            ErrorForm::Status
        } else {
            ErrorForm::OAuth
        }
    }
}

#[cfg(test)]
mod tests;
