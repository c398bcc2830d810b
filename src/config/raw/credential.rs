//! Credentials, as the file has them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Algorithm, FetchTimeouts, Login, OwnEgressProxy, Sink, Throttle};
use crate::config::address::{HttpUrl, IssuerUrl};
use crate::config::name::{Audience, ClientId, ExtraParameter, KeyId, Resource, Scope};
use crate::config::value::{FilePath, GoDuration, Percent};
use crate::domain::oauth::CredentialGrant;
use crate::domain::settings::AudienceParameter;

/// The settings to acquire access tokens for another service.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Credential {
    /// The issuer whose metadata names the token endpoint. Set one of `authority`, `tokenUrl`,
    /// `tokenFile` and `login`.
    pub authority: Option<IssuerUrl>,
    /// The URL of the token endpoint.
    pub token_url: Option<HttpUrl>,
    /// A file with a token that another program keeps fresh: a Kubernetes service account token, a
    /// SPIFFE JWT-SVID or an API key. White space around it is not part of it. A changed file takes
    /// effect within a second. The `exp` of a JWT is respected: an expired token is never sent. The
    /// other keys of the credential are `localApi`,
    /// `prefetch`, `sink` and `throttle`.
    pub token_file: Option<FilePath>,
    /// A token from an endpoint that is not OAuth. The other keys of the credential are `caFile`,
    /// `timeouts`, `egressProxy`, `refreshAt`, `prefetch`, `keepToken`, `localApi`, `sink` and
    /// `throttle`.
    pub login: Option<Login>,
    /// The client id of this sidecar at the authority. Required with `authority` and `tokenUrl`.
    #[serde(rename = "clientID")]
    pub client_id: Option<ClientId>,
    /// How tokens are requested. With `tokenExchange`, each caller's own bearer token is replaced
    /// by one that the authority gives in exchange for it.
    #[serde(default)]
    pub grant: CredentialGrant,
    /// The authentication method at the token endpoint.
    #[serde(default)]
    pub auth_method: AuthMethod,
    /// A file with the client secret: one line, whose line ending (LF or CRLF) is not part of the
    /// secret. A changed file takes effect at once.
    pub client_secret_file: Option<FilePath>,
    /// `private_key_jwt`: a file with the private key (PEM) that signs the assertions. A changed
    /// file takes effect at once.
    pub private_key_file: Option<FilePath>,
    /// `private_key_jwt`: the `kid` of the assertions. Default: none.
    #[serde(rename = "keyID")]
    pub key_id: Option<KeyId>,
    /// `private_key_jwt`: the algorithm of the assertions. Default: ES256, ES384, EdDSA or RS256,
    /// depending on the key.
    pub algorithm: Option<Algorithm>,
    /// `private_key_jwt`: the `aud` of the assertions. Default: the authority's issuer, or the URL
    /// of `tokenUrl`.
    pub assertion_audience: Option<Audience>,
    /// `private_key_jwt`: a file with an assertion (JWT) that another program signs and refreshes,
    /// such as a Kubernetes service account token. It replaces `privateKeyFile`. `spiffe_jwt`: a
    /// file with a JWT-SVID. Both are read for every token request.
    pub assertion_file: Option<FilePath>,
    /// `tls_client_auth`: a file with the client certificate and its chain (PEM). A changed file
    /// takes effect at once. If the authority binds its tokens to the certificate (RFC 8705 §3), an
    /// outbound listener must show the same one: `upstreamTls.certFile`.
    pub cert_file: Option<FilePath>,
    /// `tls_client_auth`: a file with the private key of the certificate (PEM).
    pub key_file: Option<FilePath>,
    /// DPoP (RFC 9449): the tokens are bound to a key of this credential, and each request has a
    /// proof of that key. The key is made at each start and never stored, so that `keepToken` is
    /// not possible. Outbound listeners send `Authorization: DPoP` and a proof; `localApi` cannot.
    #[serde(default)]
    pub dpop: CredentialDpop,
    /// Certificates (PEM) that are trusted for the authority in addition to those of the platform.
    pub ca_file: Option<FilePath>,
    /// The timeouts of a token request. Requests that wait for a token wait at most this long.
    #[serde(default)]
    pub timeouts: FetchTimeouts,
    /// The proxy for token requests: `shared` (that of the top level), `none`, or another one.
    #[schemars(extend("default" = "shared"))]
    pub egress_proxy: Option<OwnEgressProxy>,
    /// The scopes to request. If empty, the parameter is omitted.
    #[serde(default)]
    pub scopes: Vec<Scope>,
    /// The audiences to request, in `audienceParameter`.
    #[serde(default)]
    pub audiences: Vec<Audience>,
    /// The parameter of the token request that names `audiences`.
    #[serde(default)]
    pub audience_parameter: AudienceParameter,
    /// The resources to request (RFC 8707), in one `resource` parameter each.
    #[serde(default)]
    pub resource: Vec<Resource>,
    /// Additional parameters of the token request.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "format": "extra-parameter" }))]
    pub extra_parameters: BTreeMap<ExtraParameter, String>,
    /// The share of a token's lifetime after which it is refreshed: 10% to 95%.
    #[serde(default = "default_refresh_at")]
    pub refresh_at: Percent,
    /// Whether the first token is fetched at start instead of on first use.
    #[serde(default)]
    pub prefetch: bool,
    /// Whether the token is kept across a restart: in `stateDir`, encrypted with the key of
    /// `store.encryptionKeyFile`.
    #[serde(default)]
    pub keep_token: bool,
    /// Whether `localApi` may give the token itself to programs on this machine.
    #[serde(default)]
    pub local_api: bool,
    /// A file with the current token, for programs that read it there. Default: none.
    pub sink: Option<Sink>,
    /// A quota of calls with the token, on all outbound listeners together. Default: unlimited.
    pub throttle: Option<Throttle>,
    /// The automatic renewal of the secret, if the issuer is also an m2m-sidecar. Default:
    /// disabled.
    pub rotate_secret: Option<RotateSecret>,
}

