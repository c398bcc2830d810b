//! The authorization server.
//!
//! [`token`] issues access tokens, [`introspection`] and [`revocation`] answer for them,
//! [`registry`] lists the kept ones, [`management`] changes clients and keys. Each is a service
//! over the registered clients, the signing keys, the revocations and the store. [`Issuer`] only
//! composes them.

mod authenticator;
mod choice;
mod claim_names;
pub mod client;
mod client_auth;
mod client_end;
pub mod client_secret;
mod clients;
mod config;
mod error;
mod excerpt;
pub mod federation;
mod forgetting;
mod introspection;
pub mod management;
pub mod metadata;
mod own_token;
mod policy;
mod profile;
mod refresh_tokens;
mod refused;
pub mod registration;
mod registry;
mod revocation;
mod revocations;
mod secret_files;
mod signing_keys;
mod state;
mod store_sync;
mod token;
pub mod token_exchange;
pub mod token_format;
mod token_parameters;
mod uri;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use serde_json::Value;

use self::authenticator::Authenticator;
use self::client_auth::ClientAuth;
use self::client_end::ClientEnds;
use self::clients::Clients;
use self::forgetting::Forgetting;
use self::metadata::RequestedCertificates;
use self::policy::Policy;
use self::refused::Refusals;
use self::revocations::Revocations;
use self::secret_files::LiveSecretFiles;
use self::signing_keys::SigningKeys;
use self::state::State;
use self::store_sync::{StoreSync, SyncState};
use crate::domain::client_certificate::ClientConnection;
use crate::domain::clock::{SharedClock, UnixTime};
use crate::domain::issuer_url::IssuerUrl;
use crate::domain::revoked::RevokedNow;
use crate::jose::dpop::ReplayMemory;
use crate::jose::live_keys::LiveKeys;
use crate::store::{Store, StoreError};

pub use choice::ClaimParameters;
pub use claim_names::{REQUIRED_SCOPE, RESERVED as RESERVED_CLAIMS, why_no_claim};
pub use client::Client;
pub use client_auth::client_keys::ClientKeySets;
pub use client_auth::foreign::{ForeignClaims, VerifyForeign};
pub use config::Config;
pub use error::{OpenError, TokenError};
pub use introspection::{Introspected, Introspection};
pub use management::ClientAdmin;
pub use profile::ProfilePolicy;
pub use refused::{Attempt, Refused};
pub use registry::Registry;
pub use revocation::Revocation;
pub use secret_files::SecretFiles;
pub use signing_keys::{KeyView, RotateError, RotateNow};
pub use token::request::{TokenRequest, parameter_like};
pub use token::{ExchangedFor, TokenResponse, TokenService};

pub use crate::domain::settings::{ListedClients, Profile};

/// An authorization server, ready to issue.
pub struct Issuer {
    url: IssuerUrl,
    tokens: TokenService,
    introspection: Introspection,
    revocation: Revocation,
    registry: Registry,
    client_admin: ClientAdmin,
    client_auth: Arc<ClientAuth>,
    secret_files: Arc<LiveSecretFiles>,
    sync: Arc<StoreSync>,
    state: Arc<State>,
}

impl Issuer {
    /// Loads the signing keys from the store, or makes and stores one; reads the clients and
    /// revocations.
    ///
    /// # Errors
    /// If the configuration contradicts itself, or there is no signing key.
    pub async fn open(
        mut config: Config,
        store: Arc<dyn Store>,
        clock: SharedClock,
    ) -> Result<Arc<Self>, OpenError> {
        let policy = Arc::new(Policy::new(&config)?);
        let clients = Arc::new(Clients::new(std::mem::take(&mut config.clients))?);
        // Read before what they count: a change between the two is read again.
        let revisions = store_sync::first_revisions(&*store, clock.now()).await?;
        clients.reload(&*store).await?;
        let forgetting = Arc::new(Forgetting::open(store.clone(), clock.clone()).await?);
        let proven = forgetting.time();
        // Last, because a configuration that is refused must not leave a key behind.
        let keys = SigningKeys::open(&config, store.clone(), clock.clone(), proven).await?;
        let keys = Arc::new(keys);
        store_sync::expect_clients(&keys, &clients);
        keys.reload(revisions.keys, clock.now(), proven).await?;
        let (profile, shared) = (policy.profile, clients.shared());
        let revocations =
            Revocations::open(store.clone(), profile, shared, clock.clone(), proven).await?;
        let revocations = Arc::new(revocations);
        let state = State {
            policy,
            clients,
            keys,
            revocations,
            forgetting,
            store,
            clock,
            proofs: ReplayMemory::default(),
            verify_foreign: ArcSwapOption::empty(),
        };
        Ok(Arc::new(
            Self::compose(config, state, SyncState::read(revisions)).await,
        ))
    }

