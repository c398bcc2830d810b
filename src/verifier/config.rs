//! The configuration of listeners and authorities.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;
use url::Url;

use super::introspection::IntrospectionConfig;
use super::revocation::RevocationConfig;
use crate::domain::host_pattern::HostPattern;
use crate::domain::issuer_name::IssuerName;
use crate::domain::issuer_pattern::IssuerPattern;
use crate::domain::oauth::DEFAULT_TOKEN_SIZE;
use crate::domain::scope::ScopeSet;
use crate::domain::settings::{CorsPreflight, Mode, PathCase, Profile};
use crate::domain::web_origin::WebOrigin;
use crate::http_client::{Egress, EgressProxy, FetchTimeouts};
use crate::jose::dpop::TargetUri;
use crate::jose::{ALGORITHMS, Algorithm};

/// The claims that name a token's client unless the configuration says otherwise: those of RFC 9068
/// §2.2, OpenID Connect, Okta and Entra (version 1).
pub const CLIENT_ID_CLAIMS: [&str; 4] = ["client_id", "azp", "cid", "appid"];

/// The checks of one inbound listener.
#[derive(Clone, Debug)]
pub struct Config {
    /// Names of the trusted authorities.
    pub authorities: Vec<String>,
    /// The accepted `aud` values.
    pub audiences: Audiences,
    /// Where the tokens of requests are.
    pub token_locations: TokenLocations,
    /// How many verified tokens are cached; 0 turns the cache off.
    pub verified_token_cache: u64,
    /// The first rule that matches decides.
    pub rules: Vec<RuleConfig>,
    /// Whether the service ignores upper and lower case in paths.
    pub path_case: PathCase,
    /// The claims that are sent to the upstream in headers.
    pub forwarded_claims: Vec<String>,
    /// Whether refused requests are stopped.
    pub mode: Mode,
    /// How CORS preflights are handled.
    pub cors_preflight: CorsPreflight,
    /// The web origins whose pages may open WebSockets; `None`: all.
    pub allowed_origins: Option<Vec<WebOrigin>>,
    pub dpop: DpopConfig,
}

/// How a listener checks proofs of possession (DPoP, RFC 9449).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DpopConfig {
    /// The URL of the listener, by which the `htu` of proofs is checked; `None`: the one that each
    /// client names.
    pub public_url: Option<TargetUri>,
    /// Whether proofs need a nonce.
    pub nonce: bool,
    /// Whether tokens need a proof.
    pub required: bool,
}

/// The places of requests where a listener looks for tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenLocations {
    /// `Authorization: Bearer` (RFC 6750 §2.1).
    pub bearer: bool,
    /// `Authorization: Basic` (RFC 7617), with the token as user name or password.
    pub basic: bool,
    /// The cookie with this name, on requests for a WebSocket.
    pub websocket_cookie: Option<Arc<str>>,
    /// The subprotocol behind `Bearer`, on requests for a WebSocket.
    pub websocket_subprotocol: bool,
}

impl Default for TokenLocations {
    fn default() -> Self {
        Self {
            bearer: true,
            basic: false,
            websocket_cookie: None,
            websocket_subprotocol: false,
        }
    }
}

/// Which `aud` values a listener accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audiences {
    /// Any value, or none.
    Any,
    /// The token must have one of these.
    OneOf(Vec<String>),
}

/// One rule.
#[derive(Clone, Debug, Default)]
pub struct RuleConfig {
    /// Path patterns, at least one: `*` and `{name}` are one segment, `**` any rest.
    pub paths: Vec<String>,
    /// Methods in upper case; empty means every method. `GET` includes `HEAD`.
    pub methods: Vec<String>,
    /// Further conditions for the rule to match.
    pub conditions: Conditions,
    /// The condition for a request to pass.
    pub access: Access,
    /// Whether its requests are stopped; `None`: as the listener says.
    pub mode: Option<Mode>,
    /// How long to wait for each next part of the upstream's answer; `None` uses the upstream's
    /// setting.
    pub timeout: Option<Duration>,
    /// The line of the configuration file on which the rule begins.
    pub line: usize,
}

/// The requests that a rule is for, by host and source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Empty: any host, or none.
    pub hosts: Vec<HostPattern>,
    /// Empty: any source, also an unknown one.
    pub networks: Vec<IpNet>,
}

/// The condition for a request to pass a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing, not even a token.
    Public,
    /// No token, or a valid one.
    Optional,
    /// A valid token that fulfils these needs.
    Token(Needs),
}

impl Default for Access {
    fn default() -> Self {
        Self::Token(Needs::default())
    }
}

/// The properties that a valid token must have in addition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Every one of these scopes.
    pub scopes: ScopeSet,
    /// One of these scopes, unless the set is empty.
    pub any_scope: ScopeSet,
    /// Claims with certain values.
    pub claims: Vec<ClaimNeed>,
    /// Claims that equal a part of the request.
    pub equals: Vec<EqualNeed>,
    /// The names of the authorities that may issue it; empty: every one of the listener's.
    pub authorities: Vec<String>,
}

