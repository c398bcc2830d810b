//! Outbound listeners, and the API for programs that attach tokens themselves.

use super::connections::is_this_machine;
use super::resolver::Resolver;
use super::{throttle, websocket};
use crate::config::name::StatusAndError;
use crate::config::tree::KeyPath;
use crate::config::{OwnListener, address, raw};
use crate::domain::host::{host_name, is_beyond_dns};
use crate::domain::pattern::Pattern;
use crate::domain::tunnel_host::{TunnelHost, canonical};
use crate::http_client::Egress;
use crate::proxy::outbound::{self, ForwardTarget, Target, TokenRefusal};
use crate::token_source;
use crate::verifier::Audiences;

/// Resolves an item of `outbound`.
pub(super) fn resolve(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    mut raw: raw::Outbound,
) -> Option<outbound::Config> {
    check_exposure(resolver, path, &raw);
    if raw.transparent {
        check_transparent(resolver, path, &raw);
    }
    let egress = resolver.listener_egress(path, raw.egress_proxy.take());
    let client_timeouts = resolver.client_timeouts(path, raw.keep_alive, raw.downstream_timeouts);
    let pages = pages(&mut raw);
    let throttle = throttle::resolve(resolver, path, raw.throttle.take());
    resolver.check_prefix(&path.key("prefix"), &raw.prefix.0);
    check_query(resolver, path, &raw);
    let attach = outbound::Attach {
        header: raw.header.0.clone(),
        websocket_cookie: raw.upstream_authorization.take().map(|it| it.cookie.0),
        prefix: raw.prefix.0.clone(),
        query: raw.query.take().map(Into::into),
        retry_on: if raw.retry_unauthorized {
            std::mem::take(&mut raw.retry_on)
                .into_iter()
                .map(Into::into)
                .collect()
        } else {
            Vec::new()
        },
    };
    let tls = resolver.server_tls(path, raw.tls.take());
    let max_connections = resolver.max_connections(path, raw.max_connections);
    let websocket_idle = websocket::idle(resolver, path, raw.ws_idle);
    let (settings, name) = (raw.settings, raw.name.0.clone());
    let (listen, allow_remote) = (raw.listen.0.clone(), raw.allow_remote);
    let kind = kind(resolver, path, raw)?;
    Some(outbound::Config {
        listen,
        allow_remote,
        tls,
        client_timeouts,
        max_connections,
        pages,
        attach,
        throttle,
        settings,
        websocket_idle,
        name,
        kind: through(resolver, path, &egress, kind),
    })
}

fn check_exposure(resolver: &mut Resolver<'_>, path: &KeyPath, raw: &raw::Outbound) {
    if !raw.listen.0.is_local() && !raw.allow_remote {
        let message = "other machines can reach this address and use the credential: listen on \
                       loopback, or set `allowRemote: true`";
        resolver.error(&path.key("listen"), message);
    }
    let is_named = raw
        .hosts
        .iter()
        .any(|host| !is_beyond_dns(host_name(&host.0)));
    if (is_named || raw.allow_remote) && raw.require_header.is_none() {
        let message = "a web page can make a browser send requests with the token and hide its \
                       origin (by an image, for example): set `requireHeader` to a header that \
                       your programs send, such as `X-Sidecar: 1`";
        let key = if is_named { "hosts" } else { "allowRemote" };
        resolver.warn(&path.key(key), message);
    }
}

/// Checks that no other place is configured for a token in the query.
fn check_query(resolver: &mut Resolver<'_>, path: &KeyPath, raw: &raw::Outbound) {
    if raw.query.is_none() {
        return;
    }
    for key in ["header", "prefix", "upstreamAuthorization"] {
        if resolver.tree.find(&path.key(key)).is_some() {
            let message = "remove this key: `query` names the parameter that carries the token";
            resolver.error(&path.key(key), message);
        }
    }
}

fn pages(raw: &mut raw::Outbound) -> outbound::Pages {
    outbound::Pages {
        allowed_origins: raw
            .allowed_origins
            .iter()
            .filter_map(|origin| origin.0.parse().ok())
            .collect(),
        require_header: raw
            .require_header
            .take()
            .map(|mark| outbound::RequiredHeader {
                name: mark.name,
                value: mark.value,
            }),
    }
}