    /// Makes the services, and ends the tokens of clients that have expired.
    async fn compose(config: Config, state: State, read: SyncState) -> Self {
        let client_auth = Arc::new(ClientAuth::new(&config, state.store.clone()));
        let ends = Arc::new(ClientEnds::new(
            state.policy.profile,
            state.clients.clone(),
            state.revocations.clone(),
            state.forgetting.clone(),
            state.store.clone(),
            state.clock.clone(),
        ));
        ends.end_expired().await;
        let sync = Arc::new(store_sync(&state, &client_auth, &ends, read));
        let client_admin = client_admin(&state, ends, &sync);
        let (clients, clock) = (state.clients.clone(), state.clock.clone());
        let secret_files = Arc::new(LiveSecretFiles::new(
            config.secret_files,
            clients.clone(),
            clock,
        ));
        let authenticator = Arc::new(Authenticator {
            clients,
            client_auth: client_auth.clone(),
            secret_files: secret_files.clone(),
            sync: sync.clone(),
        });
        let state = Arc::new(state);
        let refusals = Arc::new(Refusals {
            state: state.clone(),
        });
        Self {
            url: config.url,
            tokens: TokenService {
                authenticator: authenticator.clone(),
                refusals: refusals.clone(),
                state: state.clone(),
            },
            introspection: Introspection {
                authenticator: authenticator.clone(),
                refusals: refusals.clone(),
                state: state.clone(),
            },
            revocation: Revocation {
                authenticator,
                refusals,
                listed_clients: config.listed_clients,
                state: state.clone(),
            },
            registry: Registry {
                state: state.clone(),
            },
            client_admin,
            client_auth,
            secret_files,
            sync,
            state,
        }
    }

    /// Reads what this or another process has changed in the store, ends the tokens of expired
    /// clients, and deletes what expired long ago. To be called every few seconds, and at
    /// [`next_expiry`](Self::next_expiry): while the store does not answer, no token is issued.
    ///
    /// # Errors
    /// When the store does not answer; what was read before stays.
    pub async fn reload(&self) -> Result<(), StoreError> {
        self.sync.reload().await
    }

    /// When the next client expires, if one does: [`reload`](Self::reload) is to be called then.
    #[must_use]
    pub fn next_expiry(&self) -> Option<UnixTime> {
        self.sync.ends.next_expiry()
    }

    /// Writes what is otherwise written from time to time. To be called after the last request.
    pub async fn finish(&self) {
        self.sync.finish().await;
    }

    /// Reads the secrets of the configuration's clients when their files change, until the future
    /// is dropped.
    pub async fn watch_secret_files(&self) {
        self.secret_files.watch().await;
    }

    /// The operations of administrators.
    #[must_use]
    pub fn client_admin(&self) -> &ClientAdmin {
        &self.client_admin
    }

    /// The token endpoint.
    #[must_use]
    pub fn tokens(&self) -> &TokenService {
        &self.tokens
    }

    /// Issues an access token to a client of a connection.
    ///
    /// # Errors
    /// The error that the client gets.
    pub async fn issue(
        &self,
        request: &TokenRequest,
        from: impl Into<ClientConnection>,
    ) -> Result<TokenResponse, TokenError> {
        self.tokens.issue_to(request, &from.into()).await
    }

