//! Revocations, as they are stored.

use async_trait::async_trait;

use super::StoreError;
use super::tokens::{ClientNotBefore, Revocations, RevokedToken};
use crate::domain::clock::UnixTime;

/// Keeps revocations.
///
/// Every revocation raises [`Revisions::revocations`](super::Revisions::revocations) in the same
/// transaction.
#[async_trait]
pub trait RevocationStore {
    /// Stores the revocation of a token, also of one that is not kept. An earlier revocation stays
    /// as it is.
    async fn revoke_token(&self, token: &RevokedToken) -> Result<(), StoreError>;

    /// Ends a client's access tokens up to an `iat`, and all of its refresh tokens. The later of
    /// two times holds, with the mark of the newer end.
    async fn end_client_tokens(&self, end: &ClientNotBefore) -> Result<(), StoreError>;

    /// The revocations that have not expired at `now`.
    async fn revocations(&self, now: UnixTime) -> Result<Revocations, StoreError>;

    /// The revocations after the revision `after` of
    /// [`Revisions::revocations`](super::Revisions::revocations), with the revision up to which
    /// they are complete.
    async fn revocations_since(&self, after: i64) -> Result<(i64, Revocations), StoreError>;

    /// Sets the first [`Revisions::revocations`](super::Revisions::revocations) of a store without
    /// any revocation.
    async fn begin_revocations(&self, revision: i64) -> Result<(), StoreError>;
}
