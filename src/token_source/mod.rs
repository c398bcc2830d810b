//! The OAuth client: acquires access tokens, keeps them, refreshes them before they expire.
//!
//! One [`TokenSource`] per credential. Its background task ([`TokenSource::run`]) is the only one
//! that ever asks the authority, so there is one request in flight however many callers wait.
//! Callers read the current token without a lock; those that find none wake the task and wait for
//! the outcome, which all of them share. A refresh happens behind the callers' back while the
//! current token is served.
//!
//! After a failure that time can heal the task tries twice more, a second apart, then pauses longer
//! and longer; while callers ask in vain it tries once a second. In between they get the remembered
//! failure at once: nobody waits for a sick authority.
//!
//! Secrets, keys and certificates come from files. When one of them changes, what it holds takes
//! effect at once, and the token that was had with the old content is dropped.

mod access_token;
mod answer;
mod assertion;
mod authentication;
mod error;
mod kept_token;
mod metadata;
mod refused;
mod rotation;
mod schedule;
mod source;
#[cfg(test)]
mod testing;
mod token_client;

use std::path::PathBuf;
use std::sync::Arc;

use url::Url;

use self::authentication::Material;
use self::token_client::{Skew, TokenClient};
use crate::domain::clock::{SharedClock, UnixTime};
use crate::domain::oauth::MAX_TOKEN_SIZE;
use crate::domain::scope::ScopeSet;
use crate::domain::secret::SecretString;
use crate::http_client::{FetchTimeouts, HttpOptions};

pub use self::access_token::AccessToken;
pub use self::authentication::{
    Authentication, PrivateKeyJwt, UnusableFiles, check_client_certificate, is_jwt,
};
pub use self::error::FetchError;
pub use self::kept_token::KeptAt;
pub use self::rotation::RotationConfig;
pub use self::source::TokenSource;
pub use crate::domain::settings::AudienceParameter;

/// What one credential is made of.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its name in the configuration.
    pub name: String,
    /// Where tokens come from.
    pub endpoint: TokenEndpoint,
    /// Our client id at that authority.
    pub client_id: String,
    /// How we authenticate there.
    pub authentication: Authentication,
    /// Certificates (PEM) that are trusted beside the platform's.
    pub ca_file: Option<PathBuf>,
    /// How long a try may take: metadata and token request together.
    pub timeouts: FetchTimeouts,
    /// The scopes to ask for; none: the parameter is left out.
    pub scopes: ScopeSet,
    /// The audiences to ask for.
    pub audiences: Vec<String>,
    /// How they are asked for.
    pub audience_parameter: AudienceParameter,
    /// The `resource` parameters (RFC 8707), one each.
    pub resources: Vec<String>,
    /// Further form parameters.
    pub extra_parameters: Vec<(String, String)>,
    /// The share of a token's life after which it is refreshed, 0.1 to 0.95.
    pub refresh_at: f64,
    /// Whether the first token is fetched at start instead of on first need.
    pub prefetch: bool,
    /// Where the current token is kept over a restart; none: nowhere.
    pub kept_at: Option<KeptAt>,
    /// Whether programs on this machine may have the token itself.
    pub local_api: bool,
    /// How we renew our secret ourselves; none: we do not.
    pub rotation: Option<RotationConfig>,
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
fn http_options(
    timeouts: FetchTimeouts,
    ca_pem: Option<Vec<u8>>,
    identity_pem: Option<SecretString>,
) -> HttpOptions {
    HttpOptions {
        connect_timeout: timeouts.connect,
        total_timeout: timeouts.total,
        ca_pem,
        identity_pem,
        // A token of the largest size, and what else stands in an answer.
        max_body: 2 * MAX_TOKEN_SIZE,
    }
}

/// Something that happened to a credential, for metrics.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A token arrived.
    Fetched {
        /// The credential's name.
        credential: &'a str,
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CredentialStatus {
    /// When the newest token expires, or has expired.
    pub expires_at: Option<UnixTime>,
    /// When the newest token arrived.
    pub last_refresh: Option<UnixTime>,
    /// How many tokens have arrived.
    pub fetches: u64,
    /// How many tries have failed.
    pub failures: u64,
    /// By how many seconds the authority's clock is ahead of ours; negative: behind; none: it has
    /// not said.
    pub clock_skew: Option<i64>,
    /// The last failure; kept after recovery.
    pub last_error: Option<FetchError>,
    /// The same for people: with the URL that was asked, and what was said there or on the way.
    pub last_error_text: Option<Arc<str>>,
    /// When that was. Before `last_refresh`: it is over.
    pub last_error_at: Option<UnixTime>,
}

/// Why a command got no token.
#[derive(Debug, thiserror::Error)]
pub enum FetchOnceError {
    /// The credential's files cannot be used.
    #[error(transparent)]
    Files(#[from] UnusableFiles),
    /// The authority gives none: why, and which URL was asked.
    #[error("{0}")]
    Fetch(String),
}

/// One token request without a source, for a command that prints a token. Blocks for a moment, to
/// read files.
///
/// # Errors
/// When the authority gives none; the text is for people.
pub async fn fetch_once(
    config: &Config,
    clock: &SharedClock,
) -> Result<AccessToken, FetchOnceError> {
    let skew = Skew::default();
    let client = TokenClient::new(config, clock, &skew, Material::load(config)?);
    let fetched = client.fetch().await;
    fetched
        .map(AccessToken::new)
        .map_err(|failure| FetchOnceError::Fetch(failure.text()))
}
