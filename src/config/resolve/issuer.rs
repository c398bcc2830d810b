//! The issuer and its clients.

mod audiences;
mod client_authentication;

use std::time::Duration;

use super::{Resolver, token_size};
use crate::config::name::Name;
use crate::config::tree::{Data, KeyPath, Node};
use crate::config::value::{FilePath, GoDuration};
use crate::config::{IssuerRole, files, raw};
use crate::domain::encryption::EncryptionKey;
use crate::domain::oauth::{DEFAULT_TOKEN_SIZE, GrantType, PLGD_TOKEN_SIZE};
use crate::domain::scope::ScopeSet;
use crate::domain::secret::ExposeSecret;
use crate::issuer::client::{Authentication, Client, Secret};
use crate::issuer::token_format::{ByAudience, TokenType};
use crate::issuer::{self, Profile, RESERVED_CLAIMS, SecretFiles, client_secret, why_no_claim};
use crate::jose::sign::SigningKey;
use crate::verifier::{self, AuthorityConfig};

const DAY: Duration = Duration::from_hours(24);
const YEAR: Duration = Duration::from_hours(366 * 24);
/// With a key an hour, each is published for a quarter of an hour before it signs; our key set may
/// be kept for five minutes.
const LEAST_ROTATION: Duration = Duration::from_hours(1);
/// Shorter secrets can be guessed; the management API refuses them.
const MIN_SECRET_BYTES: usize = client_secret::MIN_BYTES;

/// Resolves the section `issuer`.
pub(super) fn resolve(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: raw::Issuer,
) -> Option<IssuerRole> {
    if raw.listen.is_none() && !answered_inbound(resolver.tree) {
        resolver.findings.error(
            path,
            "nothing answers for it: set `listen`, or `issuer: true` on an inbound listener",
        );
    }
    let profile = raw.profile;
    resolver.check_issuer(&path.key("url"), raw.url.as_str());
    lifetime(
        resolver,
        &path.key("accessTokenLifetime"),
        raw.access_token_lifetime.0,
        DAY,
        profile,
    );
    let default_owner_claim = if profile == Profile::Plgd {
        "sub"
    } else {
        "owner"
    };
    let owner_claim = raw
        .owner_claim
        .map_or_else(|| default_owner_claim.to_owned(), |claim| claim.0);
    let is_subject = profile == Profile::Plgd && owner_claim == "sub";
    if RESERVED_CLAIMS.contains(&owner_claim.as_str()) && !is_subject {
        resolver.findings.error(
            &path.key("ownerClaim"),
            "the issuer sets this claim to something else",
        );
    }
    let device_id_claim = raw.device_id_claim.as_str();
    if RESERVED_CLAIMS.contains(&device_id_claim) || device_id_claim == owner_claim {
        resolver.findings.error(
            &path.key("deviceIDClaim"),
            "the issuer sets this claim to something else",
        );
    }
    let algorithm = raw.signing.algorithm.into();
    let token_type = raw.token_type.unwrap_or(default_token_type(profile));
    let scope_claims =
        audiences::scope_claims(resolver, &path.key("scopeClaims"), &raw.scope_claims);
    let audiences = audiences::resolve(resolver, &path.key("audiences"), raw.audiences);
    let key_path = path.key("signing").key("privateKeyFile");
    raw.signing
        .private_key_file
        .iter()
        .for_each(|file| resolver.fixed(&key_path, file));
    let private_key = match &raw.signing.private_key_file {
        None => None,
        Some(file) => Some(resolver.secret(&key_path, file, files::read_secret_lines)?),
    };
    if private_key
        .as_ref()
        .is_some_and(|pem| SigningKey::from_pem(pem, algorithm).is_err())
    {
        let message = format!("the file holds no private key (PEM) for {algorithm:?}");
        resolver.findings.error(&key_path, message);
    }
    if private_key.is_some() && is_in_memory(resolver.tree) {
        let message = "the key outlives a restart, the store does not: tokens that were revoked are good again after it";
        resolver.findings.warning(&key_path, message);
    }
    let rotate_every = rotate_every(
        resolver,
        &path.key("signing"),
        raw.signing.rotate_every,
        private_key.is_some(),
    );
    let clients_path = path.key("clients");
    unique_ids(resolver, &clients_path, &raw.clients);
    resolver.duration(
        &path.key("secretGrace"),
        raw.secret_grace,
        Duration::ZERO,
        DAY * 30,
    );
    // A disabled client has no use for a secret before the configuration changes.
    let secret_files = raw.clients.iter().filter(|client| !client.disabled);
    let secret_files = secret_files
        .filter_map(|it| Some((it.id.0.clone(), it.secret_file.as_ref()?.0.clone())))
        .collect();
    let clients = raw.clients.into_iter().enumerate();
    let clients = clients
        .filter_map(|(i, client)| {
            let path = clients_path.index(i);
            let own = [owner_claim.as_str(), device_id_claim];
            inserted_claims(resolver, &path.key("insertTokenClaims"), &client, own);
            endless_exchange(resolver, &path, &client, raw.access_token_lifetime.0);
            resolve_client(resolver, &path, client, profile)
        })
        .collect();
    let authorities = authorities(resolver, &path.key("authorities"), raw.authorities);
    let is_behind_proxy = raw.url.url().scheme() == "https" && !answered_inbound(resolver.tree);
    if raw.listen.is_some() && is_behind_proxy && raw.trusted_proxies.is_empty() {
        let message = "`url` is https and this listener is not, so callers come through a proxy that ends TLS, and count as one: wrong \
                       secrets of one of them delay all; name that proxy in `trustedProxies`";
        resolver.findings.warning(&path.key("listen"), message);
    }
    resolver.duration(
        &path.key("maxAssertionLifetime"),
        raw.max_assertion_lifetime,
        Duration::from_mins(1),
        DAY,
    );
    let max_token_size = token_size::resolve(
        resolver,
        &path.key("maxTokenSize"),
        raw.max_token_size,
        if profile == Profile::Plgd {
            PLGD_TOKEN_SIZE
        } else {
            DEFAULT_TOKEN_SIZE
        },
    );
    raw.client_jwks_ca_file
        .iter()
        .for_each(|file| resolver.fixed(&path.key("clientJwksCaFile"), file));
    let client_jwks_ca = resolver.certificates(
        &path.key("clientJwksCaFile"),
        raw.client_jwks_ca_file.as_ref(),
    )?;
    Some(IssuerRole {
        listen: raw.listen.map(|listen| listen.0),
        keep_alive: resolver.keep_alive(path, raw.keep_alive),
        max_connections: resolver.max_connections(path, raw.max_connections),
        issuer: issuer::Config {
            root_paths: raw.root_paths.unwrap_or(raw.url.base_path().is_empty()),
            url: raw.url,
            profile,
            owner_claim,
            device_id_claim: device_id_claim.to_owned(),
            access_token_lifetime: raw.access_token_lifetime.0,
            token_type,
            scope_claims,
            audiences,
            algorithm,
            private_key,
            rotate_every,
            encryption_key: None,
            clients,
            secret_files: SecretFiles {
                files: secret_files,
                grace: raw.secret_grace.0,
            },
            client_jwks_hosts: raw
                .client_jwks_hosts
                .into_iter()
                .map(|host| host.0)
                .collect(),
            client_jwks_ca,
            max_assertion_lifetime: raw.max_assertion_lifetime.0,
            user_issuers: Vec::new(),
            respelt_issuers: Vec::new(),
            listed_clients: raw.revocation_list,
            max_token_size,
        },
        authorities,
        // Known when the authorities are.
        max_head: 0,
        trusted_proxies: raw
            .trusted_proxies
            .into_iter()
            .map(|network| network.0)
            .collect(),
    })
}

