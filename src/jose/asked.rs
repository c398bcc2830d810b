//! What an authority was asked for lately and did not have, and how often it may be asked: a
//! stranger who names one unknown key after the other must neither hammer the authority nor use up
//! the fetch that a rotation needs.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// For how long one question is answered by what is known.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// Only a question that causes a fetch is kept, and fetches are rare. The bound is for the moment
/// in which many ask at once.
const MOST: usize = 64;
/// How many fetches questions may cause in a row.
pub(super) const BURST: u32 = 5;
/// In the long run questions cause one fetch in this time.
pub(super) const ONE_IN: Duration = Duration::from_secs(10);

/// What an authority was asked for.
#[derive(Default)]
pub(super) struct Asked(Mutex<Questions>);

#[derive(Default)]
struct Questions {
    /// Those of the last minute, the oldest first: the digest of a key id, or of a token without
    /// one.
    lately: VecDeque<([u8; 32], Instant)>,
    /// Until when the fetches that questions have caused count against the allowance.
    paid: Option<Instant>,
}

/// The result of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// The authority may be asked.
    New,
    /// It was asked the same within the last minute.
    Answered,
    /// It was never asked this, and may not be asked now: too many questions were put to it.
    TooMany,
}

impl Asked {
    /// Whether the authority may be asked for `missing`. If so, the question counts as put. With
    /// `always`, also when the same was asked lately.
    pub(super) fn ask(&self, missing: &[u8; 32], always: bool) -> Question {
        let now = Instant::now();
        let mut questions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = &mut questions.lately;
        while lately.len() >= MOST
            || lately
                .front()
                .is_some_and(|(_, at)| now.duration_since(*at) >= AGAIN_AFTER)
        {
            lately.pop_front();
        }
        if !always && lately.iter().any(|(known, _)| known == missing) {
            return Question::Answered;
        }
        let paid = questions.paid.map_or(now, |paid| paid.max(now));
        if paid.duration_since(now) > ONE_IN * (BURST - 1) {
            return Question::TooMany;
        }
        questions.paid = Some(paid + ONE_IN);
        if !always {
            questions.lately.push_back((*missing, now));
        }
        Question::New
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
    async fn the_same_is_asked_once_a_minute_and_something_else_at_once() {
        let asked = Asked::default();
        let ask = |n| asked.ask(&digest(n), false);
        assert_eq!(
            (ask(1), ask(2), ask(1)),
            (Question::New, Question::New, Question::Answered)
        );
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!((ask(1), ask(3)), (Question::Answered, Question::New));
        assert_eq!(asked.ask(&digest(3), true), Question::New);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((ask(1), ask(3)), (Question::New, Question::Answered));
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_are_asked_in_a_row_then_one_in_ten_seconds() {
        let asked = Asked::default();
        let mut numbers = 0..;
        let mut count = |tries: usize| {
            let questions = numbers
                .by_ref()
                .take(tries)
                .map(|n| asked.ask(&digest(n), false));
            questions
                .filter(|question| *question == Question::New)
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
        assert!(asked.0.lock().unwrap().lately.len() <= MOST);
    }
}
