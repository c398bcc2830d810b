//! The request target (RFC 9112 §3.2): its form and its normal form.

use crate::domain::reason::Reason;
use crate::proxy::fault::{Fault, Place};

const SPACE: &str = "the target has a space; send it as %20";
const CONTROL: &str = "the target has a control character; send it percent-encoded";
const FRAGMENT: &str = "the target has a fragment; leave it out, or send # as %23";
const ASTERISK: &str = "the target * is not served; ask for a path";
const FORM: &str = "the target is neither a path nor an http URL; begin it with / or http://";
const AUTHORITY: &str =
    "the authority of the target is not a host name or address with an optional port";

const CONNECT_TARGET: &str =
    "the target of CONNECT is not a host name or address with a port, such as hub.example:443";

/// A parsed target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    pub raw: &'a [u8],
    /// The authority of an absolute target.
    pub authority: Option<&'a [u8]>,
    /// Offset of path and query.
    path: usize,
}

impl<'a> Target<'a> {
    /// Parses a target of any method but CONNECT.
    ///
    /// # Errors
    /// [`Reason::MalformedRequest`], or for a fragment [`Reason::AmbiguousPath`].
    pub fn parse(raw: &'a [u8]) -> Result<Self, Fault> {
        if let Some(at) = raw.iter().position(|byte| *byte <= b' ' || *byte == 0x7f) {
            let rule = if raw.get(at) == Some(&b' ') {
                SPACE
            } else {
                CONTROL
            };
            return Err(Fault::malformed(rule).at(Place::Target(at + 1)));
        }
        // Fragments are never sent (RFC 9110 §4.2.5). Some servers cut them off, others take them
        // as a part of the path.
        if let Some(at) = memchr::memchr(b'#', raw) {
            return Err(Fault::because(Reason::AmbiguousPath, FRAGMENT).at(Place::Target(at + 1)));
        }
        if raw.starts_with(b"/") {
            return Ok(Self {
                raw,
                authority: None,
                path: 0,
            });
        }
        if raw == b"*" {
            return Err(Fault::malformed(ASTERISK));
        }
        let has_scheme = |scheme: &[u8]| {
            raw.get(..scheme.len())
                .is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
        };
        let begin = [&b"http://"[..], b"https://"]
            .into_iter()
            .find(|scheme| has_scheme(scheme))
            .map(<[u8]>::len);
        let begin = begin.ok_or_else(|| Fault::malformed(FORM))?;
        let rest = raw.get(begin..).unwrap_or_default();
        let end = rest
            .iter()
            .position(|byte| matches!(byte, b'/' | b'?'))
            .unwrap_or(rest.len());
        let authority = rest.get(..end).unwrap_or_default();
        if !super::host::is_host(authority) {
            return Err(Fault::malformed(AUTHORITY));
        }
        Ok(Self {
            raw,
            authority: Some(authority),
            path: begin + end,
        })
    }

    /// Parses the target of CONNECT: host and port.
    ///
    /// # Errors
    /// [`Reason::MalformedRequest`].
    pub fn of_connect(raw: &'a [u8]) -> Result<Self, Fault> {
        let port = raw.iter().rposition(|byte| *byte == b':');
        let has_port = port.is_some_and(|at| !raw.get(at..).unwrap_or_default().contains(&b']'));
        if !has_port || !super::host::is_host(raw) {
            return Err(Fault::malformed(CONNECT_TARGET));
        }
        Ok(Self {
            raw: b"/",
            authority: Some(raw),
            path: 0,
        })
    }

    /// Whether [`Target::written`] is the same.
    pub fn is_normal(&self) -> bool {
        self.raw.iter().all(|byte| is_normal(*byte))
    }

    /// The length of [`Target::written`].
    pub fn written_length(&self) -> usize {
        let (origin, rest) = self.raw.split_at(self.path);
        origin.len()
            + rest
                .iter()
                .map(|byte| if is_normal(*byte) { 1 } else { 3 })
                .sum::<usize>()
    }

