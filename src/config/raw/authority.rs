//! Authorities, as the file has them.

use schemars::JsonSchema;
use serde::Deserialize;

use super::OwnEgressProxy;
use super::introspection::Introspection;
use super::revocation::Revocation;
use super::{Algorithm, FetchTimeouts, seconds, yes};
use crate::config::address::HttpUrl;
use crate::config::name::{ClaimName, Tenant};
use crate::config::value::{FilePath, GoDuration, Size};
use crate::domain::settings::Profile;
use crate::verifier::CLIENT_ID_CLAIMS;

/// An issuer whose tokens are trusted.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Authority {
    /// The `iss` of its tokens, compared exactly, including a slash at the end. With `profile:
    /// plgd`, slashes at the end do not matter. Its keys are found by discovery; the keys of the
    /// sidecar's own issuer are read in process. A SPIFFE trust domain is `spiffe://example.org`:
    /// its tokens are JWT-SVIDs, whose `sub` is in the trust domain, and its keys are a bundle.
    pub issuer: String,
    /// The allowed tenants, if `{tenant}` stands for one in `issuer`, as in
    /// `https://login.example/{tenant}/v2.0`. Each is compared exactly, and with the claim `tid`.
    /// The keys of a tenant are found by discovery when its first token arrives.
    #[schemars(length(min = 1, max = 2000))]
    pub tenants: Option<Vec<Tenant>>,
    /// The URL of its key set, on any host. It replaces discovery. For SPIFFE, the bundle endpoint
    /// (profile `https_web`).
    pub jwks_uri: Option<HttpUrl>,
    /// A file with its key set. It replaces discovery. A changed file takes effect within seconds.
    /// For SPIFFE, a bundle, or the JWT bundles that spiffe-helper writes.
    pub jwks_file: Option<FilePath>,
    /// A file with a bearer token for the request of its keys, such as the service account token
    /// that Kubernetes' API server wants. It is read for each request, and sent over https only, to
    /// the origin of `jwksUri` or, without it, of `issuer`.
    pub key_token_file: Option<FilePath>,
    /// Certificates (PEM) that are trusted for its URLs in addition to those of the platform.
    pub ca_file: Option<FilePath>,
    /// The timeouts for fetching its metadata, keys and revocation list.
    #[serde(default)]
    pub timeouts: FetchTimeouts,
    /// The proxy for these requests: `shared` (that of the top level), `none`, or another one.
    #[schemars(extend("default" = "shared"))]
    pub egress_proxy: Option<OwnEgressProxy>,
    /// The algorithms that its keys may use. Default: all supported ones.
    #[schemars(length(min = 1))]
    pub algorithms: Option<Vec<Algorithm>>,
    /// The accepted difference between its clock and ours, at most 10m.
    #[serde(default = "default_clock_skew")]
    pub clock_skew: GoDuration,
    /// How long the last valid keys are used while none can be fetched: 1m to 366d.
    #[serde(default = "default_max_stale")]
    pub max_stale: GoDuration,
    /// The revocation check of its tokens: a word, or a mapping with settings.
    #[schemars(extend("default" = "auto"))]
    pub revocation: Option<Revocation>,
    /// The introspection of its opaque tokens, which inbound listeners and `decisions` then accept.
    pub introspection: Option<Introspection>,
    /// The claims that can name the client of a token. The first one that the token has is used in
    /// limits, logs and usage. A dotted name selects a member of an object.
    #[serde(rename = "clientIDClaims", default = "default_client_id_claims")]
    #[schemars(length(min = 1))]
    pub client_id_claims: Vec<ClaimName>,
    /// Whether tokens without `exp` are refused. `false` is for plgd's tokens that never expire.
    /// Such a token is cached for at most 30s, and needs a revocation check or an explicit
    /// `revocation: none`.
    #[serde(default = "yes")]
    pub require_expiry: bool,
    /// The longest time that a token may still be valid for: 1m to 3650d. A token whose `exp` is
    /// further away is refused, with a tolerance of `clockSkew`. Default: no limit.
    pub max_token_lifetime: Option<GoDuration>,
    /// The format of its tokens. `plgd`: an `aud` of several audiences joined by spaces is split.
    /// Issuers are the same if they differ only by slashes at the end or in a row, in `iss` and in
    /// the metadata.
    #[serde(default)]
    pub profile: Profile,
    /// The maximum size of its tokens, as bearer tokens and as assertions: 1KiB to 64KiB. Default:
    /// 8KiB, 32KiB with `profile: plgd`, and `issuer.maxTokenSize` for the sidecar's own issuer. A
    /// listener accepts request heads of 32KiB. If a token can exceed 8KiB, it accepts 24KiB in
    /// addition to the longest token.
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
