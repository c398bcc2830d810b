//! The authorization server: authenticates clients and issues access tokens.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::domain::clock::UnixTime;
use crate::domain::oauth::GrantType;
use crate::domain::scope::ScopeSet;
use crate::domain::secret::SecretString;
use crate::jose::Algorithm;

/// What an issuer is made of.
#[derive(Clone, Debug)]
pub struct Config {
    /// The `iss` claim, exactly as configured; its path is the base path of the endpoints.
    pub url: String,
    /// Whether the endpoints stand at the root of an inbound listener too, beside the path of `url`.
    pub root_paths: bool,
    /// The claim that carries a client's owner.
    pub owner_claim: String,
    /// How long an access token lives when the client says nothing else.
    pub access_token_lifetime: Duration,
    /// The algorithm of generated signing keys.
    pub algorithm: Algorithm,
    /// A signing key of the operator's own (PEM), used instead of a generated one.
    pub private_key: Option<SecretString>,
    /// The clients of the configuration; read-only.
    pub clients: Vec<ClientConfig>,
}

/// One client of the configuration.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The client id.
    pub id: String,
    /// Its secret.
    pub secret: SecretString,
    /// The owner claim's value.
    pub owner: Option<String>,
    /// Overrides the issuer's lifetime.
    pub access_token_lifetime: Option<Duration>,
    /// The grants it may use.
    pub allowed_grant_types: Vec<GrantType>,
    /// The audiences it may ask for; none: tokens carry the issuer's URL.
    pub allowed_audiences: Vec<String>,
    /// The scopes it may ask for.
    pub allowed_scopes: ScopeSet,
    /// Further claims, never overriding one that is already set.
    pub insert_token_claims: Map<String, Value>,
    /// A disabled client is refused as if it did not exist.
    pub disabled: bool,
    /// From this time on the client is refused.
    pub expires_at: Option<UnixTime>,
}
