//! What is judged across all listeners: names and addresses.

use std::net::SocketAddr;

use super::{Resolver, loops};
use crate::config::address::ListenAddress;
use crate::config::tree::{KeyPath, Node};
use crate::domain::listen::Listen;

/// No two listeners share a name or an address. Read from the tree, so that a listener with other
/// errors counts too.
pub(super) fn check(resolver: &mut Resolver<'_>) {
    let mut listeners = Vec::new();
    for key in ["inbound", "outbound"] {
        let list = KeyPath::root(key);
        let count = resolver.tree.find(&list).map_or(0, Node::list_len);
        listeners.extend((0..count).map(|i| list.index(i)));
    }
    names(resolver, &listeners);
    let mut all: Vec<_> = ["probes", "admin", "issuer", "localApi"]
        .map(KeyPath::root)
        .into();
    all.extend(listeners);
    addresses(resolver, &all);
    loops::check(resolver);
}

fn names(resolver: &mut Resolver<'_>, listeners: &[KeyPath]) {
    let mut seen: Vec<(String, KeyPath)> = Vec::new();
    for path in listeners.iter().map(|listener| listener.key("name")) {
        let Some(name) = resolver.text(&path) else {
            continue;
        };
        if let Some((_, first)) = seen.iter().find(|(other, _)| other == name) {
            resolver
                .findings
                .error(&path, format!("this name is already taken by `{first}`"));
        } else {
            seen.push((name.to_owned(), path));
        }
    }
}

fn addresses(resolver: &mut Resolver<'_>, listeners: &[KeyPath]) {
    let mut seen: Vec<(Listen, KeyPath)> = Vec::new();
    for path in listeners.iter().map(|listener| listener.key("listen")) {
        let Some(Ok(ListenAddress(address))) = resolver.text(&path).map(str::parse) else {
            continue;
        };
        if let Some((_, first)) = seen.iter().find(|(other, _)| any_collide(*other, address)) {
            resolver
                .findings
                .error(&path, format!("this address is already taken by `{first}`"));
        } else {
            seen.push((address, path));
        }
    }
}

fn any_collide(a: Listen, b: Listen) -> bool {
    a.addresses().any(|a| b.addresses().any(|b| collide(a, b)))
}

/// Whether binding one address makes binding the other fail. Port 0 is a free port each time.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let every = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port()
        && a.port() != 0
        && (a.ip() == b.ip() || every && a.is_ipv4() == b.is_ipv4())
}
