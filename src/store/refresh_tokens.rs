//! Refresh tokens and used assertions, as they are stored.

use std::time::Duration;

use async_trait::async_trait;

use super::StoreError;
use super::tokens::{RefreshToken, Rotation, TokenRecord};
use crate::domain::clock::UnixTime;

/// Keeps refresh tokens and used assertions.
#[async_trait]
pub trait RefreshTokenStore {
    /// Keeps the first refresh token of a family, and with `keep_access` the access token issued
    /// with it: both or none. Beyond [`MAX_FAMILIES`](super::tokens::MAX_FAMILIES) of its client
    /// and owner, the families unused for longest are deleted; their access tokens stay valid. If
    /// the client's tokens have ended meanwhile, the refresh token is not kept: it would outlive
    /// the end.
    async fn insert_refresh_token(
        &self,
        token: &RefreshToken,
        access: &TokenRecord,
        keep_access: bool,
    ) -> Result<(), StoreError>;

    /// A refresh token, used or not.
    async fn refresh_token(&self, hash: &[u8; 32]) -> Result<Option<RefreshToken>, StoreError>;

    /// Uses a refresh token and keeps its successor, with the new access token if it is given, in
    /// one transaction.
    ///
    /// A token may be used a second time within `grace` while its successor is unused: the answer
    /// was lost, and the new successor replaces the old one. Any other second use deletes the
    /// family, as [`delete_refresh_family`](Self::delete_refresh_family) does. Beyond the last
    /// [`MAX_USED`](super::tokens::MAX_USED), used tokens are deleted once their access token has
    /// expired; a later use of one is [`Rotation::Unknown`].
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

    /// Keeps an assertion's id until it expires. `false`: the assertion was used before.
    async fn use_assertion(&self, id: &[u8; 32], expires_at: UnixTime) -> Result<bool, StoreError>;
}
