//! A registered client, of the configuration or of the store.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

pub use super::choice::AllowedChoices;
pub use super::client_auth::client_keys::{
    ClientKeys, InvalidClientKeys, KeyPlace, MAX_BODY as MAX_CLIENT_KEYS, read_key_set,
};
use super::client_secret;
use super::federation::Federation;
use super::token_exchange::ExchangePolicy;
use super::token_format::ByAudience;
pub use crate::domain::assertion_audiences::AssertionAudiences;
use crate::domain::claim_pattern::ClaimPattern;
use crate::domain::client_certificate::{AlternativeName, ClientCertificate};
use crate::domain::clock::UnixTime;
use crate::domain::distinguished_name::DistinguishedName;
use crate::domain::hash::sha256;
use crate::domain::network::is_in;
use crate::domain::oauth::GrantType;
use crate::domain::scope::ScopeSet;
use crate::domain::secret::{self, ExposeSecret, LineEnd, SecretString};
use crate::domain::spiffe::{self, InvalidSpiffePattern, SpiffePattern};

/// A client, as the token endpoint uses it.
#[derive(Clone, Debug, PartialEq)]
pub struct Client {
    /// The client id.
    pub id: String,
    /// A name for people.
    pub name: Option<String>,
    /// The only way in which it authenticates itself.
    pub authentication: Authentication,
    /// Its secrets, for [`Authentication::Secret`]; each is valid until it expires.
    pub secrets: Vec<Secret>,
    /// The owner claim's value.
    pub owner: Option<String>,
    /// The issuer of the owner's name; none where the operator gave it.
    pub owner_issuer: Option<String>,
    /// The owners and devices that its requests may choose.
    pub allowed_choices: AllowedChoices,
    /// Overrides the issuer's lifetime.
    pub access_token_lifetime: Option<Duration>,
    /// The grants it may use.
    pub allowed_grant_types: Vec<GrantType>,
    /// The audiences it may ask for; none: tokens carry the issuer's URL.
    pub allowed_audiences: Vec<String>,
    /// The needs of the verifiers of its audiences; precede the issuer's settings.
    pub audience_settings: ByAudience,
    /// The scopes it may ask for.
    pub allowed_scopes: ScopeSet,
    /// Further claims, never overriding one that is already set.
    pub insert_token_claims: Map<String, Value>,
    /// Whether it may introspect every token of this issuer, not only those made for it.
    pub allow_introspection: bool,
    /// The tokens that it may exchange (RFC 8693); none without the grant.
    pub exchange: Option<ExchangePolicy>,
    /// The keys that its access tokens are bound to.
    pub bound_access_tokens: BoundAccessTokens,
    /// The networks that its requests may come from; none: all.
    pub allowed_networks: Vec<IpNet>,
    /// The `aud` of its assertions.
    pub assertion_audiences: AssertionAudiences,
    /// A disabled client is refused as if it did not exist.
    pub disabled: bool,
    /// From this time on the client is refused.
    pub expires_at: Option<UnixTime>,
}

impl Client {
    /// Whether it may be used at a time.
    #[must_use]
    pub fn is_usable(&self, now: UnixTime) -> bool {
        !self.disabled && self.expires_at.is_none_or(|end| now < end)
    }

    /// Whether its requests may come from an address. Without an address, only those of a client
    /// without networks.
    #[must_use]
    pub fn may_come_from(&self, address: Option<IpAddr>) -> bool {
        let networks = &self.allowed_networks;
        networks.is_empty() || address.is_some_and(|address| is_in(networks, address))
    }
}

impl Client {
    /// Whether it authenticates by JWT-SVIDs.
    #[must_use]
    pub fn takes_svids(&self) -> bool {
        let is_spiffe = |it: &Federation| matches!(it.subject, Some(ClaimPattern::Spiffe(_)));
        match &self.authentication {
            Authentication::Federated(entries) => entries.iter().any(is_spiffe),
            _ => false,
        }
    }
}

impl Client {
    /// Whether a client that was authenticated by this registration may act by `now_registered`,
    /// which has its id. It may not if that is a new client of a deleted one's id, or authenticates
    /// itself in another way.
    #[must_use]
    pub(super) fn is_still(&self, now_registered: &Self) -> bool {
        let is_kept = |secret: &Secret| {
            now_registered
                .secrets
                .iter()
                .any(|other| secret.expected.is_same(&other.expected))
        };
        match (&self.authentication, &now_registered.authentication) {
            (Authentication::Secret, Authentication::Secret) => self.secrets.iter().any(is_kept),
            (Authentication::Federated(mine), Authentication::Federated(theirs)) => {
                mine.iter().any(|federation| theirs.contains(federation))
            }
            (mine, theirs) => std::mem::discriminant(mine) == std::mem::discriminant(theirs),
        }
    }
}

/// The keys that the access tokens of a client are bound to. A request without such a key is
/// refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BoundAccessTokens {
    /// The key of the certificate of its connection (RFC 8705 §3).
    pub to_certificate: bool,
    /// The key of its DPoP proof (RFC 9449).
    pub to_dpop_key: bool,
}