    /// The introspection endpoint.
    #[must_use]
    pub fn introspection(&self) -> &Introspection {
        &self.introspection
    }

    /// The revocation endpoint, and the list of what is revoked.
    #[must_use]
    pub fn revocation(&self) -> &Revocation {
        &self.revocation
    }

    /// The tokens that the store keeps.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The revocations, for verifiers in this process.
    #[must_use]
    pub fn revoked(&self) -> &RevokedNow {
        self.state.revocations.now()
    }

    /// Why the store is not writable; `None` if the last write succeeded. [`reload`](Self::reload)
    /// tries again.
    #[must_use]
    pub fn write_fault(&self) -> Option<&'static str> {
        self.state.store.write_fault()
    }

    /// The keys of clients. [`ClientKeySets::run`] must run to fetch them.
    #[must_use]
    pub fn client_keys(&self) -> &Arc<ClientKeySets> {
        self.client_auth.keys()
    }

    /// Sets the verification of trusted authorities' JWTs, which clients exchange for tokens of
    /// their owners. Until then they are refused.
    pub fn exchange_with(&self, verify: VerifyForeign) {
        self.state
            .verify_foreign
            .store(Some(Arc::new(verify.clone())));
        self.client_auth.verify_foreign_with(verify);
    }

    /// The signing keys: the active one first, then the newest first.
    #[must_use]
    pub fn keys(&self) -> Vec<KeyView> {
        self.state.keys.views()
    }

    /// The current public keys, for verifiers in this process.
    #[must_use]
    pub fn live_keys(&self) -> &Arc<LiveKeys> {
        self.state.keys.live()
    }

    /// The public keys as a JWK set (RFC 7517 §5), serialised once.
    #[must_use]
    pub fn public_keys(&self) -> Arc<str> {
        self.state.keys.public()
    }

    /// The `iss` of the tokens, as configured.
    #[must_use]
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// The policy of its profile.
    #[must_use]
    pub fn profile(&self) -> ProfilePolicy {
        self.state.policy.profile
    }

    /// The claim that carries an owner.
    #[must_use]
    pub fn owner_claim(&self) -> &str {
        &self.state.policy.owner_claim
    }

    /// The names of the parameters that choose the owner and the device of a token.
    #[must_use]
    pub fn claim_parameters(&self) -> &Arc<ClaimParameters> {
        &self.state.policy.claim_parameters
    }

    /// The path of the issuer's URL in normal form, without a slash at its end.
    #[must_use]
    pub fn base_path(&self) -> &str {
        self.url.base_path()
    }

    /// The metadata document (RFC 8414 §2) for a listener that requests these certificates.
    #[must_use]
    pub fn metadata(&self, certificates: RequestedCertificates) -> Value {
        metadata::document(
            self.url.as_str(),
            self.state.policy.profile,
            &self.state.keys.algorithms(),
            certificates,
            self.state.clients.any(Client::takes_svids),
        )
    }
}

fn store_sync(
    state: &State,
    client_auth: &Arc<ClientAuth>,
    ends: &Arc<ClientEnds>,
    read: SyncState,
) -> StoreSync {
    StoreSync {
        clients: state.clients.clone(),
        client_auth: client_auth.clone(),
        keys: state.keys.clone(),
        revocations: state.revocations.clone(),
        forgetting: state.forgetting.clone(),
        ends: ends.clone(),
        store: state.store.clone(),
        clock: state.clock.clone(),
        state: read,
    }
}

fn client_admin(state: &State, ends: Arc<ClientEnds>, sync: &Arc<StoreSync>) -> ClientAdmin {
    ClientAdmin {
        policy: state.policy.clone(),
        clients: state.clients.clone(),
        keys: state.keys.clone(),
        revocations: state.revocations.clone(),
        forgetting: state.forgetting.clone(),
        ends,
        sync: sync.clone(),
        store: state.store.clone(),
        clock: state.clock.clone(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
