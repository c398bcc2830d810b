//! Times that survive a restart.

use async_trait::async_trait;

use super::StoreError;
use super::tokens::NotedTime;
use crate::domain::clock::UnixTime;

/// Keeps the times by which the issuer signs and forgets.
#[async_trait]
pub trait TimeStore {
    /// Notes that tokens may be signed up to a time. An earlier time than the one that is noted
    /// changes nothing.
    async fn note_signed_until(&self, at: UnixTime) -> Result<(), StoreError>;

    /// The time that was noted.
    async fn signed_until(&self) -> Result<UnixTime, StoreError>;

    /// Keeps the proven time. It never becomes an earlier one than was kept before.
    async fn note_proven_time(&self, noted: &NotedTime) -> Result<(), StoreError>;

    /// The proven time that was kept; none in a new store.
    async fn proven_time(&self) -> Result<Option<NotedTime>, StoreError>;
}