/// Sends the connections of a listener's targets through its proxy.
fn through(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    egress: &Egress,
    mut kind: outbound::Kind,
) -> outbound::Kind {
    match &mut kind {
        outbound::Kind::Reverse(reverse) => {
            let url = path.key("upstream");
            resolver.send_through(&url, egress, &mut reverse.target.upstream);
        }
        outbound::Kind::Forward(forward) => {
            let targets = path.key("forwardProxy").key("targets");
            for (index, to) in forward.targets.iter_mut().enumerate() {
                let url = targets.index(index).key("upstream");
                resolver.send_through(&url, egress, &mut to.target.upstream);
            }
        }
    }
    kind
}

fn kind(resolver: &mut Resolver<'_>, path: &KeyPath, raw: raw::Outbound) -> Option<outbound::Kind> {
    match (raw.forward_proxy, raw.upstream, raw.credential) {
        (None, Some(upstream), Some(credential)) => {
            let to = To {
                upstream,
                tls: raw.upstream_tls,
                credential: credential.0,
            };
            Some(outbound::Kind::Reverse(outbound::ReverseConfig {
                target: target(resolver, path, to, raw.upstream_timeouts)?,
                preserve_host: raw.preserve_host,
                hosts: raw.hosts.into_iter().map(Into::into).collect(),
                map_location: raw.map_location.unwrap_or(true),
            }))
        }
        (Some(forward), None, None) => {
            for (key, is_set) in [
                ("upstreamTls", raw.upstream_tls.is_some()),
                ("preserveHost", raw.preserve_host),
                ("mapLocation", raw.map_location.is_some()),
                ("hosts", !raw.hosts.is_empty()),
            ] {
                if is_set {
                    let message = "remove this key: a forward proxy sends requests to its targets";
                    resolver.error(&path.key(key), message);
                }
            }
            let path = path.key("forwardProxy");
            let timeouts = raw.upstream_timeouts;
            let transparent = raw.transparent;
            Some(forward_proxy(
                resolver,
                &path,
                forward,
                (timeouts, transparent),
            ))
        }
        (Some(_), _, _) => {
            let message = "set either `forwardProxy`, or `upstream` and `credential`, not both";
            resolver.error(&path.key("forwardProxy"), message);
            None
        }
        (None, _, _) => {
            resolver.error(path, "set `upstream` and `credential`, or `forwardProxy`");
            None
        }
    }
}

impl From<raw::Refusal> for TokenRefusal {
    fn from(raw: raw::Refusal) -> Self {
        match raw {
            raw::Refusal::Status(status) => Self {
                status,
                error: None,
            },
            raw::Refusal::Challenge(StatusAndError { status, error }) => Self {
                status,
                error: Some(error),
            },
        }
    }
}

/// An upstream, and the credential of its requests.
struct To {
    upstream: address::UpstreamUrl,
    tls: Option<raw::UpstreamTls>,
    credential: String,
}

fn target(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    to: To,
    timeouts: raw::Timeouts,
) -> Option<Target> {
    let credential = to.credential;
    resolver.reference(
        &path.key("credential"),
        &credential,
        "credentials",
        "credential",
    );
    let upstream = resolver.upstream(path, to.upstream, to.tls, timeouts)?;
    if !upstream.tls && !is_this_machine(&upstream.host) {
        let message = "plain http to another machine: an attacker on the network can read the \
                       token";
        resolver.warn(&path.key("upstream"), message);
    }
    Some(Target {
        upstream,
        credential,
    })
}

