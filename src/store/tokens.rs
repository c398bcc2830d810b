//! Issued tokens, refresh tokens, revocations and used assertions, as they are stored.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::StoreError;
use crate::domain::clock::UnixTime;
use crate::domain::proven_time::ProvenTime;
use crate::domain::revoked::EndMark;

/// How many families of refresh tokens of one client and owner live at most.
pub const MAX_FAMILIES: u32 = 100;
/// How many used refresh tokens of a family are kept whose access tokens have expired.
pub const MAX_USED: u32 = 100;

/// Keeps what must be remembered of tokens.
///
/// What revokes anything raises [`Revisions::revocations`](super::Revisions::revocations) in the
/// same transaction.
#[async_trait]
pub trait TokenStore {
    /// Keeps an issued access token; as a revoked one, when everything of its client that was
    /// issued up to its `iat` has ended meanwhile and it does not carry the mark of that end.
    async fn insert_token(&self, token: &TokenRecord) -> Result<(), StoreError>;

    /// The access tokens that fit, in the filter's order.
    async fn tokens(&self, filter: &TokenFilter) -> Result<Vec<TokenRecord>, StoreError>;

    /// Revokes at `now` what fits and has not expired at `proven`, a time that the clock may be
    /// ahead of; deletes what fits and has. What is revoked already stays as it is.
    async fn end_tokens(
        &self,
        filter: &TokenFilter,
        now: UnixTime,
        proven: UnixTime,
    ) -> Result<Ended, StoreError>;

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

    /// How many kept tokens an owner has of a client that have not expired at a time. The owner is
    /// a name, and the issuer that gave it in each spelling under which it may have been stored.
    async fn count_tokens(
        &self,
        client_id: &str,
        owner: (&str, &[String]),
        now: UnixTime,
    ) -> Result<TokenCount, StoreError>;

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

    /// Notes that tokens may be signed up to a time. An earlier time than the one that is noted
    /// changes nothing.
    async fn note_signed_until(&self, at: UnixTime) -> Result<(), StoreError>;

    /// The time that was noted.
    async fn signed_until(&self) -> Result<UnixTime, StoreError>;

    /// Keeps the proven time. It never becomes an earlier one than was kept before.
    async fn note_proven_time(&self, noted: &NotedTime) -> Result<(), StoreError>;

    /// The proven time that was kept; none in a new store.
    async fn proven_time(&self) -> Result<Option<NotedTime>, StoreError>;

    /// Deletes what expired before a time, at most `most` rows of each kind; how many it were.
    async fn purge(&self, before: UnixTime, most: u32) -> Result<u64, StoreError>;
}

/// An access token as it is kept. The token itself is not.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenRecord {
    /// Its `jti`.
    pub jti: String,
    /// Whose it is.
    pub client_id: String,
    /// The owner claim's value.
    pub owner: Option<String>,
    /// The issuer that says who the owner is; none where the operator does, or where a row is older
    /// than this column.
    pub owner_issuer: Option<String>,
    /// Its `sub`.
    pub subject: String,
    /// What the client calls it.
    pub name: Option<String>,
    /// Its scopes.
    pub scope: Vec<String>,
    /// Its audiences.
    pub audience: Vec<String>,
    /// Its `iat`.
    pub issued_at: UnixTime,
    /// Its `exp`; never, when none.
    pub expires_at: Option<UnixTime>,
    /// When it was revoked.
    pub revoked_at: Option<UnixTime>,
    /// The claims of the assertion it was exchanged for.
    pub original_claims: Option<Map<String, Value>>,
    /// The mark it carries of an end that it was issued after. Judged when the token is kept, not
    /// kept itself.
    pub after_end: Option<EndMark>,
}

