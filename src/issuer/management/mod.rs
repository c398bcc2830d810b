//! The management of clients, their secrets and tokens, and of the signing keys.
//!
//! A change is stored, and effective in this process, before it is answered. Other processes on the
//! same store read it within seconds.

mod clients;
mod keys;
mod secrets;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::client_end::{ClientEnds, longest_lifetime};
use super::clients::Clients;
use super::forgetting::Forgetting;
use super::policy::{BACKDATED, Policy};
use super::registration::{FieldProblem, Members};
use super::revocations::Revocations;
use super::signing_keys::SigningKeys;
use super::store_sync::StoreSync;
use crate::domain::clock::{SharedClock, UnixTime};
use crate::store::tokens::ClientNotBefore;
use crate::store::{Store, StoreError, StoredClient};

pub use clients::{ClientRecord, CreatedClient, Source};
pub use secrets::{CreatedSecret, SecretRecord, SecretRequest};
pub use tokens::TokenQuery;

/// The default length of a page.
pub const DEFAULT_PAGE: u32 = 50;
/// The greatest length of a page.
pub const MAX_PAGE: u32 = 200;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ManagementError {
    /// The object does not exist.
    #[error("{0}")]
    NotFound(&'static str),
    /// Members of the request are wrong.
    #[error("the request is not valid")]
    Invalid(Vec<FieldProblem>),
    /// The request contradicts the present state.
    #[error("{0}")]
    Conflict(&'static str),
    /// The store does not answer, or the change is stored but not yet read back.
    #[error("the store is not available")]
    Unavailable,
    /// Why nothing can be written to the store.
    #[error("the store cannot be written: {0}")]
    Unwritable(&'static str),
}

impl From<StoreError> for ManagementError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unwritable(why) => Self::Unwritable(why),
            _ => Self::Unavailable,
        }
    }
}

/// How often a change is tried while other requests change the client.
const TRIES: usize = 10;

const CHANGED: ManagementError =
    ManagementError::Conflict("others change this client at the same time; try again");
const NO_CLIENT: ManagementError = ManagementError::NotFound("there is no such client");

/// A request to end tokens of a client.
#[derive(ToSchema)]
pub struct RevokeRequest {
    /// The tokens issued up to this time (RFC 3339), that second included; now when left out.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub before: Option<UnixTime>,
}

impl RevokeRequest {
    fn read(body: &Map<String, Value>, now: UnixTime) -> Result<Self, ManagementError> {
        let mut members = Members::new(body, &["before"]);
        let before = members.time("before");
        if let Some(before) = before.filter(|before| *before > now) {
            let problem = format!("it must have passed: {}", before.beside(now));
            members.problem("before", problem);
        }
        members.end().map_err(ManagementError::Invalid)?;
        Ok(Self { before })
    }
}

/// The administrator's operations on clients, their secrets and tokens, and the signing keys.
pub struct ClientAdmin {
    pub(super) policy: Arc<Policy>,
    pub(super) clients: Arc<Clients>,
    pub(super) keys: Arc<SigningKeys>,
    pub(super) revocations: Arc<Revocations>,
    pub(super) forgetting: Arc<Forgetting>,
    pub(super) ends: Arc<ClientEnds>,
    pub(super) sync: Arc<StoreSync>,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: SharedClock,
}

impl ClientAdmin {
    /// A client of the store.
    async fn stored_client(&self, client_id: &str) -> Result<StoredClient, ManagementError> {
        if self.clients.configured(client_id).is_some() {
            return Err(ManagementError::Conflict(
                "this client stands in the configuration file, and is changed there",
            ));
        }
        self.store.client(client_id).await?.ok_or(NO_CLIENT)
    }

    /// Ends everything a client was issued up to now, or up to the request's `before`, and all of
    /// its refresh tokens. The client may be one of the store or of the configuration. Returns the
    /// time.
    ///
    /// # Errors
    /// When a member is wrong, there is no such client, or the store fails.
    pub async fn end_tokens(
        &self,
        client_id: &str,
        body: &Map<String, Value>,
    ) -> Result<UnixTime, ManagementError> {
        let now = self.clock.now();
        let RevokeRequest { before } = RevokeRequest::read(body, now)?;
        let stored = match self.clients.configured(client_id) {
            Some(_) => None,
            None => Some(self.store.client(client_id).await?.ok_or(NO_CLIENT)?),
        };
        let lifetime = longest_lifetime(stored.as_ref());
        let mut end = self.ends.end_of(client_id, lifetime, now);
        if let Some(before) = before {
            end.until = before.minus(BACKDATED);
        }
        self.ends.store(&end).await?;
        self.let_pass(&end).await;
        Ok(before.unwrap_or(now))
    }

    /// Reads the changes of the store into this process.
    async fn take_over(&self) -> Result<(), ManagementError> {
        Ok(self.sync.reload().await?)
    }

    /// Waits until the `iat` of new tokens lies after the end: a token that is issued after the
    /// answer must be valid. `iat` counts in seconds. This process marks tokens of the same second,
    /// but other processes may not have read the end yet.
    async fn let_pass(&self, end: &ClientNotBefore) {
        // At most a second, except while the clock stands still.
        for _ in 0..75 {
            let now = self.clock.now();
            // The clock was set back: only the mark distinguishes new tokens.
            let is_far = end.until > now;
            if is_far || now.minus(BACKDATED) > end.until {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[cfg(test)]
mod tests;
