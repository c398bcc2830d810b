//! Addresses in the configuration: of listeners, issuers, upstreams and other URLs.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::IpNet;
use url::{Host, Url};

use super::value::{WrongForm, require, text_value};
use crate::domain::host_pattern::HostPattern;
pub(super) use crate::domain::issuer_url::IssuerUrl;
use crate::domain::issuer_url::{SCHEME, http_url};
use crate::domain::listen::{Listen, UnixSocket};
use crate::domain::network::parse_network;
use crate::domain::no_proxy::Straight;
use crate::domain::tunnel_host::TunnelHost;
use crate::http_client::EgressProxy;

/// The longest path of a socket that the system takes, without its NUL.
const MAX_SOCKET_PATH: usize = 107;
const UPSTREAM_SCHEME: &str =
    "it must begin with `http://`, `https://`, `h2c://`, `unix:/` or `h2c+unix:/`";

#[derive(Clone, Debug, PartialEq, Eq)]
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
                "the IP address before the port is missing; `0.0.0.0` means all addresses",
            ));
        }
        if let Some(socket) = text.strip_prefix("unix:") {
            return unix_socket(socket).map(Listen::Unix).map(Self);
        }
        // Names are not resolved: the addresses of a listener must not depend on DNS.
        if let Some((host, port)) = text.split_once(':')
            && host.eq_ignore_ascii_case("localhost")
        {
            let port = port
                .parse()
                .map_err(|_| WrongForm("the port must be a number up to 65535"))?;
            return Ok(Self(Listen::Localhost(port)));
        }
        text.parse()
            .map(|address| Self(Listen::At(address)))
            .map_err(|_| WrongForm("it must be an IP address or `localhost`, `:` and a port"))
    }
}

/// The longest path of a listening socket: it is made under a longer name.
const MAX_LISTENING_PATH: usize = 100;

/// Reads `/path`, `,mode=0660`, `,owner=user:group` and `,allowedUids=user:user`.
fn unix_socket(text: &str) -> Result<UnixSocket, WrongForm> {
    let mut parts = text.split(',');
    let path = parts.next().unwrap_or_default();
    require(
        path.starts_with('/') && !path.ends_with('/'),
        "the path of the socket must begin with `/`: `unix:/run/m2m/api.sock`",
    )?;
    require(
        path.len() <= MAX_LISTENING_PATH,
        "the path of the socket must have at most 100 bytes",
    )?;
    let mut socket = UnixSocket {
        path: path.into(),
        mode: None,
        user: None,
        group: None,
        allowed_users: Vec::new(),
    };
    for part in parts {
        match part.split_once('=') {
            Some(("mode", mode)) => socket.mode = Some(file_mode(mode)?),
            Some(("owner", owner)) => {
                let (user, group) = owner.split_once(':').unwrap_or((owner, ""));
                let some = |name: &str| Some(name.to_owned()).filter(|name| !name.is_empty());
                (socket.user, socket.group) = (some(user), some(group));
            }
            Some(("allowedUids", users)) => {
                socket.allowed_users = users.split(':').map(str::to_owned).collect();
                require(
                    socket.allowed_users.iter().all(|user| !user.is_empty()),
                    "`allowedUids` must be numbers or names of users with `:` between them",
                )?;
            }
            _ => {
                let form = "behind the path only `,mode=0660`, `,owner=user:group` and \
                            `,allowedUids=user:user` may follow";
                return Err(WrongForm(form));
            }
        }
    }
    Ok(socket)
}

