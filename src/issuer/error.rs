//! The errors: why a request gets no token, and why an issuer does not start.

use super::client_auth::fault::{AssertionFault, CertificateFault};
use super::token_exchange::TokenFault;
use crate::domain::oauth::ErrorCode;
use crate::issuer::excerpt::Excerpt;
use crate::jose::dpop::InvalidProof;
use crate::jose::sign::SigningKeyError;
use crate::store::StoreError;

/// Why no token is issued. `Display` is the description in the answer: constants, and excerpts of
/// the request without secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The body's media type is unsupported or missing.
    #[error("the content type must be application/x-www-form-urlencoded or application/json")]
    ContentType,
    #[error("the request body is malformed")]
    MalformedBody,
    #[error("the request body is compressed; send it without a content coding (Content-Encoding)")]
    ContentCoding,
    #[error("the parameter `{0}` has a wrong type")]
    WrongType(Excerpt),
    #[error("the parameter `{0}` is repeated")]
    Repeated(Excerpt),
    /// The repeated parameter has an unknown name, which may be anything.
    #[error("a parameter is repeated")]
    RepeatedUnknown,
    #[error("the header {0} is repeated")]
    RepeatedHeader(&'static str),
    /// The query of the URL is logged, and its parameters would be ignored.
    #[error(
        "the parameter `{0}` is in the query of the URL; parameters belong in the request body"
    )]
    InQuery(Excerpt),
    /// A parameter's name resembles a known one.
    #[error("there is no parameter `{given}`; the name is `{known}`")]
    Misspelt { given: Excerpt, known: &'static str },
    /// The client asks for a bound token by other means than DPoP and certificates.
    #[error(
        "this server binds tokens to the key of a proof in the header DPoP (RFC 9449) or of the \
         client's certificate (RFC 8705): send the request without {0}"
    )]
    BoundToken(&'static str),
    /// More than 100 parameters, scopes or audiences, or one that is too long.
    #[error("too many parameters, or one that is too long")]
    TooLarge,
    #[error("grant_type is missing")]
    NoGrantType,
    #[error("more than one client authentication method is used")]
    SeveralAuthMethods,
    #[error(
        "client_assertion needs the client_assertion_type \
         urn:ietf:params:oauth:client-assertion-type:jwt-bearer (or its sibling \
         jwt-spiffe for a JWT-SVID)"
    )]
    AssertionType,
    #[error("expiration must be a whole number: a time in unix seconds")]
    MalformedExpiration,
    /// `expiration` has passed, or is later than the client's lifetime or its own end allows.
    #[error(
        "expiration must be a time in unix seconds, in the future, within the client's token \
         lifetime and before the client's expiry"
    )]
    Expiration,
    #[error("token_name must be at most {0} printable characters")]
    TokenName(usize),
    /// The client is unknown, its secret wrong, or it may not be used now: intentionally one error
    /// for all.
    #[error("client authentication failed")]
    InvalidClient {
        /// Whether Basic was used, and needs a challenge (RFC 6749 §5.2).
        basic: bool,
    },
    #[error("the owner `{0}` is not allowed to this client")]
    OtherOwner(Excerpt),
    #[error("the device `{0}` is not allowed to this client")]
    OtherDevice(Excerpt),
    /// The parameter for the owner or the device is no usable text.
    #[error("the parameter `{0}` must be a text of 1 to 256 bytes without control characters")]
    MalformedChoice(Excerpt),
    #[error("a refresh token keeps its {0}: send the request without the parameter for it")]
    ChangedChoice(&'static str),
    /// The address of the client is in none of its networks. It gets the same answer as for
    /// [`TokenError::InvalidClient`].
    #[error("client authentication failed")]
    OtherNetwork {
        /// Whether Basic was used.
        basic: bool,
    },
    #[error("refresh_token is missing")]
    NoRefreshToken,
    /// The refresh token is unknown, revoked, expired or another client's: intentionally one error
    /// for all.
    #[error("the refresh token is not valid")]
    InvalidGrant,
    /// The refresh token was used before, so two parties have it: its family was revoked.
    #[error("the refresh token was used before")]
    RefreshTokenReused,
    /// The assertion does not authenticate the client, which gets the same answer as for
    /// [`TokenError::InvalidClient`].
    #[error("client authentication failed")]
    InvalidAssertion(AssertionFault),
    /// The certificate of the connection does not authenticate the client, which gets the same
    /// answer as for [`TokenError::InvalidClient`].
    #[error("client authentication failed")]
    InvalidCertificate(CertificateFault),
    /// The client's tokens are bound to its certificate, and the connection has none.
    #[error(
        "this client's access tokens are bound to its certificate: send the request over TLS with \
         a client certificate"
    )]
    NoCertificate,
    /// The client's tokens are bound to a key, and the request has no proof.
    #[error(
        "this client's access tokens are bound to a key: send a proof in the header DPoP (RFC 9449)"
    )]
    NoProof,
    /// The proof in the header DPoP is invalid.
    #[error("{0}")]
    InvalidProof(InvalidProof),
    #[error("the proof in the header DPoP was used before: make a proof for each request")]
    ProofReused,
    /// The proofs that were used cannot be remembered.
    #[error("too many proofs at once: try again")]
    TooManyProofs,
    /// After too many consecutive failures nothing is checked.
    #[error("too many failed attempts: try again later")]
    TooManyFailures {
        /// In seconds.
        retry_after: u16,
    },
    /// The owner has used up the quota of live and revoked tokens.
    #[error(
        "this user has too many tokens that are live or revoked: use one of them, or wait until \
         some expire"
    )]
    TooManyTokens {
        /// In seconds.
        retry_after: u16,
    },
    /// Too many secrets are being hashed.
    #[error("too many attempts at once: try again")]
    Busy,
    #[error("the keys of the client are not available")]
    ClientKeysUnavailable,
    /// `subject_token`, or `actor_token` beside its type.
    #[error("{0} is missing")]
    NoExchangedToken(&'static str),
    /// `subject_token_type` or `actor_token_type`.
    #[error(
        "{0} must be urn:ietf:params:oauth:token-type:access_token, \
         urn:ietf:params:oauth:token-type:jwt or urn:ietf:params:oauth:token-type:id_token"
    )]
    TokenTypeUri(&'static str),
    #[error(
        "requested_token_type must be urn:ietf:params:oauth:token-type:access_token or \
         urn:ietf:params:oauth:token-type:jwt"
    )]
    RequestedTokenType,
    #[error("the subject token is not accepted: {0}")]
    SubjectToken(TokenFault),
    #[error("the actor token is not accepted: {0}")]
    ActorToken(TokenFault),
    #[error("the keys of the token's authority are not available: try again")]
    AuthorityUnavailable,
    #[error("this client may not use this grant type")]
    UnauthorizedClient,
    #[error(
        "this grant type is not supported; supported are client_credentials, \
         refresh_token and urn:ietf:params:oauth:grant-type:token-exchange"
    )]
    UnsupportedGrantType,
    #[error("the scope `{0}` is malformed")]
    MalformedScope(Excerpt),
    #[error("the scope `{0}` is not allowed to this client")]
    InvalidScope(Excerpt),
    /// The exchanged token of this issuer does not have the scope.
    #[error("the scope `{0}` is not one of the subject token, and this client may not add it")]
    ScopeOfSubject(Excerpt),
    #[error("the resource `{0}` is not an absolute URI without fragment")]
    MalformedTarget(Excerpt),
    #[error("the audience or resource `{0}` is not allowed to this client")]
    InvalidTarget(Excerpt),
    #[error("audience is missing: this client must name an audience that is allowed to it")]
    NoTarget,
    /// The audiences of the request need different formats (`issuer.audiences`).
    #[error(
        "the requested audiences need different kinds of tokens: ask for one audience at a time"
    )]
    MixedTargets,
    #[error("token is missing")]
    NoToken,
    #[error("the store is not available")]
    StoreUnavailable,
    /// The key of the token's algorithm does not exist yet: a client was just registered with it.
    #[error("the signing key for this audience is being made: try again")]
    KeyNotReady,
    /// The store is not writable, with the reason; to the client the same as
    /// [`TokenError::StoreUnavailable`].
    #[error("the store is not available")]
    StoreUnwritable(&'static str),
    /// The claims of the exchanged JWT make the token longer than `issuer.maxTokenSize`.
    #[error(
        "the claims of the assertion make the token longer than this server accepts: bring an \
         assertion with fewer claims"
    )]
    LongToken,
    #[error("the token could not be issued")]
    Signing,
}

