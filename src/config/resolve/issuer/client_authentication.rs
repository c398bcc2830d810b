//! The authentication of a client of the configuration.

use super::is_in_memory;
use crate::config::resolve::resolver::Resolver;
use crate::config::tree::KeyPath;
use crate::config::{files, raw};
use crate::issuer::ProfilePolicy;
use crate::issuer::client::{Authentication, ClientKeys, CopyClaims, Exchange, KeyPlace};

/// A secret, unless a key selects a JWT.
pub(super) fn resolve(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: &raw::Client,
    profile: ProfilePolicy,
) -> Option<Authentication> {
    if raw.cap_to_assertion && raw.jwt_private_key.is_none() {
        let message = "`capToAssertion` needs `jwtPrivateKey`: without it, the client sends no \
                       JWT of a user";
        resolver.error(&path.key("capToAssertion"), message);
    }
    let key_place = match (&raw.jwks_file, &raw.jwks_uri, &raw.jwt_private_key) {
        (None, None, None) => return Some(Authentication::Secret),
        (Some(file), None, None) => {
            resolver.file(&path.key("jwksFile"), file, files::check_client_keys)?;
            KeyPlace::File(file.0.clone())
        }
        (None, Some(url), None) => {
            let place = KeyPlace::parse_uri(url.0.as_str());
            if place.is_none() {
                let message = "it must be an https URL without user name, password and fragment";
                resolver.error(&path.key("jwksUri"), message);
            }
            place?
        }
        (None, None, Some(exchange)) => {
            warn_of_unused_secret(resolver, path, raw);
            let exchange = resolve_exchange(resolver, path, raw, exchange, profile);
            return Some(Authentication::Exchange(exchange));
        }
        _ => {
            let message = "set only one of `jwksFile`, `jwksUri` and `jwtPrivateKey`";
            resolver.error(path, message);
            return None;
        }
    };
    if is_in_memory(resolver) {
        let message = "the store in memory loses the list of used assertions: after a restart they \
                       can be used again until they expire";
        resolver.warn(path, message);
    }
    warn_of_unused_secret(resolver, path, raw);
    Some(Authentication::PrivateKeyJwt(ClientKeys::At(key_place)))
}

fn warn_of_unused_secret(resolver: &mut Resolver<'_>, path: &KeyPath, raw: &raw::Client) {
    if raw.secret_file.is_some() {
        let message = "ignored: the client authenticates by a JWT only";
        resolver.warn(&path.key("secretFile"), message);
    }
}

fn resolve_exchange(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    client: &raw::Client,
    raw: &raw::JwtPrivateKey,
    profile: ProfilePolicy,
) -> Exchange {
    let path = path.key("jwtPrivateKey").key("authorities");
    let own = resolver.own_issuer();
    for (i, name) in raw.authorities.iter().enumerate() {
        let path = path.index(i);
        resolver.reference(&path, &name.0, "authorities", "authority");
        let issuer = resolver.issuer_of(&name.0);
        if own.is_some_and(|own| issuer.is_some_and(|issuer| issuer.is(own))) {
            let message = "this is the issuer itself: a client could renew a token without end";
            resolver.error(&path, message);
        }
    }
    let copy_claims = match &raw.copy_claims {
        Some(listed) => CopyClaims::Listed(listed.iter().map(|name| name.0.clone()).collect()),
        None if profile.defaults.copy_all_claims => CopyClaims::All,
        None => CopyClaims::Listed(Vec::new()),
    };
    Exchange {
        authorities: raw.authorities.iter().map(|name| name.0.clone()).collect(),
        copy_claims,
        cap_to_assertion: client.cap_to_assertion,
    }
}
