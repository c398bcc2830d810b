//! The configuration of an issuer.

use std::time::Duration;

use super::token_format::{ByAudience, ScopeClaim, TokenType};
use super::{Client, SecretFiles};
use crate::domain::encryption::EncryptionKey;
use crate::domain::issuer_name::IssuerName;
use crate::domain::issuer_url::IssuerUrl;
use crate::domain::secret::SecretString;
use crate::domain::settings::{ListedClients, Profile};
use crate::http_client::Egress;
use crate::jose::Algorithm;

/// The configuration of an issuer.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The `iss` claim, exactly as configured; its path is the base path of the endpoints.
    pub url: IssuerUrl,
    /// Whether an inbound listener serves the endpoints at its root too, beside the path of `url`.
    pub root_paths: bool,
    /// Which tokens and answers the issuer gives.
    pub profile: Profile,
    /// The claim that carries a client's owner.
    pub owner_claim: String,
    /// The claim of an assertion that names a device, copied into the token; empty: none.
    pub device_id_claim: String,
    /// The default lifetime of access tokens; zero: endless, in the plgd profile only.
    pub access_token_lifetime: Duration,
    /// The `typ` of access tokens.
    pub token_type: TokenType,
    /// The claims that carry scopes; not empty.
    pub scope_claims: Vec<ScopeClaim>,
    /// Settings of single audiences.
    pub audiences: ByAudience,
    /// The algorithm of generated signing keys.
    pub algorithm: Algorithm,
    /// The operator's own signing key (PEM), used instead of a generated one.
    pub private_key: Option<SecretString>,
    /// How long a generated key signs; `None`: without end.
    pub rotate_every: Option<Duration>,
    /// The key that encrypts the private keys in the store; `None`: they are stored in plain text.
    pub encryption_key: Option<EncryptionKey>,
    /// The key before a change of it: what it encrypted is encrypted again.
    pub former_encryption_key: Option<EncryptionKey>,
    /// The clients of the configuration; read-only.
    pub clients: Vec<Client>,
    /// The files of their secrets, which are watched for changes.
    pub secret_files: SecretFiles,
    /// Hosts of clients' `jwks_uri` that may have private addresses.
    pub client_jwks_hosts: Vec<String>,
    /// Certificates (PEM) that are trusted for clients' `jwks_uri`, beside the platform's.
    pub client_jwks_ca: Option<Vec<u8>>,
    /// The proxies of requests for clients' `jwks_uri`.
    pub egress: Egress,
    /// How far in the future a client's assertion may expire.
    pub max_assertion_lifetime: Duration,
    /// The issuers, in canonical spelling, whose users may call the tokens API or have their JWTs
    /// exchanged. This issuer is not among them.
    pub user_issuers: Vec<String>,
    /// Issuers with more than one spelling. Tokens and rows have the canonical one, but earlier
    /// versions stored the spelling of the token.
    pub respelt_issuers: Vec<IssuerName>,
    /// How the public list of revoked tokens names clients.
    pub listed_clients: ListedClients,
    /// The longest own token and the longest client assertion that are accepted, in bytes.
    pub max_token_size: usize,
}

impl Config {
    /// The algorithms that sign tokens, the issuer's own first.
    pub(super) fn algorithms(&self) -> impl Iterator<Item = Algorithm> {
        let of_clients = self
            .clients
            .iter()
            .flat_map(|client| client.audience_settings.values());
        let further = self.audiences.values().chain(of_clients);
        std::iter::once(self.algorithm).chain(further.filter_map(|settings| settings.algorithm))
    }
}
