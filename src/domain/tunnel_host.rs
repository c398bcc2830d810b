//! The hosts to which programs may open tunnels: a name, all names below one, or an address, each
//! with a port.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use url::Host;

use super::form::{WrongForm, require};

/// The port of a text without one: tunnels carry TLS.
const DEFAULT_PORT: u16 = 443;

/// The hosts of tunnels: `api.example`, `*.example:8443`, `10.1.2.3:443`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelHost {
    host: Host,
    /// Whether the names below the host match, and not the host itself.
    is_below: bool,
    port: u16,
}

/// The addresses that the host of a tunnel may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Public ones.
    Public,
    /// Also those of private networks: the name of the host is listed exactly.
    PrivateNetworks,
    /// Exactly the listed one.
    Listed,
}

impl FromStr for TunnelHost {
    type Err = WrongForm;

    fn from_str(text: &str) -> Result<Self, WrongForm> {
        let below = text.strip_prefix("*.");
        let text = below.unwrap_or(text);
        let end = text.rfind(']').map_or(0, |bracket| bracket + 1);
        let (host, port) = match text.get(end..).and_then(|rest| rest.rfind(':')) {
            Some(colon) => (text.get(..end + colon), text.get(end + colon + 1..)),
            None => (Some(text), None),
        };
        let port = port.map_or(Ok(DEFAULT_PORT), str::parse);
        let port = port.ok().filter(|port| *port != 0);
        let port = port.ok_or(WrongForm("the port must be a number from 1 to 65535"))?;
        let host = host.unwrap_or_default();
        require(
            !host.contains(['*', '%', '@', '/', ' ']),
            "it must be a host, or `*.` before a host for all names below it",
        )?;
        let host = canonical(host).ok_or(WrongForm("it is not a host name or an IP address"))?;
        require(
            below.is_none() || matches!(host, Host::Domain(_)),
            "`*.` needs a name; an IP address has no names below",
        )?;
        Ok(Self {
            host,
            is_below: below.is_some(),
            port,
        })
    }
}

impl fmt::Display for TunnelHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let below = if self.is_below { "*." } else { "" };
        write!(f, "{below}{}:{}", self.host, self.port)
    }
}

impl TunnelHost {
    /// The addresses that this host may have; `None` if it is not listed here.
    #[must_use]
    pub fn reach(&self, host: &Host, port: u16) -> Option<Reach> {
        if self.port != port {
            return None;
        }
        match (&self.host, host) {
            (Host::Domain(above), Host::Domain(name)) if self.is_below => name
                .strip_suffix(above.as_str())
                .and_then(|rest| rest.strip_suffix('.'))
                .is_some_and(|rest| !rest.is_empty())
                .then_some(Reach::Public),
            // This name is always this machine (RFC 6761 §6.3).
            (listed, Host::Domain(name)) if listed == host && name == "localhost" => {
                Some(Reach::Listed)
            }
            (listed, Host::Domain(_)) if listed == host => Some(Reach::PrivateNetworks),
            (listed, _) if listed == host => Some(Reach::Listed),
            _ => None,
        }
    }

    /// Whether it is exactly this host with this port.
    #[must_use]
    pub fn is(&self, host: &Host, port: u16) -> bool {
        !self.is_below && self.host == *host && self.port == port
    }
}

/// A host as in a URL, in canonical form; IPv6 addresses in brackets.
#[must_use]
pub fn canonical(host: &str) -> Option<Host> {
    // The trailing dot of the root does not change the host.
    match Host::parse(host.strip_suffix('.').unwrap_or(host)).ok()? {
        Host::Domain(name) if name.split('.').any(str::is_empty) => None,
        host => Some(host),
    }
}

/// The address of a host that is one.
#[must_use]
pub fn address(host: &Host) -> Option<IpAddr> {
    match host {
        Host::Ipv4(ip) => Some((*ip).into()),
        Host::Ipv6(ip) => Some((*ip).into()),
        Host::Domain(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(text: &str, host: &str, port: u16) -> Option<Reach> {
        let listed: TunnelHost = text.parse().unwrap_or_else(|_| panic!("{text}"));
        listed.reach(&canonical(host).unwrap(), port)
    }

    #[test]
    fn only_listed_hosts_and_ports_match_and_a_wildcard_reaches_least() {
        use Reach::{Listed, PrivateNetworks, Public};
        for (text, host, port, expected) in [
            ("api.example", "api.example", 443, Some(PrivateNetworks)),
            (
                "API.Example.:443",
                "api.EXAMPLE.",
                443,
                Some(PrivateNetworks),
            ),
            ("api.example", "api.example", 80, None),
            (
                "api.example:8443",
                "api.example",
                8443,
                Some(PrivateNetworks),
            ),
            ("api.example:8443", "api.example", 443, None),
            ("api.example", "xapi.example", 443, None),
            ("*.example", "a.b.example", 443, Some(Public)),
            ("*.example", "example", 443, None),
            ("*.example", "aexample", 443, None),
            ("*.example:8443", "a.example", 443, None),
            ("localhost:8443", "localhost", 8443, Some(Listed)),
            ("10.1.2.3:443", "10.1.2.3", 443, Some(Listed)),
            ("10.1.2.3", "0xa010203", 443, Some(Listed)),
            ("10.1.2.3", "10.1.2.4", 443, None),
            ("[::1]:8443", "[0::1]", 8443, Some(Listed)),
            ("10.1.2.3", "[::ffff:10.1.2.3]", 443, None),
        ] {
            assert_eq!(reach(text, host, port), expected, "{text} {host}:{port}");
        }
    }

    #[test]
    fn other_texts_are_no_hosts() {
        for text in [
            "",
            "*",
            "*.",
            "*.*.example",
            "a.*.example",
            "*.10.0.0.1",
            "a b",
            "u@a",
            "http://a",
            "a/b",
            "a:x",
            "a:0",
            "a:99999",
            ":443",
            "[::1",
            "::1",
            "a..b",
            ".a",
        ] {
            assert!(text.parse::<TunnelHost>().is_err(), "{text}");
        }
        let shown = |text: &str| text.parse::<TunnelHost>().unwrap().to_string();
        assert_eq!(shown("*.Example"), "*.example:443");
        assert_eq!(shown("[0::1]:8443"), "[::1]:8443");
    }
}
