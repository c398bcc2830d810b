//! Refresh tokens and used assertions, as they are stored.

use std::time::Duration;

use async_trait::async_trait;

use super::StoreError;
use super::tokens::{RefreshToken, Rotation, TokenRecord};
use crate::domain::clock::UnixTime;

/// Keeps refresh tokens and used assertions.
#[async_trait]
pub trait RefreshTokenStore {
    /// Keeps a refresh token, the first of its family, and with `keep_access` the access token
    /// issued with it: both or none. Of more than [`MAX_FAMILIES`] of its client and owner, those
    /// that were not used for longest are deleted; their access tokens live on. When the access
    /// token has ended with its client meanwhile, as for [`insert_token`](Self::insert_token), the
    /// refresh token is not kept: it would outlive the end.
    async fn insert_refresh_token(
        &self,
        token: &RefreshToken,
        access: &TokenRecord,
        keep_access: bool,
    ) -> Result<(), StoreError>;

    /// A refresh token, used or not.
    async fn refresh_token(&self, hash: &[u8; 32]) -> Result<Option<RefreshToken>, StoreError>;

    /// Uses a refresh token and keeps its successor, and the access token issued with that if it is
    /// to be kept, in one transaction.
    ///
    /// A token may be used a second time within `grace_until` as long as its successor was not: the
    /// answer was lost, and the new successor takes the old one's place. Any other second use
    /// deletes the family and revokes the access tokens issued with it, as
    /// [`delete_refresh_family`](Self::delete_refresh_family) does. Of the family's used tokens,
    /// beyond the last [`MAX_USED`], those whose access token has expired are forgotten: who shows
    /// one later is told that there is none.
    async fn rotate_refresh_token(
        &self,
        hash: &[u8; 32],
        successor: &RefreshToken,
        access: Option<&TokenRecord>,
        (now, proven): (UnixTime, UnixTime),
        grace: Duration,
    ) -> Result<Rotation, StoreError>;

    /// Deletes a refresh token's family and revokes at `now` the access tokens issued with it that
    /// have not expired at `proven`. `false`: there is no such token.
    async fn delete_refresh_family(
        &self,
        family_id: &str,
        now: UnixTime,
        proven: UnixTime,
    ) -> Result<bool, StoreError>;

    /// Keeps an assertion's identity until it expires. `false`: it is kept already, the assertion
    /// was used before.
    async fn use_assertion(&self, id: &[u8; 32], expires_at: UnixTime) -> Result<bool, StoreError>;
}