/// plgd's own tokens have the general type.
fn default_token_type(profile: Profile) -> TokenType {
    match profile {
        Profile::Standard => TokenType::AccessToken,
        Profile::Plgd => TokenType::Jwt,
    }
}

/// How long a key signs; `None`: for ever.
fn rotate_every(
    resolver: &mut Resolver<'_>,
    signing: &KeyPath,
    every: GoDuration,
    own_key: bool,
) -> Option<Duration> {
    let path = signing.key("rotateEvery");
    if every.0.is_zero() {
        return None;
    }
    if own_key && resolver.tree.find(&path).is_some() {
        let message =
            "a key of your own (`privateKeyFile`) is not rotated: put another one into its place";
        resolver.findings.warning(&path, message);
    }
    if every.0 < LEAST_ROTATION || every.0 > YEAR {
        resolver
            .findings
            .error(&path, "it must be 0s, or from 1h to 366d");
    }
    Some(every.0)
}

/// What private keys are encrypted with in the store.
pub(super) fn encryption_key(
    resolver: &mut Resolver<'_>,
    file: Option<&FilePath>,
) -> Option<EncryptionKey> {
    let path = KeyPath::root("store").key("encryptionKeyFile");
    resolver.fixed(&path, file?);
    let text = resolver.secret(&path, file?, files::read_secret)?;
    match EncryptionKey::parse(&text) {
        Ok(key) => Some(key),
        Err(why) => {
            resolver.findings.error(&path, format!("the file {why}"));
            None
        }
    }
}

