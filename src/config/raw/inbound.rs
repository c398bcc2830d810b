//! Authorities and inbound listeners, as they are written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::revocation::Revocation;
use super::{
    Algorithm, FetchTimeouts, MaxConnections, Timeouts, UpstreamTls, default_keep_alive, seconds,
    yes,
};
use crate::config::address::{HttpUrl, ListenAddress, Network, UpstreamUrl};
use crate::config::name::{
    Audience, ClaimName, ClaimValue, HeaderPattern, IdentityHeader, Method, Name, PathPattern,
    Scope,
};
use crate::config::value::{FilePath, GoDuration, Size};
use crate::domain::settings::{CorsPreflight, Mode, PathCase, Per, Profile};
use crate::proxy::headers::OF_OTHER_PROXIES;
use crate::verifier::CLIENT_ID_CLAIMS;

/// An issuer whose tokens are trusted.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Authority {
    /// The `iss` of its tokens, compared character by character, also a slash at the end; with
    /// `profile: plgd` slashes at the end do not count. Its keys are found by discovery; those of
    /// this sidecar's own issuer are read in process.
    pub issuer: String,
    /// Where its key set is, instead of discovery.
    pub jwks_uri: Option<HttpUrl>,
    /// A file with its key set, instead of discovery. A changed file takes effect within seconds.
    pub jwks_file: Option<FilePath>,
    /// Certificates (PEM) trusted for its URLs, beside the platform's.
    pub ca_file: Option<FilePath>,
    /// How long fetches of its metadata, its keys and its list of revoked tokens may take.
    #[serde(default)]
    pub timeouts: FetchTimeouts,
    /// The algorithms its keys may verify; every one that is supported when left out.
    #[schemars(length(min = 1))]
    pub algorithms: Option<Vec<Algorithm>>,
    /// By how much its clock may differ from ours; at most 10m.
    #[serde(default = "default_clock_skew")]
    pub clock_skew: GoDuration,
    /// How long the last good keys serve when none can be fetched; 1m to 366d.
    #[serde(default = "default_max_stale")]
    pub max_stale: GoDuration,
    /// How it is found out whether one of its tokens was revoked: a word, or a mapping with more to
    /// say.
    #[schemars(extend("default" = "auto"))]
    pub revocation: Option<Revocation>,
    /// The claims that may name the client of a token. The first that the token has does: in
    /// limits, logs and usage. A dotted name walks objects.
    #[serde(rename = "clientIDClaims", default = "default_client_id_claims")]
    #[schemars(length(min = 1))]
    pub client_id_claims: Vec<ClaimName>,
    /// Whether a token without `exp` is refused. `false` is for plgd's tokens that never expire;
    /// such a token is remembered for 30s at most, and needs a way to be revoked or an explicit
    /// `revocation: none`.
    #[serde(default = "yes")]
    pub require_expiry: bool,
    /// How it writes tokens.
    #[serde(default)]
    pub profile: Profile,
    /// How long its tokens may be, as bearer tokens and as assertions: 1KiB to 64KiB. Default:
    /// 8KiB; with `profile: plgd` 32KiB; for this sidecar's own issuer `issuer.maxTokenSize`. A
    /// listener takes request heads of 32KiB, and where a token may have more than 8KiB, of 24KiB
    /// beside the longest one.
    pub max_token_size: Option<Size>,
}

fn default_client_id_claims() -> Vec<ClaimName> {
    CLIENT_ID_CLAIMS
        .iter()
        .map(|name| ClaimName((*name).to_owned()))
        .collect()
}

fn default_clock_skew() -> GoDuration {
    seconds(60)
}

fn default_max_stale() -> GoDuration {
    seconds(24 * 3600)
}

