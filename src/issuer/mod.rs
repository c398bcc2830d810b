//! The authorization server: authenticates clients and issues access tokens.
//!
//! A token request walks through four phases, each in a file of its own, and each hands on a value
//! that only it can make: [`token_request`] reads headers and body once into a [`TokenRequest`];
//! `client_auth` turns the presented credentials into an `AuthenticatedClient`; `grants` narrows
//! what that client asks for to what it may have; `access_token` writes the claims, which
//! `signing_keys` signs. Whatever a phase refuses is a [`TokenError`], whose texts are constants.

mod access_token;
mod claim_names;
pub mod client;
mod client_auth;
mod client_end;
pub mod client_secret;
mod clients;
mod config;
mod error;
mod excerpt;
mod forgetting;
mod grants;
mod introspection;
pub mod management;
pub mod metadata;
mod policy;
mod profile;
mod quota;
mod refused;
pub mod registration;
mod registry;
mod revocation;
mod secret_files;
mod signing_keys;
mod store_sync;
pub mod token_format;
pub mod token_request;
mod uri;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::domain::clock::{SharedClock, UnixTime};
use crate::domain::issuer_url::IssuerUrl;
use crate::domain::oauth::{ErrorCode, GrantType};
use crate::domain::revoked::RevokedNow;
use crate::domain::scope::ScopeSet;
use crate::domain::secret::SecretString;
use crate::jose::live_keys::LiveKeys;
use crate::store::{Store, StoreError};

pub use claim_names::{REQUIRED_SCOPE, RESERVED as RESERVED_CLAIMS, why_no_claim};
pub use client::Client;
pub use client_auth::client_keys::ClientKeySets;
pub use client_auth::exchange::{ForeignClaims, VerifyForeign};
pub use client_auth::{Asker, AssertionFault};
pub use config::Config;
pub use error::{OpenError, TokenError};
pub use introspection::{Introspection, IntrospectionRequest};
pub use management::ClientAdmin;
pub use profile::ProfilePolicy;
pub use refused::Refused;
pub use revocation::{RevocationList, RevocationRequest};
pub use secret_files::SecretFiles;
pub use signing_keys::{KeyView, RotateError, RotateNow};
pub use token_request::TokenRequest;

pub use crate::domain::settings::{ListedClients, Profile};

/// An authorization server, ready to issue.
pub struct Issuer {
    url: IssuerUrl,
    policy: Arc<policy::Policy>,
    clients: Arc<clients::Clients>,
    client_auth: Arc<client_auth::ClientAuth>,
    client_admin: ClientAdmin,
    secret_files: secret_files::LiveSecretFiles,
    listed_clients: ListedClients,
    keys: Arc<signing_keys::SigningKeys>,
    revocations: Arc<revocation::Revocations>,
    forgetting: Arc<forgetting::Forgetting>,
    sync: Arc<store_sync::StoreSync>,
    store: Arc<dyn Store>,
    clock: SharedClock,
}

