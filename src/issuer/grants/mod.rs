//! The grants: each narrows what an authenticated client asks for to what it may have.

pub(super) mod client_credentials;

use super::client_auth::AuthenticatedClient;
use crate::domain::clock::UnixTime;
use crate::domain::scope::ScopeSet;

/// What an access token may say. Only a grant makes one.
#[derive(Debug)]
pub(super) struct Granted {
    client: AuthenticatedClient,
    scope: ScopeSet,
    audiences: Vec<String>,
    expires_at: UnixTime,
    token_name: Option<String>,
}

impl Granted {
    /// The client it is for.
    pub(super) fn client(&self) -> &AuthenticatedClient {
        &self.client
    }

    /// What it is good for.
    pub(super) fn scope(&self) -> &ScopeSet {
        &self.scope
    }

    /// Whom it is for; at least one.
    pub(super) fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// When it ends.
    pub(super) fn expires_at(&self) -> UnixTime {
        self.expires_at
    }

    /// What the client calls it.
    pub(super) fn token_name(&self) -> Option<&str> {
        self.token_name.as_deref()
    }
}
