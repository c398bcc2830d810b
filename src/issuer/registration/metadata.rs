//! The one shape of a client's metadata: as a request says it, the store keeps it, an answer shows
//! it and the API description describes it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};

use super::federated_member::FederatedMember;
use crate::domain::clock::{UnixTime, rfc3339};
use crate::domain::scope::ScopeSet;
use crate::issuer::client::{AssertionAudiences, Authentication, Client, ClientKeys, KeyPlace};
use crate::issuer::token_exchange::ExchangePolicy;
use crate::issuer::token_format::{AudienceSettings, ByAudience};
use crate::store::StoreError;

/// The members of RFC 7591 §2, and a few of ours.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ClientMetadata {
    /// A name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 256)]
    pub client_name: Option<String>,
    /// Every client is a machine that can keep a secret: names for one thing.
    #[serde(default)]
    #[schema(required)]
    pub client_type: ClientType,
    /// The grants it may use; `client_credentials` when left out.
    #[serde(default)]
    #[schema(required, min_items = 1, example = json!(["client_credentials"]))]
    pub grant_types: Vec<String>,
    /// Kept and shown, and without effect: there is no authorization endpoint.
    #[serde(default)]
    #[schema(required, example = json!(["token"]))]
    pub response_types: Vec<String>,
    /// The scopes it may ask for, with spaces between them. A token request without scopes gets
    /// all of them.
    #[serde(default)]
    #[schema(required, max_length = 2048, example = "devices:read devices:write")]
    pub scope: String,
    /// The same as a list. One of the two is enough; both must say the same.
    #[serde(default)]
    #[schema(required, max_items = 100)]
    pub scopes: Vec<String>,
    /// The audiences it may ask for. Without any, its tokens carry the issuer's URL.
    #[serde(default)]
    #[schema(required, max_items = 100, example = json!(["https://devices.example"]))]
    pub audience: Vec<String>,
    /// The needs of the verifiers of its audiences, by audience. `issuer.audiences` of the
    /// configuration completes them. A request for several audiences whose settings
    /// differ is refused with `invalid_target`.
    #[serde(default, skip_serializing_if = "ByAudience::is_empty")]
    #[schema(
        value_type = BTreeMap<String, AudienceSettings>,
        example = json!({
            "https://devices.example": { "token_type": "JWT", "algorithm": "RS256" }
        })
    )]
    pub audience_settings: ByAudience,
    /// The owner claim's value in its tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 256)]
    pub owner: Option<String>,
    /// The owners that its token requests may choose by a parameter named as the owner claim:
    /// single ones, `prefix*`, or `*` for any. `owner` is always allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false, max_items = 100, example = json!(["tenant-*"]))]
    pub allowed_owners: Vec<String>,
    /// Whether its token requests may choose a device by a parameter named as the device id claim.
    #[serde(default, skip_serializing_if = "is_false")]
    #[schema(required = false)]
    pub allow_device_id: bool,
    /// The lifetime of its access tokens, 1s to 366d: seconds, or a duration such as `1h30m`.
    /// The issuer's value when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = lifetime_schema)]
    pub access_token_lifetime: Option<u64>,
    /// Further claims of its tokens. Claims that the issuer sets itself are refused.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub claims: Map<String, Value>,
    /// Whether it may introspect every token of this issuer.
    #[serde(default)]
    #[schema(required)]
    pub allow_introspection: bool,
    /// The tokens that it may exchange (RFC 8693). It needs the grant
    /// `urn:ietf:params:oauth:grant-type:token-exchange`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exchange: Option<ExchangePolicy>,
    /// `private_key_jwt` for a client with keys, `federated_jwt` for one with the JWTs of trusted
    /// authorities, `tls_client_auth` for one with the name of a certificate, and
    /// `self_signed_tls_client_auth` for one with the keys of self-signed
    /// certificates. These have no secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_endpoint_auth_method: Option<AuthMethod>,
    /// Its public keys (RFC 7517 §5).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Map<String, Value>>)]
    pub jwks: Option<Value>,
    /// The https URL of its public keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "uri")]
    pub jwks_uri: Option<String>,
    /// The JWTs of trusted authorities by which it authenticates itself; one entry must match.
    /// Then it has no secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false, max_items = 20)]
    pub federated: Vec<FederatedMember>,
    /// `tls_client_auth`: the subject of its certificate in the form of RFC 4514, such as
    /// `CN=gateway,O=Example`. Exactly one of the five `tls_client_auth_` members is needed (RFC
    /// 8705 §2.1.2).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(
        min_length = 1,
        max_length = 1024,
        example = "CN=gateway,O=Example,C=DE"
    )]
    pub tls_client_auth_subject_dn: Option<String>,
    /// `tls_client_auth`: a DNS name of its certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 256)]
    pub tls_client_auth_san_dns: Option<String>,
    /// `tls_client_auth`: a URI of its certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 1024)]
    pub tls_client_auth_san_uri: Option<String>,
    /// `tls_client_auth`: an IP address of its certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 64)]
    pub tls_client_auth_san_ip: Option<String>,
    /// `tls_client_auth`: an email address of its certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 256)]
    pub tls_client_auth_san_email: Option<String>,
    /// Whether its access tokens are bound to its certificate (RFC 8705 §3.4). A token request
    /// without a certificate is refused.
    #[serde(default, skip_serializing_if = "is_false")]
    #[schema(required = false)]
    pub tls_client_certificate_bound_access_tokens: bool,
    /// Whether its access tokens are bound to a key by DPoP (RFC 9449 §5.2). A token request
    /// without a proof is refused.
    #[serde(default, skip_serializing_if = "is_false")]
    #[schema(required = false)]
    pub dpop_bound_access_tokens: bool,
    /// The networks or addresses that its requests may come from; all when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false, max_items = 100, example = json!(["10.0.0.0/8"]))]
    pub allowed_networks: Vec<String>,
    /// The `aud` of its assertions: `issuer` alone (RFC 7523bis), or with `legacy` also the token
    /// endpoint and lists of both.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schema(required = false)]
    pub assertion_audiences: AssertionAudiences,
    /// Whether it is refused. Its tokens end when this becomes true.
    #[serde(default)]
    #[schema(required)]
    pub disabled: bool,
    /// The time from which it is refused (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none", with = "rfc3339")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expiry: Option<UnixTime>,
    /// The longest lifetime its access tokens ever had, in seconds: tokens issued under it may
    /// still be valid.
    #[serde(skip)]
    pub longest_token_lifetime: Option<u64>,
    /// Members without effect, as they were sent.
    #[serde(flatten)]
    pub kept: Map<String, Value>,
}

