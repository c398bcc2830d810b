//! The configuration as the file has it.
//!
//! The JSON Schema, the check of a file and docs/configuration.md are generated from these structs,
//! so operators read these comments. Defaults are defined here only.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use schemars::transform::{RecursiveTransform, Transform};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::address::ListenAddress;
use crate::config::name::{HostValue, ServerName};
use crate::config::value::{FilePath, GoDuration, StoreUrl};
use crate::domain::settings::{Encoding, Readiness};

mod admin;
mod authority;
mod cors;
mod credential;
mod decisions;
mod egress;
mod exchange;
mod inbound;
mod introspection;
mod issuer;
mod login;
mod max_connections;
mod outbound;
mod revocation;
mod tls;
mod token_use;
mod websocket;

pub(super) use admin::Admin;
pub(super) use authority::Authority;
pub(super) use cors::Cors;
pub(super) use credential::{AuthMethod, Credential, CredentialDpop, RotateSecret};
pub(super) use decisions::Decisions;
pub(super) use egress::{EgressProxy, EgressWord, OwnEgressProxy, OwnEgressWord, Proxy};
pub(super) use exchange::{ExchangedTokens, TokenExchange};
pub(super) use inbound::{
    Access, AmbiguousCharacter, Audiences, ClaimValues, ClientPauses, Inbound, Limits,
    NamedUpstream, Rule, Scalar, default_identity_headers,
};
pub(super) use introspection::Introspection;
pub(super) use issuer::{
    AudienceSettings, Client, Federated, Issuer, JwtPrivateKey, Signing, TlsClientAuth,
};
pub(super) use login::{Login, LoginBody, LoginMethod, LoginValue};
pub(super) use max_connections::MaxConnections;
pub(super) use outbound::{ForwardProxy, LocalApi, Other, Outbound, ProgramPauses, Refusal};
pub(super) use revocation::{FullRevocation, Revocation};
pub(super) use tls::ServerTls;
pub(super) use token_use::{Sink, Throttle};
pub(super) use websocket::{InCookie, Placed, UpstreamAuthorization};

/// The JSON Schema of a configuration file.
pub(super) fn json_schema() -> Value {
    let mut schema = schemars::schema_for!(Root);
    RecursiveTransform(refuse_null).transform(&mut schema);
    schema.to_value()
}

/// A key without a value is refused, so optional keys do not allow null either.
fn refuse_null(schema: &mut schemars::Schema) {
    let is_null = |value: &Value| {
        value.is_null() || *value == "null" || value.get("type") == Some(&"null".into())
    };
    for keyword in ["type", "enum", "anyOf"] {
        let Some(Value::Array(variants)) = schema.get_mut(keyword) else {
            continue;
        };
        variants.retain(|variant| !is_null(variant));
        let [only] = variants.as_mut_slice() else {
            continue;
        };
        let only = only.take();
        match (keyword, only) {
            ("anyOf", Value::Object(members)) => {
                schema.remove("anyOf");
                for (name, value) in members {
                    schema.insert(name, value);
                }
            }
            ("enum", only) => {
                schema.insert(keyword.to_owned(), Value::Array(vec![only]));
            }
            (_, only) => {
                schema.insert(keyword.to_owned(), only);
            }
        }
    }
}

