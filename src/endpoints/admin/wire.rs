//! What goes over the wire, as the description shows it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::domain::clock::UnixTime;
use crate::domain::secret::ExposeSecret;
use crate::issuer::KeyView;
use crate::issuer::management::{ClientRecord, CreatedClient, CreatedSecret, SecretRecord, Source};
use crate::store::tokens::TokenRecord;

/// What a request says of a client. Members without a value count as left out; unknown ones are
/// refused.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "the shape of what `issuer::registration` reads member by member"
)]
pub(super) struct ClientRequest {
    /// A generated UUID when left out. Cannot be changed later.
    #[schema(min_length = 1, max_length = 256, pattern = "^[ -~]+$")]
    client_id: Option<String>,
    /// A generated one, of 256 bits, when left out. Only when a client is made.
    #[schema(min_length = 16, max_length = 256)]
    client_secret: Option<String>,
    /// What people call the client.
    #[schema(min_length = 1, max_length = 256)]
    client_name: Option<String>,
    /// Every client is a machine that can keep a secret: names for one thing.
    client_type: Option<ClientType>,
    /// The grants it may use; `client_credentials` when left out.
    #[schema(min_items = 1, example = json!(["client_credentials"]))]
    grant_types: Option<Vec<String>>,
    /// Kept and shown, and without effect: there is no authorization endpoint.
    #[schema(example = json!(["token"]))]
    response_types: Option<Vec<String>>,
    /// The scopes it may ask for, with spaces between them; it gets all of them when it asks for
    /// none.
    #[schema(max_length = 2048, example = "devices:read devices:write")]
    scope: Option<String>,
    /// The same as a list. One of the two is enough; both must say the same.
    #[schema(max_items = 100)]
    scopes: Option<Vec<String>>,
    /// The audiences it may ask for; only the issuer's URL when there are none.
    #[schema(max_items = 100, example = json!(["https://devices.example"]))]
    audience: Option<Vec<String>>,
    /// What the verifiers of its audiences need, by audience; where this says nothing,
    /// `issuer.audiences` of the configuration does. A request for several audiences whose settings
    /// differ is refused with `invalid_target`.
    #[schema(example = json!({"https://devices.example": {"token_type": "JWT", "algorithm": "RS256"}}))]
    audience_settings: Option<BTreeMap<String, AudienceSettings>>,
    /// The owner claim's value in its tokens.
    #[schema(min_length = 1, max_length = 256)]
    owner: Option<String>,
    /// From this time on the client is refused (RFC 3339).
    #[schema(format = DateTime)]
    expiry: Option<String>,
    /// How long its access tokens live, 1s to 366d: seconds, or a duration such as `1h30m`.
    access_token_lifetime: Option<Seconds>,
    /// Further claims of its tokens. Those that the issuer sets itself are refused.
    claims: Option<Map<String, Value>>,
    /// Whether it may introspect every token of this issuer.
    allow_introspection: Option<bool>,
    /// Whether it is refused. Its tokens end when this becomes true.
    disabled: Option<bool>,
    /// `private_key_jwt` for a client with keys, which then has no secret.
    token_endpoint_auth_method: Option<AuthMethod>,
    /// Its public keys (RFC 7517 §5).
    jwks: Option<Map<String, Value>>,
    /// Where its public keys are: https.
    #[schema(format = "uri")]
    jwks_uri: Option<String>,
    /// Not supported yet.
    limits: Option<Map<String, Value>>,
    /// There are no redirects: the list is empty.
    #[schema(max_items = 0)]
    redirect_uris: Option<Vec<String>>,
    /// Kept and shown, and without effect, as are the other members of RFC 7591 §2.
    #[schema(max_length = 2048, format = "uri")]
    client_uri: Option<String>,
    #[schema(max_length = 2048, format = "uri")]
    logo_uri: Option<String>,
    #[schema(max_items = 100)]
    contacts: Option<Vec<String>>,
    #[schema(max_length = 2048, format = "uri")]
    tos_uri: Option<String>,
    #[schema(max_length = 2048, format = "uri")]
    policy_uri: Option<String>,
    #[schema(max_length = 2048)]
    software_id: Option<String>,
    #[schema(max_length = 2048)]
    software_version: Option<String>,
    metadata: Option<Map<String, Value>>,
}

/// What the verifiers of an audience need. A member that is left out has the issuer's value.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "as `ClientRequest`")]
pub(super) struct AudienceSettings {
    /// The `typ` header of its tokens.
    token_type: Option<TokenType>,
    /// The algorithm that signs them. A key of it is made when there is none.
    #[schema(pattern = "^(ES256|ES384|RS256|RS384|RS512|PS256|PS384|PS512|EdDSA)$")]
    algorithm: Option<String>,
    /// The claims that carry their scopes: a text in `scope`, a list in `scp`, or both.
    #[schema(min_items = 1, max_items = 2)]
    scope_claims: Option<Vec<ScopeClaim>>,
    /// How long they live at most, 1s to 24h.
    access_token_lifetime: Option<Seconds>,
}

/// The `typ` header of an access token.
#[derive(Deserialize, ToSchema)]
pub(super) enum TokenType {
    /// RFC 9068 §2.1.
    #[serde(rename = "at+jwt")]
    AccessToken,
    /// RFC 7519 §5.1.
    #[serde(rename = "JWT")]
    Jwt,
}

/// A claim that carries scopes.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ScopeClaim {
    Scope,
    Scp,
}

/// What a client is.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ClientType {
    Confidential,
    M2m,
    MachineToMachine,
    Service,
    ServiceAccount,
    NonInteractive,
}

