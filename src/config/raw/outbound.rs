//! Credentials and outbound listeners, as they are written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Algorithm, FetchTimeouts, MaxConnections, Timeouts, UpstreamTls, default_keep_alive, seconds,
    yes,
};
use crate::config::address::{HttpUrl, IssuerUrl, ListenAddress, UpstreamUrl};
use crate::config::name::{
    Audience, ClientId, ExtraParameter, HeaderMark, HeaderPrefix, HostValue, KeyId, Name,
    PathPattern, Resource, Scope, ServerName, StatusAndError, TokenHeader, WebOriginText,
};
use crate::config::value::{FilePath, GoDuration, Percent};
use crate::domain::settings::AudienceParameter;

/// How access tokens for another service are acquired.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Credential {
    /// The issuer whose metadata names the token endpoint. Either this or `tokenUrl`.
    pub authority: Option<IssuerUrl>,
    /// The token endpoint itself. Either this or `authority`.
    pub token_url: Option<HttpUrl>,
    /// The client id that the authority knows this sidecar by.
    #[serde(rename = "clientID")]
    pub client_id: ClientId,
    /// How the client authenticates at the token endpoint.
    #[serde(default)]
    pub auth_method: AuthMethod,
    /// A file that holds the client's secret; one line, whose line end (LF or CRLF) is not part of
    /// it. A changed file takes effect at once.
    pub client_secret_file: Option<FilePath>,
    /// `private_key_jwt`: a file with the private key (PEM) that signs our assertions. A changed
    /// file takes effect at once.
    pub private_key_file: Option<FilePath>,
    /// `private_key_jwt`: the `kid` of our assertions; left out: none.
    #[serde(rename = "keyID")]
    pub key_id: Option<KeyId>,
    /// `private_key_jwt`: the algorithm of our assertions; left out: ES256, ES384, EdDSA or RS256,
    /// as the key is.
    pub algorithm: Option<Algorithm>,
    /// `private_key_jwt`: the `aud` of our assertions; left out: the authority's issuer, or with
    /// `tokenUrl` that URL.
    pub assertion_audience: Option<Audience>,
    /// `private_key_jwt`: a file with an assertion (JWT) that somebody else signs and keeps fresh,
    /// such as a Kubernetes service account token or a SPIFFE JWT-SVID, instead of
    /// `privateKeyFile`. Read for every token request.
    pub assertion_file: Option<FilePath>,
    /// `tls_client_auth`: a file with our certificate and those that lead to its issuer (PEM). A
    /// changed file takes effect at once.
    pub cert_file: Option<FilePath>,
    /// `tls_client_auth`: a file with its private key (PEM).
    pub key_file: Option<FilePath>,
    /// Certificates (PEM) trusted beside the platform's for the authority.
    pub ca_file: Option<FilePath>,
    /// How long a token request may take. Requests that wait for a token wait as long.
    #[serde(default)]
    pub timeouts: FetchTimeouts,
    /// The scopes to ask for; the parameter is left out when there are none.
    #[serde(default)]
    pub scopes: Vec<Scope>,
    /// The audiences to ask for, in `audienceParameter`.
    #[serde(default)]
    pub audiences: Vec<Audience>,
    /// The parameter of the token request that names `audiences`.
    #[serde(default)]
    pub audience_parameter: AudienceParameter,
    /// The resources to ask for (RFC 8707), one `resource` parameter each.
    #[serde(default)]
    pub resource: Vec<Resource>,
    /// Further parameters of the token request.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "format": "extra-parameter" }))]
    pub extra_parameters: BTreeMap<ExtraParameter, String>,
    /// The share of a token's life after which it is refreshed: 10% to 95%.
    #[serde(default = "default_refresh_at")]
    pub refresh_at: Percent,
    /// Whether the first token is fetched at start instead of on first need.
    #[serde(default)]
    pub prefetch: bool,
    /// Whether the token outlives a restart: it is kept in `stateDir`, encrypted with the key of
    /// `store.encryptionKeyFile`.
    #[serde(default)]
    pub keep_token: bool,
    /// Whether `localApi` may hand the token itself to programs on this machine.
    #[serde(default)]
    pub local_api: bool,
    /// The sidecar renews the secret itself, at an issuer that is one of ours; left out: it does
    /// not.
    pub rotate_secret: Option<RotateSecret>,
}

