//! Outbound listeners, as the file has them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Audiences, InCookie, MaxConnections, OwnEgressProxy, ServerTls, Throttle, Timeouts,
    UpstreamTls, default_keep_alive, seconds, yes,
};
use crate::config::address::{ListenAddress, TunnelText, UpstreamUrl};
use crate::config::header::{HeaderMark, HeaderPrefix, TokenHeader};
use crate::config::name::{
    HostValue, Name, PathPattern, ServerName, StatusAndError, WebOriginText,
};
use crate::config::token_text::ParameterName;
use crate::config::value::GoDuration;
use crate::domain::settings::OutboundSettings;

/// A listener that attaches an access token to forwarded requests.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Outbound {
    /// The name of the listener, used as a metrics label.
    pub name: Name,
    /// The address to listen on: loopback, unless `allowRemote` is set. Port 0 takes a free port.
    /// Or `unix:/path`, as for `inbound`.
    /// `localhost:PORT` means 127.0.0.1 and ::1.
    pub listen: ListenAddress,
    /// TLS of the listener. Default: plain HTTP.
    pub tls: Option<ServerTls>,
    /// The service that gets the requests: `http://`, `https://` or `h2c://` (HTTP/2 without TLS),
    /// host and port; or `unix:` or `h2c+unix:` and the path of a socket. Required
    /// together with `credential`, unless `forwardProxy` is set.
    pub upstream: Option<UpstreamUrl>,
    /// The TLS of an https upstream.
    pub upstream_tls: Option<UpstreamTls>,
    /// The name of the credential whose token is attached.
    pub credential: Option<Name>,
    /// A forward proxy, for programs that support only `HTTP_PROXY`. Requests for its targets get a
    /// token.
    pub forward_proxy: Option<ForwardProxy>,
    /// Whether the listener takes connections that iptables or nftables redirects to it, so that
    /// the program needs no setting. It needs `forwardProxy`: a request gets the token of the
    /// target whose `host` is its `Host`, if that host has the original destination as an address,
    /// on the same port. Other requests are refused, or with `other: passThrough` sent on to the
    /// original destination without a token. Connections that were not redirected are refused.
    #[serde(default)]
    pub transparent: bool,
    /// The header that carries the token.
    #[serde(default = "default_header")]
    pub header: TokenHeader,
    /// The text before the token in the header.
    #[serde(default = "default_prefix")]
    pub prefix: HeaderPrefix,
    /// The parameter of the query that carries the token instead of the header, such as `api_key`.
    /// A parameter of this name in the request is replaced, in every spelling. It appears in no log
    /// of the sidecar. Services usually log their URLs, so use a header if the service takes one.
    pub query: Option<ParameterName>,
    #[serde(flatten)]
    pub settings: OutboundSettings,
    /// Whether a request is sent again with a new token if the upstream refuses its token (see
    /// `retryOn`). Limits: one new token per credential in 30s, no retry for a token younger than
    /// 5s, and bodies of at most 64 KiB.
    #[serde(default = "yes")]
    pub retry_unauthorized: bool,
    /// The responses that refuse the token: a status, or a status and the `error` of the challenge
    /// (`WWW-Authenticate`), such as `403 invalid_token`. A challenge with `insufficient_scope` or
    /// `invalid_request` never counts.
    #[serde(default = "default_retry_on")]
    #[schemars(length(min = 1))]
    pub retry_on: Vec<Refusal>,
    /// Whether the upstream gets the client's `Host` header. If not, it gets its own name.
    #[serde(default)]
    pub preserve_host: bool,
    /// Whether URLs of the upstream in `Location`, `Content-Location` and `Link` are rewritten to
    /// name the listener. A program that follows them then also gets a token. Only for listeners
    /// with `upstream`. Default: true.
    #[schemars(extend("default" = true))]
    pub map_location: Option<bool>,
    /// Accepted `Host` values in addition to IP addresses, `localhost` and the upstream's.
    #[serde(default)]
    pub hosts: Vec<HostValue>,
    /// Web origins such as `https://app.example` whose pages may use the listener. Requests of
    /// other pages are refused by `Origin`, `Referer` and `Sec-Fetch-Site`, unless their origin is
    /// the requested `Host`.
    #[serde(default)]
    pub allowed_origins: Vec<WebOriginText>,
    /// A header that every request must have, such as `X-Sidecar` (any value) or `X-Sidecar: 1`.
    /// Pages of other sites cannot send it. Browsers do not always reveal the page of a request, so
    /// a listener with a host name needs this protection. The header is forwarded. Pages of
    /// `allowedOrigins` need not send it.
    pub require_header: Option<HeaderMark>,
    /// Whether the listener may accept connections from other machines. Every program that can
    /// reach it uses the credential.
    #[serde(default)]
    pub allow_remote: bool,
    /// The cookie that carries the token with requests for a WebSocket, instead of the header: for
    /// services whose WebSockets do not read the `Authorization` header, such as plgd's.
    pub upstream_authorization: Option<InCookie>,
    /// How long a WebSocket may carry no byte: 1s to 24h. Default: unlimited.
    pub ws_idle: Option<GoDuration>,
    /// The proxy on the way to https upstreams: `shared` (that of the top level), or another one.
    /// Requests of `other: passThrough` go straight.
    #[schemars(extend("default" = "none"))]
    pub egress_proxy: Option<OwnEgressProxy>,
    /// A quota of the listener's calls to its upstreams. Default: unlimited.
    pub throttle: Option<Throttle>,
    /// The timeouts for each step of a request to the upstream.
    #[serde(default)]
    pub upstream_timeouts: Timeouts,
    /// The timeouts for pauses of a program within a request.
    #[serde(default)]
    pub downstream_timeouts: ProgramPauses,
    /// How long an idle client connection stays open for another request: 1s to 1h, in whole
    /// seconds. Responses announce it (`Keep-Alive: timeout=75`). Choose it longer than clients
    /// pause between two requests.
    #[serde(default = "default_keep_alive")]
    pub keep_alive: GoDuration,
    /// The limits on client connections.
    #[serde(default)]
    pub max_connections: MaxConnections,
}

