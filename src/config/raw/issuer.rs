//! The issuer, as it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Algorithm, seconds};
use crate::config::address::{IssuerUrl, ListenAddress};
use crate::config::name::{Audience, ClaimName, ClientId, Scope};
use crate::config::value::{FilePath, GoDuration, Timestamp};

/// The authorization server.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Issuer {
    /// The `iss` claim, exactly as written here; its path is the base path of the endpoints.
    pub url: IssuerUrl,
    /// The issuer's own listener; may be left out when an inbound listener has `issuer: true`.
    pub listen: Option<ListenAddress>,
    /// Which tokens and answers are given.
    #[serde(default)]
    #[expect(dead_code, reason = "there is one value so far; others are refused")]
    pub profile: Profile,
    /// The claim that carries a client's owner.
    #[serde(default = "default_owner_claim")]
    pub owner_claim: ClaimName,
    /// How long access tokens live: 1s to 24h. A client's own value may be longer.
    #[serde(default = "default_access_token_lifetime")]
    pub access_token_lifetime: GoDuration,
    /// What tokens are signed with.
    #[serde(default)]
    pub signing: Signing,
    /// Whether inbound listeners with `issuer: true` answer at the root too, beside the path of `url`. Default: only
    /// when `url` has no path. The issuer's own listener always does.
    pub root_paths: Option<bool>,
    /// The clients that may ask for tokens.
    #[serde(default)]
    pub clients: Vec<Client>,
}

fn default_owner_claim() -> ClaimName {
    ClaimName("owner".to_owned())
}

fn default_access_token_lifetime() -> GoDuration {
    seconds(3600)
}

/// Which tokens and answers are given.
#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::config) enum Profile {
    /// As the RFCs have them.
    #[default]
    Standard,
}

/// What tokens are signed with.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(in crate::config) struct Signing {
    /// The algorithm, also of the keys that are generated. After a change a new key of it signs at once.
    pub algorithm: Algorithm,
    /// How long a generated key signs, 1h to 366d; 0s: for ever. Its successor is published an hour (at most a quarter of
    /// this) before, and it stays published until the last token it signed has expired.
    pub rotate_every: GoDuration,
    /// A private key (PEM: PKCS#8, SEC 1 or PKCS#1) to use instead of generated ones. It is not rotated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_key_file: Option<FilePath>,
}

impl Default for Signing {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::default(),
            rotate_every: seconds(30 * 24 * 3600),
            private_key_file: None,
        }
    }
}

/// A client of the issuer.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Client {
    /// The client id.
    pub id: ClientId,
    /// A file that holds the client's secret, at least 16 bytes; one newline at its end is not part of it.
    pub secret_file: FilePath,
    /// The value of the owner claim; no such claim when left out.
    pub owner: Option<String>,
    /// How long this client's access tokens live, 1s to 366d; the issuer's value when left out.
    pub access_token_lifetime: Option<GoDuration>,
    /// The grants the client may use.
    #[serde(default = "default_grant_types")]
    #[schemars(length(min = 1))]
    pub allowed_grant_types: Vec<GrantType>,
    /// The audiences it may ask for; it gets all of them when it asks for none. An empty list: the issuer's URL.
    #[serde(default)]
    pub allowed_audiences: Vec<Audience>,
    /// The scopes it may ask for; it gets all of them when it asks for none.
    #[serde(default)]
    pub allowed_scopes: Vec<Scope>,
    /// Further claims of its tokens. They never replace one that the issuer sets.
    #[serde(default)]
    pub insert_token_claims: Map<String, Value>,
    /// Whether the client is refused, as if it did not exist.
    #[serde(default)]
    pub disabled: bool,
    /// From this time on the client is refused.
    pub expires_at: Option<Timestamp>,
}

fn default_grant_types() -> Vec<GrantType> {
    vec![GrantType::ClientCredentials]
}

/// A grant type.
#[derive(Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum GrantType {
    /// RFC 6749 §4.4.
    ClientCredentials,
}