/// A reverse proxy that verifies tokens in front of a service.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Inbound {
    /// The listener's name: the `realm` of challenges, a metrics label.
    pub name: Name,
    /// Where it listens; port 0 takes a free one. `localhost:PORT` is 127.0.0.1 and ::1.
    pub listen: ListenAddress,
    /// Whether it answers the issuer's endpoints too.
    #[serde(default)]
    pub issuer: bool,
    /// Where accepted requests go: `http://` or `https://`, host and port.
    pub upstream: UpstreamUrl,
    /// How an https upstream is verified.
    pub upstream_tls: Option<UpstreamTls>,
    /// Names of the authorities whose tokens are accepted.
    #[schemars(length(min = 1))]
    pub authorities: Vec<Name>,
    /// One of these must be in the token's `aud`; `any` switches the check off.
    pub audiences: Audiences,
    /// How many verified tokens are remembered; 0: none.
    #[serde(default = "default_verified_token_cache")]
    #[schemars(range(max = 10_000_000))]
    pub verified_token_cache: u64,
    /// Whether the upstream gets the token itself.
    #[serde(default)]
    pub authorization: Authorization,
    /// Headers that tell the upstream who the caller is, and the claim each is filled from. A
    /// dotted name walks objects when no claim has that very name: `realm_access.roles`. With more
    /// than one authority the default has `x-m2m-issuer: iss` too: two authorities may each have a
    /// user of the same name.
    #[schemars(extend(
        "propertyNames" = { "format": "identity-header" },
        "default" = { "x-m2m-client-id": "client_id", "x-m2m-scope": "scope", "x-m2m-subject": "sub" }
    ))]
    pub identity_headers: Option<BTreeMap<IdentityHeader, ClaimName>>,
    /// Whether the upstream gets the client's `Host`; otherwise its own name.
    #[serde(default = "yes")]
    pub preserve_host: bool,
    /// Whether the service ignores upper and lower case in paths. Left out: rules match exactly,
    /// and a path that in another letter case meets an earlier rule is refused (400
    /// `ambiguous_path`). The path is sent on in the letter case that it came in.
    #[serde(default)]
    pub path_case: PathCase,
    /// Whether `%2F` may stand in a path. A segment that hides `..` beside it is refused all the
    /// same. `keep` is only for services that do not take it for a slash: rules see
    /// `/admin%2Fusers` as one segment, so no rule for `/admin/**` matches it.
    #[serde(default)]
    pub encoded_slash: AmbiguousCharacter,
    /// Whether `;` may stand in a path. `keep` is for services that do not cut off what follows it:
    /// to the rules it is a character like any other.
    #[serde(default)]
    pub path_parameters: AmbiguousCharacter,
    /// Whether an escape may stand in a path that a second decoding makes a delimiter of, such as
    /// `%252F`. A segment that hides `..` in it is refused all the same. `keep` is for services
    /// that decode a path once.
    #[serde(default)]
    pub double_encoding: AmbiguousCharacter,
    /// Whether escapes may stand in a path that are not UTF-8, such as `%F6`. `keep` is for
    /// services that read paths as ISO 8859-1; rules read such a segment so too.
    #[serde(default)]
    pub non_utf8: AmbiguousCharacter,
    /// Proxies in front of this listener, as networks or addresses: what their `X-Forwarded-*` and
    /// `Forwarded` headers say is extended, not replaced.
    #[serde(default)]
    pub trusted_proxies: Vec<Network>,
    /// Headers by which other proxies tell a service who a caller is: removed from requests of
    /// peers that are not `trustedProxies`, in every spelling, beside all `X-Forwarded-*`. A name
    /// that ends with `*` is the beginning of names. The list replaces the default.
    #[serde(default = "default_remove_headers")]
    pub remove_headers: Vec<HeaderPattern>,
    /// The largest request body; unlimited when left out.
    pub max_body: Option<Size>,
    /// How long each step of a request to the upstream may take.
    #[serde(default)]
    pub upstream_timeouts: Timeouts,
    /// How long a client may pause within a request.
    #[serde(default)]
    pub downstream_timeouts: ClientPauses,
    /// How long an idle client connection is kept for another request, 1s to 1h, in whole seconds;
    /// answers announce it (`Keep-Alive: timeout=75`). Longer than clients pause between two
    /// requests.
    #[serde(default = "default_keep_alive")]
    pub keep_alive: GoDuration,
    /// How many client connections the listener holds.
    #[serde(default)]
    pub max_connections: MaxConnections,
    /// Whether what is refused is stopped.
    #[serde(default)]
    pub mode: Mode,
    /// What becomes of CORS preflights, which browsers send without a token.
    #[serde(default)]
    pub cors_preflight: CorsPreflight,
    /// How often requests may come, and how many at once; unlimited when left out. Counted are
    /// those that would pass, and those about whose token the authority has to be asked.
    pub limits: Option<Limits>,
    /// Who may do what. The first rule that matches decides; without a match the request is denied.
    #[schemars(length(min = 1))]
    pub rules: Vec<Rule>,
}

