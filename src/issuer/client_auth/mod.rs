//! Client authentication: presented credentials → [`AuthenticatedClient`].
//!
//! A client proves itself by a secret ([`secrets`]), by a JWT of its own ([`assertion`], RFC 7523),
//! or by a JWT of a trusted authority's user ([`exchange`], as plgd has it). Which of them is
//! registered with it; nothing else lets it in. Unknown client, wrong secret, disabled and expired
//! client are one answer.

mod assertion;
pub(super) mod client_keys;
pub(super) mod exchange;
mod failures;
mod fault;
mod nobody;
mod proven;
mod secrets;
mod slow_hash;
mod used_secrets;

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub use fault::AssertionFault;

use super::client::{Authentication, Client};
use super::clients::Clients;
use super::config::Config;
use super::error::TokenError;
use super::metadata::TOKEN_PATH;
use super::profile::ProfilePolicy;
use super::token::request::{Credentials, PresentedAssertion};
use crate::domain::clock::UnixTime;
use crate::domain::secret::ExposeSecret;
use crate::jose::verify::Jws;
use crate::store::{Store, StoreError};
use client_keys::ClientKeySets;
use exchange::{Exchanged, VerifyForeign};

/// A client that has proven who it is. Only [`ClientAuth::authenticate`] makes one.
#[derive(Clone, Debug)]
pub(super) struct AuthenticatedClient {
    client: Arc<Client>,
    exchanged: Option<Exchanged>,
}

impl AuthenticatedClient {
    /// What is registered of the client.
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

    /// What it brought to be exchanged.
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

/// What clients are authenticated with.
pub(super) struct ClientAuth {
    secrets: secrets::Secrets,
    keys: Arc<ClientKeySets>,
    nobody: nobody::Nobody,
    verify_foreign: OnceLock<VerifyForeign>,
    store: Arc<dyn Store>,
    /// The names an assertion's `aud` may have for us: our URL and the token endpoint's.
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
            ),
            nobody: nobody::Nobody::new(),
            verify_foreign: OnceLock::new(),
            store,
            our_names: [config.url.to_string(), token_endpoint],
            max_assertion_lifetime: config.max_assertion_lifetime,
            max_token_size: config.max_token_size,
            owner_claim: config.owner_claim.clone(),
            profile: config.profile.policy(),
        }
    }

    /// The keys of clients that are fetched.
    pub(super) fn keys(&self) -> &Arc<ClientKeySets> {
        &self.keys
    }

    /// Sets how JWTs of authorities are verified; only the first time.
    pub(super) fn verify_foreign_with(&self, verify: VerifyForeign) {
        let _ = self.verify_foreign.set(verify);
    }

    /// Notes in the store when secrets were last used, at most once a minute.
    pub(super) async fn write_used_secrets(&self, now: UnixTime) -> Result<(), StoreError> {
        self.secrets.write_used(&*self.store, now).await
    }

    /// Notes it at once, for the end of the process.
    pub(super) async fn write_all_used_secrets(&self, now: UnixTime) -> Result<(), StoreError> {
        self.secrets.write_all_used(&*self.store, now).await
    }

    /// Authenticates a client that asks from an address.
    ///
    /// # Errors
    /// [`TokenError::InvalidClient`] or [`TokenError::InvalidAssertion`], of which the client is
    /// told nothing more; [`TokenError::TooManyFailures`] before anything is looked at;
    /// [`TokenError::Busy`], [`TokenError::ClientKeysUnavailable`] or
    /// [`TokenError::StoreUnavailable`] when it cannot be judged now.
    pub(super) async fn authenticate(
        &self,
        clients: &Clients,
        credentials: Option<&Credentials>,
        from: Option<IpAddr>,
        now: UnixTime,
    ) -> Result<AuthenticatedClient, TokenError> {
        match credentials {
            None => Err(TokenError::InvalidClient { basic: false }),
            Some(Credentials::Secret(credentials)) => {
                let client = self
                    .secrets
                    .authenticate(clients, credentials, from, now)
                    .await?;
                Ok(AuthenticatedClient {
                    client,
                    exchanged: None,
                })
            }
            Some(Credentials::Assertion(assertion)) => {
                let jws =
                    Jws::parse(assertion.jwt.expose_secret()).map_err(AssertionFault::from)?;
                let verified = AtomicUsize::new(0);
                let judged = self
                    .by_assertion(clients, assertion, &jws, &verified, now)
                    .await;
                if judged.is_err() {
                    // Whether there is such a client does not show in the time.
                    self.nobody.verify(&jws, verified.load(Ordering::Relaxed));
                }
                judged
            }
        }
    }

    /// Counts in `verified` the keys that were tried.
    async fn by_assertion(
        &self,
        clients: &Clients,
        presented: &PresentedAssertion,
        jws: &Jws<'_>,
        verified: &AtomicUsize,
        now: UnixTime,
    ) -> Result<AuthenticatedClient, TokenError> {
        let client =
            named(clients, presented, jws.claimed_issuer()).ok_or(AssertionFault::UnknownClient)?;
        if !client.is_usable(now) {
            return Err(AssertionFault::UnusableClient.into());
        }
        let exchanged = match &client.authentication {
            Authentication::Secret => return Err(AssertionFault::OtherMethod.into()),
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

/// The client that asks: the one that is named beside the assertion, else the one that the
/// assertion claims to be.
fn named(
    clients: &Clients,
    presented: &PresentedAssertion,
    claimed: Option<&str>,
) -> Option<Arc<Client>> {
    if presented.named.is_empty() {
        return clients.get(claimed?);
    }
    presented.named.iter().find_map(|id| clients.get(id))
}

#[cfg(test)]
mod tests;