/// A response that refuses the token.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub(in crate::config) enum Refusal {
    /// This status.
    Status(#[schemars(range(min = 400, max = 599))] u16),
    /// This status with this error in its challenge.
    Challenge(StatusAndError),
}

fn default_retry_on() -> Vec<Refusal> {
    vec![Refusal::Status(401)]
}

/// The timeouts for pauses of a program within a request. The defaults are long because programs on
/// this machine may be slow.
#[derive(Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(in crate::config) struct ProgramPauses {
    /// The maximum wait for each next part of the request body: 1ms to 24h.
    pub read: GoDuration,
    /// The maximum wait until the program takes each next part of the response: 1ms to 24h.
    pub write: GoDuration,
}

impl Default for ProgramPauses {
    fn default() -> Self {
        Self {
            read: seconds(600),
            write: seconds(600),
        }
    }
}

/// A forward proxy, for programs that use this listener as their HTTP proxy.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct ForwardProxy {
    /// Requests for these targets get a token. The first matching target is used.
    #[schemars(length(min = 1))]
    pub targets: Vec<ForwardTarget>,
    /// The treatment of requests for other targets.
    #[serde(default)]
    pub other: Other,
    /// The hosts to which programs may open tunnels (CONNECT), for programs that also set
    /// `https_proxy`: `api.example` (port 443), `*.example:8443`, `10.1.2.3:443`. The sidecar sees
    /// nothing inside such a tunnel and attaches no token. A name reaches only public addresses
    /// after `*.`, and private networks too if it is listed itself; an address of this machine or
    /// of its link is reached only if it is listed itself. Tunnels to a target need no entry: the
    /// sidecar serves HTTP/1.1 in them, with a token.
    #[serde(default)]
    pub tunnels: Vec<TunnelText>,
}

/// The URL that a program calls, and the upstream that gets the request.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct ForwardTarget {
    /// The host of the program's `http://` URL.
    pub host: ServerName,
    /// The port of that URL.
    #[serde(default = "port_80")]
    #[schemars(range(min = 1))]
    pub port: u16,
    /// The service that gets the requests: `http://`, `https://` or `h2c://`
    /// (HTTP/2 without TLS), host and port; or `unix:` or `h2c+unix:` and the path of a socket.
    pub upstream: UpstreamUrl,
    /// The TLS of an https upstream.
    pub upstream_tls: Option<UpstreamTls>,
    /// The name of the credential whose token is attached.
    pub credential: Name,
    /// The allowed path patterns. Requests for other paths are refused. Default: all paths.
    #[schemars(length(min = 1))]
    pub paths: Option<Vec<PathPattern>>,
}

fn port_80() -> u16 {
    80
}

/// The treatment of requests for other targets.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::config) enum Other {
    /// They are refused.
    #[default]
    Deny,
    /// They are forwarded unchanged, without a token, to public addresses only.
    PassThrough,
}

/// An API that gives tokens to programs on this machine that attach them themselves.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct LocalApi {
    /// The address to listen on: loopback, or `unix:/path` as for `inbound`, by default with mode
    /// 0600.
    pub listen: ListenAddress,
    /// TLS of the listener. Default: plain HTTP.
    pub tls: Option<ServerTls>,
    /// The accepted audiences of tokens at `/introspect`, as for `inbound`. Default: the endpoint
    /// is not served.
    pub audiences: Option<Audiences>,
    /// The limits on client connections.
    #[serde(default)]
    pub max_connections: MaxConnections,
}

fn default_header() -> TokenHeader {
    TokenHeader(http::header::AUTHORIZATION)
}

fn default_prefix() -> HeaderPrefix {
    HeaderPrefix("Bearer ".to_owned())
}
