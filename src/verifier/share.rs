//! The share of a worker's time for tokens that are not cached.
//!
//! A signature check costs as much as some twenty requests with a cached token. A flood of new
//! tokens must not delay those requests: signature checks get half of a worker's time. A request
//! that would wait longer than a second is refused and may be repeated.
//!
//! A few checks in a row, and the worker serves every request that is ready by then before the
//! next ones. So a request with a cached token waits for a fraction of a millisecond.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Signature checks get one of this many parts of a worker's time.
const PARTS: u32 = 2;
/// The work that may be done at once after a pause.
const BURST: Duration = Duration::from_millis(5);
/// A request that would wait longer is refused.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// How many signatures are checked before other requests get their turn.
const IN_A_ROW: usize = 4;

thread_local! {
    /// Each worker is one thread, and its requests stay on it.
    static SHARE: RefCell<Share> = RefCell::default();
    /// The checks of one pass of the worker over its ready requests.
    static PASS: Arc<Semaphore> = Arc::new(Semaphore::new(IN_A_ROW));
}

/// The right to check one signature now.
pub(super) struct Turn {
    /// `None` only if the semaphore was closed, which nothing does.
    _pass: Option<OwnedSemaphorePermit>,
}

/// No other signature fits into [`LONGEST_WAIT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// Waits for the turn of a signature check on this thread.
///
/// # Errors
/// [`Full`], at once.
pub(super) async fn turn() -> Result<Turn, Full> {
    let now = Instant::now();
    let at = SHARE
        .with_borrow_mut(|share| share.reserve(now))
        .ok_or(Full)?;
    if at.duration_since(now) > BURST {
        tokio::time::sleep_until(at).await;
    }
    let pass = PASS.with(Arc::clone).acquire_owned().await;
    Ok(Turn { _pass: pass.ok() })
}

impl Turn {
    /// Does the work and measures it. The turn ends when the other ready requests have been served.
    pub async fn work<T>(self, work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let done = work();
        SHARE.with_borrow_mut(|share| share.took(began.elapsed()));
        tokio::task::yield_now().await;
        done
    }
}

/// When the next signature may be checked, and how long one takes.
#[derive(Default)]
struct Share {
    free_at: Option<Instant>,
    cost: Duration,
}

impl Share {
    /// Reserves the time of the next check; `None` if it is too late.
    fn reserve(&mut self, now: Instant) -> Option<Instant> {
        let at = self.free_at.map_or(now, |free_at| free_at.max(now));
        if at.duration_since(now) > LONGEST_WAIT {
            return None;
        }
        self.free_at = Some(at + self.cost * PARTS);
        Some(at)
    }

    /// Averages the cost, so that one slow check has little effect.
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
        // Of ten thousand at once, those with a turn within a second.
        let admitted: Vec<_> = (0..10_000).map_while(|_| share.reserve(began)).collect();
        assert_eq!(admitted.len(), 2501);
        assert!(
            admitted
                .windows(2)
                .all(|pair| pair[1] - pair[0] == COST * 2)
        );
        // Half of the elapsed time is given away.
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
    fn after_a_pause_no_check_waits_and_no_time_is_saved_up() {
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
    fn the_cost_follows_the_measured_time() {
        let mut share = Share::default();
        (0..100).for_each(|_| share.took(COST));
        assert!(share.cost > COST * 9 / 10 && share.cost <= COST);
        share.took(Duration::from_millis(8));
        assert!(share.cost < Duration::from_millis(2));
    }

    #[tokio::test]
    async fn a_ready_request_waits_for_a_few_checks_only() {
        let done = Arc::new(std::sync::Mutex::new(Vec::new()));
        let checks = (0..12).map(|_| {
            let done = done.clone();
            tokio::spawn(async move {
                let turn = turn().await.ok().unwrap();
                turn.work(|| done.lock().unwrap().push("check")).await;
            })
        });
        let checks: Vec<_> = checks.collect();
        let request = {
            let done = done.clone();
            tokio::spawn(async move {
                for _ in 0..3 {
                    done.lock().unwrap().push("request");
                    tokio::task::yield_now().await;
                }
            })
        };
        for task in checks.into_iter().chain([request]) {
            task.await.unwrap();
        }
        let done = done.lock().unwrap();
        let in_a_row: Vec<_> = done.split(|it| *it == "request").map(<[_]>::len).collect();
        assert!(
            in_a_row[..3].iter().all(|checks| *checks <= IN_A_ROW),
            "{in_a_row:?}"
        );
        assert_eq!((done.len(), in_a_row.len()), (15, 4));
        SHARE.with_borrow_mut(|share| *share = Share::default());
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_would_wait_for_more_than_a_second_is_refused() {
        SHARE.with_borrow_mut(|share| {
            *share = Share {
                cost: Duration::from_millis(50),
                ..Share::default()
            }
        });
        let began = Instant::now();
        let turns = (0..20).map(|_| async {
            let turn = turn().await.map(drop);
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
            "refused at once"
        );
        SHARE.with_borrow_mut(|share| *share = Share::default());
    }
}
