//! Checks across all listeners: unique names and addresses.

use std::net::SocketAddr;

use super::loops;
use super::resolver::Resolver;
use crate::config::address::ListenAddress;
use crate::config::tree::KeyPath;
use crate::domain::listen::Listen;

/// Checks that no two listeners share a name or an address. It reads the tree, so that listeners
/// with other errors count too.
pub(super) fn check(resolver: &mut Resolver<'_>) {
    let mut listeners = resolver.list(&KeyPath::root("inbound"));
    listeners.extend(resolver.list(&KeyPath::root("decisions")));
    listeners.extend(resolver.list(&KeyPath::root("outbound")));
    check_names(resolver, &listeners);
    let own = ["probes", "admin", "issuer", "localApi"].map(KeyPath::root);
    check_addresses(resolver, own.iter().chain(&listeners));
    loops::check(resolver);
}

fn check_names(resolver: &mut Resolver<'_>, listeners: &[KeyPath]) {
    let mut seen: Vec<(&str, KeyPath)> = Vec::new();
    for path in listeners.iter().map(|listener| listener.key("name")) {
        let Some(name) = resolver.text(&path) else {
            continue;
        };
        if let Some((_, first)) = seen.iter().find(|(other, _)| *other == name) {
            resolver.error(&path, format!("this name is already used by `{first}`"));
        } else {
            seen.push((name, path));
        }
    }
}

fn check_addresses<'p>(resolver: &mut Resolver<'_>, listeners: impl Iterator<Item = &'p KeyPath>) {
    let mut seen: Vec<(Listen, KeyPath)> = Vec::new();
    for path in listeners.map(|listener| listener.key("listen")) {
        let Some(Ok(ListenAddress(address))) = resolver.text(&path).map(str::parse) else {
            continue;
        };
        if let Some((_, first)) = seen.iter().find(|(other, _)| any_collide(other, &address)) {
            resolver.error(&path, format!("this address is already used by `{first}`"));
        } else {
            seen.push((address, path));
        }
    }
}

fn any_collide(a: &Listen, b: &Listen) -> bool {
    if let (Some(a), Some(b)) = (a.unix(), b.unix()) {
        return a.path == b.path;
    }
    a.addresses().any(|a| b.addresses().any(|b| collide(a, b)))
}

/// Whether binding one address prevents binding the other. Port 0 is a free port each time.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let is_wildcard = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port()
        && a.port() != 0
        && (a.ip() == b.ip() || is_wildcard && a.is_ipv4() == b.is_ipv4())
}