impl Issuer {
    /// Loads the signing keys from the store, or makes and stores one; reads the clients and
    /// revocations.
    ///
    /// # Errors
    /// When the configuration contradicts itself, or there is no signing key.
    pub async fn open(
        mut config: Config,
        store: Arc<dyn Store>,
        clock: SharedClock,
    ) -> Result<Arc<Self>, OpenError> {
        let policy = Arc::new(policy::Policy::new(&config)?);
        let clients = Arc::new(clients::Clients::new(std::mem::take(&mut config.clients))?);
        // The revisions come before what they count: a change between the two is read again.
        let revisions = store_sync::first_revisions(&*store, clock.now()).await?;
        clients.reload(&*store).await?;
        let forgetting = forgetting::Forgetting::open(store.clone(), clock.clone()).await?;
        let forgetting = Arc::new(forgetting);
        let proven = forgetting.time();
        // Last: a configuration that is refused must not leave a key behind.
        let keys =
            signing_keys::SigningKeys::open(&config, store.clone(), clock.clone(), proven).await?;
        let keys = Arc::new(keys);
        store_sync::expect_clients(&keys, &clients);
        keys.reload(revisions.keys, clock.now(), proven).await?;
        let revocations = revocation::Revocations::open(
            store.clone(),
            config.profile.policy(),
            clients.shared(),
            clock.clone(),
            proven,
        );
        let revocations = Arc::new(revocations.await?);
        let client_auth = Arc::new(client_auth::ClientAuth::new(&config, store.clone()));
        let ends = Arc::new(client_end::ClientEnds::new(
            config.profile.policy(),
            clients.clone(),
            revocations.clone(),
            forgetting.clone(),
            store.clone(),
            clock.clone(),
        ));
        let sync = Arc::new(store_sync::StoreSync {
            clients: clients.clone(),
            client_auth: client_auth.clone(),
            keys: keys.clone(),
            revocations: revocations.clone(),
            forgetting: forgetting.clone(),
            ends: ends.clone(),
            store: store.clone(),
            clock: clock.clone(),
            state: store_sync::SyncState::read(revisions),
        });
        let client_admin = ClientAdmin {
            policy: policy.clone(),
            clients: clients.clone(),
            keys: keys.clone(),
            revocations: revocations.clone(),
            forgetting: forgetting.clone(),
            ends: ends.clone(),
            sync: sync.clone(),
            store: store.clone(),
            clock: clock.clone(),
        };
        ends.end_expired().await;
        Ok(Arc::new(Self {
            url: config.url,
            policy,
            client_admin,
            secret_files: secret_files::LiveSecretFiles::new(
                config.secret_files,
                clients.clone(),
                clock.clone(),
            ),
            clients,
            client_auth,
            listed_clients: config.listed_clients,
            keys,
            revocations,
            forgetting,
            sync,
            store,
            clock,
        }))
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

    /// What the administrator may do.
    #[must_use]
    pub fn client_admin(&self) -> &ClientAdmin {
        &self.client_admin
    }

    /// Issues an access token to a client that asks from an address, or says why not. Signs on the
    /// calling thread.
    ///
    /// # Errors
    /// Whatever the client must be told, as [`TokenError`].
    pub async fn issue(
        &self,
        request: &TokenRequest,
        from: Option<IpAddr>,
    ) -> Result<TokenResponse, TokenError> {
        self.issue_to(request, from, &mut None).await
    }

    /// The same; `asker` is the client, once it has proven who it is, whatever becomes of its
    /// request.
    ///
    /// # Errors
    /// As [`issue`](Self::issue).
    pub async fn issue_to(
        &self,
        request: &TokenRequest,
        from: Option<IpAddr>,
        asker: &mut Option<Asker>,
    ) -> Result<TokenResponse, TokenError> {
        let now = self.clock.now();
        // First: a client of another grant may have no credentials that would be taken here.
        let grant_type = request
            .grant_type()
            .ok_or(TokenError::UnsupportedGrantType)?;
        let client = self.authenticate(request.credentials(), from, now).await?;
        *asker = Some(client.asker());
        if request.has_superseded_audience() {
            tracing::warn!(
                client_id = client.registration().id,
                "the token request has `audience` or `resource` beside `aud`: `aud` counts, the others are ignored"
            );
        }
        match grant_type {
            GrantType::ClientCredentials => {
                let granted =
                    grants::client_credentials::grant(client, request, &self.policy, now)?;
                self.issue_granted(&granted, now).await
            }
            GrantType::RefreshToken => self.refresh(client, request, now).await,
        }
    }

    /// Authenticates whoever sends a request to an endpoint for clients.
    async fn authenticate(
        &self,
        credentials: Option<&token_request::Credentials>,
        from: Option<IpAddr>,
        now: UnixTime,
    ) -> Result<client_auth::AuthenticatedClient, TokenError> {
        // A client may have been disabled or deleted where we cannot see it.
        if !self.sync.is_current() {
            return Err(TokenError::StoreUnavailable);
        }
        self.sync.look(now).await;
        let known = self.clients.all_configured();
        let authenticated = self
            .client_auth
            .authenticate(&self.clients, credentials, from, now)
            .await;
        let Err(TokenError::InvalidClient { .. }) = authenticated else {
            return authenticated;
        };
        // The client's secret file may have changed, and the client may have been faster to read
        // it.
        self.secret_files.look().await;
        if Arc::ptr_eq(&known, &self.clients.all_configured()) {
            return authenticated;
        }
        self.client_auth
            .authenticate(&self.clients, credentials, from, now)
            .await
    }

    /// Revokes an access token, or a refresh token with its family and their access tokens (RFC
    /// 7009 §2). Gives the access token's `jti` or the family's id; `None` when it is no live token
    /// of this client, or of the user whose JWT it brought, which is no error (§2.2): there is
    /// nothing to revoke. `asker` is the client, once it has proven who it is.
    ///
    /// # Errors
    /// When the client is not authenticated, or the store does not keep the revocation.
    pub async fn revoke(
        &self,
        request: &RevocationRequest,
        from: Option<IpAddr>,
        asker: &mut Option<Asker>,
    ) -> Result<Option<String>, TokenError> {
        let now = self.clock.now();
        let client = self.authenticate(request.credentials(), from, now).await?;
        *asker = Some(client.asker());
        if let Some(hash) = grants::refresh_token::hash_of(request.token()) {
            return self.revoke_family(&hash, &client, now).await;
        }
        let times = (now, self.forgetting.time());
        let Some(revocable) = request.token_of(&client, &self.policy, &self.keys, times) else {
            return Ok(None);
        };
        let jti = revocable.token.jti.clone();
        self.revocations.revoke(revocable).await?;
        Ok(Some(jti))
    }

    /// What is revoked now, for verifiers in this process.
    #[must_use]
    pub fn revoked(&self) -> &RevokedNow {
        self.revocations.now()
    }

    /// The signed list of revoked tokens, for verifiers elsewhere.
    ///
    /// # Errors
    /// [`TokenError::Signing`].
    pub async fn revocation_list(&self) -> Result<RevocationList, TokenError> {
        self.revocations
            .list(self.url.as_str(), self.listed_clients, &self.keys)
            .await
    }

    /// The registered client that a request names, whether or not it proves to be that client. For
    /// the audit line: what a stranger writes into `client_id` is never repeated.
    #[must_use]
    pub fn named_client(&self, request: &TokenRequest) -> Option<String> {
        self.named(request.credentials()?)
    }

    /// The same of a revocation request.
    #[must_use]
    pub fn revoking_client(&self, request: &RevocationRequest) -> Option<String> {
        self.named(request.credentials()?)
    }

    fn named(&self, credentials: &token_request::Credentials) -> Option<String> {
        credentials
            .named()
            .find_map(|id| Some(self.clients.get(&id)?.id.clone()))
    }

    /// Why nothing can be written to the store; none when the last write was kept.
    /// [`reload`](Self::reload) tries again.
    #[must_use]
    pub fn write_fault(&self) -> Option<&'static str> {
        self.store.write_fault()
    }