fn forward_proxy(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: raw::ForwardProxy,
    (timeouts, transparent): (raw::Timeouts, bool),
) -> outbound::Kind {
    let mut targets = Vec::new();
    for (index, raw) in raw.targets.into_iter().enumerate() {
        let path = path.key("targets").index(index);
        let to = To {
            upstream: raw.upstream,
            tls: raw.upstream_tls,
            credential: raw.credential.0,
        };
        // The schema has checked the form of the patterns.
        let paths = raw.paths.map(|paths| {
            paths
                .iter()
                .filter_map(|pattern| Pattern::parse(&pattern.0).ok())
                .collect()
        });
        if let Some(target) = target(resolver, &path, to, timeouts) {
            targets.push(ForwardTarget {
                host: raw.host.0,
                port: raw.port,
                paths,
                target,
            });
        }
    }
    let tunnels = tunnels(resolver, &path.key("tunnels"), raw.tunnels, &targets);
    outbound::Kind::Forward(outbound::ForwardConfig {
        tunnels,
        transparent,
        targets,
        pass_through: raw.other == raw::Other::PassThrough,
        timeouts: timeouts.into(),
    })
}

/// Checks a listener for redirected connections.
fn check_transparent(resolver: &mut Resolver<'_>, path: &KeyPath, raw: &raw::Outbound) {
    if raw.forward_proxy.is_none() {
        let message = "it needs `forwardProxy`, whose targets name the destinations";
        resolver.error(&path.key("transparent"), message);
    }
    if raw.listen.0.unix().is_some() {
        let message = "the system redirects connections to an address and port only: listen on \
                       `localhost:15001`, for example, or remove `transparent`";
        resolver.error(&path.key("listen"), message);
    }
    if raw.tls.is_some() {
        let message = "remove this key: a redirected program does not call this listener, so it \
                       expects no TLS of it";
        resolver.error(&path.key("tls"), message);
    }
    let forward = raw.forward_proxy.as_ref();
    if forward.is_some_and(|forward| !forward.tunnels.is_empty()) {
        let message = "remove this key: no program uses a transparent listener as its proxy";
        resolver.error(&path.key("forwardProxy").key("tunnels"), message);
    }
}

/// The hosts of tunnels. A target is none of them.
fn tunnels(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: Vec<address::TunnelText>,
    targets: &[ForwardTarget],
) -> Vec<TunnelHost> {
    for (index, address::TunnelText(tunnel)) in raw.iter().enumerate() {
        let is_target = |target: &ForwardTarget| {
            canonical(&target.host).is_some_and(|host| tunnel.is(&host, target.port))
        };
        if targets.iter().any(is_target) {
            let message = format!(
                "remove {tunnel}: it is a target, so the sidecar serves HTTP inside tunnels to it"
            );
            resolver.error(&path.index(index), message);
        }
    }
    raw.into_iter()
        .map(|address::TunnelText(tunnel)| tunnel)
        .collect()
}

/// Resolves `localApi`.
pub(super) fn resolve_local_api(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: raw::LocalApi,
) -> Option<(OwnListener, Option<Audiences>)> {
    if !raw.listen.0.is_local() {
        resolver.error(
            &path.key("listen"),
            "this API gives out tokens: listen on loopback only",
        );
    }
    let max_connections = resolver.max_connections(path, raw.max_connections);
    let audiences = raw.audiences;
    let audiences =
        audiences.map(|it| super::inbound::audiences(resolver, &path.key("audiences"), it));
    if audiences.is_some() && resolver.names("authorities").is_empty() {
        let message = "it needs `authorities`: those whose tokens are verified";
        resolver.error(&path.key("audiences"), message);
    }
    let listener = OwnListener {
        listen: raw.listen.0.private(),
        max_connections,
        tls: resolver.server_tls(path, raw.tls),
    };
    Some((listener, audiences))
}

/// Warns if either `localApi` or its credentials are missing.
pub(super) fn check_local_api(
    resolver: &mut Resolver<'_>,
    (is_served, introspects): (bool, bool),
    credentials: &[token_source::Config],
) {
    match credentials.iter().find(|credential| credential.local_api) {
        Some(credential) if !is_served => {
            let path = KeyPath::root("credentials")
                .key(&credential.name)
                .key("localApi");
            resolver.warn(&path, "it has no effect without the section `localApi`");
        }
        None if is_served && !introspects => {
            let message = "it gives out no tokens: no credential has `localApi: true`";
            resolver.warn(&KeyPath::root("localApi"), message);
        }
        _ => {}
    }
}
