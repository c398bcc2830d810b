//! Refresh tokens: their texts, and the rows that the store keeps of them.
//!
//! A refresh token is opaque: 256 random bits, of which the store keeps the hash. The tokens that
//! replace one another are a family.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::client_auth::AuthenticatedClient;
use super::client_auth::exchange::Exchanged;
use super::error::TokenError;
use super::policy::Policy;
use crate::domain::clock::UnixTime;
use crate::domain::hash::sha256;
use crate::domain::secret::{ExposeSecret, SecretString, generate};
use crate::store::tokens::{RefreshToken, TokenRecord};

/// The lifetime of a family, which rotation does not extend. It ends earlier with its client, and
/// with the exchanged JWT if the client is registered so.
const LIFETIME: Duration = Duration::from_hours(30 * 24);
/// The prefix by which secret scanners and this issuer recognise a refresh token.
const PREFIX: &str = "m2mr_";

/// The grant of the first token of a family, as the store keeps it.
#[derive(Serialize, Deserialize)]
pub(super) struct FamilyGrant {
    pub(super) scope: String,
    pub(super) audience: Vec<String>,
    /// The `sub` of its access tokens.
    pub(super) subject: String,
    pub(super) owner: Option<String>,
    /// The owner's issuer. Rows of earlier versions do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) owner_issuer: Option<String>,
    /// The device that the first request chose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) device_id: Option<String>,
    pub(super) token_name: Option<String>,
}

impl FamilyGrant {
    /// The grant of a stored token.
    ///
    /// # Errors
    /// [`TokenError::StoreUnavailable`] if the row cannot be read: it is no fault of the client.
    pub(super) fn of(stored: &RefreshToken) -> Result<Self, TokenError> {
        Self::deserialize(&stored.grant).map_err(|_| TokenError::StoreUnavailable)
    }
}

/// The hash under which the store has a token, if the text looks like a refresh token.
pub(super) fn hash_of(token: &SecretString) -> Option<[u8; 32]> {
    let text = token.expose_secret();
    text.starts_with(PREFIX).then(|| sha256(text.as_bytes()))
}

/// Whether a token belongs to the user whose JWT the caller exchanges; true for a caller without
/// such a JWT.
pub(super) fn is_of_user(
    stored: &RefreshToken,
    caller: &AuthenticatedClient,
    policy: &Policy,
) -> bool {
    caller.exchanged().is_none_or(|user| {
        FamilyGrant::of(stored).is_ok_and(|grant| {
            policy.is_of_user(user, grant.owner.as_deref(), grant.owner_issuer.as_deref())
        })
    })
}

/// The first refresh token of a family, issued with an access token, and its row.
///
/// # Errors
/// [`TokenError::Signing`] if there are no random numbers.
pub(super) fn first(
    client: &AuthenticatedClient,
    access: &TokenRecord,
    device_id: Option<&str>,
    now: UnixTime,
) -> Result<(SecretString, RefreshToken), TokenError> {
    let grant = FamilyGrant {
        scope: access.scope.join(" "),
        audience: access.audience.clone(),
        subject: access.subject.clone(),
        owner: access.owner.clone(),
        owner_issuer: access.owner_issuer.clone(),
        device_id: device_id.map(str::to_owned),
        token_name: access.name.clone(),
    };
    let grant = serde_json::to_value(grant).map_err(|_| TokenError::Signing)?;
    let client_end = client.registration().expires_at;
    let end = client_end
        .into_iter()
        .fold(now.plus(LIFETIME), UnixTime::min);
    row(uuid::Uuid::new_v4().to_string(), grant, end, client, access)
}

/// The refresh token that replaces a used one, and its row.
///
/// # Errors
/// [`TokenError::Signing`] if there are no random numbers.
pub(super) fn successor(
    used: &RefreshToken,
    client: &AuthenticatedClient,
    access: &TokenRecord,
) -> Result<(SecretString, RefreshToken), TokenError> {
    row(
        used.family_id.clone(),
        used.grant.clone(),
        used.expires_at,
        client,
        access,
    )
}

fn row(
    family_id: String,
    grant: serde_json::Value,
    end: UnixTime,
    client: &AuthenticatedClient,
    access: &TokenRecord,
) -> Result<(SecretString, RefreshToken), TokenError> {
    let token = generate(PREFIX);
    let assertion_end = client.exchanged().and_then(Exchanged::ends_by);
    let row = RefreshToken {
        hash: sha256(token.expose_secret().as_bytes()),
        family_id,
        client_id: access.client_id.clone(),
        grant,
        expires_at: assertion_end.into_iter().fold(end, UnixTime::min),
        used_at: None,
        access_jti: access.jti.clone(),
        access_expires_at: access.expires_at.unwrap_or(UnixTime::NEVER),
    };
    Ok((token, row))
}
