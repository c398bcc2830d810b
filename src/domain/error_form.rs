//! The form of an error's body, depending on the requested path.
//!
//! plgd's clients parse every error as a google.rpc.Status and accept no other members. OAuth
//! clients expect the members of RFC 6749 §5.2 at the token endpoint. So in the plgd profile the
//! path decides, for errors of endpoints, limits and the HTTP parser.

use std::collections::HashSet;
use std::sync::Arc;

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::path::NormalPath;
use super::settings::ErrorFormat;

/// The paths of the token endpoint below the issuer's.
const TOKEN_PATHS: [&str; 3] = ["/oauth/token", "/token", "/oauth2/token"];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ErrorForm {
    /// `error` and `error_description`.
    #[default]
    OAuth,
    /// Problem details (RFC 9457), with `error` in addition.
    Problem,
    /// `code`, `message` and `details`: only a google.rpc.Status.
    Status,
    Both,
}

impl From<ErrorFormat> for ErrorForm {
    fn from(format: ErrorFormat) -> Self {
        match format {
            ErrorFormat::Oauth => Self::OAuth,
            ErrorFormat::Problem => Self::Problem,
            ErrorFormat::Status => Self::Status,
        }
    }
}

impl ErrorForm {
    /// The media type of the body.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Problem => "application/problem+json",
            Self::OAuth | Self::Status | Self::Both => "application/json",
        }
    }

    /// The members of an error with an HTTP status.
    #[must_use]
    pub fn members(self, status: u16, error: &str, description: &str) -> Map<String, Value> {
        let mut members = Map::new();
        let mut set = |name: &str, value: Value| members.insert(name.to_owned(), value);
        if matches!(self, Self::Status | Self::Both) {
            set("code", rpc_code(status).into());
            set("message", description.into());
            set("details", json!([]));
        }
        if matches!(self, Self::OAuth | Self::Both) {
            set("error", error.into());
            set("error_description", description.into());
        }
        if self == Self::Problem {
            let phrase = StatusCode::from_u16(status).ok();
            let title = phrase
                .and_then(|it| it.canonical_reason())
                .unwrap_or("Error");
            // Without `type` the title is the phrase of the status (RFC 9457 §4.2.1).
            set("title", title.into());
            set("status", status.into());
            set("detail", description.into());
            set("error", error.into());
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

/// The error form of each path of a listener: by default that of OAuth.
#[derive(Clone, Debug, Default)]
pub struct ErrorForms {
    /// The paths whose errors plgd's clients parse.
    plgd: Option<Arc<PlgdPaths>>,
    /// Paths of an issuer whose errors OAuth clients read.
    oauth: Option<Arc<HashSet<String>>>,
    /// The form of all other paths.
    other: ErrorForm,
    /// Whether gRPC calls get the HTTP status too, instead of one in trailers.
    is_always_http: bool,
}

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
        Self::of_plgd(PlgdPaths {
            base: base.to_owned(),
            only: None,
            is_own: true,
        })
    }

    /// The paths of an inbound listener that answers for the issuer. If the issuer has no path of
    /// its own, all other paths belong to the upstream.
    #[must_use]
    pub fn of_shared(base: &str, paths: &HashSet<String>) -> Self {
        let only = base.is_empty().then(|| paths.clone());
        Self::of_plgd(PlgdPaths {
            base: base.to_owned(),
            only,
            is_own: false,
        })
    }

    fn of_plgd(paths: PlgdPaths) -> Self {
        Self {
            plgd: Some(Arc::new(paths)),
            ..Self::default()
        }
    }

    /// These forms, and another one on all paths but those of the issuer.
    #[must_use]
    pub fn elsewhere(self, form: ErrorForm, issuer: &HashSet<String>) -> Self {
        Self {
            oauth: (form != ErrorForm::OAuth && !issuer.is_empty())
                .then(|| Arc::new(issuer.clone())),
            other: form,
            ..self
        }
    }

    /// These forms, with an HTTP status for gRPC calls too.
    #[must_use]
    pub fn always_http(self) -> Self {
        Self {
            is_always_http: true,
            ..self
        }
    }

    /// Whether gRPC calls get the HTTP status too.
    #[must_use]
    pub fn is_always_http(&self) -> bool {
        self.is_always_http
    }

    fn is_same_everywhere(&self) -> bool {
        self.plgd.is_none() && self.oauth.is_none()
    }

    /// The form for a path in normal form.
    #[must_use]
    pub fn of_path(&self, path: &str) -> ErrorForm {
        let of_plgd = self.plgd.as_ref().and_then(|plgd| plgd.form_of(path));
        let is_oauth = || {
            self.oauth
                .as_ref()
                .is_some_and(|paths| paths.contains(path))
        };
        match of_plgd {
            Some(form) => form,
            None if is_oauth() => ErrorForm::OAuth,
            None => self.other,
        }
    }

    /// The form for a target (RFC 9112 §3.2), which may be truncated or malformed.
    #[must_use]
    pub fn of_target(&self, target: &[u8]) -> ErrorForm {
        if self.is_same_everywhere() {
            return self.other;
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
        if self.is_same_everywhere() {
            return self.other;
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
        let is_own = self.plgd.as_ref().is_some_and(|plgd| plgd.is_own);
        if is_own {
            ErrorForm::Status
        } else {
            self.other
        }
    }
}

impl PlgdPaths {
    /// The form for a path in normal form; `None` if the path is not one of these.
    fn form_of(&self, path: &str) -> Option<ErrorForm> {
        let below = path
            .strip_prefix(self.base.as_str())
            .filter(|it| it.is_empty() || it.starts_with('/'))?;
        if self.only.as_ref().is_some_and(|only| !only.contains(path)) {
            return None;
        }
        let is_token = TOKEN_PATHS.contains(&below.strip_suffix('/').unwrap_or(below));
        Some(if is_token {
            ErrorForm::Both
        } else {
            ErrorForm::Status
        })
    }
}

#[cfg(test)]
mod tests;
