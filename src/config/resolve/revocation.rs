//! How an authority's revoked tokens are found out.

use std::time::Duration;

use super::{Resolver, is_open};
use crate::config::raw;
use crate::config::tree::KeyPath;
use crate::verifier::{KeySource, OnFailure, RevocationConfig, RevocationKind};

const MAX_AGE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(10));
const MAX_STALE: (Duration, Duration) = (Duration::ZERO, Duration::from_hours(24));

/// Resolves `authorities.*.revocation`; `keys` is how the authority's keys are found.
pub(super) fn resolve(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: Option<raw::Revocation>,
    keys: &KeySource,
) -> RevocationConfig {
    let raw = match raw {
        Some(raw::Revocation::Full(full)) => full,
        Some(raw::Revocation::Kind(kind)) => raw::FullRevocation::of(kind),
        None => raw::FullRevocation::of(RevocationKind::default()),
    };
    resolver.duration(&path.key("maxAge"), raw.max_age, MAX_AGE.0, MAX_AGE.1);
    resolver.duration(
        &path.key("maxStale"),
        raw.max_stale,
        MAX_STALE.0,
        MAX_STALE.1,
    );
    check_place(resolver, path, &raw, keys);
    check_credential(resolver, path, &raw);
    if matches!(raw.on_failure, OnFailure::Accept) {
        let message = "revoked tokens pass whenever the issuer cannot be asked: whoever can keep it from answering \
                       brings them back to life";
        resolver.findings.warning(&path.key("onFailure"), message);
    }
    if raw
        .endpoint
        .as_ref()
        .is_some_and(|endpoint| is_open(&endpoint.0))
    {
        let message =
            "plain http to another machine: answers can be changed, and tokens read, on the way";
        resolver.findings.warning(&path.key("endpoint"), message);
    }
    RevocationConfig {
        kind: raw.kind,
        max_age: raw.max_age.0,
        max_stale: raw.max_stale.0,
        on_failure: raw.on_failure,
        endpoint: raw.endpoint.map(|endpoint| endpoint.0),
        credential: raw.credential.map(|name| name.0),
    }
}

/// Whether it can be known where to ask.
fn check_place(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: &raw::FullRevocation,
    keys: &KeySource,
) {
    use RevocationKind as Kind;
    let asks = !matches!(raw.kind, Kind::Auto | Kind::None);
    if raw.endpoint.is_some() && !asks {
        let message = "`kind` must say what kind of endpoint it is: list, plgd or introspection";
        return resolver.findings.error(&path.key("endpoint"), message);
    }
    match keys {
        KeySource::OwnIssuer
            if matches!(raw.kind, Kind::Plgd | Kind::Introspection) || raw.endpoint.is_some() =>
        {
            let message = "what the sidecar's own issuer has revoked is read in process: leave `revocation` out";
            resolver.findings.error(path, message);
        }
        KeySource::Url(_) | KeySource::File(_) if asks && raw.endpoint.is_none() => {
            let message =
                "its metadata is not read, because its keys are named: name the `endpoint` too";
            resolver.findings.error(path, message);
        }
        _ => {}
    }
}

fn check_credential(resolver: &mut Resolver<'_>, path: &KeyPath, raw: &raw::FullRevocation) {
    let introspects = raw.kind == RevocationKind::Introspection;
    let key = path.key("credential");
    match &raw.credential {
        Some(name) if introspects => resolver.reference(&key, &name.0, "credentials", "credential"),
        Some(_) => resolver
            .findings
            .error(&key, "only introspection is asked with a credential"),
        None if introspects => {
            let message =
                "introspection needs the `credential` that it is asked with (RFC 7662 §2.1)";
            resolver.findings.error(path, message);
        }
        None => {}
    }
}
