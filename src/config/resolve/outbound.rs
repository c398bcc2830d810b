//! Credentials and outbound listeners.

use super::{Resolver, is_open, is_this_machine};
use crate::config::tree::KeyPath;
use crate::config::{files, raw};
use crate::domain::oauth::ClientAuthMethod;
use crate::domain::scope::ScopeSet;
use crate::proxy::outbound;
use crate::token_source::{self, TokenEndpoint};

/// Resolves a member of `credentials`.
pub(super) fn resolve_credential(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    name: &str,
    raw: raw::Credential,
) -> Option<token_source::Config> {
    let endpoint = match (raw.authority, raw.token_url) {
        (Some(authority), None) => Some(TokenEndpoint::Discovery(authority.url)),
        (None, Some(url)) => Some(TokenEndpoint::Url(url.0)),
        (Some(_), Some(_)) => {
            resolver.findings.error(&path.key("tokenUrl"), "either `authority` or `tokenUrl`, not both");
            None
        }
        (None, None) => {
            resolver.findings.error(path, "either `authority` or `tokenUrl` is required");
            None
        }
    };
    if let Some(TokenEndpoint::Discovery(url) | TokenEndpoint::Url(url)) = &endpoint
        && is_open(url)
    {
        let message = "plain http to another machine: the client secret can be read on the way";
        resolver.findings.warning(path, message);
    }
    if !(0.10..=0.95).contains(&raw.refresh_at.0) {
        resolver.findings.error(&path.key("refreshAt"), "it must be from 10% to 95%");
    }
    let client_secret =
        resolver.file(&path.key("clientSecretFile"), &raw.client_secret_file, files::read_secret);
    Some(token_source::Config {
        name: name.to_owned(),
        endpoint: endpoint?,
        client_id: raw.client_id.0,
        client_secret: client_secret?,
        auth_method: match raw.auth_method {
            raw::AuthMethod::ClientSecretBasic => ClientAuthMethod::ClientSecretBasic,
            raw::AuthMethod::ClientSecretPost => ClientAuthMethod::ClientSecretPost,
        },
        scopes: ScopeSet::from_tokens(raw.scopes.into_iter().map(|scope| scope.0)).ok()?,
        audiences: raw.audiences.into_iter().map(|audience| audience.0).collect(),
        resources: raw.resource.into_iter().map(|resource| resource.0).collect(),
        extra_parameters: raw.extra_parameters.into_iter().map(|(name, value)| (name.0, value)).collect(),
        refresh_at: raw.refresh_at.0,
        prefetch: raw.prefetch,
    })
}

/// Resolves an item of `outbound`.
pub(super) fn resolve_listener(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: raw::Outbound,
) -> Option<outbound::Config> {
    resolver.reference(&path.key("credential"), &raw.credential.0, "credentials", "credential");
    if !raw.listen.0.ip().is_loopback() && !raw.allow_remote {
        let message = "it is open to other machines, which could all act with the credential; set `allowRemote: true` \
                       if that is meant";
        resolver.findings.error(&path.key("listen"), message);
    }
    let upstream = resolver.upstream(path, raw.upstream, raw.upstream_tls, raw.upstream_timeouts)?;
    if !upstream.tls && !is_this_machine(&upstream.host) {
        let message = "plain http to another machine: the token can be read on the way";
        resolver.findings.warning(&path.key("upstream"), message);
    }
    Some(outbound::Config {
        name: raw.name.0,
        listen: raw.listen.0,
        upstream,
        credential: raw.credential.0,
        header: raw.header.0,
        prefix: raw.prefix.0,
        overwrite: raw.overwrite,
        preserve_host: raw.preserve_host,
        hosts: raw.hosts.into_iter().map(|host| host.0).collect(),
    })
}
