//! The form of an error's body, by the path that was asked for.
//!
//! plgd's clients read every error as a google.rpc.Status and take no further member. OAuth's
//! clients look for the members of RFC 6749 §5.2 at the token endpoint. So in the plgd profile the
//! path decides, wherever an error comes from: an endpoint, a limit, or the reading of a request's
//! head.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::path::NormalPath;

/// The token endpoint's paths below the issuer's.
const TOKEN_PATHS: [&str; 3] = ["/oauth/token", "/token", "/oauth2/token"];

/// Which members an error has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ErrorForm {
    /// `error` and `error_description`.
    #[default]
    OAuth,
    /// `code`, `message` and `details`: a google.rpc.Status and nothing else.
    Status,
    /// All of them.
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

/// Which paths of a listener have errors that plgd's clients read. By default none.
#[derive(Clone, Debug, Default)]
pub struct ErrorForms(Option<Arc<PlgdPaths>>);

#[derive(Debug)]
struct PlgdPaths {
    /// The issuer's path, without a slash at its end.
    base: String,
    /// Only these of the paths below it, where the others are the upstream's.
    only: Option<HashSet<String>>,
    /// Whether the listener has nothing else.
    is_own: bool,
}

impl ErrorForms {
    /// Those of an issuer's own listener in the plgd profile; `base` is the issuer's path, without
    /// a slash at its end.
    #[must_use]
    pub fn of_issuer(base: &str) -> Self {
        Self(Some(Arc::new(PlgdPaths {
            base: base.to_owned(),
            only: None,
            is_own: true,
        })))
    }

    /// Those of an inbound listener that answers for the issuer at these paths. Where the issuer
    /// has no path of its own, all others are the upstream's.
    #[must_use]
    pub fn of_shared(base: &str, paths: &HashSet<String>) -> Self {
        let only = base.is_empty().then(|| paths.clone());
        Self(Some(Arc::new(PlgdPaths {
            base: base.to_owned(),
            only,
            is_own: false,
        })))
    }

    /// The form for a path, which is in normal form.
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

