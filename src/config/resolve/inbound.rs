//! Inbound listeners.

use std::collections::BTreeMap;

use http::HeaderName;

use super::resolver::Resolver;
use super::{introspection, response_fields, routes, rules, tenants, token_size, websocket};
use crate::config::header::IdentityHeader;
use crate::config::name::ClaimName;
use crate::config::tree::KeyPath;
use crate::config::{IssuerRole, raw};
use crate::domain::host::is_beyond_dns;
use crate::domain::path::Ordinary;
use crate::endpoints::oauth::{self, Placement};
use crate::endpoints::protected_resource;
use crate::jose::dpop::TargetUri;
use crate::limits;
use crate::proxy::headers::ClientHeaders;
use crate::proxy::{inbound, upstream};
use crate::verifier::{self, Audiences, AuthorityConfig, DpopConfig};

/// The services of a listener, with their names. Nothing if they have errors.
type Upstreams = Option<Vec<(Option<String>, upstream::Config)>>;

/// Resolves an item of `inbound`.
pub(super) fn resolve(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    mut raw: raw::Inbound,
    authorities: &[AuthorityConfig],
    issuer: Option<&IssuerRole>,
) -> Option<inbound::Config> {
    let services = routes::Services {
        upstream: raw.upstream.take(),
        tls: raw.upstream_tls.take(),
        timeouts: raw.upstream_timeouts,
        named: std::mem::take(&mut raw.upstreams),
    };
    let egress = resolver.listener_egress(path, raw.egress_proxy.take());
    let mut upstreams = routes::upstreams(resolver, path, services, raw.mode);
    for (name, upstream) in upstreams.iter_mut().flatten() {
        let url = match name {
            Some(name) => path.key("upstreams").key(name).key("url"),
            None => path.key("upstream"),
        };
        resolver.send_through(&url, &egress, upstream);
    }
    let known = upstreams.as_deref().unwrap_or_default();
    warn_of_virtual_hosts(resolver, path, known, raw.settings.preserve_host);
    resolve_checks(resolver, path, raw, upstreams, (authorities, issuer))
}

/// Resolves a listener, which has no service if a proxy asks it for decisions.
pub(super) fn resolve_checks(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: raw::Inbound,
    upstreams: Upstreams,
    (authorities, issuer): (&[AuthorityConfig], Option<&IssuerRole>),
) -> Option<inbound::Config> {
    if raw.settings.issuer && resolver.tree.find(&KeyPath::root("issuer")).is_none() {
        resolver.error(&path.key("issuer"), "the section `issuer` is missing");
    }
    let issuer = issuer.filter(|_| raw.settings.issuer);
    let token_locations = websocket::token_locations(resolver, path, &raw);
    let upstream_authorization = websocket::upstream_authorization(resolver, path, &raw);
    let allowed_origins = websocket::allowed_origins(&raw);
    let ordinary = Ordinary {
        // Such a proxy forwards the path as it got it.
        unchanged: upstreams.as_ref().is_some_and(Vec::is_empty),
        ..ordinary(&raw)
    };
    let dpop = dpop(resolver, path, &raw);
    let trusted: Vec<String> = raw.authorities.into_iter().map(Into::into).collect();
    check_authorities(resolver, &path.key("authorities"), &trusted, authorities);
    introspection::check_listener(resolver, &path.key("authorities"), &trusted, authorities);
    let audiences = audiences(resolver, &path.key("audiences"), raw.audiences);
    let headers = raw
        .identity_headers
        .unwrap_or_else(|| raw::default_identity_headers(trusted.len()));
    let (identity_headers, forwarded_claims) = identity_headers(
        resolver,
        &path.key("identityHeaders"),
        headers,
        trusted.len(),
    );
    websocket::check_header(resolver, path, &upstream_authorization, &identity_headers);
    let known = upstreams.as_deref().unwrap_or_default();
    let routes = routes::routes(resolver, &path.key("rules"), &raw.rules, known);
    let removed_headers: Vec<String> = raw.remove_headers.into_iter().map(Into::into).collect();
    let mut endpoints = issuer.map(endpoints).unwrap_or_default();
    let metadata = raw
        .public_url
        .as_ref()
        .map(|it| protected_resource::path_of(it.url()));
    endpoints.extend(metadata);
    let surroundings = rules::Surroundings {
        endpoints,
        authorities: &trusted,
        removed: ClientHeaders::new(&identity_headers, &removed_headers),
        ordinary,
        path_case: raw.path_case,
    };
    let rules = rules::resolve(resolver, &path.key("rules"), raw.rules, &surroundings);
    let response_fields = response_fields::resolve(
        resolver,
        path,
        raw.response_headers,
        raw.cors,
        raw.cors_preflight,
    );
    let limits = raw
        .limits
        .map(|raw| limits(resolver, &path.key("limits"), &raw));
    let bearers = authorities
        .iter()
        .filter(|authority| trusted.contains(&authority.name));
    let sizes = bearers.map(|authority| authority.max_token_size);
    // Basic credentials are in base64: four characters for three bytes.
    let sent = sizes.map(|size| {
        if token_locations.basic {
            size.div_ceil(3) * 4
        } else {
            size
        }
    });
    let max_head = token_size::max_head(sent);
    Some(inbound::Config {
        listen: raw.listen.0,
        tls: resolver.server_tls(path, raw.tls),
        client_timeouts: resolver.client_timeouts(path, raw.keep_alive, raw.downstream_timeouts),
        max_connections: resolver.max_connections(path, raw.max_connections),
        settings: raw.settings,
        upstream_authorization,
        websocket_idle: websocket::idle(resolver, path, raw.ws_idle),
        upstreams: upstreams?.into_iter().map(|(_, config)| config).collect(),
        routes,
        identity_headers,
        ordinary,
        trusted_proxies: raw.trusted_proxies.into_iter().map(Into::into).collect(),
        removed_headers,
        max_body: raw.max_body.map(|size| size.0),
        max_head: max_head.max(issuer.map_or(0, |role| role.max_head)),
        public_url: raw.public_url,
        limits,
        response_fields,
        verifier: verifier::Config {
            authorities: trusted,
            audiences,
            verified_token_cache: raw.verified_token_cache,
            rules: rules?,
            path_case: raw.path_case,
            forwarded_claims,
            mode: raw.mode,
            cors_preflight: raw.cors_preflight,
            token_locations,
            allowed_origins,
            dpop,
        },
        name: raw.name.into(),
    })
}

