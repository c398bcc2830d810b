//! Whether an authority that is queried about single tokens counts as down.
//!
//! No query is sent for a second if no connection can be made, or if queries about [`OUTAGE_AFTER`]
//! different tokens fail. So only few requests query the authority during an outage.

use std::time::Duration;

use tokio::time::Instant;

use crate::domain::keyed_digest::KeyedDigest;
use crate::http_client::HttpError;

/// How long an outage is assumed before the next query.
pub(super) const LENGTH: Duration = Duration::from_secs(1);
/// The authority counts as down after failed queries about so many different tokens.
const OUTAGE_AFTER: usize = 3;
/// How long a failure counts among those.
const COUNTED_FOR: Duration = Duration::from_secs(30);

/// Whether the authority counts as down.
#[derive(Default)]
pub(super) struct Outage {
    until: Option<Instant>,
    /// The tokens whose queries failed since the last answer.
    failed: Vec<KeyedDigest>,
    /// When the last of them failed.
    failed_at: Option<Instant>,
}

impl Outage {
    pub fn is_assumed(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() < until)
    }

    /// The authority answered.
    pub fn end(&mut self) {
        *self = Self::default();
    }

    /// A query had no answer.
    pub fn note_failure(&mut self, token: KeyedDigest, why: HttpError) {
        let now = Instant::now();
        if self
            .failed_at
            .is_none_or(|at| now.duration_since(at) >= COUNTED_FOR)
        {
            self.failed.clear();
        }
        self.failed_at = Some(now);
        if self.failed.len() < OUTAGE_AFTER && !self.failed.contains(&token) {
            self.failed.push(token);
        }
        // A connection depends on no token.
        let no_connection = matches!(
            why,
            HttpError::Dns
                | HttpError::Refused
                | HttpError::Connect
                | HttpError::Tls
                | HttpError::Proxy
                | HttpError::ProxyRefused
        );
        if no_connection || self.failed.len() >= OUTAGE_AFTER {
            self.until = Some(now + LENGTH);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(byte: u8) -> KeyedDigest {
        KeyedDigest::made_of([byte; 16])
    }

    #[tokio::test(start_paused = true)]
    async fn failures_of_three_tokens_are_an_outage_and_of_one_are_not() {
        for broken in [HttpError::Broken, HttpError::Timeout] {
            let mut outage = Outage::default();
            for _ in 0..100 {
                outage.note_failure(digest(1), broken);
            }
            outage.note_failure(digest(2), broken);
            assert!(!outage.is_assumed());
            outage.end();
            outage.note_failure(digest(3), broken);
            outage.note_failure(digest(1), broken);
            assert!(!outage.is_assumed(), "an answer came in between");
            outage.note_failure(digest(2), broken);
            assert!(outage.is_assumed());
            tokio::time::advance(LENGTH).await;
            assert!(!outage.is_assumed());
            outage.note_failure(digest(1), broken);
            assert!(
                outage.is_assumed(),
                "the first query after the outage failed"
            );
            tokio::time::advance(COUNTED_FOR).await;
            outage.note_failure(digest(1), broken);
            assert!(!outage.is_assumed(), "the earlier failures are too old");
        }
        for unreachable in [
            HttpError::Dns,
            HttpError::Refused,
            HttpError::Connect,
            HttpError::Tls,
        ] {
            let mut outage = Outage::default();
            outage.note_failure(digest(1), unreachable);
            assert!(outage.is_assumed(), "{unreachable}");
        }
    }
}
