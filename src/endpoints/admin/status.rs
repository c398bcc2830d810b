//! `/status`: how the parts are doing.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::Admin;
use super::answer::json;
use super::openapi::Refused;
use crate::domain::clock::UnixTime;
use crate::token_source::{CredentialStatus, TokenSource};

/// Reads the state of the parts.
pub type StatusOf = Arc<dyn Fn() -> Status + Send + Sync>;

/// The state of the parts.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Status {
    /// The sidecar's version.
    pub version: &'static str,
    /// By name.
    pub credentials: Vec<Credential>,
    /// By name.
    pub authorities: Vec<Authority>,
    /// In the order of their start.
    pub listeners: Vec<Listener>,
}

/// The state of a credential, without its token.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Credential {
    name: String,
    /// Whether there is a token that can be attached now.
    has_token: bool,
    /// When the newest token expires, or has expired; null: there was none yet.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// When the newest token arrived; null: none has, since the start.
    #[schema(format = DateTime)]
    last_refresh: Option<String>,
    /// Why the last try that failed did, with the URL that was asked and the message of a
    /// google.rpc.Status (escaped, cut, and left out when it repeats what was sent); null: none
    /// has.
    last_error: Option<String>,
    /// The same as a code: the `result` of the metric `m2m_token_fetch_total`.
    last_error_code: Option<&'static str>,
    /// When that was. Before `last_refresh`: it is over.
    #[schema(format = DateTime)]
    last_error_at: Option<String>,
    /// How many tokens have arrived since the start.
    fetches: u64,
    /// How many tries have failed since the start.
    failures: u64,
    /// By how many seconds the authority's clock is ahead of ours, negative: behind; null: it has
    /// not said.
    clock_skew_seconds: Option<i64>,
    /// The file that gets its tokens; null: none does.
    sink: Option<SinkState>,
    /// The proxy on the way to the authority; null: there is none.
    egress_proxy: Option<String>,
}

/// The state of a file that gets the tokens of a credential.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SinkState {
    /// Its path.
    path: String,
    /// When it was last written; null: it was not, since the start.
    #[schema(format = DateTime)]
    written_at: Option<String>,
    /// Why it could not be written the last time; null: it could.
    last_error: Option<String>,
}

/// The state of an authority.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Authority {
    /// Its name.
    pub name: String,
    /// Whether there are keys that can be used.
    pub has_keys: bool,
    /// How many keys there are that can be used.
    pub keys: usize,
    /// The keys of its set that are not used.
    pub keys_left_out: Vec<KeyLeftOut>,
    /// How many keys of its set were not read: those beyond the first 256.
    pub keys_unread: usize,
    /// How old they are; null: there are none, or they are read in process.
    pub keys_age_seconds: Option<u64>,
    /// Why the keys could not be fetched the last time; null: they could.
    pub last_error: Option<String>,
    /// Its tenants; null: it has none. The other members are about all of them.
    pub tenants: Option<Tenants>,
    /// Tokens that were refused because their `iss` differs from its issuer by slashes only; null:
    /// there were none.
    pub refused_issuer: Option<RefusedIssuer>,
    /// By how many seconds its clock is ahead of ours, negative: behind; null: it has not said.
    pub clock_skew_seconds: Option<i64>,
    /// How the revocation of its tokens is checked.
    pub revocation: Revocation,
    /// The proxy on the way to its metadata and keys; null: there is none.
    pub egress_proxy: Option<String>,
    /// The introspection of its opaque tokens; null: it is not configured.
    pub introspection: Option<Introspection>,
}

/// The tenants of an authority.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Tenants {
    /// How many are allowed.
    pub allowed: usize,
    /// How many of them have sent a token, so that their keys are fetched.
    pub used: usize,
    /// Those of them without keys that can be used, at most 20.
    pub without_keys: Vec<String>,
}

