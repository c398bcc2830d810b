//! Where a key set comes from, and what a fetch brings.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::kept_record::KeptAt;
use super::key_set::KeySet;
use super::refresh::FetchError;
use crate::domain::claims::Claims;
use crate::domain::clock::UnixTime;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Fetches a set.
pub type Fetch = Arc<dyn Fn() -> Boxed<Result<Fetched, FetchError>> + Send + Sync>;

/// Ends when the next fetch would bring another set.
pub type Changed = Arc<dyn Fn() -> Boxed<()> + Send + Sync>;

/// Where a set comes from.
#[derive(Clone)]
pub struct Source {
    /// Fetches it.
    pub fetch: Fetch,
    /// Detects a change without a fetch; never ends where that is impossible.
    pub changed: Changed,
    /// Where the last good set is kept on disk.
    pub kept_at: Option<KeptAt>,
}

/// The result of a fetch.
pub struct Fetched {
    /// The document as received, for the kept file.
    pub document: Vec<u8>,
    /// Its keys.
    pub keys: KeySet,
    /// The issuer's metadata (RFC 8414 §2) that named the keys.
    pub metadata: Option<Claims>,
    /// The lifetime that the authority gives.
    pub max_age: Option<Duration>,
    /// By how many seconds the authority's clock is ahead of ours; negative: behind. `None` if the
    /// answer had no date.
    pub clock_skew: Option<i64>,
}

/// A set in use.
pub(super) struct Edition {
    pub keys: Arc<KeySet>,
    pub metadata: Option<Arc<Claims>>,
    pub fetched_at: UnixTime,
    pub clock_skew: Option<i64>,
}