/// Whether the store is gone with the process.
fn is_in_memory(tree: &Node) -> bool {
    let url = tree.find(&KeyPath::root("store").key("url"));
    matches!(url.map(|node| &node.data), Some(Data::Text(text)) if text.value == "sqlite::memory:")
}

fn answered_inbound(tree: &Node) -> bool {
    let list = KeyPath::root("inbound");
    let count = tree.find(&list).map_or(0, Node::list_len);
    (0..count).any(|i| {
        let issuer = tree.find(&list.index(i).key("issuer"));
        matches!(issuer.map(|node| &node.data), Some(Data::Bool(true)))
    })
}

/// The authorities that are named. `self` needs no entry: the issuer trusts itself.
fn authorities(resolver: &mut Resolver<'_>, path: &KeyPath, names: Vec<Name>) -> Vec<String> {
    let entries = KeyPath::root("authorities");
    for (i, name) in names
        .iter()
        .enumerate()
        .filter(|(_, name)| name.0 != "self")
    {
        if resolver.tree.find(&entries.key(&name.0)).is_none() {
            resolver
                .findings
                .error(&path.index(i), "there is no authority of this name");
        }
    }
    names.into_iter().map(|name| name.0).collect()
}

/// Finds out whose users are trusted: by the tokens API, or to exchange their JWTs. Warns of owners
/// that none of several issuers gave.
pub(super) fn users(resolver: &mut Resolver<'_>, role: &mut IssuerRole, known: &[AuthorityConfig]) {
    let exchanging = role
        .issuer
        .clients
        .iter()
        .filter_map(|client| match &client.authentication {
            Authentication::Exchange(exchange) => Some(exchange.authorities.iter()),
            _ => None,
        });
    let is_plgd = role.issuer.profile == Profile::Plgd;
    let names: Vec<&String> = role
        .authorities
        .iter()
        .filter(|_| is_plgd)
        .chain(exchanging.flatten())
        .collect();
    let issuers = known
        .iter()
        .filter(|authority| names.contains(&&authority.name));
    let issuers = issuers
        .map(AuthorityConfig::issuer_name)
        .filter(|issuer| !issuer.is(role.issuer.url.as_str()));
    let mut issuers: Vec<_> = issuers.map(|issuer| issuer.name().to_owned()).collect();
    issuers.sort_unstable();
    issuers.dedup();
    if is_plgd && issuers.len() > 1 {
        let clients = KeyPath::root("issuer").key("clients");
        let is_unclear = |client: &Client| client.owner.is_some() && client.owner_issuer.is_none();
        for (i, _) in role
            .issuer
            .clients
            .iter()
            .enumerate()
            .filter(|(_, client)| is_unclear(client))
        {
            let message = "users of several authorities are trusted, so no user can list or revoke the tokens of this client: name \
                           the authority whose user the owner is with `ownerAuthority`";
            resolver
                .findings
                .warning(&clients.index(i).key("owner"), message);
        }
    }
    role.issuer.user_issuers = issuers;
    let respelt = known
        .iter()
        .filter(|authority| authority.profile == verifier::Profile::Plgd);
    role.issuer.respelt_issuers = respelt.map(AuthorityConfig::issuer_name).collect();
}

fn lifetime(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    value: Duration,
    most: Duration,
    profile: Profile,
) {
    if value.is_zero() {
        if profile == Profile::Standard {
            resolver
                .findings
                .error(path, "tokens that never expire need `profile: plgd`");
        }
    } else {
        resolver.duration(path, GoDuration(value), Duration::from_secs(1), most);
    }
}

fn unique_ids(resolver: &mut Resolver<'_>, path: &KeyPath, clients: &[raw::Client]) {
    let mut first = std::collections::HashMap::new();
    for (i, client) in clients.iter().enumerate() {
        let earlier = *first.entry(&client.id.0).or_insert(i);
        if earlier != i {
            let message = format!(
                "this id is already taken by `{}`",
                path.index(earlier).key("id")
            );
            resolver.findings.error(&path.index(i).key("id"), message);
        }
    }
}

/// Warns of claims that have no effect, and refuses those that no token may have.
fn inserted_claims(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    client: &raw::Client,
    own: [&str; 2],
) {
    for claim in client.insert_token_claims.keys() {
        if let Some(why) = why_no_claim(claim) {
            resolver.findings.error(&path.key(claim), why);
        } else if RESERVED_CLAIMS.contains(&claim.as_str()) || own.contains(&claim.as_str()) {
            let message = "the issuer sets this claim itself; the value here is never used";
            resolver.findings.warning(&path.key(claim), message);
        }
    }
}

