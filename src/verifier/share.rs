//! The share of a worker that goes into tokens it has not seen before.
//!
//! A signature costs as much as some twenty requests whose token is known. A flood of tokens that
//! are all new must not make those requests wait: signatures are checked one after the other for
//! half of a worker's time, and a request that would wait for longer than a second is refused and
//! may be repeated.

use std::cell::RefCell;
use std::time::Duration;

use tokio::time::Instant;

/// Signatures get one of this many parts of a worker's time.
const PARTS: u32 = 2;
/// What may be done at once after a pause.
const BURST: Duration = Duration::from_millis(5);
/// A request that would wait longer is refused.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

thread_local! {
    /// Each worker is one thread, and its requests stay on it.
    static SHARE: RefCell<Share> = RefCell::default();
}

/// There is no room for another signature within [`LONGEST_WAIT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// Waits for the turn of a signature on this thread.
///
/// # Errors
/// [`Full`], at once.
pub(super) async fn turn() -> Result<(), Full> {
    let now = Instant::now();
    let at = SHARE
        .with_borrow_mut(|share| share.reserve(now))
        .ok_or(Full)?;
    if at.duration_since(now) > BURST {
        tokio::time::sleep_until(at).await;
    }
    Ok(())
}

/// Does the work that [`turn`] has admitted, and notes how long it took.
pub(super) fn work<T>(work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = work();
    SHARE.with_borrow_mut(|share| share.took(began.elapsed()));
    done
}

/// When the next signature may be checked, and how long one takes.
#[derive(Default)]
struct Share {
    free_at: Option<Instant>,
    cost: Duration,
}

impl Share {
    /// When the next one may be checked; its time is taken. `None`: not soon enough.
    fn reserve(&mut self, now: Instant) -> Option<Instant> {
        let at = self.free_at.map_or(now, |free_at| free_at.max(now));
        if at.duration_since(now) > LONGEST_WAIT {
            return None;
        }
        self.free_at = Some(at + self.cost * PARTS);
        Some(at)
    }

    /// A slow moment of the machine must not count for long.
    fn took(&mut self, cost: Duration) {
        self.cost = (self.cost * 7 + cost) / 8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COST: Duration = Duration::from_micros(200);

    #[test]
    fn a_flood_gets_half_of_the_time_and_waits_a_second_at_most() {
        let began = Instant::now();
        let mut share = Share {
            cost: COST,
            ..Share::default()
        };
        // Ten thousand at once: those whose turn comes within a second, and no more.
        let admitted: Vec<_> = (0..10_000).map_while(|_| share.reserve(began)).collect();
        assert_eq!(admitted.len(), 2501);
        assert!(
            admitted
                .windows(2)
                .all(|pair| pair[1] - pair[0] == COST * 2)
        );
        // As time goes by, half of it is given away.
        let mut more = 0;
        for millis in 1..=1000 {
            while share
                .reserve(began + Duration::from_millis(millis))
                .is_some()
            {
                more += 1;
            }
        }
        assert_eq!(more, 2500);
    }

    #[test]
    fn after_a_pause_nobody_waits_and_nothing_was_saved_up() {
        let began = Instant::now();
        let mut share = Share {
            cost: COST,
            ..Share::default()
        };
        share.reserve(began);
        let later = began + Duration::from_mins(1);
        assert_eq!(share.reserve(later), Some(later));
        assert_eq!(share.reserve(later), Some(later + COST * 2));
    }

    #[test]
    fn the_cost_follows_what_signatures_take() {
        let mut share = Share::default();
        (0..100).for_each(|_| share.took(COST));
        assert!(share.cost > COST * 9 / 10 && share.cost <= COST);
        share.took(Duration::from_millis(8));
        assert!(share.cost < Duration::from_millis(2));
    }

    #[tokio::test(start_paused = true)]
    async fn turns_are_waited_for_and_beyond_a_second_there_is_none() {
        SHARE.with_borrow_mut(|share| {
            *share = Share {
                cost: Duration::from_millis(50),
                ..Share::default()
            }
        });
        let began = Instant::now();
        let turns = (0..20).map(|_| async {
            let turn = turn().await;
            (turn, began.elapsed().as_millis())
        });
        let turns = futures_util::future::join_all(turns).await;
        let waited: Vec<_> = turns
            .iter()
            .filter(|(turn, _)| turn.is_ok())
            .map(|(_, at)| *at)
            .collect();
        assert_eq!(
            waited,
            [0, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000]
        );
        assert!(
            turns[11..].iter().all(|turn| *turn == (Err(Full), 0)),
            "told at once"
        );
        SHARE.with_borrow_mut(|share| *share = Share::default());
    }
}
