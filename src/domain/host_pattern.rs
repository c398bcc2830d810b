//! Patterns of a request's host: a name, or all names below one, with or without a port.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use url::Host;

use super::form::{WrongForm, require};

/// The ports that a client omits.
const DEFAULT_PORTS: [u16; 2] = [80, 443];

/// A pattern of hosts: `api.example`, `*.example`, `[::1]:8443`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern {
    /// In small letters and ASCII, without brackets and without the root's dot.
    name: String,
    /// Whether the names below `name` match, and not `name` itself.
    is_below: bool,
    /// `None`: any port.
    port: Option<u16>,
}

/// The host of a request, as patterns compare it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHost<'r> {
    name: Cow<'r, str>,
    /// `None`: the default port of the scheme.
    port: Option<u16>,
}

impl FromStr for HostPattern {
    type Err = WrongForm;

    fn from_str(text: &str) -> Result<Self, WrongForm> {
        let invalid = || WrongForm("it is not a host name or an IP address");
        let below = text.strip_prefix("*.");
        let (host, port) = split_port(below.unwrap_or(text));
        require(
            !host.contains(['*', '%', '@', '/', ' ']),
            "it must be a host, or `*.` before a host for all names below it",
        )?;
        let port = port.map(str::parse).transpose();
        let port = port.map_err(|_| WrongForm("the port must be a number up to 65535"))?;
        // A name's dot at the end is the root of DNS.
        let parsed = Host::parse(host.strip_suffix('.').unwrap_or(host)).map_err(|_| invalid())?;
        let name = match parsed {
            Host::Domain(name) => name,
            _ if below.is_some() => {
                return Err(WrongForm(
                    "`*.` needs a name; an IP address has no names below",
                ));
            }
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        require(
            !name.is_empty() && !name.starts_with('.'),
            "the host is missing",
        )?;
        Ok(Self {
            name,
            is_below: below.is_some(),
            port,
        })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let below = if self.is_below { "*." } else { "" };
        if self.name.contains(':') {
            write!(f, "{below}[{}]", self.name)?;
        } else {
            write!(f, "{below}{}", self.name)?;
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl HostPattern {
    /// Whether the pattern matches a request's host.
    #[must_use]
    pub fn matches(&self, host: &RequestHost<'_>) -> bool {
        let port_matches = match (self.port, host.port) {
            (None, _) => true,
            (Some(port), Some(sent)) => port == sent,
            (Some(port), None) => DEFAULT_PORTS.contains(&port),
        };
        port_matches && self.has_name(&host.name)
    }

    fn has_name(&self, name: &str) -> bool {
        if self.is_below {
            name.strip_suffix(self.name.as_str())
                .and_then(|rest| rest.strip_suffix('.'))
                .is_some_and(|rest| !rest.is_empty())
        } else {
            name == self.name
        }
    }

    /// Whether this pattern matches every host that `other` matches.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        (self.port.is_none() || self.port == other.port) && self.has_names_of(other)
    }

    /// Whether some host matches both patterns.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        let ports_meet = match (self.port, other.port) {
            // A host without a port has both default ports.
            (Some(one), Some(two)) => {
                one == two || DEFAULT_PORTS.contains(&one) && DEFAULT_PORTS.contains(&two)
            }
            _ => true,
        };
        ports_meet && (self.has_names_of(other) || other.has_names_of(self))
    }

    fn has_names_of(&self, other: &Self) -> bool {
        match (self.is_below, other.is_below) {
            (false, true) => false,
            (true, true) => self.name == other.name || self.has_name(&other.name),
            (_, false) => self.has_name(&other.name),
        }
    }
}

impl<'r> RequestHost<'r> {
    /// Reads the value of `Host` (RFC 9110 §7.2); `None` if it is not a host.
    #[must_use]
    pub fn parse(authority: &'r str) -> Option<Self> {
        let (host, port) = split_port(authority);
        let port = port.map(str::parse).transpose().ok()?;
        let name = match host.strip_prefix('[') {
            Some(rest) => {
                let address: Ipv6Addr = rest.strip_suffix(']')?.parse().ok()?;
                address.to_string().into()
            }
            None => {
                let host = host.strip_suffix('.').unwrap_or(host);
                if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
                    host.to_ascii_lowercase().into()
                } else {
                    Cow::Borrowed(host)
                }
            }
        };
        (!name.is_empty()).then_some(Self { name, port })
    }
}

