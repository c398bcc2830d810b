//! Requests that would come back: what can be seen of it in the configuration. What a name leads to
//! is seen when it is resolved.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use url::{Host, Url};

use super::Resolver;
use crate::config::address::ListenAddress;
use crate::config::tree::{KeyPath, Node};
use crate::domain::listen::Listen;

/// A listener, and where it sends requests to.
struct Listener {
    path: KeyPath,
    is_outbound: bool,
    listen: Option<Listen>,
    upstreams: Vec<KeyPath>,
}

/// No outbound listener sends to one of them, nothing is fetched through one, and no inbound
/// listener is reached again by what it sends on.
pub(super) fn check(resolver: &mut Resolver<'_>) {
    let listeners = listeners(resolver);
    let mut found = Vec::new();
    for listener in listeners.iter().filter(|listener| listener.is_outbound) {
        found.extend(listener.upstreams.iter().cloned());
    }
    let credentials = KeyPath::root("credentials");
    for name in resolver.names("credentials") {
        found.extend(["authority", "tokenUrl"].map(|key| credentials.key(name).key(key)));
    }
    for path in found {
        let is_outbound = |to: &usize| listeners[*to].is_outbound;
        if let Some(to) = leads_to(resolver, &path, &listeners).find(is_outbound) {
            let message = format!(
                "it leads back to this sidecar's own listener `{}`",
                listeners[to].path
            );
            resolver.findings.error(&path, message);
        }
    }
    for (index, listener) in listeners
        .iter()
        .enumerate()
        .filter(|(_, listener)| !listener.is_outbound)
    {
        let mut reached = vec![index];
        let mut next = 0;
        while let Some(from) = reached.get(next).copied() {
            next += 1;
            for path in &listeners[from].upstreams {
                for to in leads_to(resolver, path, &listeners).collect::<Vec<_>>() {
                    if to == index {
                        let message = format!("requests would come back to `{}`", listener.path);
                        resolver.findings.error(path, message);
                        return;
                    }
                    if !reached.contains(&to) {
                        reached.push(to);
                    }
                }
            }
        }
    }
}

fn listeners(resolver: &Resolver<'_>) -> Vec<Listener> {
    let count = |list: &KeyPath| resolver.tree.find(list).map_or(0, Node::list_len);
    let mut found = Vec::new();
    for key in ["inbound", "outbound"] {
        let list = KeyPath::root(key);
        for path in (0..count(&list)).map(|i| list.index(i)) {
            let listen = resolver
                .text(&path.key("listen"))
                .and_then(|text| text.parse().ok());
            let targets = path.key("forwardProxy").key("targets");
            let of_targets = (0..count(&targets)).map(|i| targets.index(i).key("upstream"));
            let upstreams = [path.key("upstream")]
                .into_iter()
                .chain(of_targets)
                .collect();
            let listen = listen.map(|ListenAddress(address)| address);
            found.push(Listener {
                path,
                is_outbound: key == "outbound",
                listen,
                upstreams,
            });
        }
    }
    found
}

/// The listeners that a URL of the configuration leads to for certain.
fn leads_to<'l>(
    resolver: &Resolver<'_>,
    path: &KeyPath,
    listeners: &'l [Listener],
) -> impl Iterator<Item = usize> + use<'l> {
    let url = resolver.text(path).and_then(|text| Url::parse(text).ok());
    let to = url.and_then(|url| Some((address_of(url.host())?, url.port_or_known_default()?)));
    let is_there = move |listener: &&Listener| {
        let (Some(listen), Some((ip, port))) = (listener.listen, to) else {
            return false;
        };
        let is_at = |listen: SocketAddr| {
            let here = listen.ip() == ip
                || ip.is_unspecified()
                || listen.ip().is_unspecified() && ip.is_loopback();
            listen.port() == port && here
        };
        // Port 0 is whatever is free.
        port != 0 && listen.addresses().any(is_at)
    };
    listeners
        .iter()
        .enumerate()
        .filter(move |(_, listener)| is_there(listener))
        .map(|(index, _)| index)
}

/// The address that a host is for certain.
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
