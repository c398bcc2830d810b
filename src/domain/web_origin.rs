//! Web origins (RFC 6454), and the site that sent a request.

use std::str::FromStr;

use http::header::{HOST, ORIGIN, REFERER};
use http::{HeaderMap, HeaderValue};

use super::host::host_name;

/// The origin of a web page: scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebOrigin {
    is_https: bool,
    /// In lower case, without brackets.
    host: String,
    port: u16,
}

/// An invalid web origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a web origin consists of `http://` or `https://`, a host and an optional port")]
pub struct NoOrigin;

impl FromStr for WebOrigin {
    type Err = NoOrigin;

    fn from_str(text: &str) -> Result<Self, NoOrigin> {
        let (scheme, authority) = text.split_once("://").ok_or(NoOrigin)?;
        let is_https = match scheme {
            _ if scheme.eq_ignore_ascii_case("http") => false,
            _ if scheme.eq_ignore_ascii_case("https") => true,
            _ => return Err(NoOrigin),
        };
        let (host, port) = host_and_port(authority).ok_or(NoOrigin)?;
        Ok(Self {
            is_https,
            host,
            port: port.unwrap_or(if is_https { 443 } else { 80 }),
        })
    }
}

impl WebOrigin {
    /// Whether a request with this `Host` is for the origin itself.
    #[must_use]
    pub fn is_of(&self, host: &str) -> bool {
        let default = if self.is_https { 443 } else { 80 };
        host_and_port(host)
            .is_some_and(|(host, port)| host == self.host && port.unwrap_or(default) == self.port)
    }
}

/// Host, in lower case and without brackets, and port of `host[:port]`.
fn host_and_port(authority: &str) -> Option<(String, Option<u16>)> {
    let is_plain = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':' | b'[' | b']')
    };
    if !authority.bytes().all(is_plain) {
        return None;
    }
    let host = host_name(authority);
    let rest = authority.strip_prefix('[').map_or_else(
        || authority.get(host.len()..),
        |inner| {
            inner
                .get(host.len()..)
                .and_then(|rest| rest.strip_prefix(']'))
        },
    )?;
    let port = match rest.strip_prefix(':') {
        Some("") => None,
        Some(digits) => Some(digits.parse().ok()?),
        None if rest.is_empty() => None,
        None => return None,
    };
    (!host.is_empty()).then(|| (host.to_ascii_lowercase(), port))
}

/// The site that sent a request, according to its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// No page: a program, or a browser that does not reveal the page.
    Unknown,
    Own,
    Listed,
    /// A page of another site, or without an origin.
    Foreign,
}

/// Classifies a request by `Origin`, `Referer` and `Sec-Fetch-Site`, which browsers send only to
/// trustworthy addresses. All of them must agree.
#[must_use]
pub fn site(headers: &HeaderMap, listed: &[WebOrigin]) -> Site {
    let host = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let site_of = |origin: Option<WebOrigin>| match origin {
        Some(origin) if listed.contains(&origin) => Site::Listed,
        Some(origin) if origin.is_of(host) => Site::Own,
        _ => Site::Foreign,
    };
    let origins = headers
        .get_all(ORIGIN)
        .iter()
        .map(|value| site_of(value.to_str().ok().and_then(|it| it.parse().ok())));
    let referers = headers
        .get_all(REFERER)
        .iter()
        .filter_map(|value| match referer(value) {
            Referer::Nothing => None,
            Referer::Page(origin) => Some(site_of(origin)),
        });
    let mut found = Site::Unknown;
    for site in origins.chain(referers) {
        found = match (found, site) {
            (_, Site::Foreign) => return Site::Foreign,
            (Site::Listed, _) | (_, Site::Listed) => Site::Listed,
            _ => Site::Own,
        };
    }
    let mut fetch_sites = headers.get_all("sec-fetch-site").iter();
    let is_near = fetch_sites.all(|site| matches!(site.as_bytes(), b"same-origin" | b"none"));
    if is_near || found == Site::Listed {
        found
    } else {
        Site::Foreign
    }
}

enum Referer {
    Nothing,
    /// A page; without an origin if its URL is not http or https.
    Page(Option<WebOrigin>),
}

/// Parses a `Referer` (RFC 9110 §10.1.3): a URL, a path on the same host, or `about:blank`.
fn referer(value: &HeaderValue) -> Referer {
    let Ok(text) = value.to_str() else {
        return Referer::Page(None);
    };
    let text = text.trim();
    if text.is_empty()
        || text.eq_ignore_ascii_case("about:blank")
        || (text.starts_with('/') && !text.starts_with("//"))
    {
        return Referer::Nothing;
    }
    let origin = text.split_once("://").and_then(|(scheme, rest)| {
        let authority = rest.split(['/', '?', '#']).next()?;
        format!("{scheme}://{authority}").parse().ok()
    });
    Referer::Page(origin)
}

#[cfg(test)]
mod tests;
