//! Terms of the OAuth RFCs, and `Authorization: Basic` of a client.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::secret::{ExposeSecret, SecretString};

/// The highest limit for tokens and assertions, in bytes. It applies to all roles.
pub const MAX_TOKEN_SIZE: usize = 64 * 1024;
/// The default limit for tokens and assertions.
pub const DEFAULT_TOKEN_SIZE: usize = 8 * 1024;
/// The default limit with `profile: plgd`, whose tokens carry the claims of users' tokens.
pub const PLGD_TOKEN_SIZE: usize = 32 * 1024;

/// The error codes of the token endpoint (RFC 6749 §5.2, RFC 8707 §2, RFC 6749 §4.1.2.1, RFC 9449
/// §5 and §8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// A parameter is missing, repeated or malformed.
    InvalidRequest,
    InvalidClient,
    /// The client may not use this grant type.
    UnauthorizedClient,
    /// A refresh token is unknown, used, revoked, expired or another client's.
    InvalidGrant,
    UnsupportedGrantType,
    /// The client may not have a requested scope.
    InvalidScope,
    /// The client may not have a requested audience or resource (RFC 8707 §2).
    InvalidTarget,
    /// The DPoP proof of the request is invalid.
    InvalidDpopProof,
    /// The proof needs the nonce that the response has.
    UseDpopNonce,
    /// The store or another component is unavailable.
    TemporarilyUnavailable,
    ServerError,
}

impl ErrorCode {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::InvalidDpopProof => "invalid_dpop_proof",
            Self::UseDpopNonce => "use_dpop_nonce",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::ServerError => "server_error",
        }
    }
}

/// A grant type that a client can be allowed to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GrantType {
    /// RFC 6749 §4.4.
    ClientCredentials,
    /// RFC 6749 §6. The client gets a refresh token with each access token.
    RefreshToken,
    /// RFC 8693. The client exchanges the token of another party, and acts for it.
    #[serde(rename = "urn:ietf:params:oauth:grant-type:token-exchange")]
    TokenExchange,
}

impl GrantType {
    /// Every grant type, in the order metadata lists them.
    pub const ALL: [Self; 3] = [
        Self::ClientCredentials,
        Self::RefreshToken,
        Self::TokenExchange,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
            Self::RefreshToken => "refresh_token",
            Self::TokenExchange => "urn:ietf:params:oauth:grant-type:token-exchange",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grant| grant.as_str() == text)
    }
}

/// How the tokens of a credential are requested.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum CredentialGrant {
    /// One token of the client itself (RFC 6749 §4.4).
    #[default]
    ClientCredentials,
    /// A token for each caller of the outbound listener (RFC 8693), in exchange for the bearer
    /// token of its request.
    TokenExchange,
}

/// The type of a token in an exchange (RFC 8693 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenTypeUri {
    AccessToken,
    Jwt,
    IdToken,
}

impl TokenTypeUri {
    const ALL: [Self; 3] = [Self::AccessToken, Self::Jwt, Self::IdToken];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AccessToken => "urn:ietf:params:oauth:token-type:access_token",
            Self::Jwt => "urn:ietf:params:oauth:token-type:jwt",
            Self::IdToken => "urn:ietf:params:oauth:token-type:id_token",
        }
    }

    /// The type with this name, if it is one of these.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// The `client_assertion_type` of a JWT (RFC 7523 §2.2).
pub const CLIENT_ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// The `client_assertion_type` of a JWT-SVID (draft-ietf-oauth-spiffe-client-auth §3.1).
pub const SVID_ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";

/// The authentication method of a client at the token endpoint (names of RFC 7591 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientAuthMethod {
    /// `Authorization: Basic`, id and secret form-encoded (RFC 6749 §2.3.1).
    ClientSecretBasic,
    /// `client_id` and `client_secret` in the form.
    ClientSecretPost,
}

impl ClientAuthMethod {
    /// Every method, in the order metadata lists them.
    pub const ALL: [Self; 2] = [Self::ClientSecretBasic, Self::ClientSecretPost];

    /// The name in metadata and configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretPost => "client_secret_post",
        }
    }
}

/// The encoding of client id and secret in `Authorization: Basic`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BasicEncoding {
    /// Form-encoded (RFC 6749 §2.3.1).
    Form,
    /// Unchanged (RFC 7617 §2), for servers that do not decode them. The id must not contain a
    /// colon.
    Raw,
}

/// `Authorization: Basic` of a client. `None` if it is too long for a header, or if the id contains
/// a colon that would end it.
#[must_use]
pub fn basic_authorization(
    client_id: &str,
    client_secret: &SecretString,
    encoding: BasicEncoding,
) -> Option<HeaderValue> {
    let encode = |text: &str| {
        Zeroizing::new(match encoding {
            BasicEncoding::Form => {
                form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>()
            }
            BasicEncoding::Raw => text.to_owned(),
        })
    };
    let (id, secret) = (encode(client_id), encode(client_secret.expose_secret()));
    if id.contains(':') {
        return None;
    }
    let pair = Zeroizing::new([id.as_str(), secret.as_str()].join(":"));
    let value = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
    let mut value = HeaderValue::from_str(&value).ok()?;
    value.set_sensitive(true);
    Some(value)
}
