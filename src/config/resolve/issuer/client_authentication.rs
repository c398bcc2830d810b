//! The authentication of a client of the configuration.

use super::is_in_memory;
use crate::config::resolve::resolver::Resolver;
use crate::config::tree::KeyPath;
use crate::config::{files, raw};
use crate::domain::assertion_audiences::AssertionAudiences;
use crate::domain::client_certificate::AlternativeName;
use crate::domain::distinguished_name::DistinguishedName;
use crate::issuer::ProfilePolicy;
use crate::issuer::client::{
    Authentication, CertificateName, ClientKeys, CopyClaims, Exchange, KeyPlace,
};

/// A secret, unless a key selects a JWT.
pub(super) fn resolve(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: &raw::Client,
    profile: ProfilePolicy,
) -> Option<Authentication> {
    check_assertion_keys(resolver, path, raw);
    if let Some(certificate) = &raw.tls_client_auth
        && !certificate.self_signed
    {
        return by_name(resolver, path, raw, certificate).map(Authentication::TlsClientAuth);
    }
    let is_self_signed = raw.tls_client_auth.is_some();
    let key_place = match (&raw.jwks_file, &raw.jwks_uri, &raw.jwt_private_key) {
        (None, None, _) if is_self_signed => {
            let message = "a self-signed certificate needs `jwksFile` or `jwksUri` with its key";
            resolver.error(&path.key("tlsClientAuth").key("selfSigned"), message);
            return None;
        }
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
    if is_self_signed {
        warn_of_unused_secret(resolver, path, raw);
        check_self_signed(resolver, path, raw)?;
        return Some(Authentication::SelfSignedTls(ClientKeys::At(key_place)));
    }
    if is_in_memory(resolver) {
        let message = "the store in memory loses the list of used assertions: after a restart they \
                       can be used again until they expire";
        resolver.warn(path, message);
    }
    warn_of_unused_secret(resolver, path, raw);
    Some(Authentication::PrivateKeyJwt(ClientKeys::At(key_place)))
}

/// Checks the keys about assertions, which only some clients send.
fn check_assertion_keys(resolver: &mut Resolver<'_>, path: &KeyPath, raw: &raw::Client) {
    if raw.cap_to_assertion && raw.jwt_private_key.is_none() {
        let message = "`capToAssertion` needs `jwtPrivateKey`: without it, the client sends no \
                       JWT of a user";
        resolver.error(&path.key("capToAssertion"), message);
    }
    let has_keys = raw.jwks_file.is_some() || raw.jwks_uri.is_some();
    let is_legacy = raw.assertion_audiences == AssertionAudiences::Legacy;
    if is_legacy && (!has_keys || raw.tls_client_auth.is_some()) {
        let message = "`legacy` needs `jwksFile` or `jwksUri`: the client authenticates without an \
                       assertion of its own";
        resolver.error(&path.key("assertionAudiences"), message);
    }
}

pub(super) fn warn_of_unused_secret(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: &raw::Client,
) {
    if raw.secret_file.is_some() {
        let message = "ignored: the client authenticates without a secret";
        resolver.warn(&path.key("secretFile"), message);
    }
}

/// The names of a client's certificate that are set.
fn names(raw: &raw::TlsClientAuth) -> impl Iterator<Item = (&'static str, &str)> {
    let keys = [
        ("subjectDN", &raw.subject_dn),
        ("sanDNS", &raw.san_dns),
        ("sanURI", &raw.san_uri),
        ("sanIP", &raw.san_ip),
        ("sanEmail", &raw.san_email),
    ];
    keys.into_iter()
        .filter_map(|(key, text)| Some((key, text.as_deref()?)))
}

/// The name of a certificate that an authority of the listener has issued.
fn by_name(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    client: &raw::Client,
    raw: &raw::TlsClientAuth,
) -> Option<CertificateName> {
    warn_of_unused_secret(resolver, path, client);
    for (key, is_set) in [
        ("jwksFile", client.jwks_file.is_some()),
        ("jwksUri", client.jwks_uri.is_some()),
        ("jwtPrivateKey", client.jwt_private_key.is_some()),
    ] {
        if is_set {
            let message = "remove this key: the client authenticates by the name of its \
                           certificate (`tlsClientAuth`)";
            resolver.error(&path.key(key), message);
        }
    }
    let path = path.key("tlsClientAuth");
    let mut names = names(raw);
    let (Some((key, text)), None) = (names.next(), names.next()) else {
        let message = "set exactly one of `subjectDN`, `sanDNS`, `sanURI`, `sanIP`, `sanEmail` and \
                       `selfSigned: true`";
        resolver.error(&path, message);
        return None;
    };
    if text.is_empty() {
        resolver.error(&path.key(key), "it must not be empty");
        return None;
    }
    let name = text.to_owned();
    Some(CertificateName::Alternative(match key {
        "subjectDN" => match DistinguishedName::parse(text) {
            Ok(name) => return Some(CertificateName::Subject(name)),
            Err(why) => {
                resolver.error(&path.key(key), why.to_string());
                return None;
            }
        },
        "sanDNS" => AlternativeName::Dns(name),
        "sanURI" => {
            return CertificateName::of_uri(text)
                .map_err(|why| resolver.error(&path.key(key), why.to_string()))
                .ok();
        }
        "sanIP" => match text.parse() {
            Ok(address) => AlternativeName::Ip(address),
            Err(_) => {
                resolver.error(&path.key(key), "not an IP address");
                return None;
            }
        },
        _ => AlternativeName::Email(name),
    }))
}

fn check_self_signed(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    client: &raw::Client,
) -> Option<()> {
    let path = path.key("tlsClientAuth");
    let mut is_right = true;
    for (key, _) in client.tls_client_auth.iter().flat_map(names) {
        let message = "remove this key: the names of a self-signed certificate prove nothing";
        resolver.error(&path.key(key), message);
        is_right = false;
    }
    is_right.then_some(())
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
