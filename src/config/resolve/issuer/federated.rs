//! Clients that authenticate by a JWT of a trusted authority.

use super::client_authentication::warn_of_unused_secret;
use crate::config::raw;
use crate::config::resolve::resolver::Resolver;
use crate::config::resolve::rules::claim_need;
use crate::config::tree::KeyPath;
use crate::domain::claim_pattern::ClaimPattern;
use crate::domain::spiffe;
use crate::issuer::client::Authentication;
use crate::issuer::federation::{Federation, Trust};

/// Resolves `federated` of a client. `path` is the client's.
pub(super) fn resolve(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    client: &raw::Client,
    raw: &[raw::Federated],
) -> Option<Authentication> {
    warn_of_unused_secret(resolver, path, client);
    for (key, is_set) in [
        ("jwksFile", client.jwks_file.is_some()),
        ("jwksUri", client.jwks_uri.is_some()),
        ("tlsClientAuth", client.tls_client_auth.is_some()),
        ("jwtPrivateKey", client.jwt_private_key.is_some()),
        ("capToAssertion", client.cap_to_assertion),
    ] {
        if is_set {
            let message = "remove this key: the client authenticates by the JWTs of an authority \
                           (`federated`)";
            resolver.error(&path.key(key), message);
        }
    }
    let path = path.key("federated");
    let entries = raw.iter().enumerate();
    let entries = entries.map(|(i, entry)| resolve_entry(resolver, &path.index(i), entry));
    let entries: Vec<_> = entries.collect();
    let entries: Option<Vec<Federation>> = entries.into_iter().collect();
    entries.map(Authentication::Federated)
}

fn resolve_entry(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: &raw::Federated,
) -> Option<Federation> {
    let name = &raw.authority.0;
    let authority_path = path.key("authority");
    resolver.reference(&authority_path, name, "authorities", "authority");
    let issuer = resolver.issuer_of(name)?;
    if resolver.own_issuer().is_some_and(|own| issuer.is(own)) {
        let message = "this is the issuer itself: a client could renew its token without end";
        resolver.error(&authority_path, message);
        return None;
    }
    if raw.subject.is_none() && raw.claims.is_empty() {
        let message = format!(
            "every token of `{name}` would authenticate this client: set `subject`, or at least \
             `claims`"
        );
        resolver.error(path, message);
        return None;
    }
    let subject_path = path.key("subject");
    let subject = match &raw.subject {
        None => None,
        Some(text) => Some(pattern(resolver, &subject_path, &text.0)?),
    };
    let trust_domain = spiffe::trust_domain(issuer.written());
    check_subject(resolver, &subject_path, subject.as_ref(), trust_domain)?;
    let mut claims = Vec::new();
    for (claim, values) in &raw.claims {
        let need = claim_need((claim, values));
        let path = path.key("claims").key(&need.name);
        let values = need.values.iter();
        let values: Vec<_> = values.map(|text| pattern(resolver, &path, text)).collect();
        claims.push((need.name, values.into_iter().collect::<Option<Vec<_>>>()?));
    }
    Some(Federation {
        trust: Trust::Named(name.clone()),
        subject,
        audience: raw.audience.as_ref().map(|audience| audience.0.clone()),
        claims,
        expires_at: raw.expires_at.map(|time| time.0),
    })
}

fn pattern(resolver: &mut Resolver<'_>, path: &KeyPath, text: &str) -> Option<ClaimPattern> {
    ClaimPattern::parse(text)
        .map_err(|why| resolver.error(path, why.to_string()))
        .ok()
}

/// Checks that a subject can be one of its authority.
fn check_subject(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    subject: Option<&ClaimPattern>,
    trust_domain: Option<&str>,
) -> Option<()> {
    match (subject, trust_domain) {
        (Some(ClaimPattern::Spiffe(pattern)), Some(name)) if pattern.trust_domain() == name => {}
        (Some(_), Some(name)) => {
            let message = format!(
                "the authority is the SPIFFE trust domain `{name}`, so it must be a SPIFFE ID of \
                 it: `spiffe://{name}/…`"
            );
            resolver.error(path, message);
            return None;
        }
        (Some(ClaimPattern::Prefix(prefix)), None)
            if prefix.ends_with(|last: char| last.is_alphanumeric()) =>
        {
            let message = format!(
                "it also matches longer names, such as `{prefix}-other`: end it with the separator \
                 before `*`, as in `repo:example/*`"
            );
            resolver.warn(path, message);
        }
        _ => {}
    }
    Some(())
}
