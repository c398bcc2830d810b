//! The hosts that are reached without a proxy (`NO_PROXY`), as curl and Go read them.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use url::Host;

use super::form::{WrongForm, require};

/// One host or network that is reached without a proxy: `idp.example` (with the names below it),
/// `.example`, `*.example`, `10.0.0.0/8`, `192.0.2.1`, `[::1]:8443` or `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Straight {
    text: String,
    hosts: Hosts,
    /// `None`: any port.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    All,
    Network(IpNet),
    /// A name in small letters, and all names below it.
    Name(String),
}

impl FromStr for Straight {
    type Err = WrongForm;

    fn from_str(text: &str) -> Result<Self, WrongForm> {
        let text = text.trim();
        require(!text.is_empty(), "the host is missing")?;
        let (hosts, port) = match text.parse::<IpNet>() {
            Ok(network) => (Hosts::Network(network), None),
            Err(_) => parse_host(text)?,
        };
        Ok(Self {
            text: text.to_owned(),
            hosts,
            port,
        })
    }
}

fn parse_host(text: &str) -> Result<(Hosts, Option<u16>), WrongForm> {
    let address = text.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = address.parse::<IpAddr>() {
        return Ok((Hosts::Network(address.into()), None));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (
            host,
            Some(
                port.parse()
                    .map_err(|_| WrongForm("the port must be a number up to 65535"))?,
            ),
        ),
        None => (text, None),
    };
    if host == "*" {
        return Ok((Hosts::All, port));
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok((Hosts::Network(address.into()), port));
    }
    let name = host.strip_prefix('*').unwrap_or(host);
    let name = name.strip_prefix('.').unwrap_or(name);
    let name = name.strip_suffix('.').unwrap_or(name);
    require(
        !name.is_empty() && !name.starts_with('.') && !name.contains(['*', '/', '@', ' ', ',']),
        "it must be a name, an IP address, a network such as `10.0.0.0/8`, or `*`",
    )?;
    match Host::parse(name) {
        Ok(Host::Domain(name)) => Ok((Hosts::Name(name), port)),
        _ => Err(WrongForm("it is not a host name or an IP address")),
    }
}

impl Straight {
    /// The text that it was made of.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a host (in small letters, an IPv6 address without brackets) and port are meant.
    #[must_use]
    pub fn covers(&self, host: &str, port: u16) -> bool {
        let is_port = self.port.is_none_or(|own| own == port);
        is_port
            && match &self.hosts {
                Hosts::All => true,
                Hosts::Network(network) => host
                    .parse::<IpAddr>()
                    .is_ok_and(|address| network.contains(&address.to_canonical())),
                Hosts::Name(name) => host
                    .strip_suffix('.')
                    .unwrap_or(host)
                    .strip_suffix(name.as_str())
                    .is_some_and(|before| before.is_empty() || before.ends_with('.')),
            }
    }
}

/// The entries of a variable `NO_PROXY`: separated by commas or spaces. An entry that is no host
/// is left out, as curl and Go do.
#[must_use]
pub fn entries(text: &str) -> Vec<Straight> {
    text.split([',', ' ', '\t'])
        .filter_map(|entry| entry.parse().ok())
        .collect()
}

/// Whether no proxy is ever used for a host: this machine, and link-local addresses, where clouds
/// answer their virtual machines.
#[must_use]
pub fn is_always_straight(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V4(address)) => {
            address.is_loopback() || address.is_link_local() || address.is_unspecified()
        }
        Ok(IpAddr::V6(address)) => {
            address.is_loopback() || address.is_unicast_link_local() || address.is_unspecified()
        }
        Err(_) => {
            let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
            name == "localhost" || name.ends_with(".localhost")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_cover_hosts_as_in_curl_and_go() {
        for (entry, host, port, expected) in [
            ("example", "example", 443, true),
            ("Example", "idp.example", 443, true),
            ("example", "notexample", 443, false),
            (".example", "example", 443, true),
            (".example", "a.b.example", 443, true),
            ("*.example", "a.example", 443, true),
            ("example.", "a.example.", 443, true),
            ("example:8443", "a.example", 8443, true),
            ("example:8443", "a.example", 443, false),
            ("10.0.0.0/8", "10.1.2.3", 443, true),
            ("10.0.0.0/8", "::ffff:10.1.2.3", 443, true),
            ("10.0.0.0/8", "11.1.2.3", 443, false),
            ("10.0.0.0/8", "ten.example", 443, false),
            ("192.0.2.1", "192.0.2.1", 1, true),
            ("192.0.2.1:80", "192.0.2.1", 443, false),
            ("2001:db8::/32", "2001:db8::1", 443, true),
            ("2001:db8::1", "2001:db8::1", 443, true),
            ("[2001:db8::1]:80", "2001:db8::1", 80, true),
            ("[2001:db8::1]:80", "2001:db8::1", 443, false),
            ("*", "anything", 443, true),
            ("*:80", "anything", 443, false),
        ] {
            let straight: Straight = entry.parse().unwrap();
            assert_eq!(
                straight.covers(host, port),
                expected,
                "{entry} {host}:{port}"
            );
        }
    }

    #[test]
    fn other_texts_are_no_entries() {
        for text in [
            "",
            " ",
            ".",
            "*.",
            "a*b",
            "https://a.example",
            "a/b",
            "a:x",
            "a@b",
            "10.0.0.0/99",
        ] {
            assert!(text.parse::<Straight>().is_err(), "{text}");
        }
        let found = entries(" a.example, ,https://b.example,c.example\t*:1 ");
        let found: Vec<_> = found.iter().map(Straight::as_str).collect();
        assert_eq!(found, ["a.example", "c.example", "*:1"]);
    }

    #[test]
    fn this_machine_and_its_link_are_always_straight() {
        for host in [
            "localhost",
            "LOCALHOST.",
            "a.localhost",
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "[::1]",
            "169.254.169.254",
            "fe80::1",
            "0.0.0.0",
            "::",
            "::ffff:127.0.0.1",
        ] {
            assert!(is_always_straight(host), "{host}");
        }
        for host in [
            "10.0.0.1",
            "localhost.example",
            "notlocalhost",
            "2001:db8::1",
            "a.example",
        ] {
            assert!(!is_always_straight(host), "{host}");
        }
    }
}