fn file_mode(text: &str) -> Result<u32, WrongForm> {
    let mode = u32::from_str_radix(text, 8).ok();
    let mode = mode.filter(|mode| *mode <= 0o777 && matches!(text.len(), 3 | 4));
    mode.ok_or(WrongForm("the mode must be octal, such as `0660`"))
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HttpUrl(pub Url);

text_value!(HttpUrl, "http-url", "an http or https URL");

impl FromStr for HttpUrl {
    type Err = WrongForm;

    fn from_str(text: &str) -> Result<Self, WrongForm> {
        http_url(text).map(Self)
    }
}

/// A proxy, without a password.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ProxyUrl(pub EgressProxy);

text_value!(
    ProxyUrl,
    "proxy-url",
    "the URL of a proxy such as `http://proxy.example:3128`"
);

impl FromStr for ProxyUrl {
    type Err = WrongForm;

    fn from_str(text: &str) -> Result<Self, WrongForm> {
        let proxy = EgressProxy::parse(text)?;
        require(
            !proxy.has_password(),
            "the configuration holds no secrets: remove the password, put it into a file, and set \
             `passwordFile`",
        )?;
        require(
            text.contains("://"),
            "it must begin with `http://` or `https://`",
        )?;
        Ok(Self(proxy))
    }
}

/// A host or network that is reached without a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StraightText(pub Straight);

text_value!(
    StraightText,
    "no-proxy",
    "a host such as `idp.example`, a network such as `10.0.0.0/8`, or `*`"
);

impl FromStr for StraightText {
    type Err = WrongForm;

    fn from_str(text: &str) -> Result<Self, WrongForm> {
        text.parse().map(Self)
    }
}

text_value!(IssuerUrl, "issuer-url", "an http or https URL");

/// An upstream: scheme, and host and port or a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UpstreamUrl {
    pub tls: bool,
    /// Whether it speaks HTTP/2 without TLS.
    pub h2c: bool,
    /// Name or IP address, without brackets; `localhost` for a socket.
    pub host: String,
    pub port: u16,
    pub socket: Option<PathBuf>,
}

text_value!(
    UpstreamUrl,
    "upstream-url",
    "an upstream such as `http://127.0.0.1:8080`, `h2c://127.0.0.1:8080` or `unix:/run/a.sock`"
);

impl FromStr for UpstreamUrl {
    type Err = WrongForm;

    fn from_str(text: &str) -> Result<Self, WrongForm> {
        for (scheme, h2c) in [("unix:", false), ("h2c+unix:", true)] {
            if let Some(path) = text.strip_prefix(scheme) {
                return Self::at_socket(path, h2c);
            }
        }
        let plain = text
            .strip_prefix("h2c://")
            .map(|rest| format!("http://{rest}"));
        let h2c = plain.is_some();
        let url = http_url(plain.as_deref().unwrap_or(text)).map_err(|why| match why {
            WrongForm(SCHEME) => WrongForm(UPSTREAM_SCHEME),
            other => other,
        })?;
        require(
            url.path() == "/" && url.query().is_none(),
            "remove path and query: requests keep their own",
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
            h2c,
            host,
            port,
            socket: None,
        })
    }
}

impl UpstreamUrl {
    fn at_socket(path: &str, h2c: bool) -> Result<Self, WrongForm> {
        require(
            path.starts_with('/') && !path.starts_with("//"),
            "behind `unix:` it must be the absolute path of a socket, such as `unix:/run/a.sock`",
        )?;
        require(
            path.len() <= MAX_SOCKET_PATH && !path.contains('\0'),
            "the path of a socket has at most 107 bytes",
        )?;
        Ok(Self {
            tls: false,
            h2c,
            host: "localhost".to_owned(),
            port: 80,
            socket: Some(path.into()),
        })
    }
}

/// A network of addresses, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Network(pub IpNet);

impl From<Network> for IpNet {
    fn from(network: Network) -> Self {
        network.0
    }
}

text_value!(
    Network,
    "network",
    "a network such as `10.0.0.0/8`, or an IP address"
);

impl FromStr for Network {
    type Err = WrongForm;

    fn from_str(text: &str) -> Result<Self, WrongForm> {
        parse_network(text).map(Self).map_err(WrongForm)
    }
}

/// A pattern of hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostPatternText(pub HostPattern);

text_value!(
    HostPatternText,
    "host-pattern",
    "a host such as `api.example`, `*.example` or `api.example:8443`"
);

impl FromStr for HostPatternText {
    type Err = WrongForm;

    fn from_str(text: &str) -> Result<Self, WrongForm> {
        text.parse().map(Self)
    }
}

/// The hosts of tunnels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TunnelText(pub TunnelHost);

text_value!(
    TunnelText,
    "tunnel-host",
    "a host such as `api.example`, `*.example:8443` or `10.1.2.3:443`"
);

impl FromStr for TunnelText {
    type Err = WrongForm;

    fn from_str(text: &str) -> Result<Self, WrongForm> {
        text.parse().map(Self)
    }
}

#[cfg(test)]
mod tests;