/// How a client authenticates itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Authentication {
    /// By one of its secrets, in the header or in the body.
    Secret,
    /// By a JWT signed with one of these keys (RFC 7523 §2.2).
    PrivateKeyJwt(ClientKeys),
    /// By a JWT of a trusted authority that fits one of these.
    Federated(Vec<Federation>),
    /// By a certificate with this name, of an authority of the listener (RFC 8705 §2.1).
    TlsClientAuth(CertificateName),
    /// By a self-signed certificate with one of these keys (RFC 8705 §2.2).
    SelfSignedTls(ClientKeys),
    /// By a JWT of a trusted authority's user, whose tokens it then gets (plgd's `jwtPrivateKey`).
    Exchange(Exchange),
}

/// The expected name of a client's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateName {
    /// Its subject.
    Subject(DistinguishedName),
    /// One of its alternative names.
    Alternative(AlternativeName),
    /// Its only URI: one of these SPIFFE IDs (X509-SVID §4).
    Spiffe(SpiffePattern),
}

impl CertificateName {
    /// Whether it is a name of the certificate.
    #[must_use]
    pub fn is_of(&self, certificate: &ClientCertificate) -> bool {
        match self {
            Self::Subject(name) => !name.is_empty() && *name == certificate.name,
            Self::Alternative(name) => certificate.names.iter().any(|it| it.is_same(name)),
            Self::Spiffe(pattern) => certificate
                .only_uri()
                .is_some_and(|uri| pattern.matches(uri)),
        }
    }

    /// The name for a URI. A SPIFFE ID, which may have `*`, is the only URI of its certificate.
    ///
    /// # Errors
    /// [`InvalidSpiffePattern`].
    pub fn of_uri(text: &str) -> Result<Self, InvalidSpiffePattern> {
        if text.starts_with(spiffe::SCHEME) {
            return SpiffePattern::parse(text).map(Self::Spiffe);
        }
        Ok(Self::Alternative(AlternativeName::Uri(text.to_owned())))
    }
}

/// The JWTs that a client may exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The names of the authorities of these JWTs.
    pub authorities: Vec<String>,
    /// The claims that are copied into the token's `originalTokenClaims`.
    pub copy_claims: CopyClaims,
    /// Whether the token expires with the JWT at the latest. A JWT without `exp` sets no end.
    pub cap_to_assertion: bool,
}

/// The claims of a JWT that are copied; never secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyClaims {
    /// All claims, as plgd's server does.
    All,
    /// The claims of these names.
    Listed(Vec<String>),
}

impl CopyClaims {
    pub(super) fn names(&self, claim: &str) -> bool {
        match self {
            Self::All => true,
            Self::Listed(names) => names.iter().any(|name| name == claim),
        }
    }
}

/// One secret of a client.
#[derive(Clone, Debug, PartialEq)]
pub struct Secret {
    /// Its id in the store; none for one of the configuration.
    pub id: Option<String>,
    /// The value that a presented secret is compared with.
    pub expected: ExpectedSecret,
    /// From this time on it is refused.
    pub expires_at: Option<UnixTime>,
    /// The line end after it in its file. A client that reads the same file may send it too, and is
    /// accepted.
    pub line_end: LineEnd,
}

impl Secret {
    /// The secret of a client of the configuration.
    #[must_use]
    pub fn configured(secret: SecretString) -> Self {
        Self {
            id: None,
            expected: ExpectedSecret::Plain(secret),
            expires_at: None,
            line_end: LineEnd::None,
        }
    }

    /// The digest of the secret, and of the secret with its file's line end; equal without one.
    #[must_use]
    pub fn digests(&self) -> [client_secret::Digest; 2] {
        match &self.expected {
            ExpectedSecret::Plain(text) => {
                let text = text.expose_secret();
                let in_file = Zeroizing::new([text, self.line_end.as_str()].concat());
                [sha256(text.as_bytes()), sha256(in_file.as_bytes())]
            }
            ExpectedSecret::Sha256(digest) | ExpectedSecret::Argon2(_, digest) => [*digest; 2],
        }
    }

    /// Whether a presented secret is this one, without a slow hash.
    #[must_use]
    pub fn is_at_once(&self, presented: &SecretString) -> bool {
        let is_slow = matches!(self.expected, ExpectedSecret::Argon2(..));
        !is_slow
            && self
                .digests()
                .contains(&sha256(presented.expose_secret().as_bytes()))
    }

    /// Whether it may be used at a time.
    #[must_use]
    pub fn is_live(&self, now: UnixTime) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }
}

/// The value that a presented secret is compared with.
#[derive(Clone, Debug, PartialEq)]
pub enum ExpectedSecret {
    /// The secret itself: one of the configuration.
    Plain(SecretString),
    /// SHA-256: good enough for one of 256 random bits.
    Sha256([u8; 32]),
    /// Argon2id: a supplied one, which may be a password.
    Argon2(client_secret::Salt, client_secret::Digest),
}

impl ExpectedSecret {
    /// Whether it is this plain secret.
    #[must_use]
    pub fn is_plain(&self, secret: &SecretString) -> bool {
        matches!(self, Self::Plain(plain) if secret::matches(plain, secret))
    }

    /// Whether both are the same stored secret: separately stored ones have different salts or
    /// bits.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Plain(one), Self::Plain(other)) => secret::matches(one, other),
            (Self::Sha256(one), Self::Sha256(other)) => one == other,
            (Self::Argon2(salt, one), Self::Argon2(other_salt, other)) => {
                salt == other_salt && one == other
            }
            _ => false,
        }
    }
}
