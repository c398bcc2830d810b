//! The client credentials grant (RFC 6749 §4.4).
//!
//! What is asked for is granted whole or refused: a scope or audience that is silently dropped
//! would be found missing only where the token is used.

use super::{Granted, allowed_audiences, allowed_scopes, expires_at};
use crate::domain::clock::UnixTime;
use crate::domain::oauth::GrantType;
use crate::domain::scope::ScopeSet;
use crate::issuer::client_auth::AuthenticatedClient;
use crate::issuer::policy::Policy;
use crate::issuer::{Client, TokenError, TokenRequest};

/// Grants what the request asks for, if the client may have it.
///
/// # Errors
/// When it may not.
pub(in crate::issuer) fn grant(
    client: AuthenticatedClient,
    request: &TokenRequest,
    policy: &Policy,
    now: UnixTime,
) -> Result<Granted, TokenError> {
    let registration = client.registration();
    if !registration
        .allowed_grant_types
        .contains(&GrantType::ClientCredentials)
    {
        return Err(TokenError::UnauthorizedClient);
    }
    let audiences = audiences(registration, request, policy)?;
    let format = policy.format(registration, &audiences)?;
    Ok(Granted {
        scope: scope(registration, request)?,
        expires_at: expires_at(&client, &format, request, policy, now)?,
        audiences,
        format,
        token_name: request.token_name().map(str::to_owned),
        client,
    })
}

fn scope(client: &Client, request: &TokenRequest) -> Result<ScopeSet, TokenError> {
    let asked = request.scope();
    if asked.is_empty() {
        Ok(client.allowed_scopes.clone())
    } else {
        allowed_scopes(asked, &client.allowed_scopes)
    }
}

/// A client without audiences of its own talks to the issuer only, and may say so. Who asks for
/// none gets all that are allowed; in plgd's profile it must choose.
fn audiences(
    client: &Client,
    request: &TokenRequest,
    policy: &Policy,
) -> Result<Vec<String>, TokenError> {
    let asked = request.audiences(&client.allowed_audiences)?;
    let allowed = match client.allowed_audiences.as_slice() {
        [] => &[policy.issuer.clone()][..],
        _ if asked.is_empty() && policy.profile.audience_required => {
            return Err(TokenError::NoTarget);
        }
        allowed => allowed,
    };
    if asked.is_empty() {
        Ok(allowed.to_vec())
    } else {
        allowed_audiences(asked, allowed)
    }
}
