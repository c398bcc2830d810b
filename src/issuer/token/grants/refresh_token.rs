//! The refresh token grant (RFC 6749 §6), with rotation (RFC 9700 §4.14.2).

use super::{
    GrantRequest, Refresh, Terms, allowed_audiences, allowed_scopes, audiences_of, choice,
};
use crate::domain::scope::ScopeSet;
use crate::issuer::error::TokenError;
use crate::issuer::policy::Identity;
use crate::issuer::refresh_tokens::{FamilyGrant, hash_of};

/// Grants what was granted before, or a part of it, if the client is still allowed to have it.
pub(super) async fn terms(asked: &GrantRequest<'_>) -> Result<Terms, TokenError> {
    let GrantRequest {
        client,
        request,
        policy,
        store,
    } = asked;
    let registration = client.registration();
    let token = request.refresh_token().ok_or(TokenError::NoRefreshToken)?;
    let hash = hash_of(token).ok_or(TokenError::InvalidGrant)?;
    let stored = store.refresh_token(&hash).await?;
    let used = stored
        .filter(|stored| stored.client_id == registration.id)
        .ok_or(TokenError::InvalidGrant)?;
    let before = FamilyGrant::of(&used)?;
    // A client that was given to another owner must not act for the previous one.
    let choice = choice::kept(asked, &before)?;
    let identity = Identity::of(client, &choice, policy);
    let (owner, issuer) = (before.owner.as_deref(), before.owner_issuer.as_deref());
    if identity.subject != before.subject || !policy.is_same_owner(owner, issuer, &identity) {
        return Err(TokenError::InvalidGrant);
    }
    let granted = ScopeSet::parse(&before.scope).map_err(|_| TokenError::StoreUnavailable)?;
    let scope = if request.scope().is_empty() {
        &granted
    } else {
        request.scope()
    };
    let asked = request.audiences(&registration.allowed_audiences)?;
    let asked = if asked.is_empty() {
        &before.audience
    } else {
        asked
    };
    Ok(Terms {
        scope: allowed_scopes(
            &allowed_scopes(scope, &granted)?,
            &registration.allowed_scopes,
        )?,
        audiences: allowed_audiences(
            &allowed_audiences(asked, &before.audience)?,
            audiences_of(registration, policy),
        )?,
        token_name: request
            .token_name()
            .map(str::to_owned)
            .or(before.token_name),
        choice,
        refresh: Refresh::Replaces(Box::new(used)),
        delegation: None,
    })
}
