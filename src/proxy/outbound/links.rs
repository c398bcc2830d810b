//! Rewrites the upstream's URLs in a response head: a program that followed one would bypass the
//! sidecar and send no token.

use std::net::IpAddr;

use http::{HeaderName, HeaderValue, header};
use pingora::http::ResponseHeader;

use crate::domain::host::host_name;

/// The headers whose value is a URL (RFC 9110 §8.7, §10.2.2).
const URLS: [HeaderName; 2] = [header::LOCATION, header::CONTENT_LOCATION];

/// The upstream's origin as its URLs name it.
pub(super) struct Links<'a> {
    pub tls: bool,
    /// The host, without brackets.
    pub host: &'a str,
    pub port: u16,
    /// Whether the upstream receives the client's `Host` and may use it in URLs.
    pub preserves_host: bool,
    /// The scheme, host and port by which the client called the listener.
    pub scheme: &'a str,
    pub here: &'a str,
}

impl Links<'_> {
    /// Replaces the upstream by the listener in `Location`, `Content-Location` and `Link`.
    ///
    /// # Errors
    /// When the response cannot hold another header.
    pub fn map(&self, answer: &mut ResponseHeader) -> pingora::Result<()> {
        for name in URLS {
            map_header(answer, &name, |value| self.map_url(value))?;
        }
        map_header(answer, &header::LINK, |value| self.map_links(value))
    }

    /// The corresponding URL of the listener, if `url` is the upstream's.
    fn map_url(&self, url: &[u8]) -> Option<Vec<u8>> {
        let (tls, rest) = if let Some(rest) = without(url, b"https://") {
            (Some(true), rest)
        } else if let Some(rest) = without(url, b"http://") {
            (Some(false), rest)
        } else {
            // Relative to the scheme of the upstream.
            (None, url.strip_prefix(b"//")?)
        };
        let end = rest
            .iter()
            .position(|byte| matches!(byte, b'/' | b'?' | b'#'))
            .unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let authority = std::str::from_utf8(authority).ok()?;
        let is_upstream = tls.unwrap_or(self.tls) == self.tls && self.is_called(authority);
        // The upstream received the listener's name and assumes https.
        let is_here =
            self.preserves_host && tls == Some(true) && authority.eq_ignore_ascii_case(self.here);
        (is_upstream || is_here).then(|| {
            let (scheme, here) = (self.scheme.as_bytes(), self.here.as_bytes());
            [scheme, b"://", here, rest].concat()
        })
    }

    fn is_called(&self, authority: &str) -> bool {
        let host = host_name(authority);
        let behind = authority
            .strip_prefix('[')
            .unwrap_or(authority)
            .get(host.len()..)
            .unwrap_or_default();
        let port = match behind.strip_prefix(']').unwrap_or(behind) {
            "" | ":" => Some(if self.tls { 443 } else { 80 }),
            port => port
                .strip_prefix(':')
                .and_then(|port| port.parse::<u16>().ok()),
        };
        let same_address =
            || Some(host.parse::<IpAddr>().ok()? == self.host.parse::<IpAddr>().ok()?);
        port == Some(self.port)
            && (host.eq_ignore_ascii_case(self.host) || same_address() == Some(true))
    }

    /// Rewrites every target of a `Link` list (RFC 8288 §3). A malformed rest stays as it is.
    fn map_links(&self, list: &[u8]) -> Option<Vec<u8>> {
        let (mut out, mut changed) = (Vec::with_capacity(list.len()), false);
        let mut rest = list;
        loop {
            let begin = rest
                .iter()
                .position(|byte| !matches!(byte, b' ' | b'\t' | b','));
            let Some(begin) = begin.filter(|begin| rest.get(*begin) == Some(&b'<')) else {
                break;
            };
            let (before, after) = rest.split_at(begin + 1);
            let Some(end) = memchr::memchr(b'>', after) else {
                break;
            };
            let (target, parameters) = after.split_at(end);
            out.extend_from_slice(before);
            match self.map_url(target) {
                Some(mapped) => {
                    changed = true;
                    out.extend_from_slice(&mapped);
                }
                None => out.extend_from_slice(target),
            }
            let (parameters, next) = parameters.split_at(end_of_parameters(parameters));
            out.extend_from_slice(parameters);
            rest = next;
        }
        out.extend_from_slice(rest);
        changed.then_some(out)
    }
}

/// The end of a link's parameters: a comma outside quotes.
fn end_of_parameters(text: &[u8]) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => return at,
            _ => {}
        }
    }
    text.len()
}

