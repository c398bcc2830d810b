//! How often an authority may be asked about tokens that it does not know.
//!
//! Anyone can send random tokens. Each question about one that turns out to be refused is counted;
//! those about active tokens are not, so that many clients may begin at once.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How many questions about refused tokens may follow each other at once. No fewer than there are
/// questions under way, so that a start with many valid tokens is not refused.
const BURST: u32 = 1000;
/// In the long run there is one such question in this time.
const ONE_IN: Duration = Duration::from_millis(50);

/// The recent questions about refused tokens.
#[derive(Default)]
pub(super) struct Budget {
    /// Until when they count.
    paid: Mutex<Option<Instant>>,
}

impl Budget {
    /// Counts a question whose answer is not known yet. `false`: it may not be asked now.
    pub fn take(&self) -> bool {
        let now = Instant::now();
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let counts_until = paid.map_or(now, |paid| paid.max(now));
        let may = counts_until.duration_since(now) <= ONE_IN * (BURST - 1);
        if may {
            *paid = Some(counts_until + ONE_IN);
        }
        may
    }

    /// The token of a counted question is active, or there was no answer.
    pub fn give_back(&self) {
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        *paid = paid.and_then(|paid| paid.checked_sub(ONE_IN));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_refused_tokens_is_limited_and_active_ones_are_not() {
        let budget = Budget::default();
        let taken = |tries: u32| (0..tries).filter(|_| budget.take()).count();
        assert_eq!(taken(5000), 1000);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(taken(5000), 20);
        (0..20).for_each(|_| budget.give_back());
        assert_eq!(taken(5000), 20, "they were active");
        tokio::time::advance(Duration::from_hours(1)).await;
        for _ in 0..5000 {
            assert!(budget.take());
            budget.give_back();
        }
        assert_eq!(taken(5000), 1000, "no more than that is saved up");
    }
}
