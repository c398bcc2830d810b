//! The policies of the profiles. No other file of the issuer asks which profile it has.

use crate::domain::oauth::{DEFAULT_TOKEN_SIZE, PLGD_TOKEN_SIZE};
use crate::domain::settings::{Profile, TokenType};

impl Profile {
    /// The policy of the profile.
    #[must_use]
    pub const fn policy(self) -> ProfilePolicy {
        match self {
            Self::Standard => ProfilePolicy::STANDARD,
            Self::Plgd => ProfilePolicy::PLGD,
        }
    }
}

/// The decisions of a profile, resolved once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each flag is a decision of its own"
)]
pub struct ProfilePolicy {
    /// A lifetime of zero issues access tokens without `exp`.
    pub endless: bool,
    /// Every access token has a row in the store, not only named and exchanged ones.
    pub keep_all: bool,
    /// `sub` is the user or owner that the client acts for; otherwise it is the client's id.
    pub subject_is_owner: bool,
    /// The device id of an exchanged JWT becomes a claim of the token.
    pub copy_device_id: bool,
    /// A token and its answer have a scope even if it is empty.
    pub empty_scope: bool,
    /// A client with a list of audiences must ask for one of them.
    pub audience_required: bool,
    /// The parameters for owner and device are ignored for a client that may choose neither.
    pub ignores_choices: bool,
    /// An exchanged JWT needs an `exp`, and an `aud` that names this issuer.
    pub strict_exchange: bool,
    /// Token requests may have the shapes that plgd's clients send.
    pub lenient_requests: bool,
    /// plgd's tokens API is served, and every path also with a slash at its end.
    pub tokens_api: bool,
    /// Errors have the members of google.rpc.Status as well.
    pub status_errors: bool,
    /// Sizes and counts.
    pub limits: ProfileLimits,
    /// The defaults of the configuration.
    pub defaults: ProfileDefaults,
}

/// The limits of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProfileLimits {
    /// Characters of a `token_name`.
    pub token_name: usize,
    /// Bytes of the copied claims of an exchanged JWT; `None`: only the token's size is limited.
    pub copied_claims: Option<usize>,
    /// Live and revoked tokens that one user may have of a shared client.
    pub tokens_per_owner: u64,
    /// How many of these may be revoked ones.
    pub revoked_per_owner: u64,
    /// Revoked tokens of one client that the revocation list names one by one.
    pub revoked_per_client: usize,
}

/// The defaults of a profile's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProfileDefaults {
    /// `issuer.ownerClaim`.
    pub owner_claim: &'static str,
    /// `issuer.tokenType`.
    pub token_type: TokenType,
    /// `issuer.maxTokenSize`, in bytes.
    pub max_token_size: usize,
    /// Whether an exchange without `copyClaims` copies all claims, or none.
    pub copy_all_claims: bool,
}

impl ProfilePolicy {
    /// The RFCs' profile.
    pub const STANDARD: Self = Self {
        endless: false,
        keep_all: false,
        subject_is_owner: false,
        copy_device_id: false,
        empty_scope: false,
        audience_required: false,
        ignores_choices: false,
        strict_exchange: true,
        lenient_requests: false,
        tokens_api: false,
        status_errors: false,
        limits: ProfileLimits {
            token_name: 128,
            // Verifiers of this profile accept a token of 8 KiB.
            copied_claims: Some(4096),
            tokens_per_owner: 10_000,
            revoked_per_owner: 1000,
            revoked_per_client: 1000,
        },
        defaults: ProfileDefaults {
            owner_claim: "owner",
            token_type: TokenType::AccessToken,
            max_token_size: DEFAULT_TOKEN_SIZE,
            copy_all_claims: false,
        },
    };

    /// plgd's profile.
    pub const PLGD: Self = Self {
        endless: true,
        keep_all: true,
        subject_is_owner: true,
        copy_device_id: true,
        empty_scope: true,
        audience_required: true,
        ignores_choices: true,
        strict_exchange: false,
        lenient_requests: true,
        tokens_api: true,
        status_errors: true,
        limits: ProfileLimits {
            // plgd's server has no limit. Even in UTF-8 this is half of what a token may have.
            token_name: 4096,
            copied_claims: None,
            // Tokens may be endless, and an owner may have many of one client.
            tokens_per_owner: 50_000,
            revoked_per_owner: 10_000,
            revoked_per_client: 50_000,
        },
        defaults: ProfileDefaults {
            owner_claim: "sub",
            token_type: TokenType::Jwt,
            max_token_size: PLGD_TOKEN_SIZE,
            copy_all_claims: true,
        },
    };
}