/// The configuration of one process: any mix of the three roles, and the endpoints that serve them.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "m2m-sidecar")]
#[expect(
    dead_code,
    reason = "read section by section; this struct is the shape of the whole"
)]
pub(super) struct Root {
    /// The format and level of logs.
    #[serde(default)]
    log: Log,
    /// The number of worker threads. 0: one per core, at most 4.
    #[serde(default)]
    #[schemars(range(max = 256))]
    threads: usize,
    /// The time limits of a shutdown.
    #[serde(default)]
    shutdown: Shutdown,
    /// The directory for state outside the store, such as the admin token. It is created when
    /// needed, readable by its owner only.
    #[serde(default = "default_state_dir")]
    state_dir: FilePath,
    /// The store of an issuer's keys. Sidecars without an issuer open no store.
    #[serde(default)]
    store: Store,
    /// Health and metrics. Default: disabled.
    probes: Option<Probes>,
    /// The management API. Default: disabled.
    admin: Option<Admin>,
    /// The proxy for requests to authorities: for keys, metadata, tokens, introspection and
    /// revocation. Requests to upstreams use it only where a listener says so. A proxy of the
    /// environment is ignored if it is one of this sidecar's own listeners.
    #[schemars(extend("default" = "environment"))]
    egress_proxy: Option<EgressProxy>,
    /// The conditions of `/readyz`. `listeners` always applies: a sidecar that shuts down is not
    /// ready.
    #[serde(default = "default_readiness")]
    readiness: Vec<Readiness>,
    /// The authorization server. Default: disabled.
    issuer: Option<Issuer>,
    /// The issuers whose tokens are trusted, by name.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "format": "name" }))]
    authorities: BTreeMap<String, Authority>,
    /// Reverse proxies that verify tokens in front of a service.
    #[serde(default)]
    inbound: Vec<Inbound>,
    /// Listeners that decide for a proxy which forwards requests itself.
    #[serde(default)]
    decisions: Vec<Decisions>,
    /// The credentials for access tokens of other services, by name.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "format": "name" }))]
    credentials: BTreeMap<String, Credential>,
    /// Listeners that attach an access token to forwarded requests.
    #[serde(default)]
    outbound: Vec<Outbound>,
    /// An API that gives access tokens to programs that attach them themselves. Default: disabled.
    local_api: Option<LocalApi>,
}

pub(super) fn default_readiness() -> Vec<Readiness> {
    vec![Readiness::Listeners, Readiness::Store]
}

pub(super) fn default_state_dir() -> FilePath {
    FilePath("./data".into())
}

/// The format and level of logs.
#[derive(Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Log {
    /// The lowest level that is logged. Access and audit log are written at `info`.
    pub level: LogLevel,
    /// The format of a log line.
    pub encoding: Encoding,
}

/// The level of a log line.
#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) enum LogLevel {
    /// Failures that need attention.
    Error,
    /// Failures that were handled.
    Warn,
    /// Operational events, and one line per request.
    #[default]
    Info,
    /// Details for troubleshooting.
    Debug,
    /// Everything.
    Trace,
}

/// The time limits of a shutdown.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Shutdown {
    /// How long the sidecar reports itself as not ready while it still serves.
    pub delay: GoDuration,
    /// How long requests in progress may then take.
    pub grace_period: GoDuration,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            delay: seconds(0),
            grace_period: seconds(30),
        }
    }
}

/// The store of an issuer's keys.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Store {
    /// `sqlite:PATH`, which is created if it does not exist, or `sqlite::memory:`.
    pub url: StoreUrl,
    /// A file with the key that encrypts private keys in the store and tokens in `stateDir`: 32
    /// random bytes as base64 or hex (`openssl rand -base64 32`). Keys that the store holds in
    /// plain text are encrypted at the next start. Without this file, encrypted keys are lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption_key_file: Option<FilePath>,
    /// Whether the store must exist at start. Set it after the first start: a mistake in `url` then
    /// stops the start instead of creating a new store with new signing keys.
    pub must_exist: bool,
}

impl Default for Store {
    fn default() -> Self {
        let url = StoreUrl(crate::store::Config::SqliteFile("./data/m2m.db".into()));
        Self {
            url,
            encryption_key_file: None,
            must_exist: false,
        }
    }
}

