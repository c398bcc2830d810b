//! The OAuth client: acquires access tokens, keeps them, refreshes them before they expire.
//!
//! One [`TokenSource`] per credential. Its background task ([`TokenSource::run`]) is the only one that ever asks the
//! authority, so there is one request in flight however many callers wait. Callers read the current token without a
//! lock; those that find none wake the task and wait for the outcome, which all of them share. A refresh happens
//! behind the callers' back while the current token is served.
//!
//! After a failure the task tries twice more in quick succession, then backs off. Until the next token arrives callers
//! without a usable one get the remembered failure at once: a sick authority gets one request per backoff step, and
//! nobody waits for it.

mod access_token;
mod answer;
mod error;
mod schedule;
mod source;
#[cfg(test)]
mod testing;
mod token_client;

use std::sync::Arc;
use std::time::Duration;

use url::Url;

use self::token_client::TokenClient;
use crate::domain::clock::{SharedClock, UnixTime};
use crate::domain::oauth::ClientAuthMethod;
use crate::domain::scope::ScopeSet;
use crate::domain::secret::SecretString;
use crate::http_client::{HttpClient, HttpOptions};

pub use self::access_token::AccessToken;
pub use self::error::{FetchError, TokenUnavailable};
pub use self::source::TokenSource;

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

/// The client options for token requests.
#[must_use]
pub fn http_options(ca_pem: Option<Vec<u8>>) -> HttpOptions {
    HttpOptions {
        connect_timeout: Duration::from_secs(1),
        total_timeout: schedule::TRY_LIMIT,
        ca_pem,
        max_body: 64 * 1024,
    }
}

/// Something that happened to a credential, for metrics.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A token arrived.
    Fetched {
        /// The credential's name.
        credential: &'a str,
        /// How long the token lives.
        expires_in: Duration,
    },
    /// A token request failed.
    Failed {
        /// The credential's name.
        credential: &'a str,
        /// Why.
        error: FetchError,
    },
}

/// Who is told of events. Called from the background task; must not block.
pub type Observer = Arc<dyn Fn(Event<'_>) + Send + Sync>;

/// How a credential is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CredentialStatus {
    /// When the newest token expires, or has expired.
    pub expires_at: Option<UnixTime>,
    /// When the newest token arrived.
    pub last_refresh: Option<UnixTime>,
    /// The last failure; kept after recovery.
    pub last_error: Option<FetchError>,
    /// When that was. Before `last_refresh`: it is over.
    pub last_error_at: Option<UnixTime>,
}

/// One token request without a source, for a command that prints a token.
///
/// # Errors
/// When the authority gives none; the text is for people.
pub async fn fetch_once(
    config: &Config,
    http: &HttpClient,
    clock: &SharedClock,
) -> Result<AccessToken, FetchError> {
    let client = TokenClient::new(config, http, clock);
    client.fetch().await.map(AccessToken::new).map_err(|failure| failure.error)
}
