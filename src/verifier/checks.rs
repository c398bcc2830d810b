//! The checks of a token and its request. The code that makes a check reports it, so no second list
//! of checks exists.

use super::VerifiedToken;
use crate::domain::reason::Reason;

/// A check of a bearer token or of its rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// The `Authorization` header holds one signed JWT in compact form, without critical
    /// extensions, or one opaque token.
    Form,
    /// The authority says that the opaque token is active.
    Introspection,
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
    /// The sender holds the keys that the token is bound to.
    Binding,
    /// The token was not revoked.
    Revocation,
    /// A rule matches the request.
    Rule,
    /// The token's authority is one of those that the rule accepts.
    RuleAuthority,
    /// The token has the scopes that the rule asks for.
    Scopes,
    /// The token has the claims that the rule asks for.
    RuleClaims,
    /// The claims equal the parts of the request that the rule compares.
    Equals,
    /// The request does not ask for another protocol.
    Upgrade,
}

/// Observes the checks in their order. The last one decided.
pub trait CheckObserver: Send {
    /// This check begins; the earlier ones have passed.
    fn checking(&mut self, check: Check);

    /// Every other check of the token has passed, and its authority is about to be queried about
    /// it.
    ///
    /// # Errors
    /// The reason to refuse the request without a query.
    fn before_query(&mut self, _: &VerifiedToken) -> Result<(), Reason> {
        Ok(())
    }
}

/// Ignores the checks.
impl CheckObserver for () {
    fn checking(&mut self, _: Check) {}
}

impl CheckObserver for Vec<Check> {
    fn checking(&mut self, check: Check) {
        self.push(check);
    }
}
