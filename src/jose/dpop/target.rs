//! The URL that a proof names (`htu`), in the normal form in which two of them are compared.

use std::fmt;

use percent_encoding::percent_decode;
use url::{Position, Url};

/// An http or https URL without query and fragment, in the normal form of RFC 3986 §6.2.2 and
/// §6.2.3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetUri(String);

impl TargetUri {
    /// Reads a URL. `None` unless it is an http or https URL with a host, without user information
    /// and without characters that need an escape in every URL.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        // The parser of `url` is that of browsers: it would drop tabs, turn backslashes and add
        // slashes.
        let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
        let (scheme, rest) = text.split_once("://")?;
        let is_http = ["http", "https"]
            .iter()
            .any(|it| it.eq_ignore_ascii_case(scheme));
        if !is_http || rest.starts_with('/') || !text.bytes().all(is_plain) {
            return None;
        }
        let url = Url::parse(text).ok()?;
        if !url.username().is_empty() || url.password().is_some() || !url.has_host() {
            return None;
        }
        let (origin, path) = (&url[..Position::AfterPort], url.path());
        Some(Self(format!("{origin}{}", normal_escapes(path)?)))
    }

    /// The URL of a request by its scheme, `Host` and path.
    #[must_use]
    pub fn of_request(scheme: &str, host: &str, path: &str) -> Option<Self> {
        let is_path = path.starts_with('/') && !path.contains(['?', '#']);
        let is_host = !host.is_empty() && !host.contains(['/', '?', '#', '@']);
        (is_path && is_host)
            .then(|| Self::parse(&format!("{scheme}://{host}{path}")))
            .flatten()
    }

    /// The URL with the same scheme, host and port, and this path.
    #[must_use]
    pub fn with_path(&self, path: &str) -> Option<Self> {
        let (scheme, rest) = self.0.split_once("://")?;
        let host = rest.split('/').next()?;
        Self::of_request(scheme, host, path)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TargetUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Decodes escapes of unreserved characters, and writes the others in upper case. `None` if a `%`
/// begins no escape.
fn normal_escapes(path: &str) -> Option<String> {
    let mut parts = path.split('%');
    let mut normal = parts.next()?.to_owned();
    for part in parts {
        let (escape, rest) = part.split_at_checked(2)?;
        if !escape.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let byte = percent_decode(format!("%{escape}").as_bytes()).next()?;
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            normal.push(char::from(byte));
        } else {
            normal.push('%');
            normal.push_str(&escape.to_ascii_uppercase());
        }
        normal.push_str(rest);
    }
    Some(normal)
}
