//! The introspection of opaque tokens.

use std::time::Duration;

use super::connections::is_open;
use super::resolver::Resolver;
use crate::config::tree::KeyPath;
use crate::config::{files, raw};
use crate::verifier::{AuthorityConfig, ConfiguredClient, IntrospectionConfig, KeySource};

/// Resolves `authorities.*.introspection`; `keys` is the source of the authority's keys. The outer
/// `None` means an error.
#[expect(clippy::option_option, reason = "missing and wrong are two cases")]
pub(super) fn resolve(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: Option<raw::Introspection>,
    keys: &KeySource,
) -> Option<Option<IntrospectionConfig>> {
    let Some(raw) = raw else {
        return Some(None);
    };
    let (least, most) = (Duration::from_secs(1), Duration::from_mins(10));
    resolver.duration(&path.key("cache"), raw.cache, least, most);
    if *keys == KeySource::OwnIssuer {
        let message = "the sidecar's own issuer issues no opaque access tokens: remove this key";
        resolver.error(path, message);
    }
    resolver.check_no_metadata(&path.key("url"), &raw.url.0, "issuer");
    if is_open(&raw.url.0) {
        let message = "plain http to another machine: an attacker on the network can read tokens \
                       and change answers";
        resolver.warn(&path.key("url"), message);
    }
    let url = raw.url.0.clone();
    let (cache, prefix) = (raw.cache.0, raw.prefix.clone());
    Some(Some(IntrospectionConfig {
        url,
        client: client(resolver, path, raw)?,
        prefix: prefix.map(Into::into),
        cache,
    }))
}

fn client(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: raw::Introspection,
) -> Option<ConfiguredClient> {
    let fault = |resolver: &mut Resolver<'_>, key: &str, message: &str| {
        resolver.error(&path.key(key), message);
        None
    };
    match (raw.credential, raw.client_id, raw.secret_file) {
        (None, None, None) => Some(ConfiguredClient::Anonymous),
        (Some(name), None, None) => {
            let key = path.key("credential");
            resolver.reference(&key, &name.0, "credentials", "credential");
            Some(ConfiguredClient::Credential(name.into()))
        }
        (None, Some(client_id), Some(file)) => {
            resolver.secret(&path.key("secretFile"), &file, files::read_secret)?;
            Some(ConfiguredClient::Secret {
                client_id: client_id.into(),
                secret_file: file.0,
            })
        }
        (Some(_), ..) => {
            let message = "set either `credential`, or `clientId` and `secretFile`, not both";
            fault(resolver, "credential", message)
        }
        (None, Some(_), None) => fault(resolver, "clientId", "set `secretFile` too"),
        (None, None, Some(_)) => fault(resolver, "secretFile", "set `clientId` too"),
    }
}

/// Checks that each opaque token belongs to one of a listener's authorities.
pub(super) fn check_listener(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    trusted: &[String],
    authorities: &[AuthorityConfig],
) {
    let mut seen: Vec<(&str, Option<&str>)> = Vec::new();
    for authority in authorities.iter().filter(|it| trusted.contains(&it.name)) {
        let Some(introspection) = &authority.introspection else {
            continue;
        };
        let prefix = introspection.prefix.as_deref();
        if let Some((same, _)) = seen.iter().find(|(_, known)| *known == prefix) {
            let tokens = match prefix {
                Some(prefix) => format!("tokens that begin with `{prefix}`"),
                None => "all opaque tokens".to_owned(),
            };
            let message = format!(
                "the authorities `{same}` and `{}` both introspect {tokens}: set another \
                 `introspection.prefix` for one of them",
                authority.name
            );
            resolver.error(path, message);
        }
        seen.push((&authority.name, prefix));
    }
}
