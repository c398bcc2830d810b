//! The form of access tokens, for the issuer and for single audiences.

use std::collections::BTreeMap;
use std::time::Duration;

use super::DAY;
use crate::config::name::Audience;
use crate::config::raw;
use crate::config::resolve::Resolver;
use crate::config::tree::KeyPath;
use crate::issuer::token_format::{AudienceSettings, ByAudience, ScopeClaim};

/// The claims that carry scopes.
pub(super) fn scope_claims(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: &[ScopeClaim],
) -> Vec<ScopeClaim> {
    let mut claims = Vec::new();
    for (i, claim) in raw.iter().enumerate() {
        if claims.contains(claim) {
            resolver
                .findings
                .error(&path.index(i), "this claim stands in the list twice");
        }
        claims.push(*claim);
    }
    if claims.is_empty() {
        resolver.findings.error(path, "name `scope`, `scp` or both");
    }
    claims
}

/// The settings of audiences.
pub(super) fn resolve(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: BTreeMap<Audience, raw::AudienceSettings>,
) -> ByAudience {
    let resolve_one = |(audience, raw): (Audience, raw::AudienceSettings)| {
        let path = path.key(&audience.0);
        if let Some(lifetime) = raw.access_token_lifetime {
            resolver.duration(
                &path.key("accessTokenLifetime"),
                lifetime,
                Duration::from_secs(1),
                DAY,
            );
        }
        let claims = raw.scope_claims;
        let settings = AudienceSettings {
            token_type: raw.token_type,
            algorithm: raw.algorithm.map(Into::into),
            scope_claims: claims
                .map(|claims| scope_claims(resolver, &path.key("scopeClaims"), &claims)),
            access_token_lifetime: raw.access_token_lifetime.map(|lifetime| lifetime.0),
        };
        (audience.0, settings)
    };
    raw.into_iter().map(resolve_one).collect()
}
