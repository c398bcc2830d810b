//! The clients of the issuer.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use super::{YEAR, check_lifetime, choices, client_authentication, exchange, federated};
use crate::config::resolve::resolver::Resolver;
use crate::config::tree::KeyPath;
use crate::config::{files, raw};
use crate::domain::issuer_pattern::TENANT;
use crate::domain::oauth::GrantType;
use crate::domain::scope::ScopeSet;
use crate::domain::secret::ExposeSecret;
use crate::issuer::client::{Authentication, BoundAccessTokens, Client, Secret};
use crate::issuer::client_secret::MIN_BYTES;
use crate::issuer::token_format::ByAudience;
use crate::issuer::{ProfilePolicy, RESERVED_CLAIMS, why_no_claim};

/// The parts of the issuer that its clients depend on.
pub(super) struct Context<'a> {
    pub profile: ProfilePolicy,
    /// The claims of owner and device.
    pub own_claims: [&'a str; 2],
    /// The lifetime of access tokens.
    pub lifetime: Duration,
}

/// Resolves `issuer.clients`, and lists the secret files of enabled clients.
pub(super) fn resolve(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: Vec<raw::Client>,
    context: &Context<'_>,
) -> (Vec<Client>, Vec<(String, PathBuf)>) {
    check_ids(resolver, path, &raw);
    // The secret of a disabled client is not needed until the configuration changes.
    let enabled = raw.iter().filter(|client| !client.disabled);
    let files = enabled
        .filter_map(|it| Some((it.id.0.clone(), it.secret_file.as_ref()?.0.clone())))
        .collect();
    let clients = raw
        .into_iter()
        .enumerate()
        .filter_map(|(i, client)| resolve_client(resolver, &path.index(i), client, context))
        .collect();
    (clients, files)
}

fn check_ids(resolver: &mut Resolver<'_>, path: &KeyPath, clients: &[raw::Client]) {
    let mut first = HashMap::new();
    for (i, client) in clients.iter().enumerate() {
        let earlier = *first.entry(&client.id.0).or_insert(i);
        if earlier != i {
            let taken = path.index(earlier).key("id");
            let message = format!("this id is already used by `{taken}`");
            resolver.error(&path.index(i).key("id"), message);
        }
    }
}

fn resolve_client(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    mut raw: raw::Client,
    context: &Context<'_>,
) -> Option<Client> {
    check_inserted_claims(
        resolver,
        &path.key("insertTokenClaims"),
        &raw,
        context.own_claims,
    );
    let lifetime_path = path.key("accessTokenLifetime");
    warn_of_endless_exchange(resolver, &lifetime_path, &raw, context.lifetime);
    if let Some(lifetime) = raw.access_token_lifetime {
        check_lifetime(resolver, &lifetime_path, lifetime.0, YEAR, context.profile);
    }
    let exchange = exchange::resolve(resolver, path, &mut raw);
    let has = |grant| raw.allowed_grant_types.contains(&grant);
    if has(GrantType::RefreshToken) && !has(GrantType::ClientCredentials) {
        let message = "without `client_credentials` the client never gets its first refresh token";
        resolver.warn(&path.key("allowedGrantTypes"), message);
    }
    let authentication = match &raw.federated {
        Some(entries) => federated::resolve(resolver, path, &raw, entries)?,
        None => client_authentication::resolve(resolver, path, &raw, context.profile)?,
    };
    let secrets = match authentication {
        Authentication::Secret if needs_no_secret(resolver, path, &raw) => Vec::new(),
        Authentication::Secret => vec![client_secret(resolver, path, &raw)?],
        _ => Vec::new(),
    };
    Some(Client {
        allowed_choices: choices::resolve(resolver, path, &raw, context.own_claims[1]),
        owner_issuer: owner_issuer(resolver, &path.key("ownerAuthority"), &raw),
        id: raw.id.0,
        name: None,
        authentication,
        secrets,
        owner: raw.owner,
        access_token_lifetime: raw.access_token_lifetime.map(|lifetime| lifetime.0),
        allowed_grant_types: raw.allowed_grant_types,
        allowed_audiences: raw.allowed_audiences.into_iter().map(Into::into).collect(),
        audience_settings: ByAudience::new(),
        allowed_scopes: ScopeSet::from_tokens(raw.allowed_scopes.into_iter().map(|scope| scope.0))
            .ok()?,
        insert_token_claims: raw.insert_token_claims,
        allow_introspection: raw.allow_introspection,
        exchange,
        bound_access_tokens: BoundAccessTokens {
            to_certificate: raw.certificate_bound_access_tokens,
            to_dpop_key: raw.dpop_bound_access_tokens,
        },
        allowed_networks: raw.allowed_networks.into_iter().map(Into::into).collect(),
        assertion_audiences: raw.assertion_audiences,
        disabled: raw.disabled,
        expires_at: raw.expires_at.map(|time| time.0),
    })
}

