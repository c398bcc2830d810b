//! Client authentication: presented credentials → [`AuthenticatedClient`].
//!
//! A client authenticates only by its registered method:
//!
//! - a secret ([`secrets`]);
//! - its own JWT ([`assertion`], RFC 7523);
//! - the JWT of a trusted authority that names it ([`federated`]);
//! - the certificate of its connection ([`certificate`], RFC 8705);
//! - the JWT of a trusted authority's user ([`exchange`], as plgd does).
//!
//! An unknown client, a wrong secret, a disabled and an expired client get the same answer.

mod assertion;
mod certificate;
pub(super) mod client_keys;
mod decoy;
pub(super) mod exchange;
mod failures;
pub(super) mod fault;
mod federated;
mod federated_keys;
pub(super) mod foreign;
mod known;
mod proven;
mod secrets;
mod slow_hash;
mod used_secrets;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;

use super::client::{Authentication, Client};
use super::clients::Clients;
use super::config::Config;
use super::error::TokenError;
use super::metadata::TOKEN_PATH;
use super::profile::ProfilePolicy;
use super::token::request::{Credentials, PresentedAssertion};
use crate::domain::client_certificate::ClientConnection;
use crate::domain::clock::UnixTime;
use crate::domain::secret::ExposeSecret;
use crate::jose::verify::Jws;
use crate::store::{Store, StoreError};
use client_keys::ClientKeySets;
use exchange::Exchanged;
use fault::AssertionFault;
use federated::Named;
use foreign::VerifyForeign;
use known::KnownClients;

/// An authenticated client. Only [`ClientAuth::authenticate`] makes one.
#[derive(Clone, Debug)]
pub(super) struct AuthenticatedClient {
    client: Arc<Client>,
    exchanged: Option<Exchanged>,
}

impl AuthenticatedClient {
    /// The registration of the client.
    pub(super) fn registration(&self) -> &Client {
        &self.client
    }

    /// Its identity, for the audit log.
    pub(super) fn identity(&self) -> ClientIdentity {
        ClientIdentity {
            client_id: self.client.id.clone(),
            owner: self
                .exchanged
                .as_ref()
                .map(|exchanged| exchanged.owner().to_owned()),
        }
    }

    /// The JWT that it exchanges.
    pub(super) fn exchanged(&self) -> Option<&Exchanged> {
        self.exchanged.as_ref()
    }
}

/// A client that authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    pub client_id: String,
    /// The owner of the JWT that it exchanges, if it does.
    pub owner: Option<String>,
}

/// Authenticates clients.
pub(super) struct ClientAuth {
    secrets: secrets::Secrets,
    keys: Arc<ClientKeySets>,
    decoy: decoy::DecoyKeys,
    verify_foreign: ArcSwapOption<VerifyForeign>,
    store: Arc<dyn Store>,
    /// The names of this issuer in an assertion's `aud`: its URL and the token endpoint's.
    our_names: [String; 2],
    max_assertion_lifetime: Duration,
    max_token_size: usize,
    owner_claim: String,
    profile: ProfilePolicy,
}

impl ClientAuth {
    pub(super) fn new(config: &Config, store: Arc<dyn Store>) -> Self {
        let token_endpoint = format!("{}{TOKEN_PATH}", config.url.as_str().trim_end_matches('/'));
        Self {
            secrets: secrets::Secrets::new(),
            keys: ClientKeySets::new(
                config.client_jwks_hosts.clone(),
                config.client_jwks_ca.clone(),
                config.egress.clone(),
            ),
            decoy: decoy::DecoyKeys::new(),
            verify_foreign: ArcSwapOption::empty(),
            store,
            our_names: [config.url.to_string(), token_endpoint],
            max_assertion_lifetime: config.max_assertion_lifetime,
            max_token_size: config.max_token_size,
            owner_claim: config.owner_claim.clone(),
            profile: config.profile.policy(),
        }
    }

    /// The fetched keys of clients.
    pub(super) fn keys(&self) -> &Arc<ClientKeySets> {
        &self.keys
    }

    /// Sets the verification of authorities' JWTs.
    pub(super) fn verify_foreign_with(&self, verify: VerifyForeign) {
        self.verify_foreign.store(Some(Arc::new(verify)));
    }