/// The host, with its brackets, and the text of its port.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    let end = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    match authority.get(end..).and_then(|rest| rest.rfind(':')) {
        Some(colon) => (
            authority.get(..end + colon).unwrap_or_default(),
            authority.get(end + colon + 1..),
        ),
        None => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> HostPattern {
        text.parse().unwrap_or_else(|_| panic!("{text}"))
    }

    fn matches(text: &str, host: &str) -> bool {
        RequestHost::parse(host).is_some_and(|host| pattern(text).matches(&host))
    }

    #[test]
    fn a_host_matches_in_every_spelling_of_the_same_name() {
        for (text, host, expected) in [
            ("api.example", "api.example", true),
            ("API.Example.", "api.EXAMPLE", true),
            ("api.example", "api.example.", true),
            ("api.example", "api.example..", false),
            ("api.example", "api.example:8443", true),
            ("api.example", "xapi.example", false),
            ("api.example", "api.example.evil", false),
            ("api.example:8443", "api.example:8443", true),
            ("api.example:8443", "api.example:08443", true),
            ("api.example:8443", "api.example", false),
            ("api.example:443", "api.example", true),
            ("api.example:80", "api.example", true),
            ("api.example:80", "api.example:443", false),
            ("api.example", "api.example:99999", false),
            ("*.example", "a.example", true),
            ("*.example", "a.B.example.:80", true),
            ("*.example", "example", false),
            ("*.example", ".example", false),
            ("*.example", "aexample", false),
            ("*.example:8443", "a.example", false),
            ("bücher.example", "xn--bcher-kva.example", true),
            ("BÜCHER.example", "XN--BCHER-KVA.example", true),
            ("*.bücher.example", "a.xn--bcher-kva.example", true),
            ("127.0.0.1", "127.0.0.1:80", true),
            ("[::1]", "[0:0::1]:80", true),
            ("[::1]:80", "[::1]", true),
            ("[::1]:81", "[::1]", false),
            ("[::1]", "::1", false),
            ("my_host", "MY_host", true),
            ("api.example", "", false),
            ("api.example", ":80", false),
        ] {
            assert_eq!(matches(text, host), expected, "{text} {host}");
        }
    }

    #[test]
    fn other_texts_are_not_patterns() {
        for text in [
            "",
            "*",
            "*.",
            ".",
            "a.*.example",
            "*a.example",
            "*.127.0.0.1",
            "a b",
            "a%41",
            "u@a",
            "http://a",
            "a/b",
            "a:x",
            "a:99999",
            ":80",
            "[::1",
            "::1",
        ] {
            assert!(text.parse::<HostPattern>().is_err(), "{text}");
        }
        assert_eq!(pattern("*.Example:80").to_string(), "*.example:80");
        assert_eq!(pattern("[0::1]").to_string(), "[::1]");
    }

    fn some_host() -> impl Strategy<Value = String> {
        let label = proptest::sample::select(vec!["a", "b", "example"]);
        let port = proptest::sample::select(vec!["", ":80", ":443", ":8443"]);
        (proptest::collection::vec(label, 1..4), port)
            .prop_map(|(labels, port)| format!("{}{port}", labels.join(".")))
    }

    fn some_pattern() -> impl Strategy<Value = String> {
        (any::<bool>(), some_host())
            .prop_map(|(below, host)| if below { format!("*.{host}") } else { host })
    }

    proptest! {
        #[test]
        fn a_covered_pattern_matches_nothing_else_and_patterns_that_share_a_host_meet(
            one in some_pattern(), two in some_pattern(), host in some_host(),
        ) {
            let by_two = matches(&two, &host);
            let by_one = matches(&one, &host);
            prop_assert!(!pattern(&one).covers(&pattern(&two)) || !by_two || by_one);
            prop_assert!(pattern(&one).meets(&pattern(&two)) || !(by_one && by_two));
            prop_assert!(pattern(&one).covers(&pattern(&one)));
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in "[a-z.:*\\[\\]0-9é%]{0,12}") {
            let _ = text.parse::<HostPattern>();
            let _ = RequestHost::parse(&text);
        }
    }
}
