//! Requests that return to the sidecar, as far as the configuration shows. Names are checked when
//! they are resolved.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use url::{Host, Url};

use super::resolver::Resolver;
use crate::config::address::ListenAddress;
use crate::config::tree::KeyPath;
use crate::domain::listen::Listen;

/// A listener, and the keys of its upstreams.
struct Listener {
    path: KeyPath,
    is_outbound: bool,
    listen: Option<Listen>,
    upstreams: Vec<KeyPath>,
}

/// Checks that no outbound listener or credential sends requests to an outbound listener, and that
/// no inbound listener gets its own requests again.
pub(super) fn check(resolver: &mut Resolver<'_>) {
    let listeners = listeners(resolver);
    let outbound = listeners.iter().filter(|listener| listener.is_outbound);
    let mut sources: Vec<KeyPath> = outbound
        .flat_map(|listener| listener.upstreams.iter().cloned())
        .collect();
    let credentials = KeyPath::root("credentials");
    for name in resolver.names("credentials") {
        sources.extend(["authority", "tokenUrl"].map(|key| credentials.key(name).key(key)));
    }
    for path in sources {
        let target = leads_to(resolver, &path, &listeners).find(|to| listeners[*to].is_outbound);
        if let Some(to) = target {
            let listener = &listeners[to].path;
            let message = format!("it leads back to this sidecar's own listener `{listener}`");
            resolver.error(&path, message);
        }
    }
    for index in (0..listeners.len()).filter(|index| !listeners[*index].is_outbound) {
        if let Some(path) = returning(resolver, &listeners, index) {
            let listener = &listeners[index].path;
            return resolver.error(&path, format!("requests would return to `{listener}`"));
        }
    }
}

/// The upstream by which requests of a listener return to it.
fn returning(resolver: &Resolver<'_>, listeners: &[Listener], index: usize) -> Option<KeyPath> {
    let mut reached = vec![index];
    let mut next = 0;
    while let Some(from) = reached.get(next).copied() {
        next += 1;
        for path in &listeners[from].upstreams {
            for to in leads_to(resolver, path, listeners) {
                if to == index {
                    return Some(path.clone());
                }
                if !reached.contains(&to) {
                    reached.push(to);
                }
            }
        }
    }
    None
}

fn listeners(resolver: &Resolver<'_>) -> Vec<Listener> {
    let mut found = Vec::new();
    for key in ["inbound", "outbound"] {
        for path in resolver.list(&KeyPath::root(key)) {
            let listen = resolver
                .text(&path.key("listen"))
                .and_then(|text| text.parse().ok());
            let targets = resolver.list(&path.key("forwardProxy").key("targets"));
            let of_targets = targets.iter().map(|target| target.key("upstream"));
            let named = resolver.keys(&path.key("upstreams"));
            let named = named.into_iter().map(|upstream| upstream.key("url"));
            found.push(Listener {
                is_outbound: key == "outbound",
                listen: listen.map(|ListenAddress(address)| address),
                upstreams: std::iter::once(path.key("upstream"))
                    .chain(named)
                    .chain(of_targets)
                    .collect(),
                path,
            });
        }
    }
    found
}

/// The listener that a URL certainly leads to.
pub(super) fn listener_at(resolver: &Resolver<'_>, url: &Url) -> Option<KeyPath> {
    let listeners = listeners(resolver);
    let found = leading_to(Some(url.clone()), &listeners).next();
    found
        .and_then(|index| listeners.into_iter().nth(index))
        .map(|listener| listener.path)
}

/// The listeners that a URL of the configuration certainly leads to.
fn leads_to<'l>(
    resolver: &Resolver<'_>,
    path: &KeyPath,
    listeners: &'l [Listener],
) -> impl Iterator<Item = usize> + use<'l> {
    let url = resolver.text(path).and_then(|text| {
        let rest = text.strip_prefix("h2c://");
        let http = rest.map(|rest| format!("http://{rest}"));
        Url::parse(http.as_deref().unwrap_or(text)).ok()
    });
    leading_to(url, listeners)
}

fn leading_to(url: Option<Url>, listeners: &[Listener]) -> impl Iterator<Item = usize> + use<'_> {
    let to = url.and_then(|url| Some((address_of(url.host())?, url.port_or_known_default()?)));
    let is_target = move |listener: &Listener| {
        let (Some(listen), Some((ip, port))) = (&listener.listen, to) else {
            return false;
        };
        let is_at = |listen: SocketAddr| {
            let is_same = listen.ip() == ip
                || ip.is_unspecified()
                || listen.ip().is_unspecified() && ip.is_loopback();
            listen.port() == port && is_same
        };
        // Port 0 is a free port.
        port != 0 && listen.addresses().any(is_at)
    };
    let targets = listeners
        .iter()
        .enumerate()
        .filter(move |(_, listener)| is_target(listener));
    targets.map(|(index, _)| index)
}

/// The address that a host certainly has.
fn address_of(host: Option<Host<&str>>) -> Option<IpAddr> {
    match host? {
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
        Host::Domain(name) if name.eq_ignore_ascii_case("localhost") => {
            Some(Ipv4Addr::LOCALHOST.into())
        }
        Host::Domain(_) => None,
    }
}