/// The automatic renewal of the secret. The sidecar creates a new secret at the issuer's management
/// API, tries it, and writes it to `clientSecretFile`. Only then are the old secrets removed.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct RotateSecret {
    /// The URL of the issuer's management API.
    pub admin: HttpUrl,
    /// A file with the token of that API.
    pub admin_token_file: FilePath,
    /// The maximum age of the secret's file: 1h to 366d.
    #[serde(default = "default_rotation")]
    pub every: GoDuration,
    /// How long the old secrets stay valid for other users of them: 0s to 30d.
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

/// Whether tokens are bound by DPoP.
#[derive(Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub(in crate::config) enum CredentialDpop {
    /// `true`: with a key for ES256.
    Switch(bool),
    /// With a key for this algorithm.
    With(DpopKey),
}

/// The key of DPoP proofs.
#[derive(Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct DpopKey {
    /// The algorithm of the proofs: `ES256`, `ES384` or `EdDSA`.
    #[serde(default)]
    pub algorithm: Algorithm,
}

impl Default for CredentialDpop {
    fn default() -> Self {
        Self::Switch(false)
    }
}

/// The authentication method at a token endpoint.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum AuthMethod {
    /// Id and secret in the `Authorization` header, form-encoded (RFC 6749 §2.3.1).
    #[default]
    ClientSecretBasic,
    /// The same without the encoding, for servers that do not decode it, such as plgd's
    /// m2m-oauth-server. The client id must not contain a colon.
    ClientSecretBasicRaw,
    /// Id and secret in the form.
    ClientSecretPost,
    /// A signed assertion (RFC 7523), signed by the sidecar or read from a file.
    PrivateKeyJwt,
    /// A SPIFFE JWT-SVID from `assertionFile`, sent as `client-assertion-type:jwt-spiffe`.
    SpiffeJwt,
    /// A client certificate of an authority (RFC 8705 §2.1).
    TlsClientAuth,
    /// A self-signed client certificate whose key is registered (RFC 8705 §2.2).
    SelfSignedTlsClientAuth,
}
