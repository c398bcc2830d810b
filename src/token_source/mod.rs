//! The OAuth client: acquires access tokens and refreshes them before they expire.
//!
//! There is one [`TokenSource`] per credential. Only its background task ([`TokenSource::run`])
//! requests tokens, so there is one request in flight. Callers read the current token without a
//! lock. Without a token they wake the task and share its result. A refresh happens while the
//! current token is used. A credential of token exchange has a token for each caller instead.
//!
//! After a transient failure the task tries twice more, a second apart, then with longer and longer
//! pauses, or once a second while callers need a token. In between callers get the known failure at
//! once.
//!
//! Secrets, keys and certificates come from files. A change takes effect at once.

mod access_token;
mod answer;
mod assertion;
mod authentication;
mod error;
mod file_fault;
mod form;
mod kept_token;
mod login;
mod metadata;
mod proofs;
mod refused;
mod rotation;
mod schedule;
mod skew;
mod source;
#[cfg(test)]
mod testing;
mod token_client;
mod token_file;

use std::path::PathBuf;
use std::sync::Arc;

use url::Url;

use self::authentication::Material;
use self::proofs::ProofKey;
use self::skew::Skew;
use self::token_client::TokenClient;
use crate::domain::clock::{SharedClock, UnixTime};
use crate::domain::oauth::MAX_TOKEN_SIZE;
use crate::domain::scope::ScopeSet;
use crate::domain::secret::SecretString;
use crate::http_client::{Egress, EgressProxy, FetchTimeouts, HttpOptions};
use crate::jose::Algorithm;
use crate::limits::throttle;

pub use self::access_token::AccessToken;
pub use self::authentication::{
    Authentication, PrivateKeyJwt, UnusableFiles, check_client_certificate, is_jwt,
};
pub use self::error::{FetchError, TokenUnavailable};
pub use self::kept_token::KeptAt;
pub use self::login::{Field, Login, LoginBody, TokenPlace};
pub use self::proofs::Nonce;
pub use self::rotation::RotationConfig;
pub use self::source::{NotExchanged, Sink, Subject, TokenSource};
pub use self::token_file::check as check_token_file;
pub use crate::domain::oauth::CredentialGrant;
pub use crate::domain::settings::AudienceParameter;

/// The configuration of one credential.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub name: String,
    pub endpoint: TokenEndpoint,
    /// How tokens are requested.
    pub grant: CredentialGrant,
    /// The client id at the authority; empty if the endpoint needs none.
    pub client_id: String,
    pub authentication: Authentication,
    /// Certificates (PEM) trusted in addition to the platform's.
    pub ca_file: Option<PathBuf>,
    /// The limit of a try: metadata and token request together.
    pub timeouts: FetchTimeouts,
    /// The proxies of its requests.
    pub egress: Egress,
    /// The requested scopes; empty: no `scope` parameter.
    pub scopes: ScopeSet,
    /// The requested audiences.
    pub audiences: Vec<String>,
    /// The parameter that carries them.
    pub audience_parameter: AudienceParameter,
    /// The `resource` parameters (RFC 8707), one each.
    pub resources: Vec<String>,
    pub extra_parameters: Vec<(String, String)>,
    /// The algorithm of the DPoP proofs; `None`: bearer tokens.
    pub dpop: Option<Algorithm>,
    /// The share of a token's lifetime after which it is refreshed, 0.1 to 0.95.
    pub refresh_at: f64,
    /// Whether the first token is fetched at start instead of on first use.
    pub prefetch: bool,
    /// The file that stores the current token over a restart.
    pub kept_at: Option<KeptAt>,
    /// Whether the local token API serves this credential.
    pub local_api: bool,
    /// The automatic renewal of the secret.
    pub rotation: Option<RotationConfig>,
    /// The file that gets each token.
    pub sink: Option<Sink>,
    /// The quota of calls with its token, for the listeners.
    pub throttle: Option<throttle::Config>,
}

