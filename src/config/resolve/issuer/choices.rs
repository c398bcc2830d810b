//! The owners and devices that a client may choose.

use crate::config::raw;
use crate::config::resolve::resolver::Resolver;
use crate::config::tree::KeyPath;
use crate::domain::owner_pattern::OwnerPattern;
use crate::issuer::client::AllowedChoices;
use crate::issuer::parameter_like;

/// Resolves `allowedOwners` and `allowDeviceId` of a client. `device_claim` is empty without one.
pub(super) fn resolve(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: &raw::Client,
    device_claim: &str,
) -> AllowedChoices {
    let owners_path = path.key("allowedOwners");
    let device_path = path.key("allowDeviceId");
    let mut owners = Vec::new();
    for (i, text) in raw.allowed_owners.iter().enumerate() {
        match OwnerPattern::parse(text) {
            Ok(pattern) => owners.push(pattern),
            Err(why) => resolver.error(&owners_path.index(i), why),
        }
    }
    if owners.len() > 1 && owners.iter().any(OwnerPattern::is_any) {
        let message = "`*` allows every owner, so the other entries have no effect";
        resolver.warn(&owners_path, message);
    }
    if raw.jwt_private_key.is_some() {
        let message = "remove this key: the JWT that the client exchanges (`jwtPrivateKey`) names \
                       its owner and its device";
        if !owners.is_empty() {
            resolver.error(&owners_path, message);
        }
        if raw.allow_device_id {
            resolver.error(&device_path, message);
        }
    }
    if raw.allow_device_id && device_claim.is_empty() {
        let message = "set `issuer.deviceIDClaim`: the parameter of the token request has its name";
        resolver.error(&device_path, message);
    }
    AllowedChoices {
        owners,
        device_id: raw.allow_device_id,
    }
}

/// Checks that a claim can be the name of a parameter of token requests.
pub(super) fn check_name(resolver: &mut Resolver<'_>, path: &KeyPath, claim: &str) {
    if let Some(parameter) = parameter_like(claim) {
        let message = format!(
            "a token request has the parameter `{parameter}`, and the claim's name is also that of \
             a parameter: choose another name"
        );
        resolver.error(path, message);
    }
}
