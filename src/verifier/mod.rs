//! The resource server: verifies bearer tokens and authorizes requests.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use crate::domain::scope::ScopeSet;
use crate::jose::Algorithm;

/// An issuer whose tokens are trusted.
#[derive(Clone, Debug)]
pub struct AuthorityConfig {
    /// Its name in the configuration.
    pub name: String,
    /// The `iss` of its tokens, compared exactly.
    pub issuer: String,
    /// Where its keys come from.
    pub keys: KeySource,
    /// Certificates (PEM) that are trusted for its URLs, beside the platform's.
    pub ca_pem: Option<Vec<u8>>,
    /// The algorithms its keys may verify.
    pub algorithms: Vec<Algorithm>,
    /// By how much its clock may differ from ours.
    pub clock_skew: Duration,
    /// How long the last good keys serve when none can be fetched.
    pub max_stale: Duration,
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

/// What one inbound listener checks.
#[derive(Clone, Debug)]
pub struct Config {
    /// The listener's name: the `realm` of challenges.
    pub name: String,
    /// Names of the authorities it trusts.
    pub authorities: Vec<String>,
    /// Which `aud` values it accepts.
    pub audiences: Audiences,
    /// How many verified tokens are remembered; 0: none.
    pub verified_token_cache: u64,
    /// The rules in their order; the first that matches decides.
    pub rules: Vec<RuleConfig>,
}

/// Which `aud` values a listener accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audiences {
    /// Any, also none.
    Any,
    /// One of these must be in the token.
    OneOf(Vec<String>),
}

/// One rule.
#[derive(Clone, Debug)]
pub struct RuleConfig {
    /// Path patterns: `*` one segment, `**` any rest. At least one.
    pub paths: Vec<String>,
    /// Methods in upper case; none: every method. `GET` includes `HEAD`.
    pub methods: Vec<String>,
    /// Who may pass.
    pub access: Access,
}

/// Who may pass a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anyone, without a token.
    Public,
    /// Whoever has a valid token with all of these scopes.
    Token {
        /// All of them are needed.
        scopes: ScopeSet,
    },
}
