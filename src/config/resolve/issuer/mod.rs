//! The issuer and its clients.

mod audiences;
mod certificates;
mod choices;
mod client_authentication;
mod clients;
mod exchange;
mod federated;
mod signing;
pub(super) mod users;

pub(super) use certificates::check as check_certificates;

use std::time::Duration;

use super::resolver::Resolver;
use super::token_size;
use crate::config::tree::{Data, KeyPath};
use crate::config::value::GoDuration;
use crate::config::{IssuerRole, raw};
use crate::issuer::{self, ProfilePolicy, RESERVED_CLAIMS, SecretFiles};

const DAY: Duration = Duration::from_hours(24);
const YEAR: Duration = Duration::from_hours(366 * 24);

/// Resolves the section `issuer`.
pub(super) fn resolve(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: raw::Issuer,
) -> Option<IssuerRole> {
    let profile = raw.profile.policy();
    resolver.check_issuer(&path.key("url"), raw.url.as_str());
    check_listener(resolver, path, &raw);
    let lifetime = raw.access_token_lifetime.0;
    check_durations(resolver, path, &raw, profile);
    let owner_claim = raw
        .owner_claim
        .map_or_else(|| profile.defaults.owner_claim.to_owned(), Into::into);
    check_own_claims(resolver, path, &owner_claim, &raw.device_id_claim, profile);
    let signing = signing::resolve(resolver, &path.key("signing"), &raw.signing)?;
    let context = clients::Context {
        profile,
        own_claims: [&owner_claim, &raw.device_id_claim],
        lifetime,
    };
    let (clients, files) = clients::resolve(resolver, &path.key("clients"), raw.clients, &context);
    let ca_file = raw.client_jwks_ca_file.as_ref();
    let client_jwks_ca = resolver.resolved_certificates(&path.key("clientJwksCaFile"), ca_file)?;
    Some(IssuerRole {
        listen: raw.listen.map(|listen| listen.0),
        tls: resolver.server_tls(path, raw.tls),
        keep_alive: resolver.keep_alive(path, raw.keep_alive),
        max_connections: resolver.max_connections(path, raw.max_connections),
        authorities: users::names(resolver, &path.key("authorities"), raw.authorities),
        // Set when the authorities are resolved.
        max_head: 0,
        trusted_proxies: raw.trusted_proxies.into_iter().map(Into::into).collect(),
        issuer: issuer::Config {
            root_paths: raw.root_paths.unwrap_or(raw.url.base_path().is_empty()),
            url: raw.url,
            profile: raw.profile,
            owner_claim,
            device_id_claim: raw.device_id_claim,
            access_token_lifetime: lifetime,
            token_type: raw.token_type.unwrap_or(profile.defaults.token_type),
            scope_claims: audiences::scope_claims(
                resolver,
                &path.key("scopeClaims"),
                &raw.scope_claims,
            ),
            audiences: audiences::resolve(resolver, &path.key("audiences"), raw.audiences),
            algorithm: signing.algorithm,
            private_key: signing.private_key,
            rotate_every: signing.rotate_every,
            encryption_key: None,
            former_encryption_key: None,
            clients,
            secret_files: SecretFiles {
                files,
                grace: raw.secret_grace.0,
            },
            egress: resolver.egress.clone(),
            client_jwks_hosts: raw.client_jwks_hosts.into_iter().map(Into::into).collect(),
            client_jwks_ca,
            max_assertion_lifetime: raw.max_assertion_lifetime.0,
            user_issuers: Vec::new(),
            respelt_issuers: Vec::new(),
            listed_clients: raw.revocation_list,
            max_token_size: token_size::resolve(
                resolver,
                path,
                raw.max_token_size,
                profile.defaults.max_token_size,
            ),
        },
    })
}

fn check_durations(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: &raw::Issuer,
    profile: ProfilePolicy,
) {
    let key = path.key("accessTokenLifetime");
    check_lifetime(resolver, &key, raw.access_token_lifetime.0, DAY, profile);
    let (key, least) = (path.key("maxAssertionLifetime"), Duration::from_mins(1));
    resolver.duration(&key, raw.max_assertion_lifetime, least, DAY);
    let key = path.key("secretGrace");
    resolver.duration(&key, raw.secret_grace, Duration::ZERO, DAY * 30);
}

fn check_listener(resolver: &mut Resolver<'_>, path: &KeyPath, raw: &raw::Issuer) {
    let is_inbound = is_answered_inbound(resolver);
    if raw.listen.is_none() && !is_inbound {
        let message = "the issuer has no listener: set `listen`, or `issuer: true` on an inbound \
                       listener";
        resolver.error(path, message);
    }
    if raw.listen.is_none() && raw.tls.is_some() {
        let message = "it needs `listen`: inbound listeners have their own `tls`";
        resolver.error(&path.key("tls"), message);
    }
    let is_plain = raw.tls.is_none() && !is_inbound;
    let is_behind_proxy = raw.url.url().scheme() == "https" && is_plain;
    if raw.listen.is_some() && is_behind_proxy && raw.trusted_proxies.is_empty() {
        let message = "`url` is https and this listener is not, so a proxy ends TLS and all \
                       clients share its address: wrong secrets of one client delay all others. \
                       Add that proxy to `trustedProxies`";
        resolver.warn(&path.key("listen"), message);
    }
}

fn is_answered_inbound(resolver: &Resolver<'_>) -> bool {
    resolver
        .list(&KeyPath::root("inbound"))
        .iter()
        .any(|listener| {
            let issuer = resolver.tree.find(&listener.key("issuer"));
            matches!(issuer.map(|node| &node.data), Some(Data::Bool(true)))
        })
}

/// Whether the content of the store ends with the process.
fn is_in_memory(resolver: &Resolver<'_>) -> bool {
    resolver.text(&KeyPath::root("store").key("url")) == Some("sqlite::memory:")
}

/// Checks that the claims of owner and device are not claims that the issuer sets itself.
fn check_own_claims(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    owner: &str,
    device: &str,
    profile: ProfilePolicy,
) {
    const MESSAGE: &str = "the issuer sets this claim itself: choose another name";
    // In the plgd profile, the owner is the subject.
    let is_subject = owner == "sub" && profile.subject_is_owner;
    let (owner_path, device_path) = (path.key("ownerClaim"), path.key("deviceIDClaim"));
    if RESERVED_CLAIMS.contains(&owner) && !is_subject {
        resolver.error(&owner_path, MESSAGE);
    } else {
        choices::check_name(resolver, &owner_path, owner);
    }
    if RESERVED_CLAIMS.contains(&device) || device == owner {
        resolver.error(&device_path, MESSAGE);
    } else {
        choices::check_name(resolver, &device_path, device);
    }
}

fn check_lifetime(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    value: Duration,
    most: Duration,
    profile: ProfilePolicy,
) {
    if !value.is_zero() {
        resolver.duration(path, GoDuration(value), Duration::from_secs(1), most);
    } else if !profile.endless {
        resolver.error(path, "tokens that never expire need `profile: plgd`");
    }
}
