//! The choices that a configuration offers: one enum each, from the file to the code that acts on
//! it.
//!
//! The names and comments are part of the JSON Schema and of docs/configuration.md.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::issuer_name::IssuerName;
use super::letter_case::Folding;

/// Whether an issuer follows the RFCs or plgd's servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Profile {
    /// Tokens and answers follow the RFCs.
    #[default]
    Standard,
    /// Tokens and answers follow plgd's servers.
    Plgd,
}

impl Profile {
    /// An issuer of this profile, with the way in which other texts are compared with it.
    #[must_use]
    pub fn issuer(self, written: &str) -> IssuerName {
        match self {
            Self::Standard => IssuerName::exact(written),
            Self::Plgd => IssuerName::as_plgd_compares(written),
        }
    }
}

/// The `typ` header of access tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema, ToSchema)]
pub enum TokenType {
    /// RFC 9068 §2.1.
    #[serde(rename = "at+jwt")]
    AccessToken,
    /// RFC 7519 §5.1, for verifiers that accept no other type.
    #[serde(rename = "JWT")]
    Jwt,
}

impl TokenType {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::AccessToken, Self::Jwt];

    /// The value of the header.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AccessToken => "at+jwt",
            Self::Jwt => "JWT",
        }
    }
}

/// A claim that carries scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum ScopeClaim {
    /// One text, joined with spaces (RFC 9068 §2.2.3).
    Scope,
    /// A list of texts.
    Scp,
}

impl ScopeClaim {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Scope, Self::Scp];

    /// The name of the claim.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scope => "scope",
            Self::Scp => "scp",
        }
    }
}

/// How the public list of revoked tokens names clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ListedClients {
    /// By the SHA-256 of the client id: the list does not reveal which clients exist.
    #[default]
    Hashed,
    /// By the client id, for verifiers that do not support hashes.
    Named,
}

/// Where the revocation status of a token comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RevocationKind {
    /// The sidecar's own issuer in process. For other issuers, the place that their metadata names:
    /// `revocation_list_uri` or `plgd_tokens_endpoint`. Without either, revocation is not checked.
    #[default]
    Auto,
    /// Revocation is not checked: a token is valid until it expires.
    None,
    /// The issuer's signed list.
    List,
    /// plgd's tokens endpoint, once per token.
    Plgd,
    /// The introspection endpoint (RFC 7662), once per token.
    Introspection,
}

/// The answer to a request when the revocation status of its token is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnFailure {
    /// The request gets 503.
    #[default]
    Refuse,
    /// The request passes, unless the last known status of its token is revoked, however old it is.
    /// Tokens without `exp` never pass this way.
    Accept,
}

/// How a token request names audiences. No standard defines it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AudienceParameter {
    /// `audience`, once for each audience.
    #[default]
    Audience,
    /// `aud`, once, with all audiences joined by spaces: for plgd's m2m-oauth-server, which ignores
    /// `audience` in a form.
    Aud,
}

/// Whether a service ignores upper and lower case in paths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum PathCase {
    /// Unknown: rules match exactly, and a path whose letter case could decide is refused.
    #[default]
    #[serde(skip)]
    Unset,
    /// `/Admin` is another path than `/admin`.
    Sensitive,
    /// `/Admin` is the path `/admin`: rules match both, as ASP.NET Core, IIS and Express do.
    Insensitive,
}

impl PathCase {
    /// How rules match.
    #[must_use]
    pub fn folding(self) -> Folding {
        match self {
            Self::Unset | Self::Sensitive => Folding::None,
            Self::Insensitive => Folding::Simple,
        }
    }

    /// How a server could read a path.
    #[must_use]
    pub fn widest(self) -> Folding {
        match self {
            Self::Unset | Self::Insensitive => Folding::Full,
            Self::Sensitive => Folding::None,
        }
    }
}

/// Whether a listener enforces its rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// Requests that fail a check are refused.
    #[default]
    Enforce,
    /// All requests pass. Requests that would be refused are logged and counted with the reason.
    Shadow,
}

/// How a listener treats CORS preflights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum CorsPreflight {
    /// They need a token like any other request.
    #[default]
    Authenticate,
    /// They pass if a rule matches the request that they announce.
    Pass,
}

/// Which requests share a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Per {
    /// The requests of one client.
    #[default]
    #[serde(rename = "client_id")]
    Client,
    /// The requests of one user.
    #[serde(rename = "sub")]
    Subject,
    /// The requests from one address; for IPv6, from one /64.
    #[serde(rename = "address")]
    Address,
    /// All requests of the listener.
    #[serde(rename = "listener")]
    Listener,
}

