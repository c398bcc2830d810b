//! Authorities: the issuers whose tokens are trusted.

use std::path::PathBuf;
use std::time::Duration;

use super::connections::is_open;
use super::resolver::Resolver;
use super::{introspection, revocation, tenants, token_size};
use crate::config::address::IssuerUrl;
use crate::config::tree::KeyPath;
use crate::config::value::FilePath;
use crate::config::{files, raw};
use crate::domain::issuer_name::IssuerName;
use crate::domain::spiffe;
use crate::jose::ALGORITHMS;
use crate::verifier::{AuthorityConfig, KeySource, RevocationKind};

const MAX_CLOCK_SKEW: Duration = Duration::from_mins(10);
/// A shorter time could not be kept: keys are fetched at most once a minute in normal operation.
const MIN_STALE: Duration = Duration::from_mins(1);
const MAX_STALE: Duration = Duration::from_hours(366 * 24);
/// Bounds of `maxTokenLifetime`. Tokens of devices may live for years.
const LIFETIMES: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(3650 * 24));

/// Resolves a member of `authorities`.
pub(super) fn resolve(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    name: &str,
    raw: raw::Authority,
) -> Option<AuthorityConfig> {
    check_times(resolver, path, &raw);
    let tenants = tenants::resolve(resolver, path, &raw)?;
    let keys = key_source(resolver, path, &raw);
    let key_token_file = key_token_file(resolver, &path.key("keyTokenFile"), &raw, keys.as_ref());
    let ca_pem = resolver.resolved_certificates(&path.key("caFile"), raw.ca_file.as_ref());
    let timeouts = resolver.fetch_timeouts(&path.key("timeouts"), raw.timeouts);
    let max_token_size = token_size::resolve(
        resolver,
        path,
        raw.max_token_size,
        raw.profile.policy().defaults.max_token_size,
    );
    let egress = resolver.own_egress(path, raw.egress_proxy);
    let keys = keys?;
    let mut revocation =
        revocation::resolve(resolver, &path.key("revocation"), raw.revocation, &keys);
    if !tenants.is_empty() {
        tenants::revocation(resolver, path, &mut revocation);
    }
    let introspection = introspection::resolve(
        resolver,
        &path.key("introspection"),
        raw.introspection,
        &keys,
    );
    let authority = AuthorityConfig {
        name: name.to_owned(),
        issuer: raw.issuer,
        tenants,
        keys,
        key_token_file,
        revocation,
        ca_pem: ca_pem?,
        timeouts,
        egress,
        algorithms: raw.algorithms.map_or_else(
            || ALGORITHMS.to_vec(),
            |algorithms| algorithms.into_iter().map(Into::into).collect(),
        ),
        clock_skew: raw.clock_skew.0,
        max_stale: raw.max_stale.0,
        introspection: introspection?,
        client_id_claims: raw.client_id_claims.into_iter().map(Into::into).collect(),
        require_expiry: raw.require_expiry,
        max_token_lifetime: raw.max_token_lifetime.map(|it| it.0),
        profile: raw.profile,
        max_token_size,
    };
    check_endless_tokens(resolver, &path.key("requireExpiry"), &authority);
    Some(authority)
}

fn check_times(resolver: &mut Resolver<'_>, path: &KeyPath, raw: &raw::Authority) {
    let skew = path.key("clockSkew");
    resolver.duration(&skew, raw.clock_skew, Duration::ZERO, MAX_CLOCK_SKEW);
    resolver.duration(&path.key("maxStale"), raw.max_stale, MIN_STALE, MAX_STALE);
    let Some(lifetime) = raw.max_token_lifetime else {
        return;
    };
    let (least, most) = LIFETIMES;
    let path = path.key("maxTokenLifetime");
    resolver.duration(&path, lifetime, least, most);
    if !raw.require_expiry {
        let message = "`requireExpiry: false` accepts tokens that never expire, which this key \
                       refuses: remove one of them";
        resolver.error(&path, message);
    }
}

/// Tokens that never expire end only by revocation, so revocation must be checked unless the file
/// explicitly disables it.
fn check_endless_tokens(resolver: &mut Resolver<'_>, path: &KeyPath, authority: &AuthorityConfig) {
    let is_named = matches!(authority.keys, KeySource::Url(_) | KeySource::File(_));
    match authority.revocation.kind {
        _ if authority.require_expiry => {}
        RevocationKind::None => {
            let message = "tokens without `exp` are accepted but, with `revocation: none`, not \
                           checked for revocation: a stolen token works until the authority \
                           withdraws the key that signed it";
            resolver.warn(path, message);
        }
        RevocationKind::Auto if is_named => {
            let message = "tokens without `exp` need a revocation check, but the metadata that \
                           names its endpoint is not read: set `revocation` (`revocation: none` \
                           accepts such tokens without a check)";
            resolver.error(path, message);
        }
        _ => {}
    }
}