    /// The target with every byte percent-encoded that a URI cannot hold (RFC 3986 §2.1, §3.3,
    /// §3.4).
    pub fn written(&self) -> Vec<u8> {
        const HEX: [u8; 16] = *b"0123456789ABCDEF";
        let mut out = Vec::with_capacity(self.written_length());
        let (origin, rest) = self.raw.split_at(self.path);
        out.extend_from_slice(origin);
        for byte in rest {
            if is_normal(*byte) {
                out.push(*byte);
            } else {
                let digit = |half: u8| HEX.get(usize::from(half)).copied().unwrap_or(b'0');
                out.extend([b'%', digit(byte >> 4), digit(byte & 15)]);
            }
        }
        out
    }
}

/// Whether a byte stays as it is. The RFC excludes square brackets, but clients send them in
/// queries and some upstreams sign the received target, so they stay.
fn is_normal(byte: u8) -> bool {
    byte.is_ascii_graphic()
        && !matches!(
            byte,
            b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn normal(raw: &str) -> String {
        let target = Target::parse(raw.as_bytes()).unwrap();
        let out = target.written();
        assert_eq!(target.is_normal(), out == raw.as_bytes());
        assert_eq!(target.written_length(), out.len());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn invalid_uri_bytes_are_percent_encoded() {
        for (raw, expected) in [
            (
                "/a?x=/../b&y[0]=1%20~:@!$'()*+,;=",
                "/a?x=/../b&y[0]=1%20~:@!$'()*+,;=",
            ),
            ("/q?query=up{job=\"a\"}", "/q?query=up%7Bjob=%22a%22%7D"),
            ("/<a>`b`", "/%3Ca%3E%60b%60"),
            ("/a|b^c\\d", "/a%7Cb%5Ec%5Cd"),
            ("/caf\u{e9}?\u{20ac}", "/caf%C3%A9?%E2%82%AC"),
            ("http://a.example:80/\"", "http://a.example:80/%22"),
            ("HTTP://a?\"", "HTTP://a?%22"),
            ("https://[::1]", "https://[::1]"),
        ] {
            assert_eq!(normal(raw), expected, "{raw}");
        }
    }

    #[test]
    fn a_target_is_a_path_or_a_url_with_a_plain_authority() {
        for (raw, rule) in [
            (&b"/a b"[..], SPACE),
            (b"/a\tb", CONTROL),
            (b"/a\x7f", CONTROL),
            (b"/a#b", FRAGMENT),
            (b"*", ASTERISK),
            (b"a:80", FORM),
            (b"\\a", FORM),
            (b"?a", FORM),
            (b"ftp://a/", FORM),
            (b"http:/a", FORM),
            (b"http://", AUTHORITY),
            (b"http:///a", AUTHORITY),
            (b"http://u@a/", AUTHORITY),
            (b"http://a\\@b/", AUTHORITY),
            (b"http://a\"/", AUTHORITY),
        ] {
            let fault = Target::parse(raw).unwrap_err();
            assert!(fault.detail().unwrap().starts_with(rule), "{fault:?}");
        }
    }

    #[test]
    fn connect_names_a_host_and_a_port() {
        for raw in ["hub.example:443", "[::1]:8443", "192.0.2.1:80"] {
            let target = Target::of_connect(raw.as_bytes()).unwrap();
            assert_eq!(target.authority, Some(raw.as_bytes()));
            assert_eq!(target.written(), b"/");
        }
        for raw in [
            "",
            "/",
            "*",
            "hub.example",
            "hub.example:",
            "[::1]",
            ":443",
            "http://hub.example:443",
            "hub.example:443/",
            "u@hub.example:443",
            "hub.example:x",
            "a b:443",
            "hub.example:443#",
        ] {
            assert!(Target::of_connect(raw.as_bytes()).is_err(), "{raw}");
        }
    }

    proptest! {
        #[test]
        fn the_normal_form_is_a_uri_and_its_own_normal_form(raw in proptest::collection::vec(any::<u8>(), 0..60)) {
            let raw = [b"/".as_slice(), &raw].concat();
            if let Ok(target) = Target::parse(&raw) {
                let once = target.written();
                prop_assert!(http::uri::PathAndQuery::try_from(once.as_slice()).is_ok());
                let twice = Target::parse(&once).unwrap().written();
                prop_assert_eq!(&once, &twice);
                let decoded = |text: &[u8]| percent_encoding::percent_decode(text).collect::<Vec<_>>();
                prop_assert_eq!(decoded(&raw), decoded(&once));
            }
        }
    }
}