/// How a client proves who it is (RFC 7591 §2).
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum AuthMethod {
    ClientSecretBasic,
    ClientSecretPost,
    PrivateKeyJwt,
}

/// A length of time.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "as `ClientRequest`")]
pub(super) enum Seconds {
    Number(u32),
    Duration(String),
}

/// A client. Its secret is in the answer to the request that makes it, and in no other.
#[derive(Serialize, ToSchema)]
pub(super) struct Client {
    client_id: String,
    /// This once.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<String>,
    /// When that secret ends, in seconds since 1970; 0: never (RFC 7591 §3.2.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret_expires_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_name: Option<String>,
    client_type: &'static str,
    grant_types: Vec<String>,
    response_types: Vec<String>,
    scope: String,
    scopes: Vec<String>,
    audience: Vec<String>,
    /// What their verifiers need; lifetimes in seconds.
    #[serde(skip_serializing_if = "Map::is_empty")]
    audience_settings: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    /// In seconds; the issuer's value when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token_lifetime: Option<u64>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    claims: Map<String, Value>,
    allow_introspection: bool,
    token_endpoint_auth_method: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwks: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwks_uri: Option<String>,
    disabled: bool,
    /// From this time on the client is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    expiry: Option<String>,
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
    /// Members without effect, as they were sent.
    #[serde(flatten)]
    kept: Map<String, Value>,
}

impl From<&ClientRecord> for Client {
    fn from(record: &ClientRecord) -> Self {
        let of = record.registration.clone();
        let stored = match record.source {
            Source::Configuration => None,
            Source::Store {
                created_at,
                updated_at,
                version,
            } => Some((created_at, updated_at, version)),
        };
        Self {
            client_id: record.client_id.clone(),
            client_secret: None,
            client_secret_expires_at: None,
            client_type: "confidential",
            scopes: of
                .scope
                .split(' ')
                .filter(|scope| !scope.is_empty())
                .map(str::to_owned)
                .collect(),
            token_endpoint_auth_method: of.auth_method().to_owned(),
            response_types: of.response_types,
            client_name: of.client_name,
            grant_types: of.grant_types,
            scope: of.scope,
            audience: of.audience,
            audience_settings: of.audience_settings,
            owner: of.owner,
            access_token_lifetime: of.access_token_lifetime,
            claims: of.claims,
            allow_introspection: of.allow_introspection,
            jwks: of.jwks,
            jwks_uri: of.jwks_uri,
            disabled: of.disabled,
            expiry: of.expires_at.and_then(|time| UnixTime(time).to_rfc3339()),
            client_id_issued_at: stored.map(|(created_at, ..)| created_at.0),
            created_at: stored.and_then(|(created_at, ..)| created_at.to_rfc3339()),
            updated_at: stored.and_then(|(_, updated_at, _)| updated_at.to_rfc3339()),
            version: stored.map(|(.., version)| version),
            source: if stored.is_some() {
                "store"
            } else {
                "configuration"
            },
            kept: of.kept,
        }
    }
}

impl From<&CreatedClient> for Client {
    fn from(created: &CreatedClient) -> Self {
        let secret = created
            .secret
            .as_ref()
            .map(|secret| secret.expose_secret().to_owned());
        Self {
            client_secret_expires_at: secret.as_ref().map(|_| 0),
            client_secret: secret,
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

/// What a request says of a new secret. Without members: a generated one that never expires.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "the shape of what `issuer::management` reads member by member"
)]
pub(super) struct SecretRequest {
    /// A generated one, of 256 bits, when left out.
    #[schema(min_length = 16, max_length = 256)]
    client_secret: Option<String>,
    /// How long it lives: seconds, or a duration such as `90d`.
    expires_in: Option<Seconds>,
    /// When it ends (RFC 3339), instead.
    #[schema(format = DateTime)]
    expiry: Option<String>,
    /// How long the client's other secrets live on; a day when left out.
    grace: Option<Seconds>,
    /// The other secrets stay as they are, instead.
    keep_others: Option<bool>,
}

/// A secret of a client. Itself is in the answer to the request that makes it, and in no other.
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
    /// From this time on it is refused; null: never.
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

/// Which tokens of a client are to end.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "the shape of what `issuer::management` reads member by member"
)]
pub(super) struct RevokeRequest {
    /// Those that were issued up to this time (RFC 3339), that second included; now when left out.
    #[schema(format = DateTime)]
    before: Option<String>,
}

/// What has ended.
#[derive(Serialize, ToSchema)]
pub(super) struct Revoked {
    pub client_id: String,
    /// Every access token that was issued up to this time is dead, and every refresh token.
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
    /// The issuer that says who the owner is, of a token that was exchanged for a JWT.
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
    /// `next`: published, and will sign; `active`: signs; `retired`: published until what it signed
    /// is dead.
    state: String,
    /// Null for a configured key.
    #[schema(format = DateTime)]
    created_at: Option<String>,
    /// Since when it signs, or from when on it will.
    #[schema(format = DateTime)]
    signs_from: Option<String>,
    /// When it ceased to sign.
    #[schema(format = DateTime)]
    retired_at: Option<String>,
    /// Until when a retired key stays published; null: for ever, or not retired.
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

/// How the signing keys are rotated.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "the shape of what `issuer::management` reads member by member"
)]
pub(super) struct RotateRequest {
    /// Sign with the new key at once: verifiers that keep our key set refuse its tokens until they
    /// ask again.
    now: Option<bool>,
    /// Also take every earlier key back at once, so that nothing is good that was signed before.
    withdraw: Option<bool>,
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

/// What is wrong with one member or parameter.
#[derive(Serialize, ToSchema)]
pub(super) struct ErrorDetail {
    /// Its name.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}