/// How the sidecar renews its secret: a new one is made at the issuer's management API, tried, and
/// put into `clientSecretFile`; only then the old ones go.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct RotateSecret {
    /// The issuer's management API.
    pub admin: HttpUrl,
    /// A file with its token.
    pub admin_token_file: FilePath,
    /// How old the secret's file may get: 1h to 366d.
    #[serde(default = "default_rotation")]
    pub every: GoDuration,
    /// How long the old secrets live on beside the new one, for others that use them: 0s to 30d.
    #[serde(default = "default_grace")]
    pub grace: GoDuration,
}

fn default_rotation() -> GoDuration {
    GoDuration(std::time::Duration::from_hours(30 * 24))
}

fn default_grace() -> GoDuration {
    GoDuration(std::time::Duration::from_hours(24))
}

fn default_refresh_at() -> Percent {
    Percent(0.75)
}

/// How we authenticate at a token endpoint.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum AuthMethod {
    /// Id and secret in the `Authorization` header, form-encoded (RFC 6749 §2.3.1).
    #[default]
    ClientSecretBasic,
    /// The same without the encoding, for servers that do not decode it, such as plgd's
    /// m2m-oauth-server. The client id must not hold a colon.
    ClientSecretBasicRaw,
    /// Id and secret in the form.
    ClientSecretPost,
    /// A signed assertion (RFC 7523): our own, or one that another program keeps in a file.
    PrivateKeyJwt,
    /// Our certificate (RFC 8705).
    TlsClientAuth,
}

/// A listener that attaches an access token to what passes.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Outbound {
    /// The listener's name, a metrics label.
    pub name: Name,
    /// Where it listens: on loopback, unless `allowRemote`. Port 0 takes a free one.
    /// `localhost:PORT` is 127.0.0.1 and ::1.
    pub listen: ListenAddress,
    /// Where requests go: `http://` or `https://`, host and port. Needed, with `credential`, unless
    /// there is `forwardProxy`.
    pub upstream: Option<UpstreamUrl>,
    /// How an https upstream is verified.
    pub upstream_tls: Option<UpstreamTls>,
    /// Name of the credential whose token is attached.
    pub credential: Option<Name>,
    /// For programs that know only `HTTP_PROXY`: requests for these targets get a token.
    pub forward_proxy: Option<ForwardProxy>,
    /// The header that carries the token.
    #[serde(default = "default_header")]
    pub header: TokenHeader,
    /// What stands before the token in it.
    #[serde(default = "default_prefix")]
    pub prefix: HeaderPrefix,
    /// Whether such a header of the request's own is replaced; `false`: the request then passes as
    /// it is.
    #[serde(default = "yes")]
    pub overwrite: bool,
    /// Whether a request whose token the upstream refuses (see `retryOn`) is sent once more with a
    /// new one: at most one new token per credential in 30s, never for a token younger than 5s, and
    /// only bodies of at most 64 KiB.
    #[serde(default = "yes")]
    pub retry_unauthorized: bool,
    /// Which answers refuse the token: a status, or a status and the `error` of its challenge
    /// (`WWW-Authenticate`), such as `403 invalid_token`. Never one whose challenge says
    /// `insufficient_scope` or `invalid_request`.
    #[serde(default = "default_retry_on")]
    #[schemars(length(min = 1))]
    pub retry_on: Vec<Refusal>,
    /// Whether the upstream gets the client's `Host`; otherwise its own name.
    #[serde(default)]
    pub preserve_host: bool,
    /// Whether URLs of the upstream's own origin in `Location`, `Content-Location` and `Link` of
    /// its answers are made to name the listener, so that a program that follows them gets a token
    /// there too. Of a listener with `upstream` only; true when left out.
    #[schemars(extend("default" = true))]
    pub map_location: Option<bool>,
    /// Whether the upstream is told by which name and scheme the program has called, in
    /// `X-Forwarded-Host`, `X-Forwarded-Proto` and `Forwarded`: for services that write whole URLs
    /// into their answers' bodies.
    #[serde(default)]
    pub forwarded_headers: bool,
    /// Values of `Host` that are accepted beside IP addresses, `localhost` and the upstream's.
    #[serde(default)]
    pub hosts: Vec<HostValue>,
    /// Web origins such as `https://app.example` whose pages may use the listener. Requests of
    /// other pages are refused, by `Origin`, `Referer` and `Sec-Fetch-Site`, unless their origin is
    /// the `Host` that they ask.
    #[serde(default)]
    pub allowed_origins: Vec<WebOriginText>,
    /// A header that every request must have, such as `X-Sidecar` (with any value) or `X-Sidecar:
    /// 1`: one that no page of another site can send. Not every request of a page says where it
    /// comes from, so a listener that is called by a name needs this against pages. It is passed
    /// on. Pages of `allowedOrigins` need not send it.
    pub require_header: Option<HeaderMark>,
    /// Whether the listener may be open to other machines. Whoever reaches it acts with the
    /// credential.
    #[serde(default)]
    pub allow_remote: bool,
    /// How long each step of a request to the upstream may take.
    #[serde(default)]
    pub upstream_timeouts: Timeouts,
    /// How long a program may pause within a request.
    #[serde(default)]
    pub downstream_timeouts: ProgramPauses,
    /// How long an idle client connection is kept for another request, 1s to 1h, in whole seconds;
    /// answers announce it (`Keep-Alive: timeout=75`). Longer than clients pause between two
    /// requests.
    #[serde(default = "default_keep_alive")]
    pub keep_alive: GoDuration,
    /// How many client connections the listener holds.
    #[serde(default)]
    pub max_connections: MaxConnections,
}

