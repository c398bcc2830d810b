//! The names of the claims that only the issuer sets.

use crate::domain::revoked::AFTER_END;

/// Claims that only the issuer sets. A configured claim of one of these names is ignored, even
/// where the issuer sets none: an inserted `scope` would widen a client without scopes.
pub const RESERVED: [&str; 16] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "client_id",
    "scope",
    "scp",
    "cnf",
    "act",
    ORIGINAL_CLAIMS,
    OWNER_ISSUER,
    AFTER_END,
    REQUIRED_SCOPE,
];

/// The claim in which plgd's services keep their required scopes while they read a token: a token
/// that has it replaces them. No token of this issuer has it.
pub const REQUIRED_SCOPE: &str = "plgd:required:scope";

/// The issuer of the user that the owner claim names, and in the plgd profile `sub`: another
/// issuer may have a user of the same name.
pub(super) const OWNER_ISSUER: &str = "owner_iss";

/// The claims that were copied from an exchanged JWT.
pub(super) const ORIGINAL_CLAIMS: &str = "originalTokenClaims";

/// Why no configuration may set a claim; `None` if it may, or if the issuer sets the claim.
#[must_use]
pub fn why_no_claim(name: &str) -> Option<&'static str> {
    (name == REQUIRED_SCOPE).then_some(
        "a token with this claim, whatever its value, passes the scope check of plgd's services: \
         leave it out",
    )
}