/// Health and metrics: `/livez`, `/readyz`, `/metrics`.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Probes {
    /// The address of these endpoints, which need no authentication. Or `unix:/path` as for
    /// `inbound`.
    pub listen: ListenAddress,
    /// TLS of the listener. Default: plain HTTP.
    pub tls: Option<ServerTls>,
    /// The limits on client connections.
    #[serde(default)]
    pub max_connections: MaxConnections,
    /// Additional `Host` values for `/metrics`, as a defence against DNS rebinding. Always accepted
    /// are IP addresses, names without a dot, and names that public DNS does not have. These end
    /// with `.svc`, `.local`, `.internal`, `.localhost` or `.test`.
    #[serde(default)]
    pub hosts: Vec<HostValue>,
}

/// A signature algorithm (RFC 7518 §3.1, RFC 8037 §3.1). Only asymmetric algorithms are supported,
/// so that only the issuer can sign.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
pub(super) enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    #[default]
    ES256,
    /// ECDSA on P-384 with SHA-384.
    ES384,
    /// RSA PKCS#1 v1.5 with SHA-256.
    RS256,
    /// RSA PKCS#1 v1.5 with SHA-384.
    RS384,
    /// RSA PKCS#1 v1.5 with SHA-512.
    RS512,
    /// RSA PSS with SHA-256.
    PS256,
    /// RSA PSS with SHA-384.
    PS384,
    /// RSA PSS with SHA-512.
    PS512,
    /// Ed25519.
    EdDSA,
}

impl From<LogLevel> for tracing::Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

impl From<Algorithm> for crate::jose::Algorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::ES256 => Self::ES256,
            Algorithm::ES384 => Self::ES384,
            Algorithm::RS256 => Self::RS256,
            Algorithm::RS384 => Self::RS384,
            Algorithm::RS512 => Self::RS512,
            Algorithm::PS256 => Self::PS256,
            Algorithm::PS384 => Self::PS384,
            Algorithm::PS512 => Self::PS512,
            Algorithm::EdDSA => Self::EdDSA,
        }
    }
}

fn yes() -> bool {
    true
}

/// The TLS of an https upstream.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct UpstreamTls {
    /// Certificates (PEM) that are trusted instead of those of the platform. A changed file is used
    /// for new connections.
    pub ca_file: Option<FilePath>,
    /// The client certificate (PEM) for an upstream that demands one, with those of the authorities
    /// between it and the one that the upstream trusts. A changed pair of `certFile` and `keyFile`
    /// is used for new connections.
    pub cert_file: Option<FilePath>,
    /// The private key (PEM) of `certFile`.
    pub key_file: Option<FilePath>,
    /// The name that the upstream's certificate must have, and that it is asked for (SNI). Default:
    /// the upstream's host.
    pub server_name: Option<ServerName>,
}

/// The timeouts for each step of a request to the upstream.
#[derive(Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Timeouts {
    /// The maximum time to connect.
    pub connect: GoDuration,
    /// The maximum wait for each next part of the response.
    pub read: GoDuration,
    /// The maximum wait until the upstream takes each next part of the request.
    pub write: GoDuration,
    /// How long an idle connection is kept for another request. Choose it shorter than the upstream
    /// does: a request fails on a connection that the upstream closes at that moment. If the
    /// upstream announces its time (`Keep-Alive: timeout=5`), that is respected.
    pub idle: GoDuration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: seconds(2),
            read: seconds(60),
            write: seconds(30),
            idle: seconds(25),
        }
    }
}

/// The timeouts of requests to an authority.
#[derive(Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct FetchTimeouts {
    /// The maximum time for name resolution, TCP and TLS together: 10ms to 1m.
    pub connect: GoDuration,
    /// The maximum time of a request, from its beginning to the last byte of the answer: 10ms to
    /// 1m. It includes the metadata that a token request needs first.
    pub total: GoDuration,
}

impl Default for FetchTimeouts {
    fn default() -> Self {
        Self {
            connect: seconds(3),
            total: seconds(15),
        }
    }
}

fn default_keep_alive() -> GoDuration {
    seconds(75)
}

fn seconds(seconds: u64) -> GoDuration {
    GoDuration(std::time::Duration::from_secs(seconds))
}
