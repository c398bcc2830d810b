//! The issuer, as the file has it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Algorithm, ClaimValues, MaxConnections, ServerTls, TokenExchange, default_keep_alive, seconds,
};
use crate::config::address::{HttpUrl, IssuerUrl, ListenAddress, Network};
use crate::config::name::{Audience, ClaimName, ClaimValue, ClientId, Name, Scope, ServerName};
use crate::config::value::{FilePath, GoDuration, Size, Timestamp};
use crate::domain::assertion_audiences::AssertionAudiences;
use crate::domain::oauth::GrantType;
use crate::domain::settings::{ListedClients, Profile, ScopeClaim, TokenType};

/// The authorization server.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Issuer {
    /// The `iss` claim, exactly as written here. The path of the URL is the base path of the
    /// endpoints.
    pub url: IssuerUrl,
    /// The issuer's own listener. Optional if an inbound listener has `issuer: true`. Or
    /// `unix:/path`, as for `inbound`.
    pub listen: Option<ListenAddress>,
    /// TLS of its own listener. Default: plain HTTP.
    pub tls: Option<ServerTls>,
    /// How long an idle client connection of its own listener stays open for another request: 1s to
    /// 1h, in whole seconds. Responses announce it (`Keep-Alive: timeout=75`).
    #[serde(default = "default_keep_alive")]
    pub keep_alive: GoDuration,
    /// The limits on client connections of its own listener.
    #[serde(default)]
    pub max_connections: MaxConnections,
    /// The format of tokens and answers. `plgd` follows plgd's M2M server, including its tokens
    /// API.
    #[serde(default)]
    pub profile: Profile,
    /// The claim that carries a client's owner. Default: `owner`, and `sub` in the plgd profile.
    pub owner_claim: Option<ClaimName>,
    /// The claim that names a device. plgd profile: it is copied from an assertion into the token.
    /// Clients with `allowDeviceId` choose its value by a parameter of this name.
    #[serde(default, rename = "deviceIDClaim")]
    pub device_id_claim: String,
    /// plgd profile: the names of the authorities whose users may list and revoke their tokens. The
    /// issuer's own tokens may always read their own entry.
    #[serde(default = "default_authorities")]
    pub authorities: Vec<Name>,
    /// The lifetime of access tokens: 1s to 24h. A client's own value may be longer. plgd profile:
    /// `0s` means that tokens never expire.
    #[serde(default = "default_access_token_lifetime")]
    pub access_token_lifetime: GoDuration,
    /// The `typ` header of access tokens. Default: `at+jwt` (RFC 9068 §2.1), and `JWT` in the plgd
    /// profile. Some verifiers accept only `JWT`, for example Spring Security and Nimbus.
    pub token_type: Option<TokenType>,
    /// The claims that carry scopes: `scope` (one text), `scp` (a list), or both.
    #[serde(default = "default_scope_claims")]
    #[schemars(length(min = 1), extend("uniqueItems" = true))]
    pub scope_claims: Vec<ScopeClaim>,
    /// Settings for the verifiers of single audiences. They replace the issuer's own values. A
    /// request for several audiences with different settings is refused with `invalid_target`.
    #[serde(default)]
    pub audiences: BTreeMap<Audience, AudienceSettings>,
    /// The signing keys.
    #[serde(default)]
    pub signing: Signing,
    /// Whether inbound listeners with `issuer: true` also answer at the root, in addition to the
    /// path of `url`. Default: only if `url` has no path. The issuer's own listener always does.
    pub root_paths: Option<bool>,
    /// Hosts that a client's `jwks_uri` may name although they have no public address.
    #[serde(default)]
    pub client_jwks_hosts: Vec<ServerName>,
    /// Certificates (PEM) that are trusted for the `jwks_uri` of clients in addition to those of
    /// the platform.
    pub client_jwks_ca_file: Option<FilePath>,
    /// The maximum remaining lifetime of a client's assertion: 1m to 24h.
    #[serde(default = "default_access_token_lifetime")]
    pub max_assertion_lifetime: GoDuration,
    /// How long the old secret remains valid after a client's `secretFile` has changed: 0s to 30d.
    /// A restart ends it.
    #[serde(default = "default_secret_grace")]
    pub secret_grace: GoDuration,
    /// How the public revocation list names clients whose tokens were all revoked. `hashed`: by the
    /// SHA-256 of the client id. `named`: by the id, which is then public. Sidecars before version
    /// 0.2 need `named`: they refuse a list with hashes and keep the previous one.
    #[serde(default)]
    pub revocation_list: ListedClients,
    /// Proxies in front of the issuer's own listener, as networks or addresses. The client is then
    /// the last address in `X-Forwarded-For` or `Forwarded` that is not a proxy. It is used to
    /// count failures, in the audit log and in access lines. Such a proxy must write the header
    /// itself. Inbound listeners use their own `trustedProxies`.
    #[serde(default)]
    pub trusted_proxies: Vec<Network>,
    /// The maximum size of its own tokens at the tokens API, and of assertions that clients sign
    /// with their own keys: 1KiB to 64KiB. Default: 8KiB, and 32KiB in the plgd profile. JWTs of
    /// users are limited by `maxTokenSize` of their authority. In the plgd profile, request heads
    /// may have 64KiB in addition to the longest token, for long lists of ids.
    pub max_token_size: Option<Size>,
    /// The clients that may request tokens.
    #[serde(default)]
    pub clients: Vec<Client>,
}

