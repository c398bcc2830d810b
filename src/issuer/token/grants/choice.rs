//! The owner and the device that a request chooses within the registration of its client.

use super::GrantRequest;
use crate::issuer::choice::Choice;
use crate::issuer::error::TokenError;
use crate::issuer::excerpt::Excerpt;
use crate::issuer::policy::Identity;
use crate::issuer::refresh_tokens::FamilyGrant;

/// The choice of a request without a refresh token.
///
/// A request may always name what its token has anyway. In plgd's profile, the parameters of a
/// client that may choose nothing are ignored, as plgd's server does.
pub(super) fn first(asked: &GrantRequest<'_>) -> Result<Choice, TokenError> {
    let GrantRequest {
        client,
        request,
        policy,
        ..
    } = asked;
    let none = Choice::default();
    let own = Identity::of(client, &none, policy);
    let own_device = policy.copied_device_id(client);
    // A user's JWT names its owner and its device: no parameter changes them.
    let allowed = &client.registration().allowed_choices;
    let may_choose = client.exchanged().is_none();
    if is_ignored(asked) {
        let differs = |asked: Result<Option<&str>, TokenError>, own: Option<&str>| {
            asked.map_or(true, |asked| asked.is_some() && asked != own)
        };
        if differs(request.owner(), own.owner) || differs(request.device_id(), own_device) {
            tracing::warn!(
                client_id = client.registration().id,
                "the token request asks for another owner or device than the client has: it is \
                 ignored, as plgd's server does (`allowedOwners` and `allowDeviceId` change that)"
            );
        }
        return Ok(none);
    }
    let owner = match request.owner()? {
        None => None,
        Some(owner) if own.owner == Some(owner) => None,
        Some(owner) if may_choose && allowed.allow_owner(owner) => Some(owner.to_owned()),
        Some(owner) => return Err(TokenError::OtherOwner(Excerpt::of(owner))),
    };
    let device_id = match request.device_id()? {
        None => None,
        Some(device) if own_device == Some(device) => None,
        Some(device) if may_choose && allowed.device_id => Some(device.to_owned()),
        Some(device) => return Err(TokenError::OtherDevice(Excerpt::of(device))),
    };
    Ok(Choice { owner, device_id })
}

/// The choice of the first request of a family of refresh tokens, if the client may still make it.
/// If it may not make it, the result differs from `before`.
pub(super) fn kept(asked: &GrantRequest<'_>, before: &FamilyGrant) -> Result<Choice, TokenError> {
    let GrantRequest {
        client,
        request,
        policy,
        ..
    } = asked;
    let allowed = &client.registration().allowed_choices;
    let own = Identity::of(client, &Choice::default(), policy)
        .owner
        .map(str::to_owned);
    let may_choose = client.exchanged().is_none();
    let owner = before
        .owner
        .clone()
        .filter(|owner| own.as_ref() != Some(owner) && may_choose && allowed.allow_owner(owner));
    let device_id = before.device_id.clone();
    if device_id.is_some() && !(may_choose && allowed.device_id) {
        return Err(TokenError::InvalidGrant);
    }
    if !is_ignored(asked) {
        let is_kept = |asked: Option<&str>, kept: Option<&str>| asked.is_none() || asked == kept;
        if !is_kept(request.owner()?, before.owner.as_deref()) {
            return Err(TokenError::ChangedChoice("owner"));
        }
        let device = device_id.as_deref().or(policy.copied_device_id(client));
        if !is_kept(request.device_id()?, device) {
            return Err(TokenError::ChangedChoice("device"));
        }
    }
    Ok(Choice { owner, device_id })
}

/// The choice of a token exchange: none. The exchanged token names the owner and the device.
pub(super) fn of_exchange(
    asked: &GrantRequest<'_>,
    owner: Option<&str>,
    device: Option<&str>,
) -> Result<Choice, TokenError> {
    if !is_ignored(asked) {
        if let Some(other) = asked.request.owner()?.filter(|asked| Some(*asked) != owner) {
            return Err(TokenError::OtherOwner(Excerpt::of(other)));
        }
        let requested = asked.request.device_id()?;
        if let Some(other) = requested.filter(|asked| Some(*asked) != device) {
            return Err(TokenError::OtherDevice(Excerpt::of(other)));
        }
    }
    Ok(Choice {
        owner: None,
        device_id: device.map(str::to_owned),
    })
}

/// Whether the parameters for owner and device have no meaning.
fn is_ignored(asked: &GrantRequest<'_>) -> bool {
    let allowed = &asked.client.registration().allowed_choices;
    asked.policy.profile.ignores_choices && allowed.is_empty()
}