/// The format of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Encoding {
    /// Text for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Something that `/readyz` can wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Readiness {
    /// Every listener is up, and the sidecar is not shutting down.
    Listeners,
    /// The issuer's store answers.
    Store,
    /// Every authority has keys, and the revocation status of its tokens is known. Off by default:
    /// two sidecars that wait for each other would never become ready.
    Authorities,
    /// Every credential has a token. Each is then fetched at start.
    Credentials,
}

/// Whether a TLS client needs a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ClientCertificate {
    /// None is requested.
    #[default]
    None,
    /// A client may have none. A certificate that cannot be verified ends the handshake.
    Optional,
    /// A client without a valid certificate cannot connect.
    Required,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum TlsVersion {
    /// RFC 5246.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    Tls13,
}

impl TlsVersion {
    /// The number of the version.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }
    }
}

/// The form of the sidecar's own error responses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ErrorFormat {
    /// `error` and `error_description`, as OAuth clients read them.
    #[default]
    Oauth,
    /// Problem details (RFC 9457): `title`, `status` and `detail`.
    Problem,
    /// google.rpc.Status, as plgd and grpc-gateway respond: `code`, `message` and `details`.
    Status,
}

/// The switches of an inbound listener, which the proxy reads as they are written.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct InboundSettings {
    /// Whether the listener also answers the issuer's endpoints.
    pub issuer: bool,
    /// Whether the upstream gets the token itself.
    pub authorization: Authorization,
    /// Whether the upstream gets the client's `Host` header. If not, it gets its own name.
    pub preserve_host: bool,
    /// The form of error responses of the sidecar itself. The issuer's endpoints on the listener
    /// keep their own form.
    pub error_format: ErrorFormat,
    /// Whether `Cache-Control: private` is added to responses to requests that need a token, so
    /// that no shared cache stores them. Responses with `no-store` or `private` stay unchanged.
    pub private_cache: bool,
    /// Whether WebSockets, gRPC streams and other long responses end with their token: when it
    /// expires or is revoked, its key is withdrawn, or its client is disabled.
    pub streams: Streams,
}

impl Default for InboundSettings {
    fn default() -> Self {
        Self {
            issuer: false,
            authorization: Authorization::Keep,
            preserve_host: true,
            error_format: ErrorFormat::Oauth,
            private_cache: true,
            streams: Streams::EndWithToken,
        }
    }
}

/// Where the question of a proxy has the original request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OriginalRequest {
    /// In the headers `X-Forwarded-Method`, `X-Forwarded-Proto`, `X-Forwarded-Host` and
    /// `X-Forwarded-Uri`: Traefik ForwardAuth and Caddy `forward_auth`.
    Forwarded,
    /// In the headers `X-Original-Method` and `X-Original-URL`, a URL with scheme and host: nginx
    /// `auth_request`.
    Original,
    /// In the request line and `Host` of the question itself: Envoy's HTTP ext_authz.
    Request,
}

/// A place of a request where a token can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TokenLocation {
    /// `Authorization: Bearer`.
    Authorization,
    /// `Authorization: Basic`, with the token as user name or password: for git, pip and devices
    /// that support nothing else.
    Basic,
    /// The cookie `tokenCookie` of a request for a WebSocket. It needs `allowedOrigins`.
    WebsocketCookie,
    /// The subprotocol after `Bearer` in a request for a WebSocket: `Sec-WebSocket-Protocol:
    /// Bearer, TOKEN`.
    WebsocketSubprotocol,
}

/// Whether streams end with their token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Streams {
    /// They end within 5s.
    #[default]
    EndWithToken,
    /// They end when one side closes them.
    UntilClosed,
}

/// Whether the upstream gets the token itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Authorization {
    /// The `Authorization` header is forwarded.
    #[default]
    Keep,
    /// The header is removed.
    Strip,
}

/// The switches of an outbound listener, which the proxy reads as they are written.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct OutboundSettings {
    /// Whether the token replaces an existing header of this name in the request. If `false`, such
    /// a request is forwarded unchanged.
    pub overwrite: bool,
    /// Whether the upstream gets the name and scheme that the program called, in
    /// `X-Forwarded-Host`, `X-Forwarded-Proto` and `Forwarded`. Services need it if they write
    /// whole URLs into the bodies of their responses.
    pub forwarded_headers: bool,
}

impl Default for OutboundSettings {
    fn default() -> Self {
        Self {
            overwrite: true,
            forwarded_headers: false,
        }
    }
}