fn default_authorities() -> Vec<Name> {
    vec![Name("self".to_owned())]
}

fn default_scope_claims() -> Vec<ScopeClaim> {
    vec![ScopeClaim::Scope]
}

fn default_access_token_lifetime() -> GoDuration {
    seconds(3600)
}

fn default_secret_grace() -> GoDuration {
    seconds(3600)
}

/// Settings for the verifiers of one audience. Missing keys take the issuer's value.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct AudienceSettings {
    /// The `typ` header of tokens for this audience.
    pub token_type: Option<TokenType>,
    /// The algorithm that signs these tokens. Keys of each algorithm in use are generated, rotated
    /// and published.
    pub algorithm: Option<Algorithm>,
    /// The claims that carry the scopes of these tokens.
    #[schemars(length(min = 1), extend("uniqueItems" = true))]
    pub scope_claims: Option<Vec<ScopeClaim>>,
    /// The maximum lifetime of these tokens: 1s to 24h. It is also their lifetime if the client has
    /// none of its own.
    pub access_token_lifetime: Option<GoDuration>,
}

/// The signing keys.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(in crate::config) struct Signing {
    /// The algorithm of tokens and of generated keys. After a change, a new key of this algorithm
    /// signs at once.
    pub algorithm: Algorithm,
    /// How long a generated key signs: 1h to 366d. 0s disables rotation. The next key is published
    /// an hour before, or a quarter of this value if that is shorter. The old key stays published
    /// until its last token has expired.
    pub rotate_every: GoDuration,
    /// A private key (PEM: PKCS#8, SEC 1 or PKCS#1) that replaces the generated keys. It is not
    /// rotated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_key_file: Option<FilePath>,
}

impl Default for Signing {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::default(),
            rotate_every: seconds(30 * 24 * 3600),
            private_key_file: None,
        }
    }
}

/// A client of the issuer.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Client {
    /// The client id.
    pub id: ClientId,
    /// A file with the client's secret: one line of at least 16 bytes. The line ending (LF or CRLF)
    /// is not part of the secret, but a client that sends it is accepted. A changed file takes
    /// effect at once, and the old secret stays valid for `secretGrace`. Only clients with
    /// `jwksFile`, `jwksUri`, `tlsClientAuth`, `federated` or `jwtPrivateKey` need no secret.
    pub secret_file: Option<FilePath>,
    /// A JWK set with the client's public keys, for `private_key_jwt`. It is read again when it
    /// changes.
    pub jwks_file: Option<FilePath>,
    /// The https URL of the client's public keys, for `private_key_jwt`. Its host must have a
    /// public address or be listed in `clientJwksHosts`. Redirects are not followed.
    pub jwks_uri: Option<HttpUrl>,
    /// The client authenticates by the certificate of its connection (RFC 8705 §2). The listener
    /// must have `tls.clientCertificate`.
    pub tls_client_auth: Option<TlsClientAuth>,
    /// The client authenticates by a JWT of a trusted authority, such as a Kubernetes service
    /// account token, the ID token of a CI job or a SPIFFE JWT-SVID. One of these entries must
    /// match it. The client then has no secret.
    #[schemars(length(min = 1))]
    pub federated: Option<Vec<Federated>>,
    /// The client exchanges the JWT of a user for a token with the same owner, as in plgd.
    pub jwt_private_key: Option<JwtPrivateKey>,
    /// Whether tokens that are issued for the JWT of a user (`jwtPrivateKey`) expire with that JWT
    /// at the latest, even if `expiration` requests more. This includes refresh tokens. A JWT
    /// without `exp` sets no limit.
    #[serde(default)]
    pub cap_to_assertion: bool,
    /// The value of the owner claim. Default: no such claim.
    pub owner: Option<String>,
    /// The owners that the client may choose by a parameter of the token request, named as
    /// `ownerClaim`: single ones, `prefix*`, or `*` for any. It may always choose `owner`. A
    /// request for another owner is refused. Without this list, only the plgd profile ignores the
    /// parameter.
    #[serde(default)]
    pub allowed_owners: Vec<String>,
    /// Whether the client may choose the device of a token by a parameter named as
    /// `deviceIDClaim`.
    #[serde(default)]
    pub allow_device_id: bool,
    /// The authority of the user `owner`: only its user of this name may list and revoke the
    /// client's tokens. Default: any trusted user of this name, if only one authority's users are
    /// trusted.
    pub owner_authority: Option<Name>,
    /// The lifetime of this client's access tokens: 1s to 366d. Default: the issuer's value. plgd
    /// profile: `0s` means that tokens never expire.
    pub access_token_lifetime: Option<GoDuration>,
    /// The grants that the client may use.
    #[serde(default = "default_grant_types")]
    #[schemars(length(min = 1))]
    pub allowed_grant_types: Vec<GrantType>,
    /// The tokens that the client may exchange (RFC 8693), with the grant
    /// `urn:ietf:params:oauth:grant-type:token-exchange`.
    pub exchange: Option<TokenExchange>,
    /// The audiences that the client may request. A request without an audience gets all of them.
    /// An empty list means the issuer's URL.
    #[serde(default)]
    pub allowed_audiences: Vec<Audience>,
    /// The scopes that the client may request. A request without scopes gets all of them.
    #[serde(default)]
    pub allowed_scopes: Vec<Scope>,
    /// Additional claims of the client's tokens. They never replace a claim that the issuer sets.
    #[serde(default)]
    pub insert_token_claims: Map<String, Value>,
    /// Whether the client may introspect every token of this issuer. Otherwise it may introspect
    /// its own tokens and those made for it. A client with `jwtPrivateKey` only sees the tokens of
    /// the user whose JWT it sends.
    #[serde(default)]
    pub allow_introspection: bool,
    /// Whether the client's access tokens are bound to its certificate (`cnf.x5t#S256`, RFC 8705
    /// §3). A token request over a connection without a client certificate is refused.
    #[serde(default)]
    pub certificate_bound_access_tokens: bool,
    /// Whether the client's access tokens are bound to a key by DPoP (`cnf.jkt`, RFC 9449). A token
    /// request without a proof is refused. Without this key, a client gets a bound token if it
    /// sends a proof.
    #[serde(default)]
    pub dpop_bound_access_tokens: bool,
    /// The networks (such as `10.0.0.0/8`) or addresses that the client's requests may come from.
    /// From elsewhere its authentication fails at the token, introspection and revocation
    /// endpoints. The address is the one behind `trustedProxies`. A request over a Unix socket has
    /// none and is refused. Default: all.
    #[serde(default)]
    pub allowed_networks: Vec<Network>,
    /// The `aud` of the client's assertions. `issuer`: `issuer.url` alone, as a text or as the only
    /// item of a list (RFC 7523bis). `legacy`: also the URL of the token endpoint, and lists of
    /// both.
    #[serde(default)]
    pub assertion_audiences: AssertionAudiences,
    /// Whether the client is refused as if it did not exist.
    #[serde(default)]
    pub disabled: bool,
    /// From this time on, the client is refused and its tokens are revoked. No token of it lasts
    /// longer.
    pub expires_at: Option<Timestamp>,
}

