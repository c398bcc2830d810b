//! The services behind a listener, and the one that each rule uses.

use std::collections::BTreeMap;

use http::HeaderValue;

use super::resolver::Resolver;
use crate::config::address::UpstreamUrl;
use crate::config::name::Name;
use crate::config::raw;
use crate::config::tree::KeyPath;
use crate::domain::settings::Mode;
use crate::proxy::inbound::Route;
use crate::proxy::upstream;

/// The services of a listener as the file has them.
pub(super) struct Services {
    pub upstream: Option<UpstreamUrl>,
    pub tls: Option<raw::UpstreamTls>,
    pub timeouts: raw::Timeouts,
    pub named: BTreeMap<Name, raw::NamedUpstream>,
}

/// Resolves `upstream` and `upstreams`. The first one is the default of the rules.
pub(super) fn upstreams(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    services: Services,
    mode: Mode,
) -> Option<Vec<(Option<String>, upstream::Config)>> {
    let mut found = Vec::new();
    match services.upstream {
        Some(url) => {
            let default = resolver.upstream(path, url, services.tls, services.timeouts);
            found.push(default.map(|config| (None, config)));
        }
        None if services.named.is_empty() => {
            resolver.error(
                &path.key("upstream"),
                "this key is required, or `upstreams`",
            );
        }
        None => {
            if services.tls.is_some() {
                let message = "it is for `upstream`, which is missing: use `upstreams.NAME.tls`";
                resolver.error(&path.key("upstreamTls"), message);
            }
            if mode == Mode::Shadow {
                let message = "in shadow mode requests pass that no rule matches: set it for them";
                resolver.error(&path.key("upstream"), message);
            }
        }
    }
    for (name, raw) in services.named {
        let path = path.key("upstreams").key(&name.0);
        let timeouts = raw.timeouts.unwrap_or(services.timeouts);
        let keys = (path.key("tls"), path.key("timeouts"));
        let config = resolver.upstream_at(keys, raw.url, raw.tls, timeouts);
        found.push(config.map(|config| (Some(name.0), config)));
    }
    found.into_iter().collect()
}

/// Resolves `upstream` and `stripPrefix` of each rule.
pub(super) fn routes(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    rules: &[raw::Rule],
    upstreams: &[(Option<String>, upstream::Config)],
) -> Vec<Route> {
    let mut routes = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        let path = path.index(index);
        let prefix = rule.strip_prefix.as_ref().map(|prefix| prefix.0.as_str());
        if let Some(prefix) = prefix {
            check_prefix(resolver, &path, rule, prefix);
        }
        let name = rule.upstream.as_ref().map(|name| &name.0);
        let place = upstreams
            .iter()
            .position(|(known, _)| known.as_ref() == name);
        if place.is_none() && !upstreams.is_empty() {
            let message = match name {
                Some(name) => format!("`upstreams` has no `{name}`"),
                None => "name one of `upstreams`, because the listener has no `upstream`".into(),
            };
            resolver.error(&path.key("upstream"), message);
        }
        routes.push(Route {
            upstream: place.unwrap_or_default(),
            stripped: prefix.map_or(0, |prefix| prefix.matches('/').count()),
            prefix: prefix.and_then(|prefix| HeaderValue::from_str(prefix).ok()),
        });
    }
    routes
}

fn check_prefix(resolver: &mut Resolver<'_>, path: &KeyPath, rule: &raw::Rule, prefix: &str) {
    for (index, pattern) in rule.paths.iter().enumerate() {
        let rest = pattern.0.strip_prefix(prefix);
        if !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            let message = format!("it does not begin with `stripPrefix`, which is `{prefix}`");
            resolver.error(&path.key("paths").index(index), message);
        }
    }
}
