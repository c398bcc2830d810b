//! The issuer, as it is written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Algorithm, MaxConnections, default_keep_alive, seconds};
use crate::config::address::{HttpUrl, IssuerUrl, ListenAddress, Network};
use crate::config::name::{Audience, ClaimName, ClientId, Name, Scope, ServerName};
use crate::config::value::{FilePath, GoDuration, Size, Timestamp};
use crate::domain::oauth::GrantType;
use crate::domain::settings::{ListedClients, Profile, ScopeClaim, TokenType};

/// The authorization server.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Issuer {
    /// The `iss` claim, exactly as written here; its path is the base path of the endpoints.
    pub url: IssuerUrl,
    /// The issuer's own listener; may be left out when an inbound listener has `issuer: true`.
    pub listen: Option<ListenAddress>,
    /// How long its own listener keeps an idle client connection for another request, 1s to 1h, in
    /// whole seconds; answers announce it (`Keep-Alive: timeout=75`).
    #[serde(default = "default_keep_alive")]
    pub keep_alive: GoDuration,
    /// How many client connections its own listener holds.
    #[serde(default)]
    pub max_connections: MaxConnections,
    /// Which tokens and answers are given.
    #[serde(default)]
    pub profile: Profile,
    /// The claim that carries a client's owner. Default: `owner`; in the plgd profile `sub`.
    pub owner_claim: Option<ClaimName>,
    /// plgd profile: the claim of an assertion that names a device, copied into the token.
    #[serde(default, rename = "deviceIDClaim")]
    pub device_id_claim: String,
    /// plgd profile: names of the authorities whose users may list and revoke their tokens. The
    /// issuer's own tokens may always read their own entry.
    #[serde(default = "default_authorities")]
    pub authorities: Vec<Name>,
    /// How long access tokens live: 1s to 24h. A client's own value may be longer. plgd profile:
    /// `0s` is for ever.
    #[serde(default = "default_access_token_lifetime")]
    pub access_token_lifetime: GoDuration,
    /// The `typ` header of access tokens. Default: `at+jwt` (RFC 9068 §2.1); in the plgd profile
    /// `JWT`. Some verifiers accept only `JWT`, Spring Security and Nimbus among them.
    pub token_type: Option<TokenType>,
    /// The claims that carry scopes: `scope` (one text), `scp` (a list), or both.
    #[serde(default = "default_scope_claims")]
    #[schemars(length(min = 1), extend("uniqueItems" = true))]
    pub scope_claims: Vec<ScopeClaim>,
    /// What the verifiers of an audience need, where it differs from the issuer's own values. A
    /// request for several audiences whose settings differ is refused with `invalid_target`.
    #[serde(default)]
    pub audiences: BTreeMap<Audience, AudienceSettings>,
    /// What tokens are signed with.
    #[serde(default)]
    pub signing: Signing,
    /// Whether inbound listeners with `issuer: true` answer at the root too, beside the path of
    /// `url`. Default: only when `url` has no path. The issuer's own listener always does.
    pub root_paths: Option<bool>,
    /// Hosts that a client's `jwks_uri` may name although they have no public address.
    #[serde(default)]
    pub client_jwks_hosts: Vec<ServerName>,
    /// Certificates (PEM) that are trusted for clients' `jwks_uri`, beside the platform's.
    pub client_jwks_ca_file: Option<FilePath>,
    /// How far in the future a client's assertion may end: 1m to 24h.
    #[serde(default = "default_access_token_lifetime")]
    pub max_assertion_lifetime: GoDuration,
    /// How long the old secret counts beside the new one after a client's `secretFile` has changed:
    /// 0s to 30d. A restart ends it.
    #[serde(default = "default_secret_grace")]
    pub secret_grace: GoDuration,
    /// How the public list of revoked tokens names clients whose tokens were ended as a whole.
    /// `hashed`: by the SHA-256 of the client id. `named`: by the id, which everybody can read; for
    /// sidecars of versions before 0.2, which refuse a list with hashes and keep to the last one
    /// that they know.
    #[serde(default)]
    pub revocation_list: ListedClients,
    /// Proxies in front of the issuer's own listener, as networks or addresses: the client that
    /// they name (`X-Forwarded-For`, `Forwarded`; the last address that is no proxy's) is the one
    /// whose failures are counted and that stands in the audit log and in access lines. Such a
    /// proxy must write the header itself. On an inbound listener its own `trustedProxies` count.
    #[serde(default)]
    pub trusted_proxies: Vec<Network>,
    /// How long its own tokens, as bearer tokens at the tokens API, and the assertions of its
    /// clients' own keys may be: 1KiB to 64KiB. Default: 8KiB; in the plgd profile 32KiB. JWTs of
    /// users may be as long as `maxTokenSize` of their authority says. In the plgd profile request
    /// heads may have 64KiB beside the longest token: the tokens API takes long lists of ids.
    pub max_token_size: Option<Size>,
    /// The clients that may ask for tokens.
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