fn key_source(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: &raw::Authority,
) -> Option<KeySource> {
    let issuer_path = path.key("issuer");
    resolver.check_issuer(&issuer_path, &raw.issuer);
    if raw.issuer.is_empty() {
        resolver.error(&issuer_path, "it must not be empty");
    }
    let trust_domain = spiffe::trust_domain(&raw.issuer);
    if raw.issuer.starts_with(spiffe::SCHEME) {
        check_trust_domain(resolver, &issuer_path, trust_domain, raw)?;
    }
    match (&raw.jwks_uri, &raw.jwks_file) {
        (Some(_), Some(_)) => {
            resolver.error(
                &path.key("jwksFile"),
                "set either `jwksUri` or `jwksFile`, not both",
            );
            None
        }
        (Some(url), None) => {
            warn_of_plain_http(resolver, &path.key("jwksUri"), &url.0);
            resolver.check_no_metadata(&path.key("jwksUri"), &url.0, "issuer");
            Some(KeySource::Url(url.0.clone()))
        }
        (None, Some(file)) => key_file(resolver, &path.key("jwksFile"), file, trust_domain),
        (None, None) => {
            let issuer = tenants::example(&raw.issuer, raw.tenants.as_deref());
            own_or_discovery(resolver, &issuer_path, &raw.profile.issuer(&issuer))
        }
    }
}

/// Checks an authority that is a SPIFFE trust domain.
fn check_trust_domain(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    trust_domain: Option<&str>,
    raw: &raw::Authority,
) -> Option<()> {
    let message = match trust_domain {
        None => {
            "a SPIFFE trust domain is written `spiffe://example.org`, in small letters and \
                 without a path"
        }
        Some(_) if raw.jwks_uri.is_none() && raw.jwks_file.is_none() => {
            "a SPIFFE trust domain has no metadata: set `jwksUri` to its bundle endpoint, or \
             `jwksFile` to a bundle"
        }
        Some(_) => return Some(()),
    };
    resolver.error(path, message);
    None
}

/// The file with the token for the key endpoint, which must be sent over an encrypted connection.
fn key_token_file(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: &raw::Authority,
    keys: Option<&KeySource>,
) -> Option<PathBuf> {
    let file = raw.key_token_file.as_ref()?;
    let endpoint = match keys? {
        KeySource::Url(url) => Some(url.clone()),
        KeySource::Discovery => url::Url::parse(&raw.issuer).ok(),
        KeySource::OwnIssuer | KeySource::File(_) => {
            let message = "remove this key: the keys of this authority are not fetched";
            resolver.error(path, message);
            return None;
        }
    };
    if endpoint.is_none_or(|url| is_open(&url)) {
        let message = "the token would be sent over plain http: use https for `jwksUri` or \
                       `issuer`, or a loopback address";
        resolver.error(path, message);
        return None;
    }
    resolver.secret(path, file, files::read_secret)?;
    Some(file.0.clone())
}

fn key_file(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    file: &FilePath,
    trust_domain: Option<&str>,
) -> Option<KeySource> {
    let set = resolver.file(path, file, |file| {
        files::read_authority_keys(file, trust_domain)
    })?;
    for left_out in set.left_out().iter().filter(|key| !key.is_meant) {
        resolver.warn(path, format!("a key is ignored: {left_out}"));
    }
    if set.unread() > 0 {
        let message = format!(
            "only the first 256 keys are used; {} are ignored",
            set.unread()
        );
        resolver.warn(path, message);
    }
    Some(KeySource::File(file.0.clone()))
}

fn own_or_discovery(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    issuer: &IssuerName,
) -> Option<KeySource> {
    let own = resolver.own_issuer();
    if own.is_some_and(|own| issuer.is(own)) {
        return Some(KeySource::OwnIssuer);
    }
    if own.is_some_and(|own| issuer.is_nearly(own)) {
        let message = "it differs from `issuer.url` only by slashes, so it is not the sidecar's \
                       own issuer: issuers are compared exactly (unless `profile: plgd`)";
        resolver.warn(path, message);
    }
    match issuer.written().parse::<IssuerUrl>() {
        Ok(url) => {
            warn_of_plain_http(resolver, path, url.url());
            Some(KeySource::Discovery)
        }
        Err(why) => {
            let message =
                format!("it cannot be used for discovery ({why}); set `jwksUri` or `jwksFile`");
            resolver.error(path, message);
            None
        }
    }
}

fn warn_of_plain_http(resolver: &mut Resolver<'_>, path: &KeyPath, url: &url::Url) {
    if is_open(url) {
        let message = "plain http to another machine: an attacker on the network can replace the \
                       keys in the answer";
        resolver.warn(path, message);
    }
}

/// Refuses two authorities with the same issuer in different spellings, if slashes do not matter.
pub(super) fn check_issuers(resolver: &mut Resolver<'_>, authorities: &[AuthorityConfig]) {
    for (i, authority) in authorities.iter().enumerate() {
        let name = authority.issuer_name();
        let is_same = |earlier: &&AuthorityConfig| {
            earlier.issuer != authority.issuer
                && (earlier.issuer_name().is(&authority.issuer) || name.is(&earlier.issuer))
        };
        if let Some(same) = authorities[..i].iter().find(is_same) {
            let message = format!(
                "with `profile: plgd`, slashes at the end do not matter, so this is also the \
                 issuer of the authority `{}`: remove one of them",
                same.name
            );
            let path = KeyPath::root("authorities")
                .key(&authority.name)
                .key("issuer");
            resolver.error(&path, message);
        }
    }
}
