//! How a client of the configuration proves who it is.

use crate::config::resolve::Resolver;
use crate::config::tree::KeyPath;
use crate::config::{files, raw};
use crate::issuer::Profile;
use crate::issuer::client::{Authentication, ClientKeys, CopyClaims, Exchange, KeyPlace};

/// By a secret, unless a key says by which JWT.
pub(super) fn resolve(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: &raw::Client,
    profile: Profile,
) -> Option<Authentication> {
    let at = |place| Some(Authentication::PrivateKeyJwt(ClientKeys::At(place)));
    if raw.cap_to_assertion && raw.jwt_private_key.is_none() {
        let message = "it needs `jwtPrivateKey` beside it: without that the client brings no JWT of a user with which a token could end";
        resolver
            .findings
            .error(&path.key("capToAssertion"), message);
    }
    let authentication = match (&raw.jwks_file, &raw.jwks_uri, &raw.jwt_private_key) {
        (None, None, None) => return Some(Authentication::Secret),
        (Some(file), None, None) => {
            resolver.file(&path.key("jwksFile"), file, files::check_client_keys)?;
            at(KeyPlace::File(file.0.clone()))
        }
        (None, Some(url), None) => {
            let place = KeyPlace::parse_uri(url.0.as_str());
            if place.is_none() {
                let message = "it must be an https URL without user name, password and fragment";
                resolver.findings.error(&path.key("jwksUri"), message);
            }
            at(place?)
        }
        (None, None, Some(exchange)) => Some(Authentication::Exchange(resolve_exchange(
            resolver, path, raw, exchange, profile,
        ))),
        _ => {
            let message = "only one of `jwksFile`, `jwksUri` and `jwtPrivateKey` can be there";
            resolver.findings.error(path, message);
            None
        }
    };
    if matches!(authentication, Some(Authentication::PrivateKeyJwt(_)))
        && super::is_in_memory(resolver.tree)
    {
        let message = "which assertions were used is forgotten with the process: until they expire they are good again after a restart";
        resolver.findings.warning(path, message);
    }
    if raw.secret_file.is_some() {
        let message = "never used: the client authenticates itself by a JWT, and in no other way";
        resolver.findings.warning(&path.key("secretFile"), message);
    }
    authentication
}

fn resolve_exchange(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    client: &raw::Client,
    raw: &raw::JwtPrivateKey,
    profile: Profile,
) -> Exchange {
    let path = path.key("jwtPrivateKey").key("authorities");
    let own = resolver.own_issuer().map(str::to_owned);
    for (i, name) in raw.authorities.iter().enumerate() {
        let place = path.index(i);
        resolver.reference(&place, &name.0, "authorities", "authority");
        let issuer = resolver.issuer_of(&name.0);
        if own
            .as_ref()
            .is_some_and(|own| issuer.is_some_and(|issuer| issuer.is(own)))
        {
            let message = "this is the issuer itself: a token could be renewed without end";
            resolver.findings.error(&place, message);
        }
    }
    let copy_claims = match (&raw.copy_claims, profile) {
        (Some(listed), _) => CopyClaims::Listed(listed.iter().map(|name| name.0.clone()).collect()),
        (None, Profile::Plgd) => CopyClaims::All,
        (None, Profile::Standard) => CopyClaims::Listed(Vec::new()),
    };
    Exchange {
        authorities: raw.authorities.iter().map(|name| name.0.clone()).collect(),
        copy_claims,
        cap_to_assertion: client.cap_to_assertion,
    }
}