/// How long a client may pause within a request.
#[derive(Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(in crate::config) struct ClientPauses {
    /// While it sends the request's body: how long to wait for each next part. 1ms to 24h.
    pub read: GoDuration,
    /// While it reads the answer: how long to wait until each next part is taken. 1ms to 24h.
    pub write: GoDuration,
}

impl Default for ClientPauses {
    fn default() -> Self {
        Self {
            read: seconds(60),
            write: seconds(30),
        }
    }
}

fn default_verified_token_cache() -> u64 {
    10_000
}

/// The identity headers of a listener that names none; `authorities` is how many it trusts.
pub(in crate::config) fn default_identity_headers(
    authorities: usize,
) -> BTreeMap<IdentityHeader, ClaimName> {
    let issuer = (authorities > 1).then_some(("x-m2m-issuer", "iss"));
    [
        ("x-m2m-subject", "sub"),
        ("x-m2m-client-id", "client_id"),
        ("x-m2m-scope", "scope"),
    ]
    .into_iter()
    .chain(issuer)
    .filter_map(|(header, claim)| Some((header.parse().ok()?, claim.parse().ok()?)))
    .collect()
}

fn default_remove_headers() -> Vec<HeaderPattern> {
    OF_OTHER_PROXIES
        .iter()
        .map(|pattern| HeaderPattern((*pattern).to_owned()))
        .collect()
}

/// Which `aud` values are accepted.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(in crate::config) enum Audiences {
    /// Any, also none.
    Any(AnyAudience),
    /// One of these must be in the token.
    OneOf(#[schemars(length(min = 1))] Vec<Audience>),
}

/// The word that switches the audience check off.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::config) enum AnyAudience {
    /// Any audience, also none.
    Any,
}

/// Whether the upstream gets the token itself.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::config) enum Authorization {
    /// The `Authorization` header is passed on.
    #[default]
    Keep,
    /// The header is removed.
    Strip,
}

/// What becomes of a path with a character that some servers read more into.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::config) enum AmbiguousCharacter {
    /// The request is refused with 400.
    #[default]
    Reject,
    /// It is an ordinary character of its segment; rules match the decoded segment, the service
    /// gets it as it was sent.
    Keep,
}

/// One rule.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Rule {
    /// Path patterns: `*` stands for one segment, `**` at the end for any rest; `/x/**` matches
    /// `/x` too.
    #[schemars(length(min = 1))]
    pub paths: Vec<PathPattern>,
    /// Methods; every one when left out. `GET` includes `HEAD`.
    #[schemars(length(min = 1))]
    pub methods: Option<Vec<Method>>,
    /// `public` lets everyone pass, without a token. Left out: a valid token is needed.
    pub access: Option<Access>,
    /// The scopes that the token must have, all of them.
    #[serde(default)]
    pub scopes: Vec<Scope>,
    /// Scopes of which the token must have one.
    #[schemars(length(min = 1))]
    pub any_scope: Option<Vec<Scope>>,
    /// Claims that the token must have, each with one of these values; of a claim that is a list,
    /// one item must have it. A single value need not be in a list. A dotted name walks objects
    /// when no claim has that very name: `realm_access.roles`.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "format": "claim-name" }))]
    pub claims: BTreeMap<ClaimName, ClaimValues>,
    /// How long to wait for each next part of the service's answer, instead of
    /// `upstreamTimeouts.read`.
    pub timeout: Option<GoDuration>,
}

/// The values that a claim may have. Numbers and truth values are compared as JSON writes them.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(in crate::config) enum ClaimValues {
    /// One of these.
    OneOf(#[schemars(length(min = 1))] Vec<Scalar>),
    /// This text.
    Text(ClaimValue),
    /// This number.
    Integer(i64),
    /// This truth value.
    Bool(bool),
}

/// One value of a claim.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(in crate::config) enum Scalar {
    /// A text.
    Text(ClaimValue),
    /// A number.
    Integer(i64),
    /// A truth value.
    Bool(bool),
}

/// How often requests may come, and how many at once. What is over a limit gets 429.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Limits {
    /// How many requests a second, in the long run.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests_per_second: Option<u32>,
    /// How many of them may come at the same moment after a pause; as many as `requestsPerSecond`
    /// when left out.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<u32>,
    /// How many may be under way at once.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub concurrent: Option<u32>,
    /// Whose requests are counted together. Those without a token, or whose token does not say,
    /// count for their address.
    #[serde(default)]
    pub per: Per,
}

/// Who may pass without the token's being asked.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::config) enum Access {
    /// Everyone.
    Public,
}