/// The introspection of an authority's opaque tokens.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Introspection {
    /// The endpoint, without user, password and query.
    pub endpoint: String,
    /// Why the last question had no answer; null: it had one.
    pub last_error: Option<String>,
    /// How many active tokens are known, about.
    pub known_tokens: u64,
}

/// Tokens that were refused because their `iss` differs from an authority's issuer by slashes only.
/// `profile: plgd` takes them.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RefusedIssuer {
    /// The `iss` of the last one.
    pub iss: String,
    /// How many there were since the start. Their signature was not looked at: anyone can send such
    /// a token.
    pub tokens: u64,
}

/// A key of an authority's set that is not used.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct KeyLeftOut {
    /// Its place in the set, and its `kid`.
    pub key: String,
    /// Why it is not used.
    pub why: String,
}

/// How the revocation of an authority's tokens is checked.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Revocation {
    /// `none`, `own`, `list`, `plgd`, `introspection`, or `unknown` as long as the authority's
    /// metadata was not read.
    pub method: &'static str,
    /// The same for people: the endpoint that is asked, or why none is.
    pub description: String,
    /// How old the list of revoked tokens is; null: there is no list.
    pub age_seconds: Option<u64>,
    /// The greatest age of known data while the authority does not answer. Beyond it requests are
    /// refused with 503, unless `onFailure` says otherwise.
    pub max_stale_seconds: u64,
}

/// A listener.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: String,
    /// Its TLS; null: it is plain.
    pub tls: Option<ListenerTls>,
    /// The proxy on the way to its upstreams; null: there is none.
    pub egress_proxy: Option<String>,
    /// Its upstreams whose TLS has files (`caFile`, `certFile`).
    pub upstreams: Vec<UpstreamTls>,
}

/// The TLS towards an upstream.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct UpstreamTls {
    /// The upstream.
    pub url: String,
    /// The client certificate; empty: there is none.
    pub certificates: Vec<Certificate>,
    /// The problems of changed files, whose old content is in use; empty: there are none.
    pub errors: Vec<String>,
}

/// The TLS of a listener.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ListenerTls {
    /// Its certificates, and the list of revoked client certificates as `clientCrlFile`.
    pub certificates: Vec<Certificate>,
    /// The problems of changed files, whose old content is in use; empty: there are none.
    pub errors: Vec<String>,
}

/// A certificate, or a list of revoked ones.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Certificate {
    /// Its first name.
    pub name: String,
    /// When it expires.
    #[schema(format = DateTime)]
    pub not_after: Option<String>,
}

impl From<&TokenSource> for Credential {
    fn from(source: &TokenSource) -> Self {
        let CredentialStatus {
            expires_at,
            last_refresh,
            last_error,
            last_error_text,
            last_error_at,
            fetches,
            failures,
            clock_skew,
            sink_written_at,
            sink_error,
        } = source.status();
        let shown = |at: Option<UnixTime>| at.and_then(UnixTime::to_rfc3339);
        let sink = source.config().sink.as_ref().map(|sink| SinkState {
            path: sink.path.display().to_string(),
            written_at: shown(sink_written_at),
            last_error: sink_error.map(|error| error.to_string()),
        });
        Self {
            name: source.name().to_owned(),
            has_token: source.current().is_some(),
            expires_at: shown(expires_at),
            last_refresh: shown(last_refresh),
            last_error: last_error_text.map(|text| text.to_string()),
            last_error_code: last_error.map(|error| error.code()),
            last_error_at: shown(last_error_at),
            fetches,
            failures,
            clock_skew_seconds: clock_skew,
            sink,
            egress_proxy: source.config().proxy().map(ToString::to_string),
        }
    }
}

/// How the parts are doing: credentials, authorities, listeners
#[utoipa::path(
    get, path = "/status", operation_id = "status", tag = "status",
    responses((status = 200, description = "As of this moment", body = Status), Refused)
)]
pub(super) async fn show(State(admin): State<Admin>) -> Response {
    json(StatusCode::OK, &(admin.status)())
}
