//! The issuer and its clients.

use std::time::Duration;

use super::{Resolver, algorithm};
use crate::config::tree::{Data, KeyPath, Node};
use crate::config::value::{FilePath, GoDuration};
use crate::config::{IssuerRole, files, raw};
use crate::domain::oauth::GrantType;
use crate::domain::scope::ScopeSet;
use crate::domain::secret::{ExposeSecret, SecretString};
use crate::issuer::client::{Client, Secret};
use crate::issuer::{self, RESERVED_CLAIMS};
use crate::jose::sign::SigningKey;
use crate::store::EncryptionKey;

const DAY: Duration = Duration::from_hours(24);
const YEAR: Duration = Duration::from_hours(366 * 24);
/// With a key an hour, each is published for a quarter of an hour before it signs; our key set may be kept for five minutes.
const LEAST_ROTATION: Duration = Duration::from_hours(1);
/// Shorter secrets can be guessed; the management API refuses them.
const MIN_SECRET_BYTES: usize = 16;

/// Resolves the section `issuer`.
pub(super) fn resolve(resolver: &mut Resolver<'_>, path: &KeyPath, raw: raw::Issuer) -> Option<IssuerRole> {
    if raw.listen.is_none() && !answered_inbound(resolver.tree) {
        resolver
            .findings
            .error(path, "nothing answers for it: set `listen`, or `issuer: true` on an inbound listener");
    }
    lifetime(resolver, &path.key("accessTokenLifetime"), raw.access_token_lifetime.0, DAY);
    if RESERVED_CLAIMS.contains(&raw.owner_claim.0.as_str()) {
        resolver.findings.error(&path.key("ownerClaim"), "the issuer sets this claim to something else");
    }
    let algorithm = algorithm(raw.signing.algorithm);
    let key_path = path.key("signing").key("privateKeyFile");
    let private_key = match &raw.signing.private_key_file {
        None => None,
        Some(file) => Some(resolver.file(&key_path, file, files::read_secret)?),
    };
    if private_key.as_ref().is_some_and(|pem| SigningKey::from_pem(pem, algorithm).is_err()) {
        let message = format!("the file holds no private key (PEM) for {algorithm:?}");
        resolver.findings.error(&key_path, message);
    }
    if private_key.is_some() && is_in_memory(resolver.tree) {
        let message = "the key outlives a restart, the store does not: tokens that were revoked are good again after it";
        resolver.findings.warning(&key_path, message);
    }
    let rotate_every =
        rotate_every(resolver, &path.key("signing"), raw.signing.rotate_every, private_key.is_some());
    let clients_path = path.key("clients");
    unique_ids(resolver, &clients_path, &raw.clients);
    let clients = raw.clients.into_iter().enumerate();
    let clients =
        clients.filter_map(|(i, client)| resolve_client(resolver, &clients_path.index(i), client)).collect();
    Some(IssuerRole {
        listen: raw.listen.map(|listen| listen.0),
        issuer: issuer::Config {
            root_paths: raw.root_paths.unwrap_or(raw.url.url.path() == "/"),
            url: raw.url.text,
            owner_claim: raw.owner_claim.0,
            access_token_lifetime: raw.access_token_lifetime.0,
            algorithm,
            private_key,
            rotate_every,
            encryption_key: None,
            clients,
        },
    })
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
        let message = "a key of your own (`privateKeyFile`) is not rotated: put another one into its place";
        resolver.findings.warning(&path, message);
    }
    if every.0 < LEAST_ROTATION || every.0 > YEAR {
        resolver.findings.error(&path, "it must be 0s, or from 1h to 366d");
    }
    Some(every.0)
}

/// What private keys are encrypted with in the store.
pub(super) fn encryption_key(resolver: &mut Resolver<'_>, file: Option<&FilePath>) -> Option<EncryptionKey> {
    let path = KeyPath::root("store").key("encryptionKeyFile");
    let text = resolver.file(&path, file?, files::read_secret)?;
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

fn lifetime(resolver: &mut Resolver<'_>, path: &KeyPath, value: Duration, most: Duration) {
    if value.is_zero() {
        resolver.findings.error(path, "tokens that never expire are not supported yet");
    } else {
        resolver.duration(path, GoDuration(value), Duration::from_secs(1), most);
    }
}

fn unique_ids(resolver: &mut Resolver<'_>, path: &KeyPath, clients: &[raw::Client]) {
    let mut first = std::collections::HashMap::new();
    for (i, client) in clients.iter().enumerate() {
        let earlier = *first.entry(&client.id.0).or_insert(i);
        if earlier != i {
            let message = format!("this id is already taken by `{}`", path.index(earlier).key("id"));
            resolver.findings.error(&path.index(i).key("id"), message);
        }
    }
}

fn resolve_client(resolver: &mut Resolver<'_>, path: &KeyPath, raw: raw::Client) -> Option<Client> {
    if let Some(value) = raw.access_token_lifetime {
        lifetime(resolver, &path.key("accessTokenLifetime"), value.0, YEAR);
    }
    for claim in raw.insert_token_claims.keys().filter(|claim| RESERVED_CLAIMS.contains(&claim.as_str())) {
        let message = "the issuer sets this claim itself; the value here is never used";
        resolver.findings.warning(&path.key("insertTokenClaims").key(claim), message);
    }
    let secret = client_secret(resolver, &path.key("secretFile"), &raw)?;
    Some(Client {
        id: raw.id.0,
        name: None,
        secrets: vec![Secret::configured(secret)],
        owner: raw.owner,
        access_token_lifetime: raw.access_token_lifetime.map(|lifetime| lifetime.0),
        allowed_grant_types: raw
            .allowed_grant_types
            .into_iter()
            .map(|grant| match grant {
                raw::GrantType::ClientCredentials => GrantType::ClientCredentials,
            })
            .collect(),
        allowed_audiences: raw.allowed_audiences.into_iter().map(|audience| audience.0).collect(),
        allowed_scopes: ScopeSet::from_tokens(raw.allowed_scopes.into_iter().map(|scope| scope.0)).ok()?,
        insert_token_claims: raw.insert_token_claims,
        allow_introspection: false,
        disabled: raw.disabled,
        expires_at: raw.expires_at.map(|time| time.0),
    })
}

fn client_secret(resolver: &mut Resolver<'_>, path: &KeyPath, raw: &raw::Client) -> Option<SecretString> {
    let secret = resolver.file(path, &raw.secret_file, files::read_secret)?;
    if secret.expose_secret().len() < MIN_SECRET_BYTES {
        let message = format!("the secret is shorter than {MIN_SECRET_BYTES} bytes, so it can be guessed");
        resolver.findings.warning(path, message);
    }
    Some(secret)
}
