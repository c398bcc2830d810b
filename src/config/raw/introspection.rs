//! The introspection of an authority's opaque tokens, as the file has it.

use schemars::JsonSchema;
use serde::Deserialize;

use super::seconds;
use crate::config::address::HttpUrl;
use crate::config::name::{ClientId, Name, TokenPrefix};
use crate::config::value::{FilePath, GoDuration};

/// Asks an authority what its opaque tokens are (RFC 7662). Without `credential` and `clientId` the
/// request has no credentials.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Introspection {
    /// The introspection endpoint.
    pub url: HttpUrl,
    /// The name of the credential that authenticates the requests by its client secret.
    pub credential: Option<Name>,
    /// The client that authenticates the requests, instead of `credential`. Its id and secret are
    /// sent by Basic.
    pub client_id: Option<ClientId>,
    /// The secret of `clientId`. A changed file takes effect within seconds.
    pub secret_file: Option<FilePath>,
    /// The beginning of the tokens, such as `ory_at_`. Default: every token that is not a JWT.
    pub prefix: Option<TokenPrefix>,
    /// The longest time that an answer about an active token is used: 1s to 10m. It is never used
    /// beyond the token's `exp`.
    #[serde(default = "default_cache")]
    pub cache: GoDuration,
}

fn default_cache() -> GoDuration {
    seconds(30)
}