/// Which kept access tokens are meant; every part narrows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenFilter {
    /// Only this client's.
    pub client_id: Option<String>,
    /// Only this owner's.
    pub owner: Option<OwnerFilter>,
    /// Only these `jti`s, unless there are none here.
    pub jtis: Vec<String>,
    /// Whether only those that are (or are not) neither revoked nor expired at the time.
    pub active: Option<(bool, UnixTime)>,
    /// Whether those that are revoked are left out.
    pub without_revoked: bool,
    /// Only those that have not expired at this time.
    pub unexpired_at: Option<UnixTime>,
    /// Whether the oldest come first, those of the same second in the order in which they were
    /// kept. Otherwise the newest come first, those of the same second by their `jti`.
    pub oldest_first: bool,
    /// Only those that come after this one, the last of the page before: its `iat` and `jti`.
    pub after: Option<(UnixTime, String)>,
    /// At most so many; all, when none.
    pub limit: Option<u32>,
}

/// Whose tokens are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnerFilter {
    /// Those of every owner of this name, whichever issuer gave it.
    Named(String),
    /// Those of one owner: the name, and the issuer that gave it.
    Of {
        /// The name.
        owner: String,
        /// The issuer, in each spelling under which it may have been stored.
        issuers: Vec<String>,
        /// Whether tokens of that name count too that were kept without an issuer.
        without_issuer: bool,
    },
}

/// What ending tokens did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// The tokens that were alive, now revoked.
    pub revoked: Vec<RevokedToken>,
    /// How many had expired and were deleted.
    pub deleted: u64,
}

/// An access token that was taken back before its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokedToken {
    /// Its `jti`.
    pub jti: String,
    /// Whose it was.
    pub client_id: String,
    /// When it would have expired: from then on it need not be remembered. [`UnixTime::NEVER`] if
    /// it would not.
    pub expires_at: UnixTime,
    /// When it was revoked.
    pub revoked_at: UnixTime,
}

/// Everything of a client issued up to a time is revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientNotBefore {
    /// Whose tokens.
    pub client_id: String,
    /// Up to this `iat`, that second included.
    pub until: UnixTime,
    /// When the last of them will have expired: from then on it need not be remembered.
    pub expires_at: UnixTime,
    /// When they were revoked.
    pub revoked_at: UnixTime,
    /// What tokens carry that are issued after this end although their `iat` is not: the clock was
    /// set back.
    pub mark: EndMark,
}

/// What is revoked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations {
    /// Single tokens, by `jti`.
    pub tokens: Vec<RevokedToken>,
    /// Whole clients, by id.
    pub clients: Vec<ClientNotBefore>,
}

/// The proven time, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotedTime {
    /// The time, and what the clock claims.
    pub proven: ProvenTime,
    /// The start of the machine; none when it cannot be told from others.
    pub boot: Option<String>,
    /// How long it had been running since that start, in whole seconds.
    pub uptime: Duration,
}

/// How many tokens there are that have not expired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenCount {
    /// Live and revoked ones.
    pub all: u64,
    /// Revoked ones.
    pub revoked: u64,
    /// When the first of them expires, if any does.
    pub first_end: Option<UnixTime>,
}

/// A refresh token as it is stored: never the token itself.
#[derive(Clone, Debug, PartialEq)]
pub struct RefreshToken {
    /// SHA-256 of the token.
    pub hash: [u8; 32],
    /// What all of its line have in common.
    pub family_id: String,
    /// Whose it is.
    pub client_id: String,
    /// What was granted, as the issuer writes it: a JSON object.
    pub grant: Value,
    /// When it ends.
    pub expires_at: UnixTime,
    /// When it was used.
    pub used_at: Option<UnixTime>,
    /// The `jti` of the access token issued with it.
    pub access_jti: String,
    /// When that one ends.
    pub access_expires_at: UnixTime,
}

/// How the use of a refresh token ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// The successor is kept.
    Done,
    /// The token is unknown or has expired; nothing was changed.
    Unknown,
    /// It was used before: its family is deleted.
    Reused,
}
