//! The faults of assertions and certificates, for the audit log: the client's answer does not say
//! them.

use crate::domain::reason::Reason;
use crate::jose::verify::InvalidJws;

/// Why an assertion does not authenticate a client. The texts are constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssertionFault {
    /// No signed JWT in compact form, or a repeated member.
    #[error("the assertion is no signed JWT")]
    Malformed,
    #[error("the assertion is longer than issuer.maxTokenSize")]
    TooLarge,
    /// `alg` is not verified by a public key.
    #[error("the assertion's algorithm is not supported")]
    Algorithm,
    /// `crit` or `b64`.
    #[error("the assertion has a critical header")]
    Critical,
    #[error("the assertion's typ is that of another kind of token")]
    Type,
    #[error("no client has this id")]
    UnknownClient,
    #[error("the client is disabled or has expired")]
    UnusableClient,
    #[error("the client does not use assertions")]
    OtherMethod,
    #[error("the assertion is of another client than the one named beside it")]
    OtherClient,
    #[error("no `federated` entry of the client trusts the authority of the assertion now")]
    NotTrusted,
    #[error("the assertion has another aud beside or instead of the one that `federated` names")]
    OtherAudience,
    #[error("the assertion's sub is none that the client's `federated` entries permit")]
    NoSuchSubject,
    #[error("a claim of the assertion has none of the values that `federated` permits")]
    OtherClaims,
    /// None of them is taken by chance.
    #[error("several clients fit the assertion: send the client_id of one, or narrow `federated`")]
    SeveralClients,
    /// A client that exchanges a JWT must be named.
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
    /// RFC 7523bis: only the issuer.
    #[error(
        "the assertion's aud is not this issuer alone: it must be `issuer.url`, as a text or as \
         the only item of a list; the client's `assertionAudiences: legacy` also allows the token \
         endpoint and lists of both"
    )]
    NotIssuerAlone,
    /// RFC 7523 §3 (4).
    #[error("the assertion has no exp")]
    NoExpiry,
    #[error("the assertion has expired")]
    Expired,
    /// `issuer.maxAssertionLifetime`.
    #[error("the assertion expires too late")]
    TooLong,
    /// RFC 7523 §3 (5).
    #[error("the assertion is not valid yet")]
    NotYetValid,
    /// RFC 7523 §3 (6).
    #[error("the assertion was issued in the future")]
    IssuedInFuture,
    /// RFC 7523 §3 (7): without `jti` a replay could not be detected.
    #[error("the assertion has no usable jti")]
    NoId,
    #[error("a claim of the assertion has a wrong type")]
    Claims,
    #[error("the assertion's key is none of the client's")]
    UnknownKey,
    #[error("the client's key does not allow the assertion's algorithm")]
    KeyAlgorithm,
    #[error("the assertion's signature is wrong")]
    Signature,
    #[error("the assertion was used before")]
    Replayed,
    /// A token of this issuer could be renewed without end.
    #[error("the assertion was issued by this issuer itself")]
    OwnToken,
    /// The verification of the authority's JWT failed.
    #[error("the exchanged token was refused: {}", .0.code())]
    Foreign(Reason),
    #[error("the exchanged token has no owner")]
    NoOwner,
    #[error("the claims to copy of the exchanged token are too large")]
    CopiedClaims,
}

/// Why the certificate of a connection does not authenticate a client. The texts are constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    #[error("the client is disabled or has expired")]
    UnusableClient,
    #[error("the connection has no client certificate")]
    Missing,
    #[error("the client does not authenticate by a certificate")]
    OtherMethod,
    #[error("the client certificate is self-signed: no authority vouches for its name")]
    SelfSigned,
    #[error("the client certificate does not have the registered name")]
    Name,
    #[error("several clients fit the client certificate: send the client_id of one")]
    SeveralClients,
    #[error("the client certificate is none of the client's: its key is not in the client's JWKS")]
    Key,
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
