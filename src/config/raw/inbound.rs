//! Authorities and inbound listeners, as the file has them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cors::Cors;
use super::websocket::{UpstreamAuthorization, default_token_cookie};
use super::{
    MaxConnections, OwnEgressProxy, ServerTls, Timeouts, UpstreamTls, default_keep_alive, seconds,
};
use crate::config::address::{HostPatternText, IssuerUrl, ListenAddress, Network, UpstreamUrl};
use crate::config::header::{
    HeaderPattern, HeaderText, IdentityHeader, RequestPartText, ResponseHeader,
};
use crate::config::name::{
    Audience, ClaimName, ClaimValue, CookieName, Method, Name, PathPattern, PathPrefix, Scope,
    WebOriginText,
};
use crate::config::value::{GoDuration, Size};
use crate::domain::settings::{CorsPreflight, InboundSettings, Mode, PathCase, Per, TokenLocation};
use crate::proxy::headers::OF_OTHER_PROXIES;

/// A reverse proxy that verifies tokens in front of a service.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Inbound {
    /// The name of the listener, used as the `realm` of challenges and as a metrics label.
    pub name: Name,
    /// The address to listen on. Port 0 takes a free port. `localhost:PORT` means 127.0.0.1 and
    /// ::1. `unix:/path` is a socket in the file system; `,mode=0660`,
    /// `,owner=user:group` and `,allowedUids=user:user` may follow. Its clients count as 127.0.0.1.
    pub listen: ListenAddress,
    /// TLS of the listener. Default: plain HTTP.
    pub tls: Option<ServerTls>,
    #[serde(flatten)]
    pub settings: InboundSettings,
    /// The service that gets accepted requests: `http://`, `https://` or `h2c://` (HTTP/2 without
    /// TLS), host and port; or `unix:` or `h2c+unix:` and the path of a socket. With `upstreams` it
    /// is for the rules that name none of them.
    pub upstream: Option<UpstreamUrl>,
    /// The TLS of an https upstream.
    pub upstream_tls: Option<UpstreamTls>,
    /// Further services, by the names that rules use.
    #[serde(default)]
    pub upstreams: BTreeMap<Name, NamedUpstream>,
    /// The names of the authorities whose tokens are accepted.
    #[schemars(length(min = 1))]
    pub authorities: Vec<Name>,
    /// The accepted audiences: the token's `aud` must contain one of them. `any` disables the
    /// check.
    pub audiences: Audiences,
    /// The places where the token is looked for. With `basic`, a 401 response also asks for Basic
    /// credentials. A request for a WebSocket may have the token in a cookie or in a subprotocol
    /// too; the first of cookie, subprotocol and header that has one counts.
    #[serde(default = "default_token_locations")]
    #[schemars(length(min = 1))]
    pub token_locations: Vec<TokenLocation>,
    /// The name of the cookie with the token of a WebSocket, for `websocketCookie`.
    #[serde(default = "default_token_cookie")]
    pub token_cookie: CookieName,
    /// Web origins such as `https://app.example` whose pages may open WebSockets. Requests of other
    /// pages for a WebSocket are refused by `Origin`; programs do not send it. Default: all.
    pub allowed_origins: Option<Vec<WebOriginText>>,
    /// Where the upstream gets the token: `keep` and `strip` as in `authorization`, or a cookie for
    /// services whose WebSockets do not read the `Authorization` header, such as plgd's. Or a
    /// credential of the sidecar instead of the token, for services that read no tokens.
    pub upstream_authorization: Option<UpstreamAuthorization>,
    /// How long a WebSocket may carry no byte: 1s to 24h. Default: unlimited.
    pub ws_idle: Option<GoDuration>,
    /// The number of verified tokens that are cached. 0 disables the cache.
    #[serde(default = "default_verified_token_cache")]
    #[schemars(range(max = 10_000_000))]
    pub verified_token_cache: u64,
    /// Headers that identify the caller to the upstream, each with the claim that fills it. A
    /// dotted name such as `realm_access.roles` selects a member of an object, unless a claim has
    /// exactly that name. With more than one authority, the default also contains `x-m2m-issuer:
    /// iss`, because two authorities can have users of the same name.
    #[schemars(extend(
        "propertyNames" = { "format": "identity-header" },
        "default" = {
            "x-m2m-client-id": "client_id", "x-m2m-scope": "scope", "x-m2m-subject": "sub"
        }
    ))]
    pub identity_headers: Option<BTreeMap<IdentityHeader, ClaimName>>,
    /// Whether the service ignores upper and lower case in paths. Default: rules match exactly, and
    /// a path that matches an earlier rule in another letter case is refused (400
    /// `ambiguous_path`). The path is forwarded in its original letter case.
    #[serde(default)]
    pub path_case: PathCase,
    /// Whether a path may contain `%2F`. A segment that hides `..` beside it is always refused.
    /// `keep` is only for services that do not treat it as a slash: rules see `/admin%2Fusers` as
    /// one segment, so a rule for `/admin/**` does not match it.
    #[serde(default)]
    pub encoded_slash: AmbiguousCharacter,
    /// Whether a path may contain `;`. `keep` is for services that do not cut off the text after
    /// it. Rules treat it as an ordinary character.
    #[serde(default)]
    pub path_parameters: AmbiguousCharacter,
    /// Whether a path may contain an escape that a second decoding turns into a delimiter, such as
    /// `%252F`. A segment that hides `..` in it is always refused. `keep` is for services that
    /// decode a path once.
    #[serde(default)]
    pub double_encoding: AmbiguousCharacter,
    /// Whether a path may contain escapes that are not UTF-8, such as `%F6`. `keep` is for services
    /// that read paths as ISO 8859-1. Rules then read such a segment the same way.
    #[serde(default)]
    pub non_utf8: AmbiguousCharacter,
    /// Proxies in front of this listener, as networks or addresses. Their `X-Forwarded-*` and
    /// `Forwarded` headers are extended instead of replaced.
    #[serde(default)]
    pub trusted_proxies: Vec<Network>,
    /// Headers by which other proxies identify a caller to a service. They are removed from
    /// requests of peers that are not `trustedProxies`, in every spelling, together with all
    /// `X-Forwarded-*`. A name that ends with `*` is a prefix. The list replaces the default.
    #[serde(default = "default_remove_headers")]
    pub remove_headers: Vec<HeaderPattern>,
    /// The URL under which clients call the listener, with the path below which they call it. With
    /// it the listener serves its metadata (RFC 9728) and names them in challenges. The `htu` of
    /// DPoP proofs must have its scheme, host and port. Default: no metadata, and `htu` must have
    /// the scheme and host that the client, or one of `trustedProxies`, names.
    pub public_url: Option<IssuerUrl>,
    /// DPoP proofs (RFC 9449), which requests with a token that is bound to a key must carry.
    #[serde(default)]
    pub dpop: Dpop,
    /// The maximum size of a request body. Default: unlimited.
    pub max_body: Option<Size>,
    /// The timeouts for each step of a request to the upstream.
    #[serde(default)]
    pub upstream_timeouts: Timeouts,
    /// The proxy on the way to https upstreams: `shared` (that of the top level), or another one.
    #[schemars(extend("default" = "none"))]
    pub egress_proxy: Option<OwnEgressProxy>,
    /// The timeouts for pauses of a client within a request.
    #[serde(default)]
    pub downstream_timeouts: ClientPauses,
    /// How long an idle client connection stays open for another request: 1s to 1h, in whole
    /// seconds. Responses announce it (`Keep-Alive: timeout=75`). Choose it longer than clients
    /// pause between two requests.
    #[serde(default = "default_keep_alive")]
    pub keep_alive: GoDuration,
    /// The limits on client connections.
    #[serde(default)]
    pub max_connections: MaxConnections,
    /// Whether the listener refuses requests, or only reports which ones it would refuse.
    #[serde(default)]
    pub mode: Mode,
    /// The treatment of CORS preflights, which browsers send without a token.
    #[serde(default)]
    pub cors_preflight: CorsPreflight,
    /// The web pages of other sites that may use the listener. It answers their preflights itself,
    /// and its fields replace those of the service in every response, also in refusals.
    pub cors: Option<Cors>,
    /// Header fields that every response gets, such as `Strict-Transport-Security`. They replace
    /// those of the service. A request that is not valid HTTP gets none.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "format": "response-header" }))]
    pub response_headers: BTreeMap<ResponseHeader, HeaderText>,
    /// The limits on the rate and number of requests. Default: unlimited. A request counts if it
    /// would pass, or if the authority has to be asked about its token.
    pub limits: Option<Limits>,
    /// The access rules. The first matching rule decides. Without a match, the request is denied.
    #[schemars(length(min = 1))]
    pub rules: Vec<Rule>,
}

