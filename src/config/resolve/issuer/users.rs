//! The authorities whose users the issuer trusts.

use crate::config::IssuerRole;
use crate::config::name::Name;
use crate::config::resolve::resolver::Resolver;
use crate::config::tree::KeyPath;
use crate::domain::settings::Profile;
use crate::issuer::client::Authentication;
use crate::verifier::AuthorityConfig;

/// Resolves `issuer.authorities`. `self` needs no entry, because the issuer trusts itself.
pub(super) fn names(resolver: &mut Resolver<'_>, path: &KeyPath, names: Vec<Name>) -> Vec<String> {
    let entries = KeyPath::root("authorities");
    for (i, name) in names
        .iter()
        .enumerate()
        .filter(|(_, name)| name.0 != "self")
    {
        if resolver.tree.find(&entries.key(&name.0)).is_none() {
            resolver.error(&path.index(i), "no authority has this name");
        }
    }
    names.into_iter().map(Into::into).collect()
}

/// Sets the issuers whose users are trusted, by the tokens API or to exchange their JWTs. Warns of
/// owners whose issuer is ambiguous.
pub(in crate::config::resolve) fn resolve(
    resolver: &mut Resolver<'_>,
    role: &mut IssuerRole,
    known: &[AuthorityConfig],
) {
    let has_tokens_api = role.issuer.profile.policy().tokens_api;
    let exchanging = role
        .issuer
        .clients
        .iter()
        .filter_map(|client| match &client.authentication {
            Authentication::Exchange(exchange) => Some(&exchange.authorities),
            _ => None,
        });
    let calling = has_tokens_api.then_some(&role.authorities);
    let names: Vec<&String> = calling.into_iter().chain(exchanging).flatten().collect();
    let mut issuers: Vec<String> = known
        .iter()
        .filter(|authority| names.contains(&&authority.name))
        .map(AuthorityConfig::issuer_name)
        .filter(|issuer| !issuer.is(role.issuer.url.as_str()))
        .map(|issuer| issuer.name().to_owned())
        .collect();
    issuers.sort_unstable();
    issuers.dedup();
    if has_tokens_api && issuers.len() > 1 {
        warn_of_ambiguous_owners(resolver, role);
    }
    role.issuer.user_issuers = issuers;
    let respelt = known
        .iter()
        .filter(|authority| authority.profile == Profile::Plgd);
    role.issuer.respelt_issuers = respelt.map(AuthorityConfig::issuer_name).collect();
}

fn warn_of_ambiguous_owners(resolver: &mut Resolver<'_>, role: &IssuerRole) {
    let clients = KeyPath::root("issuer").key("clients");
    for (i, client) in role.issuer.clients.iter().enumerate() {
        let key = if client.owner.is_some() {
            "owner"
        } else {
            "allowedOwners"
        };
        let has_owner = client.owner.is_some() || !client.allowed_choices.owners.is_empty();
        if has_owner && client.owner_issuer.is_none() {
            let message = "users of several authorities are trusted, so no user can list or \
                           revoke the tokens of this client: set `ownerAuthority` to the \
                           authority of the owner";
            resolver.warn(&clients.index(i).key(key), message);
        }
    }
}
