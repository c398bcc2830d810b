//! What can go wrong: why a request gets no token, and why an issuer cannot start.

use super::client_auth::AssertionFault;
use crate::domain::oauth::ErrorCode;
use crate::issuer::excerpt::Excerpt;
use crate::jose::sign::SigningKeyError;
use crate::store::StoreError;

/// Why no token is issued. What `Display` prints is what the client is told: constants, and
/// excerpts of what it sent that is no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The body's media type is none we read, or is missing.
    #[error("the content type must be application/x-www-form-urlencoded or application/json")]
    ContentType,
    /// The body is not what its media type says.
    #[error("the request body is malformed")]
    MalformedBody,
    /// The body is compressed.
    #[error("the request body is compressed; send it without a content coding (Content-Encoding)")]
    ContentCoding,
    /// A parameter has a type its definition does not allow.
    #[error("the parameter `{0}` has a wrong type")]
    WrongType(Excerpt),
    /// A parameter is there more than once.
    #[error("the parameter `{0}` is repeated")]
    Repeated(Excerpt),
    /// An unknown parameter is there more than once, under a name that may be anything.
    #[error("a parameter is repeated")]
    RepeatedUnknown,
    /// A header is there more than once.
    #[error("the header {0} is repeated")]
    RepeatedHeader(&'static str),
    /// A parameter stands in the query of the URL, where nobody reads it and logs keep it.
    #[error(
        "the parameter `{0}` is in the query of the URL; parameters belong in the request body"
    )]
    InQuery(&'static str),
    /// A parameter's name is nearly one that we know.
    #[error("there is no parameter `{given}`; the name is `{known}`")]
    Misspelt {
        /// The name.
        given: Excerpt,
        /// What it should be.
        known: &'static str,
    },
    /// The client wants a token that is bound to a key (RFC 9449, RFC 8705).
    #[error(
        "this server issues bearer tokens only, none that are bound to a key: send the request without {0}"
    )]
    BoundToken(&'static str),
    /// More than 100 parameters, scopes or audiences, or one that is too long.
    #[error("too many parameters, or one that is too long")]
    TooLarge,
    /// There is no `grant_type`.
    #[error("grant_type is missing")]
    NoGrantType,
    /// The client authenticates in more than one way.
    #[error("more than one client authentication method is used")]
    SeveralAuthMethods,
    /// `client_assertion` and `client_assertion_type` do not go together.
    #[error(
        "client_assertion needs the client_assertion_type urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    )]
    AssertionType,
    /// `expiration` is no number of seconds.
    #[error("expiration must be a whole number: a time in unix seconds")]
    MalformedExpiration,
    /// `expiration` has passed, or is later than the client's lifetime or its own end allows.
    #[error(
        "expiration must be a time in unix seconds, in the future, within the client's token lifetime and before the client's expiry"
    )]
    Expiration,
    /// `token_name` is too long or has control characters.
    #[error("token_name must be at most {0} printable characters")]
    TokenName(usize),
    /// The client is unknown, its secret wrong, or it may not be used now: on purpose one error for
    /// all.
    #[error("client authentication failed")]
    InvalidClient {
        /// Whether Basic was used, and must be asked for again (RFC 6749 §5.2).
        basic: bool,
    },
    /// There is no `refresh_token`.
    #[error("refresh_token is missing")]
    NoRefreshToken,
    /// The refresh token is unknown, revoked, expired or another client's: one error for all.
    #[error("the refresh token is not valid")]
    InvalidGrant,
    /// The refresh token was used before, so one of two who have it is a thief: its family was
    /// revoked.
    #[error("the refresh token was used before")]
    RefreshTokenReused,
    /// The assertion proves nothing: to the client the same as [`TokenError::InvalidClient`].
    #[error("client authentication failed")]
    InvalidAssertion(AssertionFault),
    /// Too many failures in a row: nothing was looked at.
    #[error("too many failed attempts: try again later")]
    TooManyFailures {
        /// When it may be tried again, in seconds.
        retry_after: u16,
    },
    /// The owner has as many live and revoked tokens of this client as one may have.
    #[error(
        "this user has too many tokens that are live or revoked: use one of them, or wait until some expire"
    )]
    TooManyTokens {
        /// When it may be tried again, in seconds.
        retry_after: u16,
    },
    /// Too many secrets have to be hashed just now.
    #[error("too many attempts at once: try again")]
    Busy,
    /// The keys that verify the assertion are not to be had just now.
    #[error("the keys for the assertion are not available")]
    ClientKeysUnavailable,
    /// The client may not use this grant.
    #[error("this client may not use this grant type")]
    UnauthorizedClient,
    /// The grant is none we know.
    #[error("this grant type is not supported; supported are client_credentials and refresh_token")]
    UnsupportedGrantType,
    /// A scope is malformed.
    #[error("the scope `{0}` is malformed")]
    MalformedScope(Excerpt),
    /// A scope is not allowed to the client.
    #[error("the scope `{0}` is not allowed to this client")]
    InvalidScope(Excerpt),
    /// A resource is malformed.
    #[error("the resource `{0}` is not an absolute URI without fragment")]
    MalformedTarget(Excerpt),
    /// An audience or resource is not allowed to the client.
    #[error("the audience or resource `{0}` is not allowed to this client")]
    InvalidTarget(Excerpt),
    /// The client must ask for an audience, and asks for none.
    #[error("audience is missing: this client must name an audience that is allowed to it")]
    NoTarget,
    /// The audiences of the request need tokens of different forms (`issuer.audiences`).
    #[error(
        "the requested audiences need different kinds of tokens: ask for one audience at a time"
    )]
    MixedTargets,
    /// There is no `token`.
    #[error("token is missing")]
    NoToken,
    /// The store does not keep what must be kept.
    #[error("the store is not available")]
    StoreUnavailable,
    /// The key of the token's algorithm is not there yet: a client was registered with it a moment
    /// ago.
    #[error("the signing key for this audience is being made: try again")]
    KeyNotReady,
    /// Nothing can be written to the store, and why: to the client the same as
    /// [`TokenError::StoreUnavailable`].
    #[error("the store is not available")]
    StoreUnwritable(&'static str),
    /// The claims of the exchanged JWT make the token longer than `issuer.maxTokenSize`.
    #[error(
        "the claims of the assertion make the token longer than this server accepts: bring an assertion with fewer claims"
    )]
    LongToken,
    /// The token could not be signed.
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
            | Self::TooLarge
            | Self::NoGrantType
            | Self::SeveralAuthMethods
            | Self::AssertionType
            | Self::MalformedExpiration
            | Self::Expiration
            | Self::TokenName(_)
            | Self::NoRefreshToken
            | Self::LongToken
            | Self::NoToken => ErrorCode::InvalidRequest,
            Self::InvalidGrant | Self::RefreshTokenReused => ErrorCode::InvalidGrant,
            Self::StoreUnavailable
            | Self::KeyNotReady
            | Self::StoreUnwritable(_)
            | Self::TooManyFailures { .. }
            | Self::TooManyTokens { .. }
            | Self::Busy
            | Self::ClientKeysUnavailable => ErrorCode::TemporarilyUnavailable,
            Self::InvalidClient { .. } | Self::InvalidAssertion(_) => ErrorCode::InvalidClient,
            Self::UnauthorizedClient => ErrorCode::UnauthorizedClient,
            Self::UnsupportedGrantType => ErrorCode::UnsupportedGrantType,
            Self::MalformedScope(_) | Self::InvalidScope(_) => ErrorCode::InvalidScope,
            Self::MalformedTarget(_)
            | Self::InvalidTarget(_)
            | Self::NoTarget
            | Self::MixedTargets => ErrorCode::InvalidTarget,
            Self::Signing => ErrorCode::ServerError,
        }
    }
}

