//! What an authority was asked for lately and did not have: the same question is not put to it again and again.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// For how long one question is answered by what is known.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// Only a question that causes a fetch is kept, and fetches are rare, so there are hardly ever more than six. The bound is
/// for the moment in which many ask at once.
const MOST: usize = 64;

/// The questions of the last minute, the oldest first. A question is the digest of a key id, or of a token without one.
#[derive(Default)]
pub(super) struct Asked(Mutex<VecDeque<([u8; 32], Instant)>>);

impl Asked {
    /// Whether the authority may be asked for `missing`. If so, it may not again for a minute.
    pub(super) fn may_ask(&self, missing: &[u8; 32]) -> bool {
        let now = Instant::now();
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while asked.len() >= MOST
            || asked.front().is_some_and(|(_, at)| now.duration_since(*at) >= AGAIN_AFTER)
        {
            asked.pop_front();
        }
        if asked.iter().any(|(known, _)| known == missing) {
            return false;
        }
        asked.push_back((*missing, now));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_same_is_asked_once_a_minute_and_something_else_at_once() {
        let asked = Asked::default();
        assert!(asked.may_ask(&[1; 32]) && asked.may_ask(&[2; 32]));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(!asked.may_ask(&[1; 32]) && asked.may_ask(&[3; 32]));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(asked.may_ask(&[1; 32]) && !asked.may_ask(&[3; 32]));
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_questions_are_kept() {
        let asked = Asked::default();
        for n in 0..10_000_u32 {
            let mut missing = [0; 32];
            missing[..4].copy_from_slice(&n.to_be_bytes());
            assert!(asked.may_ask(&missing));
        }
        assert_eq!(asked.0.lock().unwrap().len(), MOST);
    }
}