/// How DPoP proofs are checked.
#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(in crate::config) struct Dpop {
    /// Whether proofs need a nonce. The listener gives it in a 401 response (`use_dpop_nonce`), and
    /// a new one each minute. A proof made ahead is then useless. Each sidecar has its own nonces,
    /// so the requests of a client must reach the same one.
    pub nonce: bool,
    /// Whether tokens that are bound to no key are refused.
    pub required: bool,
}

/// One of several services behind a listener.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct NamedUpstream {
    /// The service, as `upstream`.
    pub url: UpstreamUrl,
    /// The TLS of an https upstream.
    pub tls: Option<UpstreamTls>,
    /// The timeouts for each step of a request. Default: `upstreamTimeouts` of the listener.
    pub timeouts: Option<Timeouts>,
}

/// The timeouts for pauses of a client within a request.
#[derive(Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(in crate::config) struct ClientPauses {
    /// The maximum wait for each next part of the request body: 1ms to 24h.
    pub read: GoDuration,
    /// The maximum wait until the client takes each next part of the response: 1ms to 24h.
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

pub(super) fn default_token_locations() -> Vec<TokenLocation> {
    vec![TokenLocation::Authorization]
}

pub(super) fn default_verified_token_cache() -> u64 {
    10_000
}

/// The default identity headers of a listener that trusts `authorities` authorities.
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

