//! What is wrong with an assertion. For the audit log: the client is told nothing of it.

use crate::domain::reason::Reason;
use crate::jose::verify::InvalidJws;

/// Why an assertion does not authenticate a client. The texts are constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssertionFault {
    /// Not a signed JWT in compact form, or a member is repeated.
    #[error("the assertion is no signed JWT")]
    Malformed,
    /// It is longer than `issuer.maxTokenSize`.
    #[error("the assertion is longer than issuer.maxTokenSize")]
    TooLarge,
    /// `alg` is none that a public key verifies.
    #[error("the assertion's algorithm is not supported")]
    Algorithm,
    /// `crit` or `b64`.
    #[error("the assertion has a critical header")]
    Critical,
    /// `typ` is that of another kind of JWT.
    #[error("the assertion's typ is that of another kind of token")]
    Type,
    /// Nobody is registered under the id.
    #[error("no client has this id")]
    UnknownClient,
    /// The client is disabled or has expired.
    #[error("the client is disabled or has expired")]
    UnusableClient,
    /// The client has to authenticate itself in another way.
    #[error("the client does not use assertions")]
    OtherMethod,
    /// The client named beside the assertion is another one.
    #[error("the assertion is of another client than the one named beside it")]
    OtherClient,
    /// With somebody else's JWT the client must be named.
    #[error("the client is not named beside the assertion")]
    NotNamed,
    /// RFC 7523 §3 (1).
    #[error("the assertion's iss is not the client")]
    Issuer,
    /// RFC 7523 §3 (2).
    #[error("the assertion's sub is not the client")]
    Subject,
    /// RFC 7523 §3 (3).
    #[error("the assertion's aud is not this issuer")]
    Audience,
    /// RFC 7523 §3 (4).
    #[error("the assertion has no exp")]
    NoExpiry,
    /// It was good once.
    #[error("the assertion has expired")]
    Expired,
    /// It lives longer than `issuer.maxAssertionLifetime`.
    #[error("the assertion lives too long")]
    TooLong,
    /// RFC 7523 §3 (5).
    #[error("the assertion is not valid yet")]
    NotYetValid,
    /// RFC 7523 §3 (6).
    #[error("the assertion was issued in the future")]
    IssuedInFuture,
    /// RFC 7523 §3 (7): without it a replay could not be seen.
    #[error("the assertion has no usable jti")]
    NoId,
    /// A claim is of a wrong type.
    #[error("a claim of the assertion has a wrong type")]
    Claims,
    /// None of the client's keys has its `kid`.
    #[error("the assertion's key is none of the client's")]
    UnknownKey,
    /// The client's key is for another algorithm.
    #[error("the client's key does not allow the assertion's algorithm")]
    KeyAlgorithm,
    /// No key of the client made the signature.
    #[error("the assertion's signature is wrong")]
    Signature,
    /// It was used before.
    #[error("the assertion was used before")]
    Replayed,
    /// One of our own tokens: it could be renewed without end.
    #[error("the assertion was issued by this issuer itself")]
    OwnToken,
    /// The authority's JWT was refused.
    #[error("the exchanged token was refused: {}", .0.code())]
    Foreign(Reason),
    /// The exchanged JWT does not say whose it is.
    #[error("the exchanged token has no owner")]
    NoOwner,
    /// What would be copied of the exchanged JWT is too large.
    #[error("the claims to copy of the exchanged token are too large")]
    CopiedClaims,
}

impl From<InvalidJws> for AssertionFault {
    fn from(invalid: InvalidJws) -> Self {
        match invalid {
            InvalidJws::Malformed => Self::Malformed,
            InvalidJws::Algorithm => Self::Algorithm,
            InvalidJws::Critical => Self::Critical,
        }
    }
}