    /// The keys of clients, which somebody has to fetch: [`ClientKeySets::run`].
    #[must_use]
    pub fn client_keys(&self) -> &Arc<ClientKeySets> {
        self.client_auth.keys()
    }

    /// Sets how JWTs of trusted authorities are verified, which clients exchange for tokens of
    /// their owners. Until then none is taken.
    pub fn exchange_with(&self, verify: VerifyForeign) {
        self.client_auth.verify_foreign_with(verify);
    }

    /// What is known of the signing keys: the one that signs first, then the newest first.
    #[must_use]
    pub fn keys(&self) -> Vec<KeyView> {
        self.keys.views()
    }

    /// The public keys, for verifiers in this process: always those of this moment.
    #[must_use]
    pub fn live_keys(&self) -> &Arc<LiveKeys> {
        self.keys.live()
    }

    /// The public keys as a JWK set (RFC 7517 §5), serialised once.
    #[must_use]
    pub fn public_keys(&self) -> Arc<str> {
        self.keys.public()
    }

    /// The `iss` of the tokens, as configured.
    #[must_use]
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// What its profile decides.
    #[must_use]
    pub fn profile(&self) -> ProfilePolicy {
        self.policy.profile
    }

    /// The claim that carries an owner.
    #[must_use]
    pub fn owner_claim(&self) -> &str {
        &self.policy.owner_claim
    }

    /// The path of the issuer's URL in normal form, without a trailing slash: empty when there is
    /// none.
    #[must_use]
    pub fn base_path(&self) -> &str {
        self.url.base_path()
    }

    /// The metadata document (RFC 8414 §2).
    #[must_use]
    pub fn metadata(&self) -> Value {
        metadata::document(
            self.url.as_str(),
            self.policy.profile,
            &self.keys.algorithms(),
        )
    }
}

/// A successful answer of the token endpoint (RFC 6749 §5.1).
#[derive(Debug)]
pub struct TokenResponse {
    /// The access token.
    pub access_token: SecretString,
    /// How long it lives from now on; for ever, when none.
    pub expires_in: Option<Duration>,
    /// What it is good for; may be empty.
    pub scope: ScopeSet,
    /// Its `jti`, for the audit line.
    pub jti: String,
    /// The refresh token, for a client that may use one.
    pub refresh_token: Option<SecretString>,
}

/// How a token request ended, for metrics. Holds nothing a stranger can choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The client, when the request names a registered one.
    pub client_id: Option<String>,
    /// The grant, when the request names one we know.
    pub grant_type: Option<GrantType>,
    /// The error, or none when a token was issued.
    pub error: Option<ErrorCode>,
}

#[cfg(test)]
pub(crate) mod tests;