/// An answer that refuses the token.
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

/// How long a program may pause within a request: programs on this machine may be as slow as they
/// like.
#[derive(Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(in crate::config) struct ProgramPauses {
    /// While it sends the request's body: how long to wait for each next part. 1ms to 24h.
    pub read: GoDuration,
    /// While it reads the answer: how long to wait until each next part is taken. 1ms to 24h.
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

/// A forward proxy: where requests of a program go that has this listener as its HTTP proxy.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct ForwardProxy {
    /// Requests for these get a token; the first that fits decides.
    #[schemars(length(min = 1))]
    pub targets: Vec<ForwardTarget>,
    /// What becomes of requests for others.
    #[serde(default)]
    pub other: Other,
}

/// What the program calls, and where that really goes.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct ForwardTarget {
    /// The host that the program's `http://` URL names.
    pub host: ServerName,
    /// Its port.
    #[serde(default = "port_80")]
    #[schemars(range(min = 1))]
    pub port: u16,
    /// Where requests go: `http://` or `https://`, host and port.
    pub upstream: UpstreamUrl,
    /// How an https upstream is verified.
    pub upstream_tls: Option<UpstreamTls>,
    /// Name of the credential whose token is attached.
    pub credential: Name,
    /// Path patterns: others are refused. Every path when left out.
    #[schemars(length(min = 1))]
    pub paths: Option<Vec<PathPattern>>,
}

fn port_80() -> u16 {
    80
}

/// What becomes of requests that are for no target.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::config) enum Other {
    /// They are refused.
    #[default]
    Deny,
    /// They pass as they are, without a token, to public addresses only.
    PassThrough,
}

/// Hands tokens to programs on this machine that attach them themselves.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct LocalApi {
    /// Where it listens: on loopback only.
    pub listen: ListenAddress,
    /// How many client connections it holds.
    #[serde(default)]
    pub max_connections: MaxConnections,
}

fn default_header() -> TokenHeader {
    TokenHeader(http::header::AUTHORIZATION)
}

fn default_prefix() -> HeaderPrefix {
    HeaderPrefix("Bearer ".to_owned())
}