/// A claim that must have one of some values. In a list, one item must.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimNeed {
    /// The claim's name.
    pub name: String,
    /// The values as texts; numbers and booleans as in JSON.
    pub values: Vec<String>,
}

/// A part of the request that must equal a claim. Of a list, one item must be equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EqualNeed {
    /// The part.
    pub part: RequestPart,
    /// The claim's name.
    pub claim: String,
}

/// A part of a request with one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestPart {
    /// The segment of the path that the pattern names.
    Segment(String),
    /// A parameter of the query.
    Query(String),
    /// A header.
    Header(HeaderName),
}

impl fmt::Display for RequestPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment(name) => write!(f, "{{{name}}}"),
            Self::Query(name) => write!(f, "query.{name}"),
            Self::Header(name) => write!(f, "header.{name}"),
        }
    }
}

/// An issuer whose tokens are trusted.
#[derive(Clone, Debug, PartialEq)]
pub struct AuthorityConfig {
    /// Its name in the configuration.
    pub name: String,
    /// The `iss` of its tokens as configured; `profile` says how others are compared with it.
    pub issuer: String,
    /// The allowed tenants, each of which has an issuer of its own; none if `issuer` is no pattern.
    pub tenants: Vec<String>,
    /// Where its keys come from.
    pub keys: KeySource,
    /// A file with a bearer token for the request of its keys.
    pub key_token_file: Option<PathBuf>,
    /// Certificates (PEM) that are trusted for its URLs in addition to the platform's.
    pub ca_pem: Option<Vec<u8>>,
    /// Limits of fetches of its metadata, keys and revocation list.
    pub timeouts: FetchTimeouts,
    /// The proxies of these fetches.
    pub egress: Egress,
    /// The accepted signature algorithms.
    pub algorithms: Vec<Algorithm>,
    /// By how much its clock may differ from ours.
    pub clock_skew: Duration,
    /// How long the last good keys are used while none can be fetched.
    pub max_stale: Duration,
    /// How revocations are found out.
    pub revocation: RevocationConfig,
    /// How opaque tokens are introspected; `None`: they are not accepted.
    pub introspection: Option<IntrospectionConfig>,
    /// The claims that may name the client; the first that a token has is used.
    pub client_id_claims: Vec<String>,
    /// Whether a token without `exp` is refused.
    pub require_expiry: bool,
    /// How far away `exp` may be.
    pub max_token_lifetime: Option<Duration>,
    /// How its tokens are written.
    pub profile: Profile,
    /// The longest accepted token, in bytes.
    pub max_token_size: usize,
}

impl AuthorityConfig {
    /// An authority with the configuration's defaults for everything else.
    #[must_use]
    pub fn new(name: &str, issuer: &str, keys: KeySource) -> Self {
        Self {
            name: name.to_owned(),
            issuer: issuer.to_owned(),
            tenants: Vec::new(),
            keys,
            key_token_file: None,
            ca_pem: None,
            timeouts: FetchTimeouts {
                connect: Duration::from_secs(3),
                total: Duration::from_secs(15),
            },
            egress: Egress::default(),
            algorithms: ALGORITHMS.to_vec(),
            clock_skew: Duration::from_mins(1),
            max_stale: Duration::from_hours(24),
            revocation: RevocationConfig::default(),
            introspection: None,
            client_id_claims: CLIENT_ID_CLAIMS.map(str::to_owned).to_vec(),
            require_expiry: true,
            max_token_lifetime: None,
            profile: Profile::Standard,
            max_token_size: DEFAULT_TOKEN_SIZE,
        }
    }

    /// The proxy on the way to its metadata or keys.
    #[must_use]
    pub fn proxy(&self) -> Option<&Arc<EgressProxy>> {
        match &self.keys {
            KeySource::OwnIssuer | KeySource::File(_) => None,
            KeySource::Url(url) => self.egress.way_to(url),
            KeySource::Discovery => self.egress.way_to(&Url::parse(&self.issuer).ok()?),
        }
    }

    /// Whether a text is the `iss` of its tokens.
    #[must_use]
    pub fn is_issuer(&self, issuer: &str) -> bool {
        match IssuerPattern::parse(&self.issuer).filter(|_| !self.tenants.is_empty()) {
            Some(pattern) => {
                let tenant = pattern.tenant(issuer);
                tenant.is_some_and(|tenant| self.tenants.iter().any(|it| it == tenant))
            }
            None => self.issuer_name().is(issuer),
        }
    }

    /// The issuers of its tokens: one, or one for each tenant.
    #[must_use]
    pub fn issuers(&self) -> Vec<String> {
        match IssuerPattern::parse(&self.issuer).filter(|_| !self.tenants.is_empty()) {
            Some(pattern) => self.tenants.iter().map(|it| pattern.issuer(it)).collect(),
            None => vec![self.issuer.clone()],
        }
    }

    /// The issuer, together with how other spellings are compared with it.
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
