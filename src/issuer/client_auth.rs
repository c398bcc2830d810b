//! Client authentication: presented credentials → [`AuthenticatedClient`].
//!
//! Unknown client, wrong secret, disabled and expired client are one answer, reached by the same work: every reading
//! of the credentials costs one lookup and one comparison, whatever the ones before it gave.

use std::sync::Arc;

use super::TokenError;
use super::client::{Client, ExpectedSecret};
use super::clients::Clients;
use super::token_request::{Candidate, Credentials};
use crate::domain::clock::UnixTime;
use crate::domain::hash::sha256;
use crate::domain::oauth::ClientAuthMethod;
use crate::domain::secret::{self, ExposeSecret};

/// A client that has proven who it is. Only [`authenticate`] makes one.
#[derive(Clone, Debug)]
pub(super) struct AuthenticatedClient(Arc<Client>);

impl AuthenticatedClient {
    /// What is registered of the client.
    pub(super) fn registration(&self) -> &Client {
        &self.0
    }
}

/// Authenticates a client.
///
/// # Errors
/// [`TokenError::InvalidClient`], without a word on why.
pub(super) fn authenticate(
    clients: &Clients,
    credentials: Option<&Credentials>,
    now: UnixTime,
) -> Result<AuthenticatedClient, TokenError> {
    let Some(credentials) = credentials else {
        return Err(TokenError::InvalidClient { basic: false });
    };
    let mut found = None;
    for candidate in credentials.candidates() {
        let client = check(clients, candidate, now);
        found = found.or(client);
    }
    let basic = credentials.method() == ClientAuthMethod::ClientSecretBasic;
    found
        .filter(|client| !client.disabled && client.expires_at.is_none_or(|end| now < end))
        .map(AuthenticatedClient)
        .ok_or(TokenError::InvalidClient { basic })
}

fn check(clients: &Clients, candidate: &Candidate, now: UnixTime) -> Option<Arc<Client>> {
    let client = clients.get(&candidate.client_id);
    let digest = sha256(candidate.secret.expose_secret().as_bytes());
    let matches = |expected: &ExpectedSecret| match expected {
        ExpectedSecret::Plain(expected) => secret::matches(expected, &candidate.secret),
        ExpectedSecret::Sha256(expected) => {
            aws_lc_rs::constant_time::verify_slices_are_equal(expected, &digest).is_ok()
        }
        ExpectedSecret::Argon2(..) => false,
    };
    let live = client.iter().flat_map(|client| &client.secrets).filter(|secret| secret.is_live(now));
    let mut is_right = false;
    for secret in live {
        is_right |= matches(&secret.expected);
    }
    if client.is_none() {
        matches(&ExpectedSecret::Plain(clients.dummy_secret().clone()));
    }
    client.filter(|_| is_right && !candidate.secret.expose_secret().is_empty())
}