fn dpop(resolver: &mut Resolver<'_>, path: &KeyPath, raw: &raw::Inbound) -> DpopConfig {
    let public_url = raw.public_url.as_ref();
    let target = public_url.and_then(|url| TargetUri::parse(url.as_str()));
    if target.is_none() && public_url.is_some() {
        let message = "it must be an http or https URL with a host";
        resolver.error(&path.key("publicUrl"), message);
    }
    DpopConfig {
        public_url: target,
        nonce: raw.dpop.nonce,
        required: raw.dpop.required,
    }
}

fn ordinary(raw: &raw::Inbound) -> Ordinary {
    let is_kept = |character| character == raw::AmbiguousCharacter::Keep;
    Ordinary {
        encoded_slash: is_kept(raw.encoded_slash),
        semicolon: is_kept(raw.path_parameters),
        double_encoding: is_kept(raw.double_encoding),
        non_utf8: is_kept(raw.non_utf8),
        unchanged: false,
    }
}

fn check_authorities(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    names: &[String],
    known: &[AuthorityConfig],
) {
    let mut earlier: Vec<&AuthorityConfig> = Vec::new();
    for (i, name) in names.iter().enumerate() {
        let path = path.index(i);
        resolver.reference(&path, name, "authorities", "authority");
        let Some(authority) = known.iter().find(|authority| authority.name == *name) else {
            continue;
        };
        if earlier.iter().any(|it| tenants::overlap(it, authority)) {
            let message = "another authority of this listener has the same issuer: remove one of \
                           them, because only one set of keys can apply";
            resolver.error(&path, message);
        }
        earlier.push(authority);
    }
}

pub(super) fn audiences(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: raw::Audiences,
) -> Audiences {
    match raw {
        raw::Audiences::Any(_) => Audiences::Any,
        raw::Audiences::OneOf(audiences) => {
            let audiences: Vec<String> = audiences.into_iter().map(Into::into).collect();
            resolver.check_audiences(path, &audiences);
            Audiences::OneOf(audiences)
        }
    }
}

/// The identity headers, and the claims that fill them, in the same order.
fn identity_headers(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: BTreeMap<IdentityHeader, ClaimName>,
    authorities: usize,
) -> (Vec<HeaderName>, Vec<String>) {
    if authorities > 1 && !raw.values().any(|claim| claim.0 == "iss") {
        let message = "users of different authorities can have the same name, and the service \
                       cannot tell them apart: add a header for `iss`, such as `x-m2m-issuer: iss`";
        resolver.warn(path, message);
    }
    // CGI does not distinguish `-` and `_`, so two such names would be one header there.
    let mut seen: Vec<String> = Vec::new();
    let mut headers = Vec::new();
    for (header, ClaimName(claim)) in raw {
        let path = path.key(header.as_str());
        let folded = header.as_str().to_ascii_lowercase().replace('_', "-");
        if seen.contains(&folded) {
            resolver.error(
                &path,
                "an upstream may confuse this header with another one",
            );
        }
        seen.push(folded);
        resolver.check_identity(&path, header.as_str(), &claim);
        headers.extend(header.to_name().map(|name| (name, claim)));
    }
    headers.into_iter().unzip()
}

fn warn_of_virtual_hosts(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    upstreams: &[(Option<String>, upstream::Config)],
    preserve_host: bool,
) {
    let is_default = resolver.tree.find(&path.key("preserveHost")).is_none();
    let is_name = |config: &upstream::Config| !is_beyond_dns(&config.host);
    if !preserve_host || !is_default {
        return;
    }
    for (name, _) in upstreams.iter().filter(|(_, config)| is_name(config)) {
        let path = match name {
            Some(name) => path.key("upstreams").key(name).key("url"),
            None => path.key("upstream"),
        };
        let message = "the service gets the `Host` header of the client, so a client can choose \
                       among the virtual hosts of its server: set `preserveHost: false` (or \
                       `true`, if the server has only one host)";
        resolver.warn(&path, message);
    }
}

fn limits(resolver: &mut Resolver<'_>, path: &KeyPath, raw: &raw::Limits) -> limits::Config {
    if raw.requests_per_second.is_none() {
        if raw.burst.is_some() {
            resolver.error(&path.key("burst"), "`burst` needs `requestsPerSecond`");
        } else if raw.concurrent.is_none() {
            resolver.error(path, "set `requestsPerSecond`, `concurrent` or both");
        }
    }
    let rate = raw.requests_per_second.map(|per_second| limits::Rate {
        per_second,
        burst: raw.burst.unwrap_or(per_second),
    });
    limits::Config {
        rate,
        concurrent: raw.concurrent,
        per: raw.per,
    }
}

/// The paths that the issuer answers on an inbound listener.
fn endpoints(role: &IssuerRole) -> Vec<String> {
    let at = if role.issuer.root_paths {
        Placement::BasePathAndRoot
    } else {
        Placement::BasePath
    };
    oauth::paths_below(
        role.issuer.url.base_path(),
        role.issuer.profile.policy(),
        at,
    )
}