fn without<'a>(url: &'a [u8], scheme: &[u8]) -> Option<&'a [u8]> {
    let begin = url.get(..scheme.len())?;
    begin
        .eq_ignore_ascii_case(scheme)
        .then(|| url.get(scheme.len()..).unwrap_or_default())
}

fn map_header(
    answer: &mut ResponseHeader,
    name: &HeaderName,
    map: impl Fn(&[u8]) -> Option<Vec<u8>>,
) -> pingora::Result<()> {
    let mut changed = false;
    let mut values = Vec::new();
    for value in answer.headers.get_all(name) {
        let mapped = map(value.as_bytes()).and_then(|mapped| HeaderValue::from_bytes(&mapped).ok());
        changed |= mapped.is_some();
        values.push(mapped.unwrap_or_else(|| value.clone()));
    }
    if changed {
        answer.remove_header(name);
        for value in values {
            answer.append_header(name.clone(), value)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HUB: Links<'_> = Links {
        tls: true,
        host: "hub.example",
        port: 443,
        preserves_host: false,
        scheme: "http",
        here: "localhost:9000",
    };

    fn mapped(links: &Links<'_>, url: &str) -> Option<String> {
        links
            .map_url(url.as_bytes())
            .map(|url| String::from_utf8(url).unwrap())
    }

    #[test]
    fn a_url_of_the_upstreams_own_origin_leads_to_the_listener() {
        let here = |rest: &str| Some(format!("http://localhost:9000{rest}"));
        for (url, expected) in [
            ("https://hub.example/a?b#c", here("/a?b#c")),
            ("HTTPS://Hub.Example:443/a", here("/a")),
            ("https://hub.example", here("")),
            ("https://hub.example?page=2", here("?page=2")),
            ("//hub.example/a", here("/a")),
            ("http://hub.example/a", None),
            ("https://hub.example:8443/a", None),
            ("https://hub.example.evil/a", None),
            ("https://other.example/https://hub.example/", None),
            ("https://u@hub.example/a", None),
            ("https://hub.example@evil/a", None),
            ("/a", None),
            ("a", None),
            ("", None),
            ("ftp://hub.example/", None),
        ] {
            assert_eq!(mapped(&HUB, url), expected, "{url}");
        }
        let plain = Links {
            tls: false,
            host: "::1",
            port: 8080,
            ..HUB
        };
        assert_eq!(mapped(&plain, "http://[0:0::1]:8080/a"), here("/a"));
        assert_eq!(mapped(&plain, "http://[::1]/a"), None);
        assert_eq!(mapped(&plain, "https://[::1]:8080/a"), None);
    }

    #[test]
    fn an_upstream_that_was_called_by_our_name_is_mapped_to_our_scheme() {
        let named = Links {
            preserves_host: true,
            ..HUB
        };
        assert_eq!(
            mapped(&named, "https://localhost:9000/a"),
            Some("http://localhost:9000/a".to_owned())
        );
        let over_tls = Links {
            scheme: "https",
            ..HUB
        };
        assert_eq!(
            mapped(&over_tls, "https://hub.example/a"),
            Some("https://localhost:9000/a".to_owned())
        );
        assert_eq!(mapped(&named, "http://localhost:9000/a"), None);
        assert_eq!(mapped(&HUB, "https://localhost:9000/a"), None);
    }

    #[test]
    fn the_targets_of_links_are_mapped_and_nothing_else_of_them() {
        for (list, expected) in [
            (
                "<https://hub.example/?page=2>; rel=\"next\", \
                 <https://hub.example/?page=9>;rel=last",
                "<http://localhost:9000/?page=2>; rel=\"next\", \
                 <http://localhost:9000/?page=9>;rel=last",
            ),
            (
                "<https://a.example/>; title=\"a, <https://hub.example/> \\\" b\", \
                 <https://hub.example/>",
                "<https://a.example/>; title=\"a, <https://hub.example/> \\\" b\", \
                 <http://localhost:9000/>",
            ),
            ("</x>; rel=preload", "</x>; rel=preload"),
            ("https://hub.example/", "https://hub.example/"),
            ("<https://hub.example/", "<https://hub.example/"),
        ] {
            let mapped = HUB
                .map_links(list.as_bytes())
                .map(|list| String::from_utf8(list).unwrap());
            assert_eq!(mapped.as_deref().unwrap_or(list), expected);
        }
    }

    proptest! {
        #[test]
        fn never_panics(value in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = HUB.map_url(&value);
            let _ = HUB.map_links(&value);
        }

        #[test]
        fn other_urls_stay_unchanged(list in "(<|>|\"|,|;|/|https://|a\\.example|rel=|\\\\){0,20}") {
            prop_assert_eq!(HUB.map_links(list.as_bytes()), None);
        }
    }
}
