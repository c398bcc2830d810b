//! Outbound listeners, and the API for programs that attach tokens themselves.

use super::{Resolver, is_this_machine};
use crate::config::name::StatusAndError;
use crate::config::tree::KeyPath;
use crate::config::{OwnListener, address, raw};
use crate::domain::host::{host_name, is_beyond_dns};
use crate::domain::pattern::Pattern;
use crate::proxy::outbound::{self, ForwardTarget, Target};
use crate::token_source;

/// Resolves an item of `outbound`.
pub(super) fn resolve_listener(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: raw::Outbound,
) -> Option<outbound::Config> {
    if !raw.listen.0.is_loopback() && !raw.allow_remote {
        let message = "it is open to other machines, which could all act with the credential; set `allowRemote: true` \
                       if that is meant";
        resolver.findings.error(&path.key("listen"), message);
    }
    let is_named = raw
        .hosts
        .iter()
        .any(|host| !is_beyond_dns(host_name(&host.0)));
    if (is_named || raw.allow_remote) && raw.require_header.is_none() {
        let message = "a web page can make a browser call it with the token and hide which page it is (an image, for \
                       example): set `requireHeader` to a header that the programs send, such as `X-Sidecar: 1`";
        let key = if is_named { "hosts" } else { "allowRemote" };
        resolver.findings.warning(&path.key(key), message);
    }
    let pages = outbound::Pages {
        allowed_origins: raw
            .allowed_origins
            .iter()
            .filter_map(|origin| origin.0.parse().ok())
            .collect(),
        require_header: raw.require_header.map(|mark| outbound::RequiredHeader {
            name: mark.name,
            value: mark.value,
        }),
    };
    let pauses = (raw.downstream_timeouts.read, raw.downstream_timeouts.write);
    let client_timeouts = resolver.client_timeouts(path, raw.keep_alive, pauses);
    let kind = match (raw.forward_proxy, raw.upstream, raw.credential) {
        (None, Some(upstream), Some(credential)) => {
            let to = To {
                upstream,
                tls: raw.upstream_tls,
                credential: credential.0,
            };
            outbound::Kind::Reverse(outbound::ReverseConfig {
                target: target(resolver, path, to, raw.upstream_timeouts)?,
                preserve_host: raw.preserve_host,
                hosts: raw.hosts.into_iter().map(|host| host.0).collect(),
                map_location: raw.map_location.unwrap_or(true),
            })
        }
        (Some(forward), None, None) => {
            for (key, given) in [
                ("upstreamTls", raw.upstream_tls.is_some()),
                ("preserveHost", raw.preserve_host),
                ("mapLocation", raw.map_location.is_some()),
                ("hosts", !raw.hosts.is_empty()),
            ] {
                if given {
                    let message =
                        "a forward proxy does not have it: its targets say where requests go";
                    resolver.findings.error(&path.key(key), message);
                }
            }
            forward_proxy(
                resolver,
                &path.key("forwardProxy"),
                forward,
                raw.upstream_timeouts,
            )?
        }
        (Some(_), _, _) => {
            let message = "either `forwardProxy`, or `upstream` with `credential`, not both";
            resolver.findings.error(&path.key("forwardProxy"), message);
            return None;
        }
        (None, _, _) => {
            resolver.findings.error(
                path,
                "`upstream` and `credential` are required, or `forwardProxy`",
            );
            return None;
        }
    };
    resolver.check_prefix(&path.key("prefix"), &raw.prefix.0);
    Some(outbound::Config {
        name: raw.name.0,
        listen: raw.listen.0,
        client_timeouts,
        max_connections: resolver.max_connections(path, raw.max_connections),
        kind,
        pages,
        attach: outbound::Attach {
            header: raw.header.0,
            prefix: raw.prefix.0,
            overwrite: raw.overwrite,
            retry_on: if raw.retry_unauthorized {
                retry_on(raw.retry_on)
            } else {
                Vec::new()
            },
        },
        forwarded_headers: raw.forwarded_headers,
    })
}

fn retry_on(raw: Vec<raw::Refusal>) -> Vec<outbound::TokenRefusal> {
    let refusal = |raw| match raw {
        raw::Refusal::Status(status) => outbound::TokenRefusal {
            status,
            error: None,
        },
        raw::Refusal::Challenge(StatusAndError { status, error }) => outbound::TokenRefusal {
            status,
            error: Some(error),
        },
    };
    raw.into_iter().map(refusal).collect()
}

/// Where requests go, and with which credential.
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
    resolver.reference(
        &path.key("credential"),
        &to.credential,
        "credentials",
        "credential",
    );
    let upstream = resolver.upstream(path, to.upstream, to.tls, timeouts)?;
    if !upstream.tls && !is_this_machine(&upstream.host) {
        let message = "plain http to another machine: the token can be read on the way";
        resolver.findings.warning(&path.key("upstream"), message);
    }
    Some(Target {
        upstream,
        credential: to.credential,
    })
}

fn forward_proxy(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: raw::ForwardProxy,
    timeouts: raw::Timeouts,
) -> Option<outbound::Kind> {
    let mut targets = Vec::new();
    for (index, raw) in raw.targets.into_iter().enumerate() {
        let path = path.key("targets").index(index);
        let to = To {
            upstream: raw.upstream,
            tls: raw.upstream_tls,
            credential: raw.credential.0,
        };
        let patterns = raw.paths.map(|paths| {
            // The schema has checked their form.
            paths
                .iter()
                .filter_map(|pattern| Pattern::parse(&pattern.0).ok())
                .collect()
        });
        if let Some(target) = target(resolver, &path, to, timeouts) {
            targets.push(ForwardTarget {
                host: raw.host.0,
                port: raw.port,
                paths: patterns,
                target,
            });
        }
    }
    Some(outbound::Kind::Forward(outbound::ForwardConfig {
        targets,
        pass_through: raw.other == raw::Other::PassThrough,
        timeouts: super::timeouts(timeouts),
    }))
}

/// Resolves `localApi`.
pub(super) fn resolve_local_api(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: raw::LocalApi,
) -> Option<OwnListener> {
    if !raw.listen.0.is_loopback() {
        resolver.findings.error(
            &path.key("listen"),
            "it hands out tokens, so it listens on loopback only",
        );
    }
    let max_connections = resolver.max_connections(path, raw.max_connections);
    Some(OwnListener {
        listen: raw.listen.0,
        max_connections,
    })
}

/// One without the other does nothing, which is probably not meant.
pub(super) fn check_local_api(
    resolver: &mut Resolver<'_>,
    is_served: bool,
    credentials: &[token_source::Config],
) {
    let handed_out = credentials.iter().find(|credential| credential.local_api);
    match handed_out {
        Some(credential) if !is_served => {
            let path = KeyPath::root("credentials")
                .key(&credential.name)
                .key("localApi");
            resolver.findings.warning(
                &path,
                "there is no section `localApi` that would hand the token out",
            );
        }
        None if is_served => {
            let message = "no credential has `localApi: true`: nothing is handed out";
            resolver
                .findings
                .warning(&KeyPath::root("localApi"), message);
        }
        _ => {}
    }
}