    /// Stores when secrets were last used, at most once a minute.
    pub(super) async fn write_used_secrets(&self, now: UnixTime) -> Result<(), StoreError> {
        self.secrets.write_used(&*self.store, now).await
    }

    /// Stores it at once, when the process ends.
    pub(super) async fn write_all_used_secrets(&self, now: UnixTime) -> Result<(), StoreError> {
        self.secrets.write_all_used(&*self.store, now).await
    }

    /// Authenticates a client of a connection.
    ///
    /// # Errors
    /// [`TokenError::InvalidClient`], [`TokenError::InvalidAssertion`] or
    /// [`TokenError::InvalidCertificate`], which look the same to the client;
    /// [`TokenError::TooManyFailures`] before any check; [`TokenError::Busy`],
    /// [`TokenError::ClientKeysUnavailable`] or [`TokenError::StoreUnavailable`] if the check is
    /// impossible now.
    pub(super) async fn authenticate(
        &self,
        clients: &Clients,
        credentials: Option<&Credentials>,
        from: &ClientConnection,
        now: UnixTime,
    ) -> Result<AuthenticatedClient, TokenError> {
        let clients = KnownClients {
            all: clients,
            address: from.address,
        };
        match credentials {
            None => Err(TokenError::InvalidClient { basic: false }),
            Some(Credentials::Secret(credentials)) => {
                let certificate = from.certificate.as_deref();
                let named = certificate::named(clients, credentials, certificate, now)?;
                if let Some(client) = named {
                    return self
                        .authenticate_by_certificate(client, certificate, now)
                        .await;
                }
                let client = self.secrets.authenticate(clients, credentials, now).await?;
                Ok(AuthenticatedClient {
                    client,
                    exchanged: None,
                })
            }
            Some(Credentials::Assertion(assertion)) => {
                let jws =
                    Jws::parse(assertion.jwt.expose_secret()).map_err(AssertionFault::from)?;
                let verified = AtomicUsize::new(0);
                let result = self
                    .authenticate_by_assertion(clients, assertion, &jws, &verified, now)
                    .await;
                if result.is_err() {
                    // The time must not reveal whether the client exists.
                    self.decoy.verify(&jws, verified.load(Ordering::Relaxed));
                }
                result
            }
        }
    }

    /// Counts the tried keys in `verified`.
    async fn authenticate_by_assertion(
        &self,
        clients: KnownClients<'_>,
        presented: &PresentedAssertion,
        jws: &Jws<'_>,
        verified: &AtomicUsize,
        now: UnixTime,
    ) -> Result<AuthenticatedClient, TokenError> {
        let client = match Named::find(clients, presented, jws)? {
            Named::One(client) => client,
            Named::Any => {
                let candidates = clients.usable(now, federated::is_federated);
                return self
                    .authenticate_federated(candidates, presented, jws, verified, now)
                    .await;
            }
        };
        if !client.is_usable(now) {
            return Err(AssertionFault::UnusableClient.into());
        }
        if presented.is_svid && !federated::is_federated(&client) {
            return Err(AssertionFault::OtherMethod.into());
        }
        let exchanged = match &client.authentication {
            Authentication::Secret
            | Authentication::TlsClientAuth(_)
            | Authentication::SelfSignedTls(_) => return Err(AssertionFault::OtherMethod.into()),
            Authentication::Federated(_) => {
                return self
                    .authenticate_federated(vec![client], presented, jws, verified, now)
                    .await;
            }
            Authentication::PrivateKeyJwt(keys) => {
                if !presented.named.is_empty() && !presented.named.contains(&client.id) {
                    return Err(AssertionFault::OtherClient.into());
                }
                if presented.jwt.expose_secret().len() > self.max_token_size {
                    return Err(AssertionFault::TooLarge.into());
                }
                self.verify_own(&client, keys, jws, verified, now).await?;
                None
            }
            Authentication::Exchange(exchange) => {
                if !presented.named.contains(&client.id) {
                    return Err(AssertionFault::NotNamed.into());
                }
                Some(
                    self.verify_foreign(exchange, presented, jws, verified, now)
                        .await?,
                )
            }
        };
        Ok(AuthenticatedClient { client, exchanged })
    }
}

#[cfg(test)]
mod tests;
