//! The checks that a token and its request go through.
//!
//! The code that makes a check announces it, so a list of the checks that were made is never kept
//! anywhere else.

use super::TokenFacts;
use crate::domain::reason::Reason;

/// A check of a bearer token or of its rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// The `Authorization` header holds one signed JWT in compact form, without critical
    /// extensions.
    Form,
    /// The authority's keys may verify the token's `alg`.
    Algorithm,
    /// `typ` is that of an access token.
    Type,
    /// `iss` is that of one of the listener's authorities, and the token is not longer than it may
    /// be.
    Issuer,
    /// The authority publishes a key for the token.
    Key,
    /// One of these keys made the signature.
    Signature,
    /// The claims have the types that their definitions ask for.
    Claims,
    /// `exp`, `nbf` and `iat`.
    Times,
    /// `aud`.
    Audience,
    /// The token was not revoked.
    Revocation,
    /// A rule matches the request.
    Rule,
    /// The token has the scopes that the rule asks for.
    Scopes,
    /// The token has the claims that the rule asks for.
    RuleClaims,
    /// The request does not ask for another protocol.
    Upgrade,
}

/// Learns which checks are made, in their order. The last one decided.
pub trait Witness: Send {
    /// This check begins; those announced before it have passed.
    fn begins(&mut self, check: Check);

    /// The token is good as far as that is known here, and its authority is about to be asked about
    /// it.
    ///
    /// # Errors
    /// The reason why it must not be asked; the request is refused with it.
    fn before_question(&mut self, _: &TokenFacts) -> Result<(), Reason> {
        Ok(())
    }
}

/// Listeners serve requests without a witness.
impl Witness for () {
    fn begins(&mut self, _: Check) {}
}

impl Witness for Vec<Check> {
    fn begins(&mut self, check: Check) {
        self.push(check);
    }
}