impl TokenError {
    /// Why, for the audit log: it says more than the client is told.
    #[must_use]
    pub fn reason(self) -> String {
        match self {
            Self::InvalidAssertion(fault) => fault.to_string(),
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

impl From<StoreError> for TokenError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unwritable(why) => Self::StoreUnwritable(why),
            _ => Self::StoreUnavailable,
        }
    }
}

/// Why an issuer cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A token would not live.
    #[error("an access token's lifetime must be at least one second, or zero in the plgd profile")]
    Lifetime,
    /// The owner claim is one that the issuer itself sets.
    #[error("the owner claim must not be empty or one of the claims that the issuer sets itself")]
    OwnerClaim,
    /// The claim that names a device is one that the issuer itself sets.
    #[error("the device id claim must not be one of the claims that the issuer sets itself")]
    DeviceIdClaim,
    /// Two clients have one id.
    #[error("client `{0}` is configured twice")]
    DuplicateClient(String),
    /// A client without a secret could be anyone.
    #[error("client `{0}` has an empty secret")]
    EmptySecret(String),
    /// The configured private key cannot be used.
    #[error("the configured private key cannot be used with the signing algorithm")]
    PrivateKey(#[source] SigningKeyError),
    /// No key can be made.
    #[error("no signing key can be made for the algorithm")]
    NewKey(#[source] SigningKeyError),
    /// The store keeps no key and gives none back.
    #[error("the store has no signing key")]
    NoKey,
    /// A stored key cannot be used.
    #[error("the stored signing key `{0}` cannot be used")]
    StoredKey(String),
    /// A stored key is encrypted, and there is no key to it.
    #[error(
        "the stored signing key `{0}` is encrypted: `store.encryptionKeyFile` must name the key's file"
    )]
    Encrypted(String),
    /// A stored key is encrypted with another key.
    #[error(
        "the stored signing key `{0}` cannot be decrypted: `store.encryptionKeyFile` holds another key"
    )]
    OtherEncryptionKey(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
