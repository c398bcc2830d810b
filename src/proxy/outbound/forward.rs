//! A forward proxy for programs that support only `HTTP_PROXY`: matches URLs to targets.
//!
//! The program sends whole URLs (absolute form, RFC 9112 §3.2.2), always `http://`, because no
//! token can be attached inside a CONNECT tunnel. The matching target defines the real destination
//! and its use of TLS. A request without a matching target gets no token; it is refused or passes
//! to public addresses only.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::header;
use pingora::http::RequestHeader;
use url::Host;

use super::{ForwardTarget, Refused};
use crate::domain::path::NormalPath;
use crate::domain::pattern::Pattern;
use crate::domain::reason::Reason;
use crate::proxy::fault::Fault;
use crate::proxy::head;

const NO_URL: &str = "This listener is an HTTP proxy and takes whole URLs: set http_proxy to its \
    address, or give the program a listener of its own with an upstream.";
const NOT_HTTP: &str =
    "This port accepts only http:// URLs; the sidecar itself uses https to the target.";
const AUTHORITY: &str = "the URL has no valid host and port";
const NO_TARGET: &str = "None of the forward proxy's targets has this host and port.";
const NO_PATH: &str = "The forward proxy's target does not allow this path.";

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
        let ip: IpAddr = match self.host {
            Host::Ipv4(ip) => ip.into(),
            Host::Ipv6(ip) => ip.into(),
            Host::Domain(_) => return None,
        };
        Some(SocketAddr::new(ip, self.port))
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
) -> Result<Routed, Refused> {
    let target = request.raw_path();
    let has_scheme = |scheme: &[u8]| {
        target
            .get(..scheme.len())
            .is_some_and(|s| s.eq_ignore_ascii_case(scheme))
    };
    if target.starts_with(b"/") {
        return Err(Refused::because(Reason::Destination, NO_URL));
    }
    if !has_scheme(b"http://") {
        return Err(Refused::because(Reason::Destination, NOT_HTTP));
    }
    // `framing` has already copied the URL's authority into `Host`.
    let authority = request
        .headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let (host, port) = authority
        .and_then(host_and_port)
        .ok_or_else(|| Fault::malformed(AUTHORITY))?;
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

/// Host and port of an `http` URL's authority, with the host in canonical form. Otherwise an
/// address in decimal or hexadecimal, or a name in capitals or percent-encoded, would be a
/// different host here than for the resolver.
fn host_and_port(authority: &str) -> Option<(Host, u16)> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (authority, ""),
    };
    let port = match port {
        "" => 80,
        port => port.parse().ok().filter(|port| *port != 0)?,
    };
    canonical(host).map(|host| (host, port))
}

/// A host without a port; IPv6 addresses without brackets.
fn named(host: &str) -> Option<Host> {
    host.parse::<Ipv6Addr>()
        .map(Host::Ipv6)
        .ok()
        .or_else(|| canonical(host))
}

/// A host as in a URL; IPv6 addresses in brackets.
fn canonical(host: &str) -> Option<Host> {
    // The trailing dot of the root does not change the host.
    match Host::parse(host.strip_suffix('.').unwrap_or(host)).ok()? {
        Host::Domain(name) if name.split('.').any(str::is_empty) => None,
        host => Some(host),
    }
}

#[cfg(test)]
mod tests;
