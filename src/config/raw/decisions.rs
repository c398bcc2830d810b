//! Listeners that decide for a proxy, as the file has them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::inbound::{
    AmbiguousCharacter, Audiences, ClientPauses, Dpop, Inbound, Limits, Rule,
    default_remove_headers, default_token_locations, default_verified_token_cache,
};
use super::websocket::default_token_cookie;
use super::{MaxConnections, ServerTls, Timeouts, default_keep_alive};
use crate::config::address::{ListenAddress, Network};
use crate::config::header::IdentityHeader;
use crate::config::name::{ClaimName, Name, PathPrefix};
use crate::config::value::GoDuration;
use crate::domain::settings::{
    CorsPreflight, ErrorFormat, InboundSettings, Mode, OriginalRequest, PathCase, TokenLocation,
};

/// A listener that decides for a proxy, which forwards the requests itself: nginx `auth_request`,
/// Traefik ForwardAuth, Caddy `forward_auth` or Envoy's HTTP ext_authz. It answers 200 with the
/// identity headers, or with the refusal of an inbound listener.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Decisions {
    /// The name of the listener, used as the `realm` of challenges and as a metrics label.
    pub name: Name,
    /// The address to listen on, as `inbound[].listen`. Only the proxy should reach it.
    pub listen: ListenAddress,
    /// TLS of the listener. Default: plain HTTP.
    pub tls: Option<ServerTls>,
    /// Where the proxy's question has the original request. The headers of the other forms are
    /// ignored: a client could have sent them.
    pub from: OriginalRequest,
    /// The path that the proxy puts before the original path, with `from: request`. A question
    /// without it is refused. Default: none.
    pub path_prefix: Option<PathPrefix>,
    /// The peers that may ask, as networks or addresses; another one gets 403. They report the
    /// client in `X-Forwarded-For`. Default: addresses of this machine (127.0.0.0/8, ::1), and
    /// peers with a client certificate that `tls.clientCaFile` has issued. Over a Unix socket,
    /// every process that can open it may ask.
    #[schemars(length(min = 1))]
    pub trusted_proxies: Option<Vec<Network>>,
    /// The names of the authorities whose tokens are accepted.
    #[schemars(length(min = 1))]
    pub authorities: Vec<Name>,
    /// The accepted audiences: the token's `aud` must contain one of them. `any` disables the
    /// check.
    pub audiences: Audiences,
    /// The places where the token is looked for: `authorization` and `basic`.
    #[serde(default = "default_token_locations")]
    #[schemars(length(min = 1))]
    pub token_locations: Vec<TokenLocation>,
    /// The number of verified tokens that are cached. 0 disables the cache.
    #[serde(default = "default_verified_token_cache")]
    #[schemars(range(max = 10_000_000))]
    pub verified_token_cache: u64,
    /// Headers of the answer that identify the caller, as `inbound[].identityHeaders`. Without a
    /// token or claim a header is empty; Envoy is told to remove it.
    #[schemars(extend(
        "propertyNames" = { "format": "identity-header" },
        "default" = {
            "x-m2m-client-id": "client_id", "x-m2m-scope": "scope", "x-m2m-subject": "sub"
        }
    ))]
    pub identity_headers: Option<BTreeMap<IdentityHeader, ClaimName>>,
    /// The form of the body of refusals.
    #[serde(default)]
    pub error_format: ErrorFormat,
    /// As `inbound[].pathCase`.
    #[serde(default)]
    pub path_case: PathCase,
    /// As `inbound[].encodedSlash`. `//` and dot segments are always refused: the proxy forwards
    /// the path as it got it.
    #[serde(default)]
    pub encoded_slash: AmbiguousCharacter,
    /// As `inbound[].pathParameters`.
    #[serde(default)]
    pub path_parameters: AmbiguousCharacter,
    /// As `inbound[].doubleEncoding`.
    #[serde(default)]
    pub double_encoding: AmbiguousCharacter,
    /// As `inbound[].nonUtf8`.
    #[serde(default)]
    pub non_utf8: AmbiguousCharacter,
    /// The timeouts for pauses of the proxy within a question.
    #[serde(default)]
    pub downstream_timeouts: ClientPauses,
    /// How long an idle connection of the proxy stays open: 1s to 1h, in whole seconds.
    #[serde(default = "default_keep_alive")]
    pub keep_alive: GoDuration,
    /// The limits on connections.
    #[serde(default)]
    pub max_connections: MaxConnections,
    /// Whether the listener refuses requests, or only reports which ones it would refuse.
    #[serde(default)]
    pub mode: Mode,
    /// The treatment of CORS preflights, which browsers send without a token.
    #[serde(default)]
    pub cors_preflight: CorsPreflight,
    /// The limits on the rate of requests, as `inbound[].limits` without `concurrent`. Limits by
    /// address count the client in `X-Forwarded-For`.
    pub limits: Option<Limits>,
    /// The access rules, as `inbound[].rules` without `upstream`, `stripPrefix` and `timeout`. The
    /// parameter `scope` of the question adds scopes that the token needs.
    #[schemars(length(min = 1))]
    pub rules: Vec<Rule>,
}

impl Decisions {
    /// A listener with the same checks and without a service.
    pub fn into_inbound(self) -> Inbound {
        Inbound {
            name: self.name,
            listen: self.listen,
            tls: self.tls,
            settings: InboundSettings {
                error_format: self.error_format,
                ..InboundSettings::default()
            },
            upstream: None,
            upstream_tls: None,
            upstreams: BTreeMap::new(),
            authorities: self.authorities,
            audiences: self.audiences,
            token_locations: self.token_locations,
            token_cookie: default_token_cookie(),
            allowed_origins: None,
            upstream_authorization: None,
            ws_idle: None,
            verified_token_cache: self.verified_token_cache,
            identity_headers: self.identity_headers,
            path_case: self.path_case,
            encoded_slash: self.encoded_slash,
            path_parameters: self.path_parameters,
            double_encoding: self.double_encoding,
            non_utf8: self.non_utf8,
            trusted_proxies: Vec::new(),
            public_url: None,
            dpop: Dpop::default(),
            remove_headers: default_remove_headers(),
            max_body: None,
            upstream_timeouts: Timeouts::default(),
            egress_proxy: None,
            downstream_timeouts: self.downstream_timeouts,
            keep_alive: self.keep_alive,
            max_connections: self.max_connections,
            mode: self.mode,
            cors_preflight: self.cors_preflight,
            cors: None,
            response_headers: BTreeMap::new(),
            limits: self.limits,
            rules: self.rules,
        }
    }
}
