//! The tenants of an authority.

use std::borrow::Cow;
use std::collections::HashSet;

use super::resolver::Resolver;
use crate::config::address::IssuerUrl;
use crate::config::name::Tenant;
use crate::config::raw;
use crate::config::tree::KeyPath;
use crate::domain::issuer_pattern::{IssuerPattern, TENANT};
use crate::domain::settings::Profile;
use crate::verifier::{AuthorityConfig, RevocationConfig, RevocationKind as Kind};

/// Resolves `authorities.*.tenants`. `None` after an error that hides others.
pub(super) fn resolve(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: &raw::Authority,
) -> Option<Vec<String>> {
    let (issuer, key) = (path.key("issuer"), path.key("tenants"));
    let pattern = IssuerPattern::parse(&raw.issuer);
    let Some(tenants) = &raw.tenants else {
        if raw.issuer.contains(TENANT) {
            let message = "set `tenants` too: the list of those that `{tenant}` may stand for";
            resolver.error(&issuer, message);
            return None;
        }
        return Some(Vec::new());
    };
    let Some(pattern) = pattern else {
        let message = "`{tenant}` must stand in `issuer` once, at the place of the tenant";
        resolver.error(&issuer, message);
        return None;
    };
    if raw.profile == Profile::Plgd {
        let message = "issuers of tenants are compared exactly: remove `profile: plgd`";
        resolver.error(&path.key("profile"), message);
    }
    if raw.introspection.is_some() {
        let message =
            "an opaque token names no tenant: introspect the tokens of one more authority";
        resolver.error(&path.key("introspection"), message);
    }
    let is_discovered = raw.jwks_uri.is_none() && raw.jwks_file.is_none();
    let mut seen = HashSet::new();
    for (index, tenant) in tenants.iter().enumerate() {
        let path = key.index(index);
        let url = pattern.issuer(&tenant.0).parse::<IssuerUrl>();
        // The issuer of the first one is checked where the source of the keys is.
        if let (Err(why), true, 1..) = (url, is_discovered, index) {
            let message = format!("its issuer cannot be used for discovery ({why})");
            resolver.error(&path, message);
        }
        if !seen.insert(&tenant.0) {
            let shown = resolver.shown(&path, &tenant.0);
            resolver.error(
                &path,
                format!("`{shown}` is listed twice: remove one of them"),
            );
        }
        if resolver
            .own_issuer()
            .is_some_and(|own| own == pattern.issuer(&tenant.0))
        {
            let message = "this is the sidecar's own issuer: trust it as an authority of its own";
            resolver.error(&path, message);
        }
    }
    Some(tenants.iter().map(|tenant| tenant.0.clone()).collect())
}

/// The issuer of the first tenant, by which the pattern is checked.
pub(super) fn example<'i>(issuer: &'i str, tenants: Option<&[Tenant]>) -> Cow<'i, str> {
    let first = tenants.and_then(<[_]>::first);
    match (IssuerPattern::parse(issuer), first) {
        (Some(pattern), Some(first)) => pattern.issuer(&first.0).into(),
        _ => issuer.into(),
    }
}

/// Checks the revocation of tokens of tenants: only one endpoint can be asked about all of them.
pub(super) fn revocation(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    revocation: &mut RevocationConfig,
) {
    match (revocation.kind, &revocation.endpoint) {
        (Kind::Auto, _) => revocation.kind = Kind::None,
        (Kind::None, _) | (Kind::Introspection, Some(_)) => {}
        (Kind::Introspection, None) => {
            let message = "set `endpoint`, which is asked about the tokens of every tenant";
            resolver.error(&path.key("revocation"), message);
        }
        (Kind::List | Kind::Plgd, _) => {
            let message = "with `tenants`, revocations are found out by `introspection` or not at \
                           all";
            resolver.error(&path.key("revocation"), message);
        }
    }
}

/// Whether two authorities have an issuer in common.
pub(super) fn overlap(one: &AuthorityConfig, other: &AuthorityConfig) -> bool {
    if one.tenants.is_empty() && other.tenants.is_empty() {
        return one.issuer == other.issuer;
    }
    let (one, other) = (one.issuers(), other.issuers());
    let one: HashSet<_> = one.iter().collect();
    other.iter().any(|issuer| one.contains(issuer))
}
