//! The configuration as it is written.
//!
//! From these structs come the JSON Schema, the check of a file against it, and the reference
//! documentation: the comments are what operators read. Defaults stand here and nowhere else.

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
mod inbound;
mod issuer;
mod outbound;
mod revocation;

pub(super) use admin::Admin;
pub(super) use inbound::{
    Access, AmbiguousCharacter, Audiences, Authority, Authorization, ClaimValues, Inbound, Limits,
    Rule, Scalar, default_identity_headers,
};
pub(super) use issuer::{AudienceSettings, Client, Issuer, JwtPrivateKey};
pub(super) use outbound::{
    AuthMethod, Credential, ForwardProxy, LocalApi, Other, Outbound, Refusal, RotateSecret,
};
pub(super) use revocation::{FullRevocation, Revocation};

/// The JSON Schema of a configuration file.
pub(super) fn json_schema() -> Value {
    let mut schema = schemars::schema_for!(Root);
    RecursiveTransform(refuse_null).transform(&mut schema);
    schema.to_value()
}

/// `key:` without a value is refused for every key, so optional ones do not allow null either.
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

/// Everything that one process runs: any mix of the three roles, and what serves them.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "m2m-sidecar")]
#[expect(
    dead_code,
    reason = "read section by section; this struct is the shape of the whole"
)]
pub(super) struct Root {
    /// How logs are written.
    #[serde(default)]
    log: Log,
    /// Worker threads; 0: one per core, at most 4.
    #[serde(default)]
    #[schemars(range(max = 256))]
    threads: usize,
    /// How the process ends.
    #[serde(default)]
    shutdown: Shutdown,
    /// Directory for what the sidecar keeps beside the store, such as the admin token; made when it
    /// is needed, readable by its owner only.
    #[serde(default = "default_state_dir")]
    state_dir: FilePath,
    /// Where an issuer keeps its keys. Sidecars without issuer open no store.
    #[serde(default)]
    store: Store,
    /// Health and metrics; none when left out.
    probes: Option<Probes>,
    /// The management API; none when left out.
    admin: Option<Admin>,
    /// What `/readyz` waits for. `listeners` always counts: a sidecar that is ending is not ready.
    #[serde(default = "default_readiness")]
    readiness: Vec<Readiness>,
    /// The authorization server; none when left out.
    issuer: Option<Issuer>,
    /// The issuers whose tokens are trusted, by name.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "format": "name" }))]
    authorities: BTreeMap<String, Authority>,
    /// Reverse proxies that verify tokens in front of a service.
    #[serde(default)]
    inbound: Vec<Inbound>,
    /// How access tokens for other services are acquired, by name.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "format": "name" }))]
    credentials: BTreeMap<String, Credential>,
    /// Listeners that attach an access token to what passes.
    #[serde(default)]
    outbound: Vec<Outbound>,
    /// Hands access tokens to programs that attach them themselves; none when left out.
    local_api: Option<LocalApi>,
}

pub(super) fn default_readiness() -> Vec<Readiness> {
    vec![Readiness::Listeners, Readiness::Store]
}

pub(super) fn default_state_dir() -> FilePath {
    FilePath("./data".into())
}

/// How logs are written.
#[derive(Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Log {
    /// What is written: this level and those above it. Access and audit log are written at `info`.
    pub level: LogLevel,
    /// In which form.
    pub encoding: Encoding,
}

/// The level of a log line.
#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) enum LogLevel {
    /// What went wrong and needs someone.
    Error,
    /// What went wrong and was dealt with.
    Warn,
    /// What an operator wants to know, and one line per request.
    #[default]
    Info,
    /// What helps to find out why.
    Debug,
    /// Everything.
    Trace,
}

/// How the process ends.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Shutdown {
    /// How long the sidecar reports itself as not ready while it still serves.
    pub delay: GoDuration,
    /// How long requests may then take to end.
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

/// Where an issuer keeps its keys.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Store {
    /// `sqlite:PATH`, made when it does not exist, or `sqlite::memory:`.
    pub url: StoreUrl,
    /// A file with the key that private keys are encrypted with in the store, and kept tokens in
    /// `stateDir`: 32 random bytes as base64 or hex (`openssl rand -base64 32`). What lies in the
    /// store in plain text is encrypted at the next start; without this file they are lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption_key_file: Option<FilePath>,
    /// Whether the sidecar starts only with a store that is there already. Set it after the first
    /// start: a mistake in `url` then stops the start, instead of a new store with new signing
    /// keys.
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
    /// Where they are served, without authentication.
    pub listen: ListenAddress,
    /// How many client connections it holds.
    #[serde(default)]
    pub max_connections: MaxConnections,
    /// Values of `Host` by which `/metrics` may be called, against DNS rebinding; beside IP
    /// addresses, names without a dot, and names that public DNS does not have: those that end with
    /// `.svc`, `.local`, `.internal`, `.localhost` or `.test`.
    #[serde(default)]
    pub hosts: Vec<HostValue>,
}

/// How many client connections a listener holds. A new connection beyond that closes the longest
/// idle one: one that waits for a request's head, first of the address with the most connections.
/// When none is idle, the new connection gets 503 `too_many_connections`. A new connection whose
/// first byte does not come within 10s is closed.
#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct MaxConnections {
    /// At the same time. Left out: the listener's share of the descriptors (`ulimit -Hn`, of which
    /// the sidecar keeps a part for itself, the probes, the management API and upstreams); at most
    /// 16384, for the probes, the management API and the local API 64.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u32>,
    /// Of them from one address; of IPv6 addresses, from one /64. Left out: three quarters of
    /// `total`. It does not hold for `trustedProxies`, whose connections are those of many clients.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_address: Option<u32>,
}

/// A signature algorithm (RFC 7518 §3.1, RFC 8037 §3.1). Only asymmetric ones: nobody but the
/// issuer can sign.
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

/// How an https upstream is verified.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct UpstreamTls {
    /// Certificates (PEM) trusted instead of the platform's.
    pub ca_file: Option<FilePath>,
    /// The name its certificate must carry, when that is not the upstream's host.
    pub server_name: Option<ServerName>,
}

/// How long each step of a request to the upstream may take.
#[derive(Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Timeouts {
    /// How long connecting may take.
    pub connect: GoDuration,
    /// How long to wait for each next part of the answer.
    pub read: GoDuration,
    /// How long to wait until each next part of the request is taken.
    pub write: GoDuration,
    /// How long an idle connection is kept for another request. It must be less than the upstream
    /// keeps it: a request on a connection that the upstream is just closing may fail. An upstream
    /// that announces its time (`Keep-Alive: timeout=5`) is heeded.
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

/// How long fetches from an authority may take.
#[derive(Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct FetchTimeouts {
    /// How long the name's resolution, TCP and TLS may take together: 10ms to 1m.
    pub connect: GoDuration,
    /// How long a fetch may take, from its beginning to the last byte of the answer: 10ms to 1m.
    /// The metadata that a token request needs first counts as part of it.
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
