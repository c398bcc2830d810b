//! The OAuth client: acquires access tokens, keeps them, refreshes them before they expire.

use crate::domain::oauth::ClientAuthMethod;
use crate::domain::scope::ScopeSet;
use crate::domain::secret::SecretString;
use url::Url;

/// What one credential is made of.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its name in the configuration.
    pub name: String,
    /// Where tokens come from.
    pub endpoint: TokenEndpoint,
    /// Our client id at that authority.
    pub client_id: String,
    /// Our secret there.
    pub client_secret: SecretString,
    /// How we authenticate.
    pub auth_method: ClientAuthMethod,
    /// The scopes to ask for; none: the parameter is left out.
    pub scopes: ScopeSet,
    /// The `audience` parameters, one each.
    pub audiences: Vec<String>,
    /// The `resource` parameters (RFC 8707), one each.
    pub resources: Vec<String>,
    /// Further form parameters.
    pub extra_parameters: Vec<(String, String)>,
    /// The share of a token's life after which it is refreshed, 0.1 to 0.95.
    pub refresh_at: f64,
    /// Whether the first token is fetched at start instead of on first need.
    pub prefetch: bool,
}

/// How the token endpoint is found.
#[derive(Clone, Debug)]
pub enum TokenEndpoint {
    /// Named in the configuration.
    Url(Url),
    /// In the metadata of this issuer (RFC 8414 §3, OpenID Connect Discovery 1.0 §4).
    Discovery(Url),
}
