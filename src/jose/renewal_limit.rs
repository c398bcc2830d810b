//! How often tokens may cause fetches of an authority's keys. Unauthenticated clients choose the
//! key ids: they must neither flood the authority nor use up the fetch that a rotation needs.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// For how long the same key is not fetched again.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// How many keys are recorded. Only a key that causes a fetch is, and fetches are rare; the bound
/// is for many requests in one moment.
const MOST: usize = 64;
/// How many fetches may follow each other at once.
const BURST: u32 = 5;
/// In the long run requests cause one fetch in this time.
const ONE_IN: Duration = Duration::from_secs(10);

/// The recent fetches that requests caused.
#[derive(Default)]
pub(super) struct RenewalLimit(Mutex<Recent>);

#[derive(Default)]
struct Recent {
    /// The keys of the last minute, oldest first: digests of a key id, or of a token without one.
    keys: VecDeque<([u8; 32], Instant)>,
    /// Until when the recent fetches count against the allowance.
    paid: Option<Instant>,
}

/// Whether a request may cause a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It may, and is counted.
    Fetch,
    /// The same key was fetched within the last minute.
    FetchedLately,
    /// The key was not fetched lately, but there were too many fetches.
    TooMany,
}

impl RenewalLimit {
    /// Whether the key with this digest may be fetched now. `always` also fetches a recent key
    /// again.
    pub(super) fn admit(&self, missing: &[u8; 32], always: bool) -> Admission {
        let now = Instant::now();
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_old = |at: Instant| now.duration_since(at) >= AGAIN_AFTER;
        while recent.keys.len() >= MOST || recent.keys.front().is_some_and(|(_, at)| is_old(*at)) {
            recent.keys.pop_front();
        }
        if !always && recent.keys.iter().any(|(key, _)| key == missing) {
            return Admission::FetchedLately;
        }
        let paid = recent.paid.map_or(now, |paid| paid.max(now));
        if paid.duration_since(now) > ONE_IN * (BURST - 1) {
            return Admission::TooMany;
        }
        recent.paid = Some(paid + ONE_IN);
        if !always {
            recent.keys.push_back((*missing, now));
        }
        Admission::Fetch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: u32) -> [u8; 32] {
        let mut digest = [0; 32];
        digest[..4].copy_from_slice(&n.to_be_bytes());
        digest
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_key_is_fetched_once_a_minute_and_another_at_once() {
        let limit = RenewalLimit::default();
        let admit = |n| limit.admit(&digest(n), false);
        assert_eq!(
            (admit(1), admit(2), admit(1)),
            (Admission::Fetch, Admission::Fetch, Admission::FetchedLately)
        );
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(
            (admit(1), admit(3)),
            (Admission::FetchedLately, Admission::Fetch)
        );
        assert_eq!(limit.admit(&digest(3), true), Admission::Fetch);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(
            (admit(1), admit(3)),
            (Admission::Fetch, Admission::FetchedLately)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_followed_by_one_fetch_in_ten_seconds() {
        let limit = RenewalLimit::default();
        let mut numbers = 0..;
        let mut count = |tries: usize| {
            let admissions = numbers
                .by_ref()
                .take(tries)
                .map(|n| limit.admit(&digest(n), false));
            admissions
                .filter(|admission| *admission == Admission::Fetch)
                .count()
        };
        assert_eq!(count(1000), 5);
        for _ in 0..10 {
            tokio::time::advance(ONE_IN).await;
            assert_eq!(count(1000), 1);
        }
        tokio::time::advance(ONE_IN * 3).await;
        assert_eq!(count(1000), 3);
        tokio::time::advance(Duration::from_hours(1)).await;
        assert_eq!(count(1000), 5);
        assert!(limit.0.lock().unwrap().keys.len() <= MOST);
    }
}