/// The certificate of a client: exactly one of these keys.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct TlsClientAuth {
    /// The subject of the certificate in the form of RFC 4514, such as `CN=gateway,O=Example,C=DE`.
    /// An authority of `tls.clientCaFile` must have issued the certificate. The same holds for the
    /// names below.
    #[serde(rename = "subjectDN")]
    pub subject_dn: Option<String>,
    /// A DNS name in the certificate. Wildcards have no effect.
    #[serde(rename = "sanDNS")]
    pub san_dns: Option<String>,
    /// A URI in the certificate, such as a SPIFFE ID. In the path of a SPIFFE ID, `*` is any
    /// segment and `**` at the end any rest; the certificate then has exactly one URI.
    #[serde(rename = "sanURI")]
    pub san_uri: Option<String>,
    /// An IP address in the certificate.
    #[serde(rename = "sanIP")]
    pub san_ip: Option<String>,
    /// An email address in the certificate.
    pub san_email: Option<String>,
    /// `true`: the certificate is self-signed, and its key is in the client's `jwksFile` or
    /// `jwksUri` (`self_signed_tls_client_auth`). The listener must have `tls.selfSignedClients`. A
    /// JWK with `x5c` or `x5t#S256` stands for that certificate only.
    #[serde(default)]
    pub self_signed: bool,
}

/// The JWTs of an authority that authenticate a client. They end within `maxAssertionLifetime`, and
/// may be used until then.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Federated {
    /// The name of the authority.
    pub authority: Name,
    /// The `sub` of the JWT: an exact text, a beginning such as `repo:example/*`, or a SPIFFE ID in
    /// whose path `*` is any segment and `**` at the end any rest. Required without `claims`.
    pub subject: Option<ClaimValue>,
    /// The `aud` of the JWT, which must have no other. Default: the issuer's URL.
    pub audience: Option<Audience>,
    /// Further claims that the JWT must have, each with its accepted values. A text may end with
    /// `*`, as in `refs/tags/*`. A dotted name selects a member of an object.
    #[serde(default)]
    pub claims: BTreeMap<ClaimName, ClaimValues>,
    /// From this time on, the entry is not used.
    pub expires_at: Option<Timestamp>,
}

/// An exchange of JWTs for tokens.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct JwtPrivateKey {
    /// The names of the authorities whose JWTs are accepted.
    #[schemars(length(min = 1))]
    pub authorities: Vec<Name>,
    /// The claims of the JWT that are copied into `originalTokenClaims` of the token. Secrets such
    /// as `access_token` are never copied. Default: none, and all in the plgd profile; `[]` means
    /// none.
    pub copy_claims: Option<Vec<ClaimName>>,
}

fn default_grant_types() -> Vec<GrantType> {
    vec![GrantType::ClientCredentials]
}