impl TokenError {
    /// The error code on the wire.
    #[must_use]
    pub fn code(self) -> ErrorCode {
        match self {
            Self::ContentType
            | Self::MalformedBody
            | Self::ContentCoding
            | Self::WrongType(_)
            | Self::Repeated(_)
            | Self::RepeatedUnknown
            | Self::RepeatedHeader(_)
            | Self::InQuery(_)
            | Self::Misspelt { .. }
            | Self::BoundToken(_)
            | Self::NoCertificate
            | Self::NoProof
            | Self::TooLarge
            | Self::NoGrantType
            | Self::SeveralAuthMethods
            | Self::AssertionType
            | Self::MalformedExpiration
            | Self::Expiration
            | Self::TokenName(_)
            | Self::OtherOwner(_)
            | Self::OtherDevice(_)
            | Self::MalformedChoice(_)
            | Self::ChangedChoice(_)
            | Self::NoRefreshToken
            | Self::LongToken
            | Self::NoExchangedToken(_)
            | Self::TokenTypeUri(_)
            | Self::RequestedTokenType
            | Self::SubjectToken(_)
            | Self::ActorToken(_)
            | Self::NoToken => ErrorCode::InvalidRequest,
            Self::InvalidProof(_) | Self::ProofReused => ErrorCode::InvalidDpopProof,
            Self::InvalidGrant | Self::RefreshTokenReused => ErrorCode::InvalidGrant,
            Self::StoreUnavailable
            | Self::KeyNotReady
            | Self::StoreUnwritable(_)
            | Self::TooManyFailures { .. }
            | Self::TooManyTokens { .. }
            | Self::Busy
            | Self::TooManyProofs
            | Self::AuthorityUnavailable
            | Self::ClientKeysUnavailable => ErrorCode::TemporarilyUnavailable,
            Self::InvalidClient { .. }
            | Self::OtherNetwork { .. }
            | Self::InvalidAssertion(_)
            | Self::InvalidCertificate(_) => ErrorCode::InvalidClient,
            Self::UnauthorizedClient => ErrorCode::UnauthorizedClient,
            Self::UnsupportedGrantType => ErrorCode::UnsupportedGrantType,
            Self::MalformedScope(_) | Self::InvalidScope(_) | Self::ScopeOfSubject(_) => {
                ErrorCode::InvalidScope
            }
            Self::MalformedTarget(_)
            | Self::InvalidTarget(_)
            | Self::NoTarget
            | Self::MixedTargets => ErrorCode::InvalidTarget,
            Self::Signing => ErrorCode::ServerError,
        }
    }
}

