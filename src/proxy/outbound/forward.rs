//! A forward proxy for programs that support only `HTTP_PROXY`: matches URLs to targets.
//!
//! The program sends whole URLs (absolute form, RFC 9112 §3.2.2), always `http://`, because no
//! token can be attached to TLS; or paths inside a tunnel to a target (`tunnels`). The matching
//! target defines the real destination and its use of TLS. A request without a matching target gets
//! no token; it is refused or passes to public addresses only.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use http::header;
use pingora::http::RequestHeader;
use url::Host;

use super::target_addresses::Names;
use super::{ForwardTarget, Refused};
use crate::domain::path::NormalPath;
use crate::domain::pattern::Pattern;
use crate::domain::reason::Reason;
use crate::domain::tunnel_host::{self, TunnelHost, canonical};
use crate::proxy::anywhere::Anywhere;
use crate::proxy::connection::Way;
use crate::proxy::fault::Fault;
use crate::proxy::head;

const NO_URL: &str = "This listener is an HTTP proxy and takes whole URLs: set http_proxy to its \
    address, or give the program a listener of its own with an upstream.";
const NOT_HTTP: &str =
    "This port accepts only http:// URLs; the sidecar itself uses https to the target.";
const AUTHORITY: &str = "the URL has no valid host and port";
const NO_TARGET: &str = "None of the forward proxy's targets has this host and port.";
const NO_PROXY: &str = "The connection was redirected, so it takes requests for its own \
    destination only, not whole URLs.";
const OTHER_PORT: &str = "The request names another port than its connection was opened to.";
const OTHER_HOST: &str = "The tunnel was opened to another host or port than the request names.";
const NO_PATH: &str = "The forward proxy's target does not allow this path.";

/// A forward proxy.
pub(super) struct Forward {
    pub targets: Vec<Urls>,
    /// The hosts to which tunnels without a token may be opened.
    pub tunnels: Vec<TunnelHost>,
    /// Whether requests for other destinations pass without a token.
    pub passes: bool,
    /// Whether it takes redirected connections only.
    pub is_transparent: bool,
    /// The addresses of the targets' names, for redirected connections.
    pub names: Names,
    /// Connects to destinations without a token; `None` if there are none.
    pub anywhere: Option<Arc<Anywhere>>,
}

/// The URLs of one target.
pub(super) struct Urls {
    pub host: Host,
    pub port: u16,
    /// `None`: every path.
    pub paths: Option<Vec<Pattern>>,
}

impl Urls {
    /// The URLs of a configured target.
    pub fn of(target: &ForwardTarget) -> Self {
        let host = target.host.as_str();
        // A name that is invalid in URLs is never requested.
        let host = named(host).unwrap_or_else(|| Host::Domain(host.to_owned()));
        Self {
            host,
            port: target.port,
            paths: target.paths.clone(),
        }
    }

    /// The address of the URLs, if their host is an address.
    pub fn address(&self) -> Option<SocketAddr> {
        tunnel_host::address(&self.host).map(|ip| SocketAddr::new(ip, self.port))
    }
}

/// The destination of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Routed {
    /// A target, and the checked path.
    Target(usize, Option<String>),
    /// Another host and port, without a token.
    Elsewhere(Host, u16),
}

/// Finds the target of a request's URL. With `pass_through`, a request without a target goes to the
/// URL's own host.
pub(super) fn route(
    targets: &[Urls],
    pass_through: bool,
    request: &RequestHeader,
    way: &Way,
) -> Result<Routed, Refused> {
    let (host, port) = called(request, way)?;
    let (path, _) = head::target(request)?;
    let mut is_known = false;
    for (index, urls) in targets.iter().enumerate() {
        if urls.port != port || urls.host != host {
            continue;
        }
        is_known = true;
        let Some(patterns) = &urls.paths else {
            return Ok(Routed::Target(index, None));
        };
        let path = NormalPath::parse(path)
            .map_err(|why| Fault::because(Reason::AmbiguousPath, why.text()))?;
        if patterns.iter().any(|pattern| pattern.matches(&path)) {
            // The checked path is the one that is sent.
            return Ok(Routed::Target(index, Some(path.as_str().to_owned())));
        }
    }
    match is_known {
        // A host with a path list has no other way around that list.
        true => Err(Refused::because(Reason::Destination, NO_PATH)),
        false if pass_through => Ok(Routed::Elsewhere(host, port)),
        false => Err(Refused::because(Reason::Destination, NO_TARGET)),
    }
}

/// Host and port that a request names.
fn called(request: &RequestHeader, way: &Way) -> Result<(Host, u16), Refused> {
    let target = request.raw_path();
    let is_url = |scheme: &[u8]| {
        let begin = target.get(..scheme.len());
        begin.is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
    };
    let is_path = target.starts_with(b"/");
    let refused = |text| Err(Refused::because(Reason::Destination, text));
    match (is_path, way) {
        (true, Way::Direct) => return refused(NO_URL),
        (false, Way::Redirected(_)) => return refused(NO_PROXY),
        (false, _) if !is_url(b"http://") => return refused(NOT_HTTP),
        _ => {}
    }
    // `framing` has already copied the URL's authority into `Host`.
    let authority = request
        .headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let opened = match way {
        Way::Direct => None,
        Way::Tunnel(to) => host_and_port(to, 80),
        Way::Redirected(to) => Some((host_of(to.ip()), to.port())),
    };
    let port = opened.as_ref().map_or(80, |(_, port)| *port);
    let named = match authority {
        Some(authority) => host_and_port(authority, port),
        // An HTTP/1.0 client may omit `Host`.
        None => opened.clone(),
    };
    let named = named.ok_or_else(|| Fault::malformed(AUTHORITY))?;
    match (way, opened) {
        (Way::Tunnel(_), Some(opened)) if opened != named => refused(OTHER_HOST),
        (Way::Redirected(_), Some((_, port))) if port != named.1 => refused(OTHER_PORT),
        _ => Ok(named),
    }
}

/// Host and port of an authority, which has this port if it names none, with the host in canonical
/// form. Otherwise an address in decimal or hexadecimal, or a name in capitals or percent-encoded,
/// would be a different host here than for the resolver.
pub(super) fn host_and_port(authority: &str, default: u16) -> Option<(Host, u16)> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (authority, ""),
    };
    let port = match port {
        "" => default,
        port => port.parse().ok().filter(|port| *port != 0)?,
    };
    canonical(host).map(|host| (host, port))
}

fn host_of(ip: IpAddr) -> Host {
    match ip {
        IpAddr::V4(ip) => Host::Ipv4(ip),
        IpAddr::V6(ip) => Host::Ipv6(ip),
    }
}

/// A host without a port; IPv6 addresses without brackets.
fn named(host: &str) -> Option<Host> {
    host.parse::<Ipv6Addr>()
        .map(Host::Ipv6)
        .ok()
        .or_else(|| canonical(host))
}

#[cfg(test)]
mod tests;
