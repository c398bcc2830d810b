//! The management of clients, their secrets and tokens, and of the signing keys: what the administrator may do.
//!
//! A change is in the store before it is answered, and known to this process: what it ends, no verifier here accepts any
//! more. Other processes on the same store see it within seconds.

mod clients;
mod keys;
mod secrets;
mod tokens;

use std::time::Duration;

use serde::Deserialize;

use super::access_token::BACKDATED;
use super::registration::{FieldProblem, Registration};
use super::{Client, Issuer};
use crate::domain::clock::UnixTime;
use crate::store::tokens::ClientNotBefore;
use crate::store::{StoreError, StoredClient};

pub use clients::{ClientPage, ClientRecord, CreatedClient, Source};
pub use secrets::{CreatedSecret, SecretRecord};
pub use tokens::{TokenPage, TokenQuery};

/// What a page holds when nobody says.
pub const DEFAULT_PAGE: u32 = 50;
/// What a page holds at most.
pub const MAX_PAGE: u32 = 200;

/// No access token of a client without a lifetime of its own lives longer: what `issuer.accessTokenLifetime` may be.
const LONGEST_DEFAULT: Duration = Duration::from_hours(24);
/// No access token lives longer.
const LONGEST: Duration = Duration::from_hours(366 * 24);

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum ManagementError {
    /// What is meant is not there.
    #[error("{0}")]
    NotFound(&'static str),
    /// The request's members are wrong.
    #[error("the request is not valid")]
    Invalid(Vec<FieldProblem>),
    /// It contradicts what is there.
    #[error("{0}")]
    Conflict(&'static str),
    /// The store does not answer, or the change is kept there but not yet taken over here.
    #[error("the store is not available")]
    Unavailable,
}

impl From<StoreError> for ManagementError {
    fn from(_: StoreError) -> Self {
        Self::Unavailable
    }
}

const NO_CLIENT: ManagementError = ManagementError::NotFound("there is no such client");

impl Issuer {
    /// A client of the store.
    async fn stored_client(&self, client_id: &str) -> Result<StoredClient, ManagementError> {
        if self.clients.configured(client_id).is_some() {
            return Err(ManagementError::Conflict(
                "this client stands in the configuration file, and is changed there",
            ));
        }
        self.store.client(client_id).await?.ok_or(NO_CLIENT)
    }

    /// Ends everything a client was issued so far, whether it is one of the store or of the configuration. Gives the
    /// time up to which.
    ///
    /// # Errors
    /// When there is no such client, or the store does not keep it.
    pub async fn end_tokens_of_client(&self, client_id: &str) -> Result<UnixTime, ManagementError> {
        let lifetime = match self.clients.configured(client_id) {
            Some(client) => longest_lifetime_of_configured(&client),
            None => longest_lifetime(&self.store.client(client_id).await?.ok_or(NO_CLIENT)?),
        };
        let now = self.clock.now();
        let end = end_of(client_id, lifetime, now);
        self.store.end_client_tokens(&end).await?;
        self.take_over(Some(&end)).await?;
        Ok(now)
    }

    /// Makes a change of the store known to this process. With `end`, waits until tokens can be issued that it does not
    /// end: `iat` counts in seconds, and a token that is asked for after the answer must live.
    async fn take_over(&self, end: Option<&ClientNotBefore>) -> Result<(), ManagementError> {
        self.reload().await?;
        if let Some(end) = end {
            // At most a second, but for a clock that stands still.
            for _ in 0..75 {
                if self.clock.now().minus(BACKDATED) > end.until {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }
}

/// Everything of a client that was issued up to now.
fn end_of(client_id: &str, lifetime: Duration, now: UnixTime) -> ClientNotBefore {
    ClientNotBefore {
        client_id: client_id.to_owned(),
        // A token's `iat` lies before the moment it was issued.
        until: now.minus(BACKDATED),
        expires_at: now.plus(lifetime),
        revoked_at: now,
    }
}

/// How long a token that a client has now can live on.
fn longest_lifetime(stored: &StoredClient) -> Duration {
    match Registration::deserialize(&stored.document) {
        Ok(registration) => {
            let own = registration.access_token_lifetime.max(registration.longest_token_lifetime);
            own.map_or(LONGEST_DEFAULT, Duration::from_secs).max(LONGEST_DEFAULT)
        }
        Err(_) => LONGEST,
    }
}

/// The file may have said otherwise when the token was issued.
fn longest_lifetime_of_configured(_: &Client) -> Duration {
    LONGEST
}
