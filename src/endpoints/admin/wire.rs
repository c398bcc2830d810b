//! The answers, as they are sent and described.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::clock::UnixTime;
use crate::domain::secret::ExposeSecret;
use crate::issuer::KeyView;
use crate::issuer::management::{ClientRecord, CreatedClient, CreatedSecret, SecretRecord, Source};
use crate::issuer::registration::ClientMetadata;
use crate::store::tokens::TokenRecord;

/// A client. Its secret is in the answer to the request that makes it, and in no other.
#[derive(Serialize, ToSchema)]
pub(super) struct Client {
    client_id: String,
    /// This once.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<String>,
    /// When that secret expires, in seconds since 1970; 0: never (RFC 7591 §3.2.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret_expires_at: Option<i64>,
    #[serde(flatten)]
    metadata: ClientMetadata,
    /// When it was made, in seconds since 1970 (RFC 7591 §3.2.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id_issued_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    created_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    updated_at: Option<String>,
    /// One higher with each change.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<i64>,
    /// `store`, or `configuration`: such a client is changed in the file only.
    source: &'static str,
}

impl From<&ClientRecord> for Client {
    fn from(record: &ClientRecord) -> Self {
        let mut client = Self {
            client_id: record.client_id.clone(),
            client_secret: None,
            client_secret_expires_at: None,
            metadata: ClientMetadata {
                token_endpoint_auth_method: Some(record.metadata.auth_method()),
                ..record.metadata.clone()
            },
            client_id_issued_at: None,
            created_at: None,
            updated_at: None,
            version: None,
            source: "configuration",
        };
        if let Source::Store {
            created_at,
            updated_at,
            version,
        } = record.source
        {
            client.client_id_issued_at = Some(created_at.0);
            client.created_at = created_at.to_rfc3339();
            client.updated_at = updated_at.to_rfc3339();
            client.version = Some(version);
            client.source = "store";
        }
        client
    }
}

impl From<&CreatedClient> for Client {
    fn from(created: &CreatedClient) -> Self {
        let secret = created.secret.as_ref();
        Self {
            client_secret_expires_at: secret.map(|_| 0),
            client_secret: secret.map(|secret| secret.expose_secret().to_owned()),
            ..Self::from(&created.client)
        }
    }
}

/// Some of the clients.
#[derive(Serialize, ToSchema)]
pub(super) struct Clients {
    /// By id.
    pub clients: Vec<Client>,
    /// Where the next page begins; the last one has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// A secret of a client. The secret itself is only in the answer to the request that makes it.
#[derive(Serialize, ToSchema)]
pub(super) struct Secret {
    id: String,
    /// This once.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<String>,
    /// Its last four characters, if it was generated.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_four: Option<String>,
    #[schema(format = DateTime)]
    created_at: Option<String>,
    /// The time from which it is refused; null: never.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// Up to a minute late; null: not yet.
    #[schema(format = DateTime)]
    last_used_at: Option<String>,
    /// It has expired, or was not used for a day while there is another one.
    safe_to_delete: bool,
}

impl From<&SecretRecord> for Secret {
    fn from(record: &SecretRecord) -> Self {
        let of = &record.stored;
        Self {
            id: of.secret_id.clone(),
            client_secret: None,
            last_four: of.last_four.clone(),
            created_at: of.created_at.to_rfc3339(),
            expires_at: of.expires_at.and_then(UnixTime::to_rfc3339),
            last_used_at: of.last_used_at.and_then(UnixTime::to_rfc3339),
            safe_to_delete: record.safe_to_delete,
        }
    }
}

impl From<&CreatedSecret> for Secret {
    fn from(created: &CreatedSecret) -> Self {
        let secret = created.secret.expose_secret().to_owned();
        Self {
            client_secret: Some(secret),
            ..Self::from(&created.record)
        }
    }
}

/// A client's secrets.
#[derive(Serialize, ToSchema)]
pub(super) struct Secrets {
    /// The oldest first.
    pub secrets: Vec<Secret>,
}

/// The end of a client's tokens.
#[derive(Serialize, ToSchema)]
pub(super) struct Revoked {
    pub client_id: String,
    /// Access tokens issued up to this time are refused, and every refresh token.
    #[schema(format = DateTime)]
    pub not_before: Option<String>,
}

/// An access token that the store keeps. The token itself is not kept.
#[derive(Serialize, ToSchema)]
pub(super) struct Token {
    jti: String,
    client_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    /// The issuer of the owner's name, for a token that was exchanged for a JWT.
    #[serde(skip_serializing_if = "Option::is_none")]
    owner_issuer: Option<String>,
    subject: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    scope: String,
    audience: Vec<String>,
    #[schema(format = DateTime)]
    issued_at: Option<String>,
    /// Null: never.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    revoked_at: Option<String>,
    /// Whether it is neither revoked nor expired.
    active: bool,
}

impl Token {
    /// A kept token as it is at a time.
    pub(super) fn at(record: TokenRecord, now: UnixTime) -> Self {
        let active = record.revoked_at.is_none() && record.expires_at.is_none_or(|end| now < end);
        Self {
            jti: record.jti,
            client_id: record.client_id,
            owner: record.owner,
            owner_issuer: record.owner_issuer,
            subject: record.subject,
            name: record.name,
            scope: record.scope.join(" "),
            audience: record.audience,
            issued_at: record.issued_at.to_rfc3339(),
            expires_at: record.expires_at.and_then(UnixTime::to_rfc3339),
            revoked_at: record.revoked_at.and_then(UnixTime::to_rfc3339),
            active,
        }
    }
}

/// Some of the kept tokens.
#[derive(Serialize, ToSchema)]
pub(super) struct Tokens {
    /// The newest first.
    pub tokens: Vec<Token>,
    /// Where the next page begins; the last one has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// A signing key; its private part is never shown.
#[derive(Serialize, ToSchema)]
pub(super) struct Key {
    kid: String,
    algorithm: String,
    /// `next`: published, and signs later; `active`: signs; `retired`: published until the tokens
    /// it signed have expired.
    state: String,
    /// Null for a configured key.
    #[schema(format = DateTime)]
    created_at: Option<String>,
    /// The time from which it signs.
    #[schema(format = DateTime)]
    signs_from: Option<String>,
    /// When it stopped signing.
    #[schema(format = DateTime)]
    retired_at: Option<String>,
    /// Until when a retired key stays published; null: without end, or not retired.
    #[schema(format = DateTime)]
    published_until: Option<String>,
}

impl From<&KeyView> for Key {
    fn from(key: &KeyView) -> Self {
        let shown = |time: Option<UnixTime>| time.and_then(UnixTime::to_rfc3339);
        Self {
            kid: key.kid.clone(),
            algorithm: key.algorithm.to_owned(),
            state: key.state.as_str().to_owned(),
            created_at: shown(key.created_at),
            signs_from: shown(key.signs_from),
            retired_at: shown(key.retired_at),
            published_until: shown(key.published_until),
        }
    }
}

/// The signing keys.
#[derive(Serialize, ToSchema)]
pub(super) struct Keys {
    /// The one that signs first, then the newest first.
    pub keys: Vec<Key>,
}

/// Why a request was refused.
#[derive(Serialize, ToSchema)]
pub(super) struct ErrorBody {
    /// A code.
    pub error: String,
    /// The same for people.
    pub error_description: String,
    /// Which members or parameters are wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<ErrorDetail>,
}

/// The problem of one member or parameter.
#[derive(Serialize, ToSchema)]
pub(super) struct ErrorDetail {
    /// Its name.
    pub field: String,
    /// The problem.
    pub problem: String,
}
