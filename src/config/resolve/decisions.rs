//! Listeners that decide for a proxy.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::inbound;
use super::resolver::Resolver;
use crate::config::raw;
use crate::config::tree::KeyPath;
use crate::domain::settings::{OriginalRequest, TokenLocation};
use crate::proxy::decisions::{Config, Peers};
use crate::verifier::AuthorityConfig;

/// Resolves an item of `decisions`.
pub(super) fn resolve(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    mut raw: raw::Decisions,
    authorities: &[AuthorityConfig],
) -> Option<Config> {
    let from = raw.from;
    if from != OriginalRequest::Request && raw.path_prefix.is_some() {
        let message = "it is for `from: request` only: in the other forms a header has the path";
        resolver.error(&path.key("pathPrefix"), message);
    }
    check_locations(resolver, path, &raw.token_locations);
    check_rules(resolver, &path.key("rules"), &raw.rules);
    if raw
        .limits
        .as_ref()
        .is_some_and(|it| it.concurrent.is_some())
    {
        let message = "a question ends before the request that it is about: use \
                       `requestsPerSecond`, or let the proxy limit concurrent requests";
        resolver.error(&path.key("limits").key("concurrent"), message);
    }
    let path_prefix = raw.path_prefix.take().map(|prefix| prefix.0);
    let named = raw.trusted_proxies.take();
    let peers = Peers {
        by_certificate: named.is_none(),
        networks: named.map_or_else(loopback, |named| {
            named.into_iter().map(Into::into).collect()
        }),
    };
    let listener = raw.into_inbound();
    let without_service = Some(Vec::new());
    let mut listener = inbound::resolve_checks(
        resolver,
        path,
        listener,
        without_service,
        (authorities, None),
    )?;
    listener.trusted_proxies.clone_from(&peers.networks);
    Some(Config {
        listener,
        from,
        path_prefix: path_prefix.unwrap_or_default(),
        peers,
    })
}

/// The addresses of this machine.
fn loopback() -> Vec<IpNet> {
    let v4 = Ipv4Net::new(Ipv4Addr::new(127, 0, 0, 0), 8).map(IpNet::from);
    let v6 = Ipv6Net::new(Ipv6Addr::LOCALHOST, 128).map(IpNet::from);
    [v4, v6].into_iter().flatten().collect()
}

fn check_locations(resolver: &mut Resolver<'_>, path: &KeyPath, locations: &[TokenLocation]) {
    for (index, location) in locations.iter().enumerate() {
        use TokenLocation::{WebsocketCookie, WebsocketSubprotocol};
        if matches!(location, WebsocketCookie | WebsocketSubprotocol) {
            let message = "a proxy does not pass the handshake of a WebSocket to the listener that \
                           decides: use `authorization`, or `inbound` for WebSockets of browsers";
            resolver.error(&path.key("tokenLocations").index(index), message);
        }
    }
}

/// Refuses the keys of rules that are about a service.
fn check_rules(resolver: &mut Resolver<'_>, path: &KeyPath, rules: &[raw::Rule]) {
    for (index, rule) in rules.iter().enumerate() {
        let keys = [
            ("upstream", rule.upstream.is_some()),
            ("stripPrefix", rule.strip_prefix.is_some()),
            ("timeout", rule.timeout.is_some()),
        ];
        for (key, _) in keys.into_iter().filter(|(_, is_set)| *is_set) {
            let message = "a listener of `decisions` forwards nothing: the proxy that asks has the \
                           service, so set it up there";
            resolver.error(&path.index(index).key(key), message);
        }
    }
}
