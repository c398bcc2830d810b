//! The tokens that a client of the configuration may exchange.

use crate::config::raw;
use crate::config::resolve::resolver::Resolver;
use crate::config::resolve::rules::claim_need;
use crate::config::tree::KeyPath;
use crate::domain::oauth::GrantType;
use crate::issuer::token_exchange::{ExchangePolicy, ExchangedTokens, OWN};

/// Resolves `exchange` of a client, which needs the grant, as the grant needs it.
pub(super) fn resolve(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    client: &mut raw::Client,
) -> Option<ExchangePolicy> {
    let has_grant = client
        .allowed_grant_types
        .contains(&GrantType::TokenExchange);
    let Some(raw) = client.exchange.take() else {
        if has_grant {
            let message = "the grant `urn:ietf:params:oauth:grant-type:token-exchange` needs \
                           `exchange`: which tokens the client may exchange, and for what";
            resolver.error(&path.key("allowedGrantTypes"), message);
        }
        return None;
    };
    let path = path.key("exchange");
    if !has_grant {
        let message = "it has no effect: add `urn:ietf:params:oauth:grant-type:token-exchange` to \
                       `allowedGrantTypes`";
        resolver.error(&path, message);
    }
    if client.jwt_private_key.is_some() {
        let message = "a client with `jwtPrivateKey` proves nothing about itself, so it exchanges \
                       no tokens: give it a secret or a key of its own";
        resolver.error(&path, message);
    }
    if client.allowed_audiences.is_empty() {
        let message = "it needs `allowedAudiences`: the services for which the client gets the \
                       new tokens";
        resolver.error(&path, message);
    }
    for (i, audience) in raw.audiences.iter().enumerate() {
        if !client.allowed_audiences.contains(audience) {
            let message = "`allowedAudiences` does not contain this audience: add it there";
            resolver.error(&path.key("audiences").index(i), message);
        }
    }
    for (i, scope) in raw.added_scopes.iter().enumerate() {
        if !client.allowed_scopes.contains(scope) {
            let message = "`allowedScopes` does not contain this scope: add it there";
            resolver.error(&path.key("addedScopes").index(i), message);
        }
    }
    let tokens = |resolver: &mut Resolver<'_>, key: &str, raw: Vec<raw::ExchangedTokens>| {
        let path = path.key(key);
        let resolved = raw.into_iter().enumerate();
        resolved
            .map(|(i, raw)| exchanged(resolver, &path.index(i), raw))
            .collect()
    };
    warn_of_same_names(resolver, &path.key("subjects"), &raw.subjects);
    Some(ExchangePolicy {
        subjects: tokens(resolver, "subjects", raw.subjects),
        actors: tokens(resolver, "actors", raw.actors),
        audiences: raw.audiences.into_iter().map(Into::into).collect(),
        added_scopes: raw.added_scopes.into_iter().map(Into::into).collect(),
        max_depth: raw.max_depth,
    })
}

/// Warns of subjects whose `sub` another authority or this issuer may have given to another party.
fn warn_of_same_names(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    subjects: &[raw::ExchangedTokens],
) {
    let is_any = |it: &raw::ExchangedTokens| it.subject.is_none() && it.claims.is_empty();
    let of_others = subjects.iter().filter(|it| it.authority.0 != OWN);
    if of_others.clone().any(is_any) {
        let message = "the `sub` of another authority can be that of a client of this issuer, or \
                       of a user of a further authority: name `subject` or `claims` here, or let \
                       the rules of the services compare `owner_iss` too (`claims: { owner_iss: \
                       … }`)";
        resolver.warn(path, message);
    }
}

fn exchanged(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: raw::ExchangedTokens,
) -> ExchangedTokens {
    check_authority(resolver, &path.key("authority"), &raw.authority.0);
    let subject = raw.subject.map(String::from);
    let stars = subject.as_deref().map(|it| it.trim_end_matches('*'));
    if stars.is_some_and(|start| start.contains('*') || start.is_empty()) {
        let message = "a `*` may only stand at the end, after the beginning of the `sub`; leave \
                       `subject` out for any";
        resolver.error(&path.key("subject"), message);
    }
    let claims = raw.claims.iter().map(claim_need);
    ExchangedTokens {
        authority: raw.authority.into(),
        subject,
        audiences: raw.audiences.into_iter().map(Into::into).collect(),
        claims: claims.map(|need| (need.name, need.values)).collect(),
        id_tokens: raw.id_tokens,
    }
}

/// `self` is this issuer, and this issuer is `self`.
fn check_authority(resolver: &mut Resolver<'_>, path: &KeyPath, name: &str) {
    let own = resolver.own_issuer();
    let issuer = resolver.issuer_of(name);
    let is_own = own.is_some_and(|own| issuer.as_ref().is_some_and(|issuer| issuer.is(own)));
    if name != OWN {
        resolver.reference(path, name, "authorities", "authority");
        if is_own {
            resolver.error(path, "this is the issuer itself: write `self`");
        }
    } else if issuer.is_some() && !is_own {
        let message = "`self` is this issuer here, but `authorities.self` is another one: give \
                       that authority another name";
        resolver.error(path, message);
    }
}
