//! A client of the store, as the token endpoint uses it.

use std::time::Duration;

use super::certificate_members::certificate_name;
use super::metadata::{AuthMethod, ClientMetadata};
use crate::domain::network::parse_network;
use crate::domain::oauth::GrantType;
use crate::domain::owner_pattern::OwnerPattern;
use crate::domain::scope::ScopeSet;
use crate::domain::secret::{ExposeSecret, LineEnd};
use crate::issuer::client::{
    AllowedChoices, Authentication, BoundAccessTokens, Client, ClientKeys, ExpectedSecret,
    KeyPlace, Secret,
};
use crate::issuer::client_secret::{self, Stored};
use crate::issuer::token_format::AudienceSettings;
use crate::jose::key_set::KeySet;
use crate::store::{StoredClient, StoredSecret};

/// A stored client, as the token endpoint uses it. `None`: a part cannot be read, and the client
/// is refused.
#[must_use]
pub fn client(stored: &StoredClient) -> Option<Client> {
    let metadata = ClientMetadata::stored(&stored.document)?;
    let authentication = authentication(&metadata)?;
    let grants = metadata
        .grant_types
        .iter()
        .map(|name| GrantType::parse(name));
    Some(Client {
        id: stored.client_id.clone(),
        name: metadata.client_name,
        authentication,
        secrets: stored.secrets.iter().map(secret).collect::<Option<_>>()?,
        owner: metadata.owner,
        owner_issuer: None,
        allowed_choices: AllowedChoices {
            owners: parsed(&metadata.allowed_owners, OwnerPattern::parse)?,
            device_id: metadata.allow_device_id,
        },
        access_token_lifetime: metadata.access_token_lifetime.map(Duration::from_secs),
        allowed_grant_types: grants.collect::<Option<_>>()?,
        allowed_audiences: metadata.audience,
        audience_settings: Some(metadata.audience_settings)
            .filter(|settings| settings.values().all(AudienceSettings::is_usable))?,
        allowed_scopes: ScopeSet::parse(&metadata.scope).ok()?,
        insert_token_claims: metadata.claims,
        allow_introspection: metadata.allow_introspection,
        exchange: metadata.exchange,
        bound_access_tokens: BoundAccessTokens {
            to_certificate: metadata.tls_client_certificate_bound_access_tokens,
            to_dpop_key: metadata.dpop_bound_access_tokens,
        },
        allowed_networks: parsed(&metadata.allowed_networks, parse_network)?,
        assertion_audiences: metadata.assertion_audiences,
        disabled: metadata.disabled,
        expires_at: metadata.expiry,
    })
}

/// `None`: one of the texts cannot be parsed.
fn parsed<T, E>(texts: &[String], parse: impl Fn(&str) -> Result<T, E>) -> Option<Vec<T>> {
    texts.iter().map(|text| parse(text).ok()).collect()
}

/// `None`: keys that cannot be read, keys in two places, or none where there must be some.
fn authentication(metadata: &ClientMetadata) -> Option<Authentication> {
    let keys = match (&metadata.jwks, &metadata.jwks_uri) {
        (None, None) => None,
        (Some(jwks), None) => Some(ClientKeys::Inline(
            KeySet::parse(jwks.to_string().as_bytes()).ok()?,
        )),
        (None, Some(uri)) => Some(ClientKeys::At(KeyPlace::parse_uri(uri)?)),
        // RFC 7591 §2: never both.
        (Some(_), Some(_)) => return None,
    };
    if !metadata.federated.is_empty() {
        return federated(metadata, keys.is_some());
    }
    let mut names = metadata.certificate_names();
    match (metadata.token_endpoint_auth_method, keys) {
        (Some(AuthMethod::SelfSignedTlsClientAuth), Some(keys)) => {
            Some(Authentication::SelfSignedTls(keys))
        }
        (None | Some(AuthMethod::TlsClientAuth), None)
            if metadata.auth_method() == AuthMethod::TlsClientAuth =>
        {
            let (member, text) = names.next().filter(|_| names.next().is_none())?;
            let name = certificate_name(member, text).ok()?;
            Some(Authentication::TlsClientAuth(name))
        }
        (None | Some(AuthMethod::PrivateKeyJwt), Some(keys)) => {
            Some(Authentication::PrivateKeyJwt(keys))
        }
        (None, None) | (Some(AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost), _) => {
            Some(Authentication::Secret)
        }
        _ => None,
    }
}

/// `None`: an entry that cannot be used, or another way to authenticate beside it.
fn federated(metadata: &ClientMetadata, has_keys: bool) -> Option<Authentication> {
    let has_other = has_keys
        || metadata.auth_method() != AuthMethod::FederatedJwt
        || metadata.certificate_names().next().is_some();
    let entries = metadata.federated.iter().map(|it| it.federation().ok());
    let entries = entries.collect::<Option<_>>().filter(|_| !has_other)?;
    Some(Authentication::Federated(entries))
}

fn secret(stored: &StoredSecret) -> Option<Secret> {
    let expected = match client_secret::parse(stored.hash.expose_secret())? {
        Stored::Sha256(digest) => ExpectedSecret::Sha256(digest),
        Stored::Argon2(salt, digest) => ExpectedSecret::Argon2(salt, digest),
    };
    Some(Secret {
        id: Some(stored.secret_id.clone()),
        expected,
        expires_at: stored.expires_at,
        line_end: LineEnd::None,
    })
}

#[cfg(test)]
mod tests;
