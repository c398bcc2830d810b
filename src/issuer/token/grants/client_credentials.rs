//! The client credentials grant (RFC 6749 §4.4).
//!
//! A request is granted as a whole or refused: a scope or audience that was silently dropped would
//! be missed only where the token is used.

use super::{
    GrantRequest, Refresh, Terms, allowed_audiences, allowed_scopes, audiences_of, choice,
};
use crate::issuer::error::TokenError;

/// A request that names no scope or audience gets all that the client is allowed, unless the
/// profile requires an audience.
pub(super) fn terms(asked: &GrantRequest<'_>) -> Result<Terms, TokenError> {
    let choice = choice::first(asked)?;
    let GrantRequest {
        client,
        request,
        policy,
        ..
    } = asked;
    let client = client.registration();
    let asked = request.audiences(&client.allowed_audiences)?;
    if asked.is_empty() && policy.profile.audience_required && !client.allowed_audiences.is_empty()
    {
        return Err(TokenError::NoTarget);
    }
    let allowed = audiences_of(client, policy);
    let asked = if asked.is_empty() { allowed } else { asked };
    let scope = request.scope();
    let scope = if scope.is_empty() {
        &client.allowed_scopes
    } else {
        scope
    };
    Ok(Terms {
        audiences: allowed_audiences(asked, allowed)?,
        scope: allowed_scopes(scope, &client.allowed_scopes)?,
        token_name: request.token_name().map(str::to_owned),
        choice,
        refresh: Refresh::first_of(client),
        delegation: None,
    })
}
