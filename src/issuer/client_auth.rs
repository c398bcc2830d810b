//! Client authentication: presented credentials → [`AuthenticatedClient`].
//!
//! Unknown client, wrong secret, disabled and expired client are one answer, reached by the same work: every reading
//! of the credentials costs one lookup and one comparison, whatever the ones before it gave.

use super::clients::Clients;
use super::token_request::{Candidate, Credentials};
use super::{ClientConfig, TokenError};
use crate::domain::clock::UnixTime;
use crate::domain::oauth::ClientAuthMethod;
use crate::domain::secret::{self, ExposeSecret};

/// A client that has proven who it is. Only [`authenticate`] makes one.
#[derive(Clone, Copy, Debug)]
pub(super) struct AuthenticatedClient<'a>(&'a ClientConfig);

impl<'a> AuthenticatedClient<'a> {
    /// What is registered of the client.
    pub(super) fn registration(self) -> &'a ClientConfig {
        self.0
    }
}

/// Authenticates a client.
///
/// # Errors
/// [`TokenError::InvalidClient`], without a word on why.
pub(super) fn authenticate<'a>(
    clients: &'a Clients,
    credentials: Option<&Credentials>,
    now: UnixTime,
) -> Result<AuthenticatedClient<'a>, TokenError> {
    let Some(credentials) = credentials else {
        return Err(TokenError::InvalidClient { basic: false });
    };
    let mut found = None;
    for candidate in credentials.candidates() {
        let client = check(clients, candidate);
        found = found.or(client);
    }
    let basic = credentials.method() == ClientAuthMethod::ClientSecretBasic;
    found
        .filter(|client| !client.disabled && client.expires_at.is_none_or(|end| now < end))
        .map(AuthenticatedClient)
        .ok_or(TokenError::InvalidClient { basic })
}

fn check<'a>(clients: &'a Clients, candidate: &Candidate) -> Option<&'a ClientConfig> {
    let client = clients.get(&candidate.client_id);
    let expected = client.map_or(clients.dummy_secret(), |client| &client.secret);
    let is_right =
        secret::matches(expected, &candidate.secret) && !candidate.secret.expose_secret().is_empty();
    client.filter(|_| is_right)
}
