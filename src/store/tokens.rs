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

/// Keeps the access tokens that must be found or counted later.
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

    /// How many kept tokens an owner has of a client that have not expired at a time. The owner is
    /// a name, and the issuer that gave it in each spelling under which it may have been stored.
    async fn count_tokens(
        &self,
        client_id: &str,
        owner: (&str, &[String]),
        now: UnixTime,
    ) -> Result<TokenCount, StoreError>;

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
