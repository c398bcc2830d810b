//! Credentials and outbound listeners, as they are written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Timeouts, UpstreamTls, yes};
use crate::config::address::{HttpUrl, IssuerUrl, ListenAddress, UpstreamUrl};
use crate::config::name::{
    Audience, ClientId, ExtraParameter, HeaderPrefix, HostValue, Name, Resource, Scope, TokenHeader,
};
use crate::config::value::{FilePath, Percent};

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
    /// A file that holds the client's secret; one newline at its end is not part of it.
    pub client_secret_file: FilePath,
    /// How the client authenticates at the token endpoint.
    #[serde(default)]
    pub auth_method: AuthMethod,
    /// The scopes to ask for; the parameter is left out when there are none.
    #[serde(default)]
    pub scopes: Vec<Scope>,
    /// The audiences to ask for, one `audience` parameter each.
    #[serde(default)]
    pub audiences: Vec<Audience>,
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
}

fn default_refresh_at() -> Percent {
    Percent(0.75)
}

/// How we authenticate at a token endpoint.
#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum AuthMethod {
    /// Id and secret in the `Authorization` header.
    #[default]
    ClientSecretBasic,
    /// Id and secret in the form.
    ClientSecretPost,
}

/// A listener that attaches an access token to what passes.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Outbound {
    /// The listener's name, a metrics label.
    pub name: Name,
    /// Where it listens: on loopback, unless `allowRemote`. Port 0 takes a free one.
    pub listen: ListenAddress,
    /// Where requests go: `http://` or `https://`, host and port.
    pub upstream: UpstreamUrl,
    /// How an https upstream is verified.
    pub upstream_tls: Option<UpstreamTls>,
    /// Name of the credential whose token is attached.
    pub credential: Name,
    /// The header that carries the token.
    #[serde(default = "default_header")]
    pub header: TokenHeader,
    /// What stands before the token in it.
    #[serde(default = "default_prefix")]
    pub prefix: HeaderPrefix,
    /// Whether such a header of the request's own is replaced; `false`: the request then passes as it is.
    #[serde(default = "yes")]
    pub overwrite: bool,
    /// Whether the upstream gets the client's `Host`; otherwise its own name.
    #[serde(default)]
    pub preserve_host: bool,
    /// Values of `Host` that are accepted beside IP addresses, `localhost` and the upstream's.
    #[serde(default)]
    pub hosts: Vec<HostValue>,
    /// Whether the listener may be open to other machines. Whoever reaches it acts with the credential.
    #[serde(default)]
    pub allow_remote: bool,
    /// How long each step of a request to the upstream may take.
    #[serde(default)]
    pub upstream_timeouts: Timeouts,
}

fn default_header() -> TokenHeader {
    TokenHeader(http::header::AUTHORIZATION)
}

fn default_prefix() -> HeaderPrefix {
    HeaderPrefix("Bearer ".to_owned())
}