/// Warns of a client that makes a token without end of whatever a user's token is; `default` is the
/// issuer's lifetime.
fn endless_exchange(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    client: &raw::Client,
    default: Duration,
) {
    let lifetime = client.access_token_lifetime.map_or(default, |own| own.0);
    if client.jwt_private_key.is_some() && lifetime.is_zero() && !client.cap_to_assertion {
        let message = "a user's token that ends in seconds becomes one that never ends: set a lifetime, or `capToAssertion: true`, which \
                       ends each token with the user's";
        resolver
            .findings
            .warning(&path.key("accessTokenLifetime"), message);
    }
}

fn resolve_client(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: raw::Client,
    profile: Profile,
) -> Option<Client> {
    if let Some(value) = raw.access_token_lifetime {
        lifetime(
            resolver,
            &path.key("accessTokenLifetime"),
            value.0,
            YEAR,
            profile,
        );
    }
    if !raw
        .allowed_grant_types
        .contains(&GrantType::ClientCredentials)
    {
        let message = "without `client_credentials` nobody ever gets the first refresh token";
        resolver
            .findings
            .warning(&path.key("allowedGrantTypes"), message);
    }
    let authentication = client_authentication::resolve(resolver, path, &raw, profile)?;
    let secrets = match authentication {
        Authentication::Secret if is_without_secret(resolver, path, &raw) => Vec::new(),
        Authentication::Secret => vec![client_secret(resolver, path, &raw)?],
        _ => Vec::new(),
    };
    let owner_issuer = owner_issuer(resolver, &path.key("ownerAuthority"), &raw);
    Some(Client {
        id: raw.id.0,
        name: None,
        authentication,
        secrets,
        owner: raw.owner,
        owner_issuer,
        access_token_lifetime: raw.access_token_lifetime.map(|lifetime| lifetime.0),
        allowed_grant_types: raw.allowed_grant_types,
        allowed_audiences: raw
            .allowed_audiences
            .into_iter()
            .map(|audience| audience.0)
            .collect(),
        audience_settings: ByAudience::new(),
        allowed_scopes: ScopeSet::from_tokens(raw.allowed_scopes.into_iter().map(|scope| scope.0))
            .ok()?,
        insert_token_claims: raw.insert_token_claims,
        allow_introspection: raw.allow_introspection,
        disabled: raw.disabled,
        expires_at: raw.expires_at.map(|time| time.0),
    })
}

/// The issuer of the authority whose user the owner is.
fn owner_issuer(resolver: &mut Resolver<'_>, path: &KeyPath, raw: &raw::Client) -> Option<String> {
    let name = &raw.owner_authority.as_ref()?.0;
    if raw.owner.is_none() {
        resolver.findings.error(
            path,
            "it needs `owner` beside it: the name of that authority's user",
        );
    }
    resolver.reference(path, name, "authorities", "authority");
    resolver
        .issuer_of(name)
        .map(|issuer| issuer.name().to_owned())
}

/// Whether a client is disabled and its file holds no secret that could be used; then it needs
/// none.
fn is_without_secret(resolver: &mut Resolver<'_>, path: &KeyPath, raw: &raw::Client) -> bool {
    let Some(file) = raw.secret_file.as_ref().filter(|_| raw.disabled) else {
        return false;
    };
    let why = match files::read_secret(&file.0) {
        Ok(secret) if secret.expose_secret().len() >= MIN_SECRET_BYTES => return false,
        Ok(_) => format!("holds a secret shorter than {MIN_SECRET_BYTES} bytes"),
        Err(error) => error.to_string(),
    };
    let path = path.key("secretFile");
    let shown = resolver.shown(&path, &file.0.to_string_lossy());
    let message = format!(
        "the file `{shown}` {why}; the client is disabled, and must stay so until that is mended"
    );
    resolver.findings.warning(&path, message);
    true
}

fn client_secret(resolver: &mut Resolver<'_>, path: &KeyPath, raw: &raw::Client) -> Option<Secret> {
    let Some(file) = &raw.secret_file else {
        let message = "one of `secretFile`, `jwksFile`, `jwksUri` and `jwtPrivateKey` is required";
        resolver.findings.error(path, message);
        return None;
    };
    let path = &path.key("secretFile");
    let (secret, line_end) = resolver.secret(path, file, files::read_secret_with_line_end)?;
    if secret.expose_secret().len() < MIN_SECRET_BYTES {
        let message = format!(
            "the secret is shorter than {MIN_SECRET_BYTES} bytes, so it can be guessed: put a longer one into the file \
             (`openssl rand -base64 32`)"
        );
        resolver.findings.error(path, message);
        return None;
    }
    Some(Secret {
        line_end,
        ..Secret::configured(secret)
    })
}
