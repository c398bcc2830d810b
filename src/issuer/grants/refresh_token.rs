//! The refresh token grant (RFC 6749 §6), with rotation (RFC 9700 §4.14.2).
//!
//! A refresh token is opaque: 256 random bits, of which the store has the hash. Each use gives a
//! new one and spends the old one. Who lost an answer may use the old one once more within
//! [`GRACE`]; any other second use means that two have it, and ends the whole family with the
//! access tokens issued from it.

use std::time::Duration;

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Granted, allowed_audiences, allowed_scopes, expires_at};
use crate::domain::clock::UnixTime;
use crate::domain::hash::sha256;
use crate::domain::oauth::GrantType;
use crate::domain::scope::ScopeSet;
use crate::domain::secret::{ExposeSecret, SecretString};
use crate::issuer::client_auth::AuthenticatedClient;
use crate::issuer::client_auth::exchange::Exchanged;
use crate::issuer::policy::{Identity, Policy};
use crate::issuer::{Client, Issuer, TokenError, TokenRequest, TokenResponse};
use crate::store::tokens::{RefreshToken, Rotation, TokenRecord};

/// How long a family of refresh tokens lives, from its first one on: rotation does not lengthen it.
/// It ends with its client at the latest, and with the JWT that was exchanged where the client is
/// registered so.
pub const LIFETIME: Duration = Duration::from_hours(30 * 24);
/// How long a used token may be used once more.
const GRACE: Duration = Duration::from_secs(30);
/// What every refresh token begins with, so that secret scanners, and we, recognise one.
const PREFIX: &str = "m2mr_";
/// Bytes of a refresh token.
const RANDOM_BYTES: usize = 32;

/// What was granted with the first token of a family, as it is stored.
#[derive(Serialize, Deserialize)]
struct Grant {
    scope: String,
    audience: Vec<String>,
    /// For whom its access tokens speak.
    subject: String,
    owner: Option<String>,
    /// The issuer that says who the owner is; not in rows that are older than it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner_issuer: Option<String>,
    token_name: Option<String>,
}

impl Grant {
    fn of(granted: &Granted, policy: &Policy) -> Self {
        let identity = Identity::of(granted.client(), policy);
        Self {
            scope: granted.scope().to_string(),
            audience: granted.audiences().to_vec(),
            subject: identity.subject.to_owned(),
            owner: identity.owner.map(str::to_owned),
            owner_issuer: identity.owner_issuer.map(str::to_owned),
            token_name: granted.token_name().map(str::to_owned),
        }
    }
}

/// The hash by which a text is looked for, if it looks like a refresh token.
pub(in crate::issuer) fn hash_of(token: &SecretString) -> Option<[u8; 32]> {
    let text = token.expose_secret();
    text.starts_with(PREFIX).then(|| sha256(text.as_bytes()))
}

/// A new token's text.
fn generate() -> Result<SecretString, TokenError> {
    let mut bytes = Zeroizing::new([0; RANDOM_BYTES]);
    rand::fill(&mut *bytes).map_err(|_| TokenError::Signing)?;
    let encoded = Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes));
    Ok(SecretString::from([PREFIX, &encoded].concat()))
}

/// The first refresh token of a family, and its row.
///
/// # Errors
/// [`TokenError::Signing`] when there are no random numbers.
pub(in crate::issuer) fn first(
    granted: &Granted,
    access: &TokenRecord,
    policy: &Policy,
    now: UnixTime,
) -> Result<(SecretString, RefreshToken), TokenError> {
    let grant =
        serde_json::to_value(Grant::of(granted, policy)).map_err(|_| TokenError::Signing)?;
    let family_id = uuid::Uuid::new_v4().to_string();
    let end = now.plus(LIFETIME);
    let end = granted
        .client()
        .registration()
        .expires_at
        .map_or(end, |client_ends| end.min(client_ends));
    let expires_at = ends_with_assertion(end, granted.client());
    row(family_id, &access.client_id, grant, expires_at, access)
}

/// The end of a family, or that of the JWT that its client brought, where what is issued ends with
/// it.
fn ends_with_assertion(end: UnixTime, client: &AuthenticatedClient) -> UnixTime {
    client
        .exchanged()
        .and_then(Exchanged::ends_by)
        .map_or(end, |assertion_ends| end.min(assertion_ends))
}

fn row(
    family_id: String,
    client_id: &str,
    grant: serde_json::Value,
    expires_at: UnixTime,
    access: &TokenRecord,
) -> Result<(SecretString, RefreshToken), TokenError> {
    let token = generate()?;
    let row = RefreshToken {
        hash: sha256(token.expose_secret().as_bytes()),
        family_id,
        client_id: client_id.to_owned(),
        grant,
        expires_at,
        used_at: None,
        access_jti: access.jti.clone(),
        access_expires_at: access.expires_at.unwrap_or(UnixTime::NEVER),
    };
    Ok((token, row))
}

