//! The owner and the device that a token request chooses (plgd's device provisioning).
//!
//! The parameters have the names of the claims. A client chooses only within its registration: a
//! request for another owner is refused, so that it never gets the token of another owner.

use crate::domain::owner_pattern::OwnerPattern;

/// The owners and devices that the requests of a client may choose, beside its own owner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedChoices {
    /// Its `allowedOwners`.
    pub owners: Vec<OwnerPattern>,
    /// Whether it may choose any device.
    pub device_id: bool,
}

impl AllowedChoices {
    /// Whether nothing can be chosen.
    pub(super) fn is_empty(&self) -> bool {
        self.owners.is_empty() && !self.device_id
    }

    pub(super) fn allow_owner(&self, owner: &str) -> bool {
        self.owners.iter().any(|pattern| pattern.allows(owner))
    }
}

/// The owner and the device of a token, where the request chose them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Replaces the owner of the client.
    pub owner: Option<String>,
    /// The value of the device id claim.
    pub device_id: Option<String>,
}

/// The names of the parameters that choose: those of the claims. Empty: there is no such parameter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimParameters {
    pub(super) owner: String,
    pub(super) device_id: String,
}

impl ClaimParameters {
    /// The claim whose parameter has this name.
    pub(super) fn find(&self, name: &str) -> Option<ChosenClaim> {
        if name.is_empty() {
            None
        } else if name == self.owner {
            Some(ChosenClaim::Owner)
        } else {
            (name == self.device_id).then_some(ChosenClaim::DeviceId)
        }
    }
}

/// A claim that a request may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChosenClaim {
    Owner,
    DeviceId,
}