impl TokenError {
    /// Whether the answer needs a challenge, because Basic was used (RFC 6749 §5.2).
    #[must_use]
    pub fn needs_challenge(self) -> bool {
        matches!(
            self,
            Self::InvalidClient { basic: true } | Self::OtherNetwork { basic: true }
        )
    }
}

impl TokenError {
    /// The reason for the audit log, which says more than the answer.
    #[must_use]
    pub fn reason(self) -> String {
        match self {
            Self::InvalidAssertion(fault) => fault.to_string(),
            Self::InvalidCertificate(fault) => fault.to_string(),
            Self::OtherNetwork { .. } => {
                "the client's address is in none of its `allowedNetworks`".to_owned()
            }
            Self::StoreUnwritable(why) => StoreError::Unwritable(why).to_string(),
            other => other.to_string(),
        }
    }
}

impl From<AssertionFault> for TokenError {
    fn from(fault: AssertionFault) -> Self {
        Self::InvalidAssertion(fault)
    }
}

impl From<CertificateFault> for TokenError {
    fn from(fault: CertificateFault) -> Self {
        Self::InvalidCertificate(fault)
    }
}

impl From<StoreError> for TokenError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unwritable(why) => Self::StoreUnwritable(why),
            _ => Self::StoreUnavailable,
        }
    }
}

/// Why an issuer does not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("an access token's lifetime must be at least one second, or zero in the plgd profile")]
    Lifetime,
    #[error("the owner claim must not be empty or one of the claims that the issuer sets itself")]
    OwnerClaim,
    #[error("the device id claim must not be one of the claims that the issuer sets itself")]
    DeviceIdClaim,
    #[error("client `{0}` is configured twice")]
    DuplicateClient(String),
    #[error("client `{0}` has an empty secret")]
    EmptySecret(String),
    #[error("the configured private key cannot be used with the signing algorithm")]
    PrivateKey(#[source] SigningKeyError),
    #[error("no signing key can be made for the algorithm")]
    NewKey(#[source] SigningKeyError),
    #[error("the store has no signing key")]
    NoKey,
    #[error("the stored signing key `{0}` cannot be used")]
    StoredKey(String),
    #[error(
        "the stored signing key `{0}` is encrypted: `store.encryptionKeyFile` must name the key's \
         file"
    )]
    Encrypted(String),
    #[error(
        "the stored signing key `{0}` cannot be decrypted: `store.encryptionKeyFile` holds another \
         key"
    )]
    OtherEncryptionKey(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}
