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
    /// Keeps the revocation of a token, whether or not it is a kept one; a token that is revoked
    /// already stays as it is.
    async fn revoke_token(&self, token: &RevokedToken) -> Result<(), StoreError>;

    /// Ends everything a client was issued up to a time: access tokens by their `iat`, its refresh
    /// tokens all. The later of two times holds, with the mark of the newer end.
    async fn end_client_tokens(&self, end: &ClientNotBefore) -> Result<(), StoreError>;

    /// What is revoked and need not be forgotten yet at `now`.
    async fn revocations(&self, now: UnixTime) -> Result<Revocations, StoreError>;

    /// What was revoked after the revision `after` of
    /// [`Revisions::revocations`](super::Revisions::revocations), with the revision up to which
    /// that is everything.
    async fn revocations_since(&self, after: i64) -> Result<(i64, Revocations), StoreError>;

    /// Lets [`Revisions::revocations`](super::Revisions::revocations) begin at a revision, where
    /// nothing was ever revoked.
    async fn begin_revocations(&self, revision: i64) -> Result<(), StoreError>;
}
