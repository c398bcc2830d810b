//! The management of clients, their secrets and tokens, and of the signing keys: what the
//! administrator may do.
//!
//! A change is in the store before it is answered, and known to this process: what it ends, no
//! verifier here accepts any more. Other processes on the same store see it within seconds.

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

/// What a page holds when nobody says.
pub const DEFAULT_PAGE: u32 = 50;
/// What a page holds at most.
pub const MAX_PAGE: u32 = 200;

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
    /// Nothing can be written to the store, and why.
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

/// How often a change is tried whose client others change meanwhile.
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

/// What the administrator may do: with clients, their secrets and tokens, and the signing keys.
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

    /// Ends everything a client was issued up to now, or up to the time `before` of the request,
    /// that second included; and all of its refresh tokens. The client may be one of the store or
    /// of the configuration. Gives the time.
    ///
    /// # Errors
    /// When a member is wrong, there is no such client, or the store does not keep it.
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
        let lives = longest_lifetime(stored.as_ref());
        let mut end = self.ends.end_of(client_id, lives, now);
        if let Some(before) = before {
            end.until = before.minus(BACKDATED);
        }
        self.ends.store(&end).await?;
        self.let_pass(&end).await;
        Ok(before.unwrap_or(now))
    }

    /// Makes a change of the store known to this process, whoever made it.
    async fn take_over(&self) -> Result<(), ManagementError> {
        Ok(self.sync.reload().await?)
    }

    /// Waits until a token that is issued is not ended, by its `iat` alone, which counts in
    /// seconds: a token that is asked for after the answer must live. This process marks those of
    /// the same second, others may not know the end yet.
    async fn let_pass(&self, end: &ClientNotBefore) {
        // At most a second, but for a clock that stands still.
        for _ in 0..75 {
            let now = self.clock.now();
            // The clock was set back, and only the mark helps.
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
