//! Times that survive a restart.

use async_trait::async_trait;

use super::StoreError;
use super::tokens::NotedTime;
use crate::domain::clock::UnixTime;

/// Keeps the times by which the issuer signs and deletes.
#[async_trait]
pub trait TimeStore {
    /// Stores the time up to which tokens may be signed, unless a later one is stored.
    async fn note_signed_until(&self, at: UnixTime) -> Result<(), StoreError>;

    /// The stored time.
    async fn signed_until(&self) -> Result<UnixTime, StoreError>;

    /// Stores the proven time, which never moves back.
    async fn note_proven_time(&self, noted: &NotedTime) -> Result<(), StoreError>;

    /// The stored proven time; none in a new store.
    async fn proven_time(&self) -> Result<Option<NotedTime>, StoreError>;
}