pub(super) fn default_remove_headers() -> Vec<HeaderPattern> {
    OF_OTHER_PROXIES
        .iter()
        .map(|pattern| HeaderPattern((*pattern).to_owned()))
        .collect()
}

/// The accepted audiences.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(in crate::config) enum Audiences {
    /// Any audience, including none.
    Any(AnyAudience),
    /// The token must contain one of these.
    OneOf(#[schemars(length(min = 1))] Vec<Audience>),
}

/// The word that disables the audience check.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::config) enum AnyAudience {
    /// Any audience, including none.
    Any,
}

/// The treatment of a path with a character that servers interpret differently.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::config) enum AmbiguousCharacter {
    /// The request is refused with 400.
    #[default]
    Reject,
    /// It is an ordinary character of its segment. Rules match the decoded segment, and the service
    /// gets the original text.
    Keep,
}

/// An access rule.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Rule {
    /// Path patterns. `*` and `{name}` match one segment, and `**` at the end matches any rest.
    /// `/x/**` also matches `/x`.
    #[schemars(length(min = 1))]
    pub paths: Vec<PathPattern>,
    /// The methods of the rule. Default: all. `GET` includes `HEAD`.
    #[schemars(length(min = 1))]
    pub methods: Option<Vec<Method>>,
    /// The hosts of the rule, by the request's `Host`: a name, or `*.` and a name for all names
    /// below it, with or without a port. Without a port, every port matches. Default: all. A
    /// request for another host continues with the next rule.
    #[schemars(length(min = 1))]
    pub hosts: Option<Vec<HostPatternText>>,
    /// The networks or addresses from which the request comes; behind `trustedProxies`, those of
    /// the client that they report. Default: all. Another request continues with the next rule.
    #[schemars(length(min = 1))]
    pub networks: Option<Vec<Network>>,
    /// `public` allows all requests without a token. `optional` allows requests without a token,
    /// and verifies one that is present. Default: a valid token is required.
    pub access: Option<Access>,
    /// Whether the rule refuses requests, or only reports which ones it would refuse. Default: the
    /// listener's `mode`.
    pub mode: Option<Mode>,
    /// The names of the authorities whose tokens the rule accepts, of those of the listener.
    /// Default: all of them.
    #[schemars(length(min = 1))]
    pub authorities: Option<Vec<Name>>,
    /// The scopes that the token must have, all of them.
    #[serde(default)]
    pub scopes: Vec<Scope>,
    /// Scopes of which the token must have at least one.
    #[schemars(length(min = 1))]
    pub any_scope: Option<Vec<Scope>>,
    /// Claims that the token must have, each with one of the given values. A claim that is a list
    /// must contain one of them. A single value needs no list. A dotted name such as
    /// `realm_access.roles` selects a member of an object, unless a claim has exactly that name.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "format": "claim-name" }))]
    pub claims: BTreeMap<ClaimName, ClaimValues>,
    /// Parts of the request, each with the claim that it must equal: `deviceId` for the segment
    /// `{deviceId}` of the path patterns, `query.NAME` for a parameter of the query, `header.NAME`
    /// for a header. A claim that is a list must contain it. A part that occurs twice, or that
    /// servers could read differently, is refused.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "format": "request-part" }))]
    pub equals: BTreeMap<RequestPartText, ClaimName>,
    /// The service that gets the requests: one of `upstreams`. Default: `upstream` of the listener.
    pub upstream: Option<Name>,
    /// The beginning of the path that is removed for the service. Every path pattern of the rule
    /// must begin with it. The service finds it in `X-Forwarded-Prefix`.
    pub strip_prefix: Option<PathPrefix>,
    /// The maximum wait for each next part of the service's response. It replaces
    /// `upstreamTimeouts.read`.
    pub timeout: Option<GoDuration>,
}

/// The accepted values of a claim. Numbers and booleans are compared in their JSON form.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(in crate::config) enum ClaimValues {
    /// One of these.
    OneOf(#[schemars(length(min = 1))] Vec<Scalar>),
    /// This text.
    Text(ClaimValue),
    /// This number.
    Integer(i64),
    /// This boolean.
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
    /// A boolean.
    Bool(bool),
}

/// The limits on the rate and number of requests. Requests beyond a limit get 429.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Limits {
    /// The number of requests per second in the long run.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests_per_second: Option<u32>,
    /// The number of requests that may arrive at once after a pause. Default: `requestsPerSecond`.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<u32>,
    /// The number of requests in progress at the same time.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub concurrent: Option<u32>,
    /// Which requests share a limit. Requests without a token, or whose token lacks the claim, are
    /// counted by address.
    #[serde(default)]
    pub per: Per,
}

/// Access without a token.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::config) enum Access {
    /// All requests are allowed.
    Public,
    /// Requests without a token are allowed, without identity headers. A token is verified, and a
    /// bad one is refused.
    Optional,
}