/// Warns of claims that have no effect, and refuses claims that no token may have.
fn check_inserted_claims(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    client: &raw::Client,
    own: [&str; 2],
) {
    for claim in client.insert_token_claims.keys() {
        if let Some(why) = why_no_claim(claim) {
            resolver.error(&path.key(claim), why);
        } else if RESERVED_CLAIMS.contains(&claim.as_str()) || own.contains(&claim.as_str()) {
            resolver.warn(
                &path.key(claim),
                "ignored: the issuer sets this claim itself",
            );
        }
    }
}

/// Warns of a client that exchanges every token of a user for a token without end.
fn warn_of_endless_exchange(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    client: &raw::Client,
    default: Duration,
) {
    let lifetime = client.access_token_lifetime.map_or(default, |own| own.0);
    if client.jwt_private_key.is_some() && lifetime.is_zero() && !client.cap_to_assertion {
        let message = "a user's token that expires in seconds becomes one that never expires: set \
                       a lifetime, or `capToAssertion: true`, so that it expires with the user's";
        resolver.warn(path, message);
    }
}

/// The issuer of the authority that the owner is a user of.
fn owner_issuer(resolver: &mut Resolver<'_>, path: &KeyPath, raw: &raw::Client) -> Option<String> {
    let name = &raw.owner_authority.as_ref()?.0;
    if raw.owner.is_none() && raw.allowed_owners.is_empty() {
        resolver.error(
            path,
            "`ownerAuthority` needs `owner` or `allowedOwners`: names of that authority's users",
        );
    }
    resolver.reference(path, name, "authorities", "authority");
    let issuer = resolver.issuer_of(name)?;
    if issuer.name().contains(TENANT) {
        let message =
            format!("the authority `{name}` has tenants, so its users have no one issuer");
        resolver.error(path, message);
    }
    Some(issuer.name().to_owned())
}

/// Whether a client can go without a secret: it is disabled and its file holds no usable one.
fn needs_no_secret(resolver: &mut Resolver<'_>, path: &KeyPath, raw: &raw::Client) -> bool {
    let Some(file) = raw.secret_file.as_ref().filter(|_| raw.disabled) else {
        return false;
    };
    let why = match files::read_secret(&file.0) {
        Ok(secret) if secret.expose_secret().len() >= MIN_BYTES => return false,
        Ok(_) => format!("holds a secret shorter than {MIN_BYTES} bytes"),
        Err(error) => error.to_string(),
    };
    let path = path.key("secretFile");
    let shown = resolver.shown(&path, &file.0.to_string_lossy());
    let message =
        format!("the file `{shown}` {why}; correct it before the client is enabled again");
    resolver.warn(&path, message);
    true
}

fn client_secret(resolver: &mut Resolver<'_>, path: &KeyPath, raw: &raw::Client) -> Option<Secret> {
    let Some(file) = &raw.secret_file else {
        let message = "set one of `secretFile`, `jwksFile`, `jwksUri`, `tlsClientAuth`, \
                       `federated` and `jwtPrivateKey`";
        resolver.error(path, message);
        return None;
    };
    let path = &path.key("secretFile");
    let (secret, line_end) = resolver.secret(path, file, files::read_secret_with_line_end)?;
    // The management API refuses shorter secrets too.
    if secret.expose_secret().len() < MIN_BYTES {
        let message = format!(
            "the secret is shorter than {MIN_BYTES} bytes, so it can be guessed: use a longer one \
             (`openssl rand -base64 32`)"
        );
        resolver.error(path, message);
        return None;
    }
    Some(Secret {
        line_end,
        ..Secret::configured(secret)
    })
}