/// What the verifiers of one audience need. A key that is left out has the issuer's value.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct AudienceSettings {
    /// The `typ` header of tokens for this audience.
    pub token_type: Option<TokenType>,
    /// The algorithm that signs them. Keys of each algorithm in use are generated, rotated and
    /// published.
    pub algorithm: Option<Algorithm>,
    /// The claims that carry their scopes.
    #[schemars(length(min = 1), extend("uniqueItems" = true))]
    pub scope_claims: Option<Vec<ScopeClaim>>,
    /// How long they live at most, 1s to 24h; and how long when their client has no lifetime of its
    /// own.
    pub access_token_lifetime: Option<GoDuration>,
}

/// What tokens are signed with.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(in crate::config) struct Signing {
    /// The algorithm, also of the keys that are generated. After a change a new key of it signs at
    /// once.
    pub algorithm: Algorithm,
    /// How long a generated key signs, 1h to 366d; 0s: for ever. Its successor is published an hour
    /// (at most a quarter of this) before, and it stays published until the last token it signed
    /// has expired.
    pub rotate_every: GoDuration,
    /// A private key (PEM: PKCS#8, SEC 1 or PKCS#1) to use instead of generated ones. It is not
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
    /// A file that holds the client's secret, at least 16 bytes, a shorter one is refused; one
    /// line, whose line end (LF or CRLF) is not part of it; a client that sends it too is let in. A
    /// changed file takes effect at once, and the old secret counts for `secretGrace`. Left out
    /// only by a client that authenticates itself by a JWT: with `jwksFile`, `jwksUri` or
    /// `jwtPrivateKey`.
    pub secret_file: Option<FilePath>,
    /// A JWK set with the client's public keys, for `private_key_jwt`. It is read again when it
    /// changes.
    pub jwks_file: Option<FilePath>,
    /// Where the client publishes its public keys, for `private_key_jwt`: an https URL. Its host
    /// must have a public address or be one of `clientJwksHosts`; redirects are not followed.
    pub jwks_uri: Option<HttpUrl>,
    /// The client exchanges a JWT of somebody else for a token of that JWT's owner, as plgd has it.
    pub jwt_private_key: Option<JwtPrivateKey>,
    /// Whether a token that is issued for the JWT of a user (`jwtPrivateKey`) ends with that JWT at
    /// the latest, whatever `expiration` asks for; refresh tokens too. A JWT without `exp` sets no
    /// end.
    #[serde(default)]
    pub cap_to_assertion: bool,
    /// The value of the owner claim; no such claim when left out.
    pub owner: Option<String>,
    /// The authority whose user `owner` is: then only that authority's user of this name may list
    /// and revoke the client's tokens. Left out: any trusted user of this name, as long as the
    /// users of only one authority are trusted.
    pub owner_authority: Option<Name>,
    /// How long this client's access tokens live, 1s to 366d; the issuer's value when left out.
    /// plgd profile: `0s` is for ever.
    pub access_token_lifetime: Option<GoDuration>,
    /// The grants the client may use.
    #[serde(default = "default_grant_types")]
    #[schemars(length(min = 1))]
    pub allowed_grant_types: Vec<GrantType>,
    /// The audiences it may ask for; it gets all of them when it asks for none. An empty list: the
    /// issuer's URL.
    #[serde(default)]
    pub allowed_audiences: Vec<Audience>,
    /// The scopes it may ask for; it gets all of them when it asks for none.
    #[serde(default)]
    pub allowed_scopes: Vec<Scope>,
    /// Further claims of its tokens. They never replace one that the issuer sets.
    #[serde(default)]
    pub insert_token_claims: Map<String, Value>,
    /// Whether the client may introspect every token of this issuer, not only its own and those
    /// made for it. A client that brings a user's JWT (`jwtPrivateKey`) is told only of that user's
    /// tokens.
    #[serde(default)]
    pub allow_introspection: bool,
    /// Whether the client is refused, as if it did not exist.
    #[serde(default)]
    pub disabled: bool,
    /// From this time on the client is refused and its tokens are revoked; none lives longer.
    pub expires_at: Option<Timestamp>,
}

/// An exchange of JWTs for tokens.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct JwtPrivateKey {
    /// Names of the authorities whose JWTs are taken.
    #[schemars(length(min = 1))]
    pub authorities: Vec<Name>,
    /// The claims of the JWT that go into the token's `originalTokenClaims`; secrets such as
    /// `access_token` never do. Left out: none; in the plgd profile all of them, and `[]` is for
    /// none.
    pub copy_claims: Option<Vec<ClaimName>>,
}

fn default_grant_types() -> Vec<GrantType> {
    vec![GrantType::ClientCredentials]
}