/// Grants again what was granted before, or less of it, if the client may still have it.
fn grant(
    client: AuthenticatedClient,
    request: &TokenRequest,
    stored: &RefreshToken,
    policy: &Policy,
    now: UnixTime,
) -> Result<Granted, TokenError> {
    let registration = client.registration();
    let before = Grant::deserialize(&stored.grant).map_err(|_| TokenError::InvalidGrant)?;
    // A client that has changed hands must not go on for the one before.
    let identity = Identity::of(&client, policy);
    let (owner, issuer) = (before.owner.as_deref(), before.owner_issuer.as_deref());
    if identity.subject != before.subject || !policy.is_same_owner(owner, issuer, &identity) {
        return Err(TokenError::InvalidGrant);
    }
    let scope = scope(&before, registration, request)?;
    let audiences = audiences(&before, registration, request, policy)?;
    let format = policy.format(registration, &audiences)?;
    let expires_at = expires_at(&client, &format, request, policy, now)?;
    let token_name = request
        .token_name()
        .map(str::to_owned)
        .or(before.token_name);
    Ok(Granted {
        scope,
        audiences,
        format,
        expires_at,
        token_name,
        client,
    })
}

/// Whether a refresh token is of the user whose JWT the caller brought; any is, where it brought
/// none.
pub(in crate::issuer) fn is_of_user(
    stored: &RefreshToken,
    caller: &AuthenticatedClient,
    policy: &Policy,
) -> bool {
    let Some(user) = caller.exchanged() else {
        return true;
    };
    let Ok(grant) = Grant::deserialize(&stored.grant) else {
        return false;
    };
    policy.is_of_user(user, grant.owner.as_deref(), grant.owner_issuer.as_deref())
}

fn scope(before: &Grant, client: &Client, request: &TokenRequest) -> Result<ScopeSet, TokenError> {
    let granted = ScopeSet::parse(&before.scope).map_err(|_| TokenError::InvalidGrant)?;
    let asked = if request.scope().is_empty() {
        &granted
    } else {
        request.scope()
    };
    allowed_scopes(&allowed_scopes(asked, &granted)?, &client.allowed_scopes)
}

fn audiences(
    before: &Grant,
    client: &Client,
    request: &TokenRequest,
    policy: &Policy,
) -> Result<Vec<String>, TokenError> {
    let asked = request.audiences(&client.allowed_audiences)?;
    let asked = if asked.is_empty() {
        &before.audience[..]
    } else {
        asked
    };
    let still_allowed = match client.allowed_audiences.as_slice() {
        [] => &[policy.issuer.clone()][..],
        allowed => allowed,
    };
    allowed_audiences(&allowed_audiences(asked, &before.audience)?, still_allowed)
}

impl Issuer {
    /// Uses a refresh token: a new access token, and the refresh token that takes its place.
    ///
    /// # Errors
    /// Whatever the client must be told.
    pub(in crate::issuer) async fn refresh(
        &self,
        client: AuthenticatedClient,
        request: &TokenRequest,
        now: UnixTime,
    ) -> Result<TokenResponse, TokenError> {
        if !client
            .registration()
            .allowed_grant_types
            .contains(&GrantType::RefreshToken)
        {
            return Err(TokenError::UnauthorizedClient);
        }
        let token = request.refresh_token().ok_or(TokenError::NoRefreshToken)?;
        let hash = hash_of(token).ok_or(TokenError::InvalidGrant)?;
        let stored = self.store.refresh_token(&hash).await?;
        let stored = stored.filter(|stored| stored.client_id == client.registration().id);
        let stored = stored.ok_or(TokenError::InvalidGrant)?;
        self.check_quota(&client, now).await?;
        let granted = grant(client, request, &stored, &self.policy, now)?;
        let signed = self.sign(&granted, now)?;
        let access = &signed.record;
        let end = ends_with_assertion(stored.expires_at, granted.client());
        let (successor, row) = row(
            stored.family_id,
            &stored.client_id,
            stored.grant,
            end,
            access,
        )?;
        let kept = granted.is_kept(&self.policy).then_some(access);
        let rotation = self
            .store
            .rotate_refresh_token(&hash, &row, kept, (now, self.forgetting.time()), GRACE)
            .await;
        match rotation? {
            Rotation::Done => Ok(self.response(signed, Some(successor), &granted, now)),
            Rotation::Unknown => Err(TokenError::InvalidGrant),
            Rotation::Reused => {
                self.learn_revocations().await;
                Err(TokenError::RefreshTokenReused)
            }
        }
    }

    /// Revokes a refresh token's family, if it is this client's, and where it brought a user's JWT
    /// that user's; gives the family's id.
    ///
    /// # Errors
    /// When the store does not keep it.
    pub(in crate::issuer) async fn revoke_family(
        &self,
        hash: &[u8; 32],
        caller: &AuthenticatedClient,
        now: UnixTime,
    ) -> Result<Option<String>, TokenError> {
        let stored = self.store.refresh_token(hash).await?;
        let is_own = |stored: &RefreshToken| {
            stored.client_id == caller.registration().id && is_of_user(stored, caller, &self.policy)
        };
        let Some(stored) = stored.filter(is_own) else {
            return Ok(None);
        };
        let deleted = self
            .store
            .delete_refresh_family(&stored.family_id, now, self.forgetting.time())
            .await;
        if !deleted? {
            return Ok(None);
        }
        self.learn_revocations().await;
        Ok(Some(stored.family_id))
    }
}
