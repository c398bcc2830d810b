//! The form of access tokens, for the issuer and for single audiences.

use std::collections::BTreeMap;
use std::time::Duration;

use super::DAY;
use crate::config::name::Audience;
use crate::config::raw;
use crate::config::resolve::resolver::Resolver;
use crate::config::tree::KeyPath;
use crate::domain::settings::ScopeClaim;
use crate::issuer::token_format::{AudienceSettings, ByAudience};

/// The claims that carry scopes.
pub(super) fn scope_claims(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: &[ScopeClaim],
) -> Vec<ScopeClaim> {
    for (i, claim) in raw.iter().enumerate() {
        if raw[..i].contains(claim) {
            resolver.error(&path.index(i), "the list already contains this claim");
        }
    }
    if raw.is_empty() {
        resolver.error(path, "name `scope`, `scp` or both");
    }
    raw.to_vec()
}

/// Resolves `issuer.audiences`.
pub(super) fn resolve(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: BTreeMap<Audience, raw::AudienceSettings>,
) -> ByAudience {
    let resolve_one = |(audience, raw): (Audience, raw::AudienceSettings)| {
        let path = path.key(&audience.0);
        if let Some(lifetime) = raw.access_token_lifetime {
            let path = path.key("accessTokenLifetime");
            resolver.duration(&path, lifetime, Duration::from_secs(1), DAY);
        }
        let path = path.key("scopeClaims");
        let settings = AudienceSettings {
            token_type: raw.token_type,
            algorithm: raw.algorithm.map(Into::into),
            scope_claims: raw
                .scope_claims
                .map(|claims| scope_claims(resolver, &path, &claims)),
            access_token_lifetime: raw.access_token_lifetime.map(|lifetime| lifetime.0),
        };
        (audience.0, settings)
    };
    raw.into_iter().map(resolve_one).collect()
}
