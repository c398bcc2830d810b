//! Web origins (RFC 6454), and from which site a request comes.

use std::str::FromStr;

use http::header::{HOST, ORIGIN, REFERER};
use http::{HeaderMap, HeaderValue};

use super::host::host_name;

/// The origin of web pages: a scheme, a host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebOrigin {
    is_https: bool,
    /// In small letters, without brackets.
    host: String,
    port: u16,
}

/// A text is no web origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a web origin is `http://` or `https://`, a host and perhaps a port, and nothing else")]
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

/// Host, in small letters and without brackets, and port of `host[:port]`.
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

/// From which site a request comes, as far as it says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// It names no page: a program's, or one of a browser that says nothing.
    Unknown,
    /// A page of the host that is asked.
    Own,
    /// A page of an origin that is listed.
    Listed,
    /// A page of another site, or one that has no origin.
    Foreign,
}

/// From which site a request comes: by `Origin`, by `Referer`, and by `Sec-Fetch-Site`, which
/// browsers send to trustworthy addresses only. All that it says must agree.
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
    /// No page.
    Nothing,
    /// A page; of no origin when that is no http or https URL.
    Page(Option<WebOrigin>),
}

/// Reads a `Referer` (RFC 9110 §10.1.3): a URL, a path on the same host, or `about:blank`.
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
mod tests {
    use super::*;

    fn of(pairs: &[(&'static str, &str)]) -> Site {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let listed =
            ["https://app.example", "http://127.0.0.1:3000"].map(|origin| origin.parse().unwrap());
        site(&headers, &listed)
    }

    #[test]
    fn an_origin_is_the_requests_own_host_or_listed_or_foreign() {
        for (host, origin, expected) in [
            ("127.0.0.1:9000", "http://127.0.0.1:9000", Site::Own),
            ("127.0.0.1:9000", "http://127.0.0.1:9001", Site::Foreign),
            ("127.0.0.1:9000", "http://127.0.0.1", Site::Foreign),
            ("127.0.0.1:9000", "http://127.0.0.1:3000", Site::Listed),
            ("127.0.0.1:9000", "http://10.0.0.5", Site::Foreign),
            ("127.0.0.1:9000", "http://localhost:9000", Site::Foreign),
            ("localhost:9000", "HTTP://LocalHost:9000", Site::Own),
            ("sidecar.test", "http://sidecar.test", Site::Own),
            ("sidecar.test:80", "http://sidecar.test", Site::Own),
            ("sidecar.test", "https://sidecar.test", Site::Own),
            ("sidecar.test:9000", "https://sidecar.test", Site::Foreign),
            ("sidecar.test:9000", "http://sidecar.test", Site::Foreign),
            ("[::1]:9000", "http://[::1]:9000", Site::Own),
            ("[::1]:9000", "http://[::2]:9000", Site::Foreign),
            ("a", "https://app.example", Site::Listed),
            ("a", "https://app.example:443", Site::Listed),
            ("a", "http://app.example", Site::Foreign),
            ("a", "https://app.example.evil", Site::Foreign),
            ("a", "https://evil.app.example", Site::Foreign),
            ("a", "null", Site::Foreign),
            ("a", "", Site::Foreign),
            ("a", "a", Site::Foreign),
            ("a", "http://a/", Site::Foreign),
            ("a", "http://u@a", Site::Foreign),
            ("a", "http://a http://evil", Site::Foreign),
            ("a", "ftp://a", Site::Foreign),
            ("", "http://", Site::Foreign),
        ] {
            assert_eq!(
                of(&[("host", host), ("origin", origin)]),
                expected,
                "{origin} at {host}"
            );
        }
        let two = [
            ("host", "a"),
            ("origin", "http://a"),
            ("origin", "http://evil"),
        ];
        assert_eq!(of(&two), Site::Foreign);
        assert_eq!(
            of(&[("origin", "http://a")]),
            Site::Foreign,
            "there is no host to be its own"
        );
    }

    #[test]
    fn a_referer_names_a_page_too() {
        for (value, expected) in [
            ("http://a/page?x=http://evil#y", Site::Own),
            ("http://a", Site::Own),
            ("https://app.example/page", Site::Listed),
            ("http://evil.example/", Site::Foreign),
            ("http://10.0.0.5/page", Site::Foreign),
            ("http://a.evil.example/a", Site::Foreign),
            ("http://a@evil.example/", Site::Foreign),
            ("http://evil.example?http://a/", Site::Foreign),
            ("//evil.example/x", Site::Foreign),
            ("file:///etc/x.html", Site::Foreign),
            ("chrome-extension://abc/", Site::Foreign),
            ("evil.example/x", Site::Foreign),
            ("", Site::Unknown),
            ("about:blank", Site::Unknown),
            ("/path/on/the/same/host", Site::Unknown),
        ] {
            assert_eq!(
                of(&[("host", "a"), ("referer", value)]),
                expected,
                "{value}"
            );
        }
        let both = [
            ("host", "a"),
            ("origin", "http://a"),
            ("referer", "http://evil.example/"),
        ];
        assert_eq!(of(&both), Site::Foreign);
    }

    #[test]
    fn a_browser_says_how_near_a_page_is() {
        for (value, expected) in [
            ("same-origin", Site::Unknown),
            ("none", Site::Unknown),
            ("same-site", Site::Foreign),
            ("cross-site", Site::Foreign),
            ("", Site::Foreign),
            ("SAME-ORIGIN", Site::Foreign),
        ] {
            assert_eq!(
                of(&[("host", "a"), ("sec-fetch-site", value)]),
                expected,
                "{value}"
            );
        }
        let listed = [
            ("host", "a"),
            ("sec-fetch-site", "cross-site"),
            ("origin", "https://app.example"),
        ];
        assert_eq!(of(&listed), Site::Listed);
        let by_referer = [
            ("host", "a"),
            ("sec-fetch-site", "cross-site"),
            ("referer", "https://app.example/x"),
        ];
        assert_eq!(of(&by_referer), Site::Listed);
        let own = [
            ("host", "a"),
            ("sec-fetch-site", "cross-site"),
            ("origin", "http://a"),
        ];
        assert_eq!(of(&own), Site::Foreign, "the two do not agree");
        assert_eq!(of(&[("host", "a")]), Site::Unknown);
    }
}
