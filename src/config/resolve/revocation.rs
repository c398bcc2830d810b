//! The revocation check of an authority's tokens.

use std::time::Duration;

use super::connections::is_open;
use super::resolver::Resolver;
use crate::config::raw;
use crate::config::tree::KeyPath;
use crate::verifier::{KeySource, OnFailure, RevocationConfig, RevocationKind as Kind};

/// Resolves `authorities.*.revocation`; `keys` is the source of the authority's keys.
pub(super) fn resolve(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: Option<raw::Revocation>,
    keys: &KeySource,
) -> RevocationConfig {
    let raw = match raw {
        Some(raw::Revocation::Full(full)) => full,
        Some(raw::Revocation::Kind(kind)) => raw::FullRevocation::of(kind),
        None => raw::FullRevocation::of(Kind::default()),
    };
    let (least, most) = (Duration::from_secs(1), Duration::from_mins(10));
    resolver.duration(&path.key("maxAge"), raw.max_age, least, most);
    let most = Duration::from_hours(24);
    resolver.duration(&path.key("maxStale"), raw.max_stale, Duration::ZERO, most);
    check_endpoint(resolver, path, &raw, keys);
    check_credential(resolver, path, &raw);
    if raw.on_failure == OnFailure::Accept {
        let message = "revoked tokens pass while the issuer does not answer: an attacker who \
                       blocks its answers can use them";
        resolver.warn(&path.key("onFailure"), message);
    }
    if raw
        .endpoint
        .as_ref()
        .is_some_and(|endpoint| is_open(&endpoint.0))
    {
        let message = "plain http to another machine: an attacker on the network can read tokens \
                       and change answers";
        resolver.warn(&path.key("endpoint"), message);
    }
    RevocationConfig {
        kind: raw.kind,
        max_age: raw.max_age.0,
        max_stale: raw.max_stale.0,
        on_failure: raw.on_failure,
        endpoint: raw.endpoint.map(|endpoint| endpoint.0),
        credential: raw.credential.map(Into::into),
    }
}

/// Checks that the endpoint is known and fits the kind.
fn check_endpoint(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: &raw::FullRevocation,
    keys: &KeySource,
) {
    let asks = !matches!(raw.kind, Kind::Auto | Kind::None);
    if raw.endpoint.is_some() && !asks {
        let message = "set `kind` to the kind of this endpoint: list, plgd or introspection";
        return resolver.error(&path.key("endpoint"), message);
    }
    let asks_by_token = matches!(raw.kind, Kind::Plgd | Kind::Introspection);
    match keys {
        KeySource::OwnIssuer if asks_by_token || raw.endpoint.is_some() => {
            let message = "the revocations of the sidecar's own issuer are read in process: \
                           remove `revocation`";
            resolver.error(path, message);
        }
        KeySource::Url(_) | KeySource::File(_) if asks && raw.endpoint.is_none() => {
            let message = "set `endpoint` too: the metadata that names it is not read, because the \
                           keys are configured";
            resolver.error(path, message);
        }
        _ => {}
    }
}

fn check_credential(resolver: &mut Resolver<'_>, path: &KeyPath, raw: &raw::FullRevocation) {
    let introspects = raw.kind == Kind::Introspection;
    let key = path.key("credential");
    match &raw.credential {
        Some(name) if introspects => resolver.reference(&key, &name.0, "credentials", "credential"),
        Some(_) => resolver.error(&key, "only introspection uses a credential"),
        None if introspects => {
            resolver.error(path, "introspection needs a `credential` (RFC 7662 §2.1)");
        }
        None => {}
    }
}