impl Config {
    /// The files that it reads, except for those of trusted certificates.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        Material::watched_files(self).into_iter()
    }

    /// A credential whose tokens come from here without a client authentication.
    #[must_use]
    pub fn without_client(name: &str, endpoint: TokenEndpoint, timeouts: FetchTimeouts) -> Self {
        Self {
            name: name.to_owned(),
            endpoint,
            grant: CredentialGrant::default(),
            client_id: String::new(),
            authentication: Authentication::None,
            ca_file: None,
            timeouts,
            egress: Egress::default(),
            scopes: ScopeSet::default(),
            audiences: Vec::new(),
            audience_parameter: AudienceParameter::default(),
            resources: Vec::new(),
            extra_parameters: Vec::new(),
            dpop: None,
            refresh_at: 0.75,
            prefetch: false,
            kept_at: None,
            local_api: false,
            rotation: None,
            sink: None,
            throttle: None,
        }
    }

    /// The proxy on the way to the token endpoint, the metadata or the login.
    #[must_use]
    pub fn proxy(&self) -> Option<&Arc<EgressProxy>> {
        self.egress.way_to(self.endpoint.url()?)
    }
}

/// Where the tokens come from.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenEndpoint {
    /// A configured token endpoint.
    Url(Url),
    /// That in the metadata of this issuer (RFC 8414 §3, OpenID Connect Discovery 1.0 §4).
    Discovery(Url),
    /// A file that another program keeps fresh.
    File(PathBuf),
    /// A login that is not OAuth.
    Login(Box<Login>),
}

impl TokenEndpoint {
    /// The URL that is requested first; `None` for a file.
    fn url(&self) -> Option<&Url> {
        match self {
            Self::Url(url) | Self::Discovery(url) => Some(url),
            Self::Login(login) => Some(&login.url),
            Self::File(_) => None,
        }
    }
}

/// The client options for token requests.
fn http_options(
    timeouts: FetchTimeouts,
    ca_pem: Option<Vec<u8>>,
    identity_pem: Option<SecretString>,
    egress: &Egress,
) -> HttpOptions {
    HttpOptions {
        connect_timeout: timeouts.connect,
        total_timeout: timeouts.total,
        ca_pem,
        identity_pem,
        // The largest token and the rest of the response.
        max_body: 2 * MAX_TOKEN_SIZE,
        egress: egress.clone(),
    }
}

/// An event of a credential, for metrics.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    Fetched {
        credential: &'a str,
    },
    Failed {
        credential: &'a str,
        error: FetchError,
    },
    /// The file of the sink was written, or could not be.
    Written {
        credential: &'a str,
        ok: bool,
    },
}

/// Gets the events. Called from the background task; must not block.
pub type Observer = Arc<dyn Fn(Event<'_>) + Send + Sync>;

/// The state of a credential.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CredentialStatus {
    /// When the newest token expires, or has expired.
    pub expires_at: Option<UnixTime>,
    /// When the newest token arrived.
    pub last_refresh: Option<UnixTime>,
    pub fetches: u64,
    /// The number of failed tries.
    pub failures: u64,
    /// The lead of the authority's clock in seconds; negative if it lags, `None` if unknown.
    pub clock_skew: Option<i64>,
    /// The last failure; kept after recovery.
    pub last_error: Option<FetchError>,
    /// Its text for people, with the URL and the response's message.
    pub last_error_text: Option<Arc<str>>,
    /// The time of the failure. If it precedes `last_refresh`, the failure is over.
    pub last_error_at: Option<UnixTime>,
    /// When the file of the sink was last written.
    pub sink_written_at: Option<UnixTime>,
    /// Why it could not be written the last time; `None`: it could.
    pub sink_error: Option<Arc<str>>,
}

/// Why a command got no token.
#[derive(Debug, thiserror::Error)]
pub enum FetchOnceError {
    #[error(transparent)]
    Files(#[from] UnusableFiles),
    /// The cause and the requested URL.
    #[error("{0}")]
    Fetch(String),
}

/// Makes one token request without a source, for a command that prints a token. Blocks briefly to
/// read files.
///
/// # Errors
/// When the authority issues none; the text is for people.
pub async fn fetch_once(
    config: &Config,
    clock: &SharedClock,
) -> Result<AccessToken, FetchOnceError> {
    let skew = Skew::default();
    let proof_key = ProofKey::of(config);
    let client = TokenClient::new(config, clock, &skew, Material::load(config)?);
    let client = client.proving(proof_key);
    let fetched = client.fetch().await;
    fetched
        .map(AccessToken::new)
        .map_err(|failure| FetchOnceError::Fetch(failure.text()))
}
