//! An authority as it is configured.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::revocation::RevocationConfig;
use crate::domain::issuer_name::IssuerName;
use crate::domain::settings::Profile;
use crate::http_client::FetchTimeouts;
use crate::jose::Algorithm;

/// An issuer whose tokens are trusted.
#[derive(Clone, Debug)]
pub struct AuthorityConfig {
    /// Its name in the configuration.
    pub name: String,
    /// The `iss` of its tokens, as the configuration has it; `profile` says how others are compared
    /// with it.
    pub issuer: String,
    /// Where its keys come from.
    pub keys: KeySource,
    /// Certificates (PEM) that are trusted for its URLs, beside the platform's.
    pub ca_pem: Option<Vec<u8>>,
    /// How long fetches of its metadata, keys and list of revoked tokens may take.
    pub timeouts: FetchTimeouts,
    /// The algorithms its keys may verify.
    pub algorithms: Vec<Algorithm>,
    /// By how much its clock may differ from ours.
    pub clock_skew: Duration,
    /// How long the last good keys serve when none can be fetched.
    pub max_stale: Duration,
    /// How it is found out whether a token is revoked.
    pub revocation: RevocationConfig,
    /// The claims that may name the client; the first that a token has does.
    pub client_id_claims: Vec<String>,
    /// Whether a token without `exp` is refused.
    pub require_expiry: bool,
    /// How it writes tokens.
    pub profile: Profile,
    /// The longest token of it that is accepted, in bytes.
    pub max_token_size: usize,
}

impl AuthorityConfig {
    /// Its issuer, with the way in which others are compared with it.
    #[must_use]
    pub fn issuer_name(&self) -> IssuerName {
        self.profile.issuer(&self.issuer)
    }
}

/// Where an authority's keys come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// Our own issuer, read in process.
    OwnIssuer,
    /// `jwks_uri` of the issuer's metadata.
    Discovery,
    /// This URL.
    Url(Url),
    /// This file.
    File(PathBuf),
}