/// The kind of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientType {
    #[default]
    Confidential,
    M2m,
    MachineToMachine,
    Service,
    ServiceAccount,
    NonInteractive,
}

/// How a client authenticates itself (RFC 7591 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    ClientSecretBasic,
    ClientSecretPost,
    PrivateKeyJwt,
    /// A certificate of an authority of the listener (RFC 8705 §2.1).
    TlsClientAuth,
    /// A self-signed certificate (RFC 8705 §2.2).
    SelfSignedTlsClientAuth,
    /// A JWT of a trusted authority that names the client (RFC 7523 §2.2).
    FederatedJwt,
    /// The client exchanges the JWT of another issuer. Only the configuration can say so.
    JwtPrivateKey,
}

impl AuthMethod {
    /// The method that a request can name so.
    pub(super) fn parse(name: &str) -> Option<Self> {
        match name {
            "client_secret_basic" => Some(Self::ClientSecretBasic),
            "client_secret_post" => Some(Self::ClientSecretPost),
            "private_key_jwt" => Some(Self::PrivateKeyJwt),
            "tls_client_auth" => Some(Self::TlsClientAuth),
            "self_signed_tls_client_auth" => Some(Self::SelfSignedTlsClientAuth),
            "federated_jwt" => Some(Self::FederatedJwt),
            _ => None,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn texts<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

fn lifetime_schema() -> Schema {
    let text = "The lifetime of its access tokens, 1s to 366d: seconds, or a duration such as \
                `1h30m`. The issuer's value when left out.";
    seconds_schema(text)
}

/// The description of a length of time: whole seconds, or a duration such as `1h30m`.
pub(in crate::issuer) fn seconds_schema(description: &str) -> Schema {
    let number = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(0));
    let text = ObjectBuilder::new().schema_type(Type::String);
    OneOfBuilder::new()
        .item(number)
        .item(text)
        .description(Some(description))
        .build()
        .into()
}

impl ClientMetadata {
    /// The method, as registered or as the keys and names imply it.
    #[must_use]
    pub fn auth_method(&self) -> AuthMethod {
        let has_keys = self.jwks.is_some() || self.jwks_uri.is_some();
        let implied = if has_keys {
            AuthMethod::PrivateKeyJwt
        } else if !self.federated.is_empty() {
            AuthMethod::FederatedJwt
        } else if self.certificate_names().next().is_some() {
            AuthMethod::TlsClientAuth
        } else {
            AuthMethod::ClientSecretBasic
        };
        self.token_endpoint_auth_method.unwrap_or(implied)
    }

    /// Whether it authenticates itself by a key or a certificate only: then it has no secret.
    #[must_use]
    pub fn has_no_secret(&self) -> bool {
        let method = self.auth_method();
        method == AuthMethod::PrivateKeyJwt
            || method == AuthMethod::FederatedJwt
            || method == AuthMethod::TlsClientAuth
            || method == AuthMethod::SelfSignedTlsClientAuth
    }

    /// Sets `scope` and `scopes`.
    pub(super) fn with_scopes(mut self, scopes: &ScopeSet) -> Self {
        self.scope = scopes.to_string();
        self.scopes = scopes.iter().map(str::to_owned).collect();
        self
    }

    /// Reads the document of a stored client. `None`: it was written by another version.
    #[must_use]
    pub fn stored(document: &Value) -> Option<Self> {
        let document = Document::deserialize(document).ok()?;
        let scopes = ScopeSet::parse(&document.metadata.scope).ok()?;
        let metadata = Self {
            client_type: ClientType::Confidential,
            expiry: document.expires_at.map(UnixTime),
            longest_token_lifetime: document.longest_token_lifetime,
            kept: document.kept,
            ..document.metadata
        };
        Some(metadata.with_scopes(&scopes))
    }

    /// Writes the document of a stored client.
    ///
    /// # Errors
    /// Never, as far as is known: every member is JSON.
    pub(in crate::issuer) fn to_document(&self) -> Result<Value, StoreError> {
        let document = Document {
            metadata: Self {
                expiry: None,
                kept: Map::new(),
                ..self.clone()
            },
            expires_at: self.expiry.map(|time| time.0),
            longest_token_lifetime: self.longest_token_lifetime,
            kept: self.kept.clone(),
        };
        let mut document = serde_json::to_value(document).map_err(|_| StoreError::Unreadable)?;
        if let Some(members) = document.as_object_mut() {
            // They say the same as other members.
            members.remove("scopes");
            members.remove("client_type");
        }
        Ok(document)
    }

    /// The metadata of a client of the configuration.
    #[must_use]
    pub fn configured(client: &Client) -> Self {
        let (method, jwks_uri) = match &client.authentication {
            Authentication::Secret => (AuthMethod::ClientSecretBasic, None),
            Authentication::Exchange(_) => (AuthMethod::JwtPrivateKey, None),
            Authentication::Federated(_) => (AuthMethod::FederatedJwt, None),
            Authentication::PrivateKeyJwt(ClientKeys::At(KeyPlace::Uri(uri))) => {
                (AuthMethod::PrivateKeyJwt, Some(uri.to_string()))
            }
            Authentication::PrivateKeyJwt(_) => (AuthMethod::PrivateKeyJwt, None),
            Authentication::TlsClientAuth(_) => (AuthMethod::TlsClientAuth, None),
            Authentication::SelfSignedTls(ClientKeys::At(KeyPlace::Uri(uri))) => {
                (AuthMethod::SelfSignedTlsClientAuth, Some(uri.to_string()))
            }
            Authentication::SelfSignedTls(_) => (AuthMethod::SelfSignedTlsClientAuth, None),
        };
        let bound = client.bound_access_tokens;
        let metadata = Self {
            tls_client_certificate_bound_access_tokens: bound.to_certificate,
            dpop_bound_access_tokens: bound.to_dpop_key,
            token_endpoint_auth_method: Some(method),
            jwks_uri,
            client_name: client.name.clone(),
            grant_types: client
                .allowed_grant_types
                .iter()
                .map(|grant| grant.as_str().to_owned())
                .collect(),
            audience: client.allowed_audiences.clone(),
            owner: client.owner.clone(),
            allowed_owners: texts(&client.allowed_choices.owners),
            allow_device_id: client.allowed_choices.device_id,
            access_token_lifetime: client.access_token_lifetime.map(|it| it.as_secs()),
            claims: client.insert_token_claims.clone(),
            allow_introspection: client.allow_introspection,
            exchange: client.exchange.clone(),
            allowed_networks: texts(&client.allowed_networks),
            assertion_audiences: client.assertion_audiences,
            disabled: client.disabled,
            expiry: client.expires_at,
            ..Self::default()
        };
        let metadata = match &client.authentication {
            Authentication::TlsClientAuth(name) => metadata.with_certificate(name),
            Authentication::Federated(entries) => Self {
                federated: entries.iter().map(FederatedMember::of).collect(),
                ..metadata
            },
            _ => metadata,
        };
        metadata.with_scopes(&client.allowed_scopes)
    }
}

/// The metadata in the store, where earlier versions gave some members other names.
#[derive(Serialize, Deserialize)]
struct Document {
    #[serde(flatten)]
    metadata: ClientMetadata,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    longest_token_lifetime: Option<u64>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    kept: Map<String, Value>,
}
