//! Addresses as the configuration writes them: of listeners, issuers, upstreams and other URLs.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use url::{Host, Url};

use super::value::{WrongForm, require, text_value};
pub(super) use crate::domain::issuer_url::IssuerUrl;
use crate::domain::issuer_url::http_url;
use crate::domain::listen::Listen;

/// Where a listener binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ListenAddress(pub Listen);

text_value!(
    ListenAddress,
    "listen-address",
    "an address such as `127.0.0.1:8080`"
);

impl FromStr for ListenAddress {
    type Err = WrongForm;

    fn from_str(text: &str) -> Result<Self, WrongForm> {
        if text.starts_with(':') {
            return Err(WrongForm(
                "the IP address before the port is missing; `0.0.0.0` stands for every one",
            ));
        }
        // Names are not resolved: which addresses a listener is open on must not depend on DNS.
        if let Some((host, port)) = text.split_once(':')
            && host.eq_ignore_ascii_case("localhost")
        {
            let port = port
                .parse()
                .map_err(|_| WrongForm("the port is no number up to 65535"))?;
            return Ok(Self(Listen::Localhost(port)));
        }
        text.parse()
            .map(|address| Self(Listen::At(address)))
            .map_err(|_| WrongForm("it must be an IP address or `localhost`, `:` and a port"))
    }
}

/// An http or https URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HttpUrl(pub Url);

text_value!(HttpUrl, "http-url", "an http or https URL");

impl FromStr for HttpUrl {
    type Err = WrongForm;

    fn from_str(text: &str) -> Result<Self, WrongForm> {
        http_url(text).map(Self)
    }
}

text_value!(IssuerUrl, "issuer-url", "an http or https URL");

/// Where requests are sent on to: scheme, host and port, and no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UpstreamUrl {
    /// Whether to speak TLS.
    pub tls: bool,
    /// Name or IP address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

text_value!(
    UpstreamUrl,
    "upstream-url",
    "an upstream such as `http://127.0.0.1:8080`"
);

impl FromStr for UpstreamUrl {
    type Err = WrongForm;

    fn from_str(text: &str) -> Result<Self, WrongForm> {
        let url = http_url(text)?;
        require(
            url.path() == "/" && url.query().is_none(),
            "a path or query cannot stand in it: requests keep their own",
        )?;
        let host = match url.host() {
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(address)) => IpAddr::from(address).to_string(),
            Some(Host::Ipv6(address)) => IpAddr::from(address).to_string(),
            None => return Err(WrongForm("the host is missing")),
        };
        let port = url.port_or_known_default().filter(|port| *port != 0);
        let port = port.ok_or(WrongForm("the port must not be 0"))?;
        Ok(Self {
            tls: url.scheme() == "https",
            host,
            port,
        })
    }
}

/// A network of addresses, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Network(pub IpNet);

text_value!(
    Network,
    "network",
    "a network such as `10.0.0.0/8`, or an IP address"
);

impl FromStr for Network {
    type Err = WrongForm;

    fn from_str(text: &str) -> Result<Self, WrongForm> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(address.into()));
        }
        let network = text.parse::<IpNet>();
        let network =
            network.map_err(|_| WrongForm("it must be an IP address, `/` and a number of bits"))?;
        // Whoever writes `10.1.2.3/8` may have meant one machine or sixteen million.
        require(
            network.addr() == network.network(),
            "the address has bits beyond the network's",
        )?;
        Ok(Self(network))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts<T: FromStr>(texts: &[&str]) {
        for text in texts {
            assert!(text.parse::<T>().is_ok(), "{text:?}");
        }
    }

    fn refuses<T: FromStr>(texts: &[&str]) {
        for text in texts {
            assert!(text.parse::<T>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn listen_addresses_are_literal_or_localhost() {
        for (text, expected) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("[::1]:0", "[::1]:0"),
            ("localhost:9", "localhost:9"),
            ("LocalHost:0", "localhost:0"),
            ("0.0.0.0:65535", "0.0.0.0:65535"),
        ] {
            assert_eq!(
                text.parse::<ListenAddress>().unwrap().0.to_string(),
                expected
            );
        }
        for text in [
            "",
            ":80",
            "example.com:80",
            "127.0.0.1",
            "localhost",
            "localhost:",
            "localhost:65536",
            "::1:80",
            "http://127.0.0.1:80",
        ] {
            assert!(text.parse::<ListenAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn urls_carry_no_credentials() {
        accepts::<HttpUrl>(&["http://a", "https://a:1/b?c=d", "http://[::1]:9/x"]);
        refuses::<HttpUrl>(&[
            "",
            "a",
            "/a",
            "ftp://a",
            "http://",
            "http://u@a",
            "http://u:p@a",
            "http://a/#f",
            "unix:/x",
        ]);
    }

    #[test]
    fn networks_are_addresses_with_a_length() {
        accepts::<Network>(&[
            "10.0.0.0/8",
            "10.1.2.3",
            "10.1.2.3/32",
            "::1",
            "fd00::/8",
            "0.0.0.0/0",
        ]);
        refuses::<Network>(&[
            "",
            "10.1.2.3/8",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10/8",
            "a.example",
            "fd00::1/8",
        ]);
    }

    #[test]
    fn upstreams_are_scheme_host_and_port() {
        let upstream = |text: &str| text.parse::<UpstreamUrl>().unwrap();
        assert_eq!(
            upstream("http://a"),
            UpstreamUrl {
                tls: false,
                host: "a".into(),
                port: 80
            }
        );
        assert_eq!(
            upstream("https://a/"),
            UpstreamUrl {
                tls: true,
                host: "a".into(),
                port: 443
            }
        );
        assert_eq!(
            upstream("http://[::1]:9"),
            UpstreamUrl {
                tls: false,
                host: "::1".into(),
                port: 9
            }
        );
        refuses::<UpstreamUrl>(&[
            "a:80",
            "http://a/b",
            "http://a?b",
            "http://u@a",
            "http://a:0",
            "http://a:99999",
            "ws://a",
        ]);
    }
}
