//! Issued tokens, refresh tokens, revocations and used assertions, as they are stored.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::StoreError;
use crate::domain::clock::UnixTime;
use crate::domain::proven_time::ProvenTime;
use crate::domain::revoked::EndMark;

/// The most families of refresh tokens that one client and owner may have.
pub const MAX_FAMILIES: u32 = 100;
/// The most used refresh tokens of a family that are kept after their access tokens expired.
pub const MAX_USED: u32 = 100;

/// Keeps the access tokens that must be found or counted later.
#[async_trait]
pub trait TokenStore {
    /// Keeps an issued access token. It is kept as revoked when its client's tokens up to its `iat`
    /// have ended meanwhile and it does not carry the mark of that end.
    async fn insert_token(&self, token: &TokenRecord) -> Result<(), StoreError>;

    /// The access tokens that match, in the filter's order.
    async fn tokens(&self, filter: &TokenFilter) -> Result<Vec<TokenRecord>, StoreError>;

    /// Revokes at `now` the matching tokens that have not expired at `proven`, and deletes those
    /// that have. The clock may be ahead of `proven`. Revoked tokens stay as they are.
    async fn end_tokens(
        &self,
        filter: &TokenFilter,
        now: UnixTime,
        proven: UnixTime,
    ) -> Result<Ended, StoreError>;

    /// Counts the kept tokens of a client and an owner that have not expired. The owner is a name
    /// with its issuer, in each spelling that may be stored.
    async fn count_tokens(
        &self,
        client_id: &str,
        owner: (&str, &[String]),
        now: UnixTime,
    ) -> Result<TokenCount, StoreError>;

    /// Deletes what expired before a time, at most `most` rows of each kind, and counts it.
    async fn purge(&self, before: UnixTime, most: u32) -> Result<u64, StoreError>;
}

/// A kept access token, without the token itself.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenRecord {
    /// Its `jti`.
    pub jti: String,
    /// The client it was issued to.
    pub client_id: String,
    /// The owner claim's value.
    pub owner: Option<String>,
    /// The issuer of the owner's name; none where the operator gave it, or where the row is older
    /// than this column.
    pub owner_issuer: Option<String>,
    /// Its `sub`.
    pub subject: String,
    /// The client's name for it.
    pub name: Option<String>,
    /// Its scopes.
    pub scope: Vec<String>,
    /// Its audiences.
    pub audience: Vec<String>,
    /// Its `iat`.
    pub issued_at: UnixTime,
    /// Its `exp`, if it expires.
    pub expires_at: Option<UnixTime>,
    /// When it was revoked.
    pub revoked_at: Option<UnixTime>,
    /// The claims of the assertion it was exchanged for.
    pub original_claims: Option<Map<String, Value>>,
    /// The mark of an end that it was issued after. It is checked when the token is stored, and not
    /// stored itself.
    pub after_end: Option<EndMark>,
}

/// Selects kept access tokens; every part narrows the selection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenFilter {
    /// Only this client's.
    pub client_id: Option<String>,
    /// Only this owner's.
    pub owner: Option<OwnerFilter>,
    /// Only these `jti`s; every one if empty.
    pub jtis: Vec<String>,
    /// Only the active tokens at this time (neither revoked nor expired), or only the others.
    pub active: Option<(bool, UnixTime)>,
    /// Whether those that are revoked are left out.
    pub without_revoked: bool,
    /// Only those that have not expired at this time.
    pub unexpired_at: Option<UnixTime>,
    /// Whether the oldest come first, in the order of storing within a second. Otherwise the newest
    /// come first, by `jti` within a second.
    pub oldest_first: bool,
    /// Only the tokens after this one, the last of the page before: its `iat` and `jti`.
    pub after: Option<(UnixTime, String)>,
    /// The most tokens; no limit if absent.
    pub limit: Option<u32>,
}

/// Selects tokens by their owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnerFilter {
    /// Every owner of this name, of any issuer.
    Named(String),
    /// One owner: a name and its issuer.
    Of {
        /// The name.
        owner: String,
        /// The issuer, in each spelling under which it may have been stored.
        issuers: Vec<String>,
        /// Whether tokens of that name without an issuer match too.
        without_issuer: bool,
    },
}

/// The result of ending tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// The tokens that were revoked now.
    pub revoked: Vec<RevokedToken>,
    /// How many had expired and were deleted.
    pub deleted: u64,
}

/// An access token that was revoked before it expired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokedToken {
    /// Its `jti`.
    pub jti: String,
    /// The client it was issued to.
    pub client_id: String,
    /// When it expires: from then on the revocation can be deleted. [`UnixTime::NEVER`] if it does
    /// not expire.
    pub expires_at: UnixTime,
    /// When it was revoked.
    pub revoked_at: UnixTime,
}

/// The revocation of everything that a client was issued up to a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientNotBefore {
    /// The client.
    pub client_id: String,
    /// The last revoked `iat`.
    pub until: UnixTime,
    /// When the last of the tokens expires: from then on the revocation can be deleted.
    pub expires_at: UnixTime,
    /// When they were revoked.
    pub revoked_at: UnixTime,
    /// The mark in tokens that are issued after this end with an earlier `iat`, because the clock
    /// was set back.
    pub mark: EndMark,
}

/// The revocations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations {
    /// Single tokens, by `jti`.
    pub tokens: Vec<RevokedToken>,
    /// Whole clients, by id.
    pub clients: Vec<ClientNotBefore>,
}

/// The stored proven time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotedTime {
    /// The time, and the clock's claim.
    pub proven: ProvenTime,
    /// The id of the machine's boot, if there is one.
    pub boot: Option<String>,
    /// The uptime since that boot, in whole seconds.
    pub uptime: Duration,
}

/// The number of tokens that have not expired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenCount {
    /// All of them.
    pub all: u64,
    /// Revoked ones.
    pub revoked: u64,
    /// When the first of them expires, if one does.
    pub first_end: Option<UnixTime>,
}

/// A refresh token as it is stored: never the token itself.
#[derive(Clone, Debug, PartialEq)]
pub struct RefreshToken {
    /// SHA-256 of the token.
    pub hash: [u8; 32],
    /// The id that its successors share.
    pub family_id: String,
    /// Whose it is.
    pub client_id: String,
    /// The grant: a JSON object that only the issuer interprets.
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

/// The result of using a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// The successor is kept.
    Done,
    /// The token is unknown or has expired, and nothing was written.
    Unknown,
    /// It was used before: its family is deleted.
    Reused,
}
