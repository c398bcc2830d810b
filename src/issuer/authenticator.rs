//! Authentication at the endpoints for clients: the token, introspection and revocation endpoints.

use std::sync::Arc;

use super::client_auth::{AuthenticatedClient, ClientAuth};
use super::clients::Clients;
use super::error::TokenError;
use super::secret_files::LiveSecretFiles;
use super::store_sync::StoreSync;
use super::token::request::Credentials;
use crate::domain::client_certificate::ClientConnection;
use crate::domain::clock::UnixTime;
use crate::domain::oauth::ErrorCode;

/// Authenticates clients by their latest registration.
pub(super) struct Authenticator {
    pub(super) clients: Arc<Clients>,
    pub(super) client_auth: Arc<ClientAuth>,
    pub(super) secret_files: Arc<LiveSecretFiles>,
    pub(super) sync: Arc<StoreSync>,
}

impl Authenticator {
    /// Authenticates a client of a connection.
    ///
    /// # Errors
    /// Those of [`ClientAuth::authenticate`]; [`TokenError::OtherNetwork`], which looks the same to
    /// the client as a wrong secret; [`TokenError::StoreUnavailable`] if its registration is not
    /// known.
    pub(super) async fn authenticate(
        &self,
        credentials: Option<&Credentials>,
        from: &ClientConnection,
        now: UnixTime,
    ) -> Result<AuthenticatedClient, TokenError> {
        let authenticated = self.authenticate_registered(credentials, from, now).await;
        let is_refused = |error: &TokenError| error.code() == ErrorCode::InvalidClient;
        if !authenticated.as_ref().is_err_and(is_refused) {
            return authenticated;
        }
        let named = credentials.into_iter().flat_map(Credentials::named);
        for id in named {
            match self.clients.get(&id) {
                // Another version of this program may have written the registration.
                None if self.clients.is_unreadable(&id) => {
                    return Err(TokenError::StoreUnavailable);
                }
                Some(client) if !client.may_come_from(from.address) => {
                    let basic = matches!(
                        authenticated,
                        Err(TokenError::InvalidClient { basic: true })
                    );
                    return Err(TokenError::OtherNetwork { basic });
                }
                _ => {}
            }
        }
        authenticated
    }

    async fn authenticate_registered(
        &self,
        credentials: Option<&Credentials>,
        from: &ClientConnection,
        now: UnixTime,
    ) -> Result<AuthenticatedClient, TokenError> {
        // Without the store, the client may have been disabled or deleted by another process.
        if !self.sync.is_current() {
            return Err(TokenError::StoreUnavailable);
        }
        self.sync.look(now).await;
        let before = self.clients.all_configured();
        let first = self
            .client_auth
            .authenticate(&self.clients, credentials, from, now)
            .await;
        if !matches!(first, Err(TokenError::InvalidClient { .. })) {
            return first;
        }
        // The client may have read its changed secret file before this process did.
        self.secret_files.look().await;
        if Arc::ptr_eq(&before, &self.clients.all_configured()) {
            return first;
        }
        self.client_auth
            .authenticate(&self.clients, credentials, from, now)
            .await
    }
}