    /// The form for a target (RFC 9112 §3.2), which may be cut off or malformed.
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
            // What is refused because it has no normal form is below the issuer's path if it begins
            // with it.
            Err(_) => self.of_path(path),
        }
    }

    /// The form for a head (RFC 9112 §2.1) or as much of it as has come.
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

    /// The form where no path was read.
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BASE: &str = "/m2m-oauth-server";

    #[test]
    fn the_path_decides_which_members_an_error_has() {
        let forms = ErrorForms::of_issuer(BASE);
        for (path, form) in [
            ("/m2m-oauth-server/api/v1/tokens", ErrorForm::Status),
            ("/m2m-oauth-server/api/v1/tokens/", ErrorForm::Status),
            ("/m2m-oauth-server/api/v1/tokens/x", ErrorForm::Status),
            ("/m2m-oauth-server/api/v1/unknown", ErrorForm::Status),
            ("/m2m-oauth-server/api/oauth/token", ErrorForm::Status),
            ("/m2m-oauth-server/.well-known/jwks.json", ErrorForm::Status),
            ("/m2m-oauth-server/unknown", ErrorForm::Status),
            ("/m2m-oauth-server/oauthx", ErrorForm::Status),
            ("/m2m-oauth-server/", ErrorForm::Status),
            ("/m2m-oauth-server", ErrorForm::Status),
            ("/m2m-oauth-server/oauth/token", ErrorForm::Both),
            ("/m2m-oauth-server/oauth/token/", ErrorForm::Both),
            ("/m2m-oauth-server/oauth/token/x", ErrorForm::Status),
            ("/m2m-oauth-server/oauth/revoke", ErrorForm::Status),
            ("/m2m-oauth-server/oauth", ErrorForm::Status),
            ("/m2m-oauth-server/oauth2/token", ErrorForm::Both),
            ("/m2m-oauth-server/token", ErrorForm::Both),
            ("/m2m-oauth-serverx/api/v1/tokens", ErrorForm::OAuth),
            ("/M2M-OAUTH-SERVER/api/v1/tokens", ErrorForm::OAuth),
            ("/api/v1/tokens", ErrorForm::OAuth),
            ("/oauth/token", ErrorForm::OAuth),
            ("/", ErrorForm::OAuth),
        ] {
            assert_eq!(forms.of_path(path), form, "{path}");
            assert_eq!(ErrorForms::default().of_path(path), ErrorForm::OAuth);
            for head in [
                format!("GET {path} HTTP/1.1\r\nHost: a\r\n"),
                format!("GET {path}?/x=/m2m-oauth-server/oauth HTTP/1.1"),
                format!("\r\nDELETE http://a.example{path} HTTP/1.1\r\n"),
                format!("GET {path}?{}", "x".repeat(99)),
            ] {
                assert_eq!(forms.of_head(head.as_bytes()), form, "{head}");
            }
        }
    }

    #[test]
    fn a_target_without_a_normal_form_is_where_it_begins() {
        let forms = ErrorForms::of_issuer(BASE);
        for (target, form) in [
            ("/m2m-oauth-server/api/v1/%2e%2e%2fx", ErrorForm::Status),
            ("/x/..//m2m-oauth-server/./oauth/token", ErrorForm::Both),
            ("/m2m-oauth-server/%6Fauth/token", ErrorForm::Both),
            ("/m2m-oauth-server/../x", ErrorForm::OAuth),
            ("/m2m-oauth-server/oauth/tok%zz", ErrorForm::Status),
            ("/m2m-oauth-server#x", ErrorForm::Status),
            ("*", ErrorForm::OAuth),
            ("", ErrorForm::OAuth),
        ] {
            assert_eq!(forms.of_target(target.as_bytes()), form, "{target}");
        }
        assert_eq!(
            forms.of_head(b"GET  /m2m-oauth-server/oauth/token  HTTP/1.1"),
            ErrorForm::Both
        );
        assert_eq!(
            forms.of_head(b"\x16\x03\x01"),
            ErrorForm::Status,
            "no path was read"
        );
        assert_eq!(
            ErrorForms::of_shared(BASE, &HashSet::new()).of_head(b"GET"),
            ErrorForm::OAuth
        );
    }

    #[test]
    fn an_issuer_without_a_path_shares_a_listener_with_its_upstream() {
        let paths = HashSet::from(["/oauth/token".to_owned(), "/api/v1/tokens".to_owned()]);
        let shared = ErrorForms::of_shared("", &paths);
        let of = |path| shared.of_path(path);
        assert_eq!(
            (of("/oauth/token"), of("/api/v1/tokens")),
            (ErrorForm::Both, ErrorForm::Status)
        );
        assert_eq!(
            (of("/api/v1/devices"), of("/")),
            (ErrorForm::OAuth, ErrorForm::OAuth)
        );
        let own = ErrorForms::of_issuer("");
        assert_eq!(
            (own.of_path("/"), own.of_path("/oauth/token")),
            (ErrorForm::Status, ErrorForm::Both)
        );
        let below = ErrorForms::of_shared(BASE, &paths);
        assert_eq!(
            below.of_path("/m2m-oauth-server/unknown"),
            ErrorForm::Status
        );
    }

    #[test]
    fn a_status_has_its_three_members_and_no_other() {
        let names = |form: ErrorForm| {
            form.members(404, "not_found", "there is none")
                .into_iter()
                .map(|it| it.0)
        };
        assert_eq!(
            names(ErrorForm::OAuth).collect::<Vec<_>>(),
            ["error", "error_description"]
        );
        assert_eq!(
            names(ErrorForm::Status).collect::<Vec<_>>(),
            ["code", "details", "message"]
        );
        let both = ErrorForm::Both.members(404, "not_found", "there is none");
        assert_eq!(
            (both.len(), &both["code"], &both["details"]),
            (5, &json!(5), &json!([]))
        );
        assert_eq!(
            (&both["message"], &both["error"]),
            (&json!("there is none"), &json!("not_found"))
        );
    }

    proptest! {
        #[test]
        fn no_head_panics(head in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = ErrorForms::of_issuer(BASE).of_head(&head);
        }
    }
}
