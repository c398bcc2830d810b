//! When something may be forgotten: by the proven time, which a clock that is wrong for a while does not move.
//!
//! What expires is refused by the clock, at once. What was revoked, used up or replaced is forgotten only when the proven
//! time says that nothing is left that it refuses. The proven time is kept in the store, so that a process that runs under
//! a wrong clock for a short time deletes nothing either.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::domain::clock::{SharedClock, UnixTime};
use crate::domain::proven_time::ProvenTime;
use crate::store::{Store, StoreError};

/// How often the proven time is written: what passed since then is lost by a crash, which costs some room.
const NOTE_EVERY: Duration = Duration::from_mins(10);
/// By how many seconds more than the machine ran the clock may have moved between two looks. More is a clock that was set.
const STEP: u64 = 3;

/// The proven time of this process, and the clock as it was last seen.
pub(super) struct Forgetting {
    store: Arc<dyn Store>,
    clock: SharedClock,
    seen: Mutex<Seen>,
    /// For readers: the proven time.
    at: AtomicI64,
}

struct Seen {
    proven: ProvenTime,
    /// What the clock said.
    now: UnixTime,
    /// The uptime up to which the machine's running is counted in `proven`.
    uptime: Duration,
    /// The uptime at the last writing.
    noted: Duration,
}

impl Forgetting {
    pub(super) async fn open(store: Arc<dyn Store>, clock: SharedClock) -> Result<Self, StoreError> {
        let stored = store.proven_time().await?;
        let (now, uptime) = (clock.now(), clock.uptime());
        let proven = stored.unwrap_or_else(|| ProvenTime::beginning(now)).after(Duration::ZERO, now);
        if stored.is_none() {
            store.note_proven_time(&proven).await?;
        }
        let at = AtomicI64::new(proven.at.0);
        let seen = Mutex::new(Seen { proven, now, uptime, noted: uptime });
        Ok(Self { store, clock, seen, at })
    }

    /// What expired before this time may be forgotten: the lesser of the clock's and the proven time.
    pub(super) fn time(&self) -> UnixTime {
        UnixTime(self.at.load(Ordering::Relaxed)).min(self.clock.now())
    }

    /// Counts the time that passed. Gives by how many seconds the clock was set since the last look, if it was.
    pub(super) fn look(&self) -> Option<i64> {
        let (now, uptime) = (self.clock.now(), self.clock.uptime());
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // It cannot be read just now: the next look counts the time.
        let ran = Duration::from_secs(uptime.checked_sub(seen.uptime)?.as_secs());
        let step = now.0.saturating_sub(seen.now.plus(ran).0);
        seen.proven = seen.proven.after(ran, now);
        seen.uptime += ran;
        seen.now = now;
        self.at.store(seen.proven.at.0, Ordering::Relaxed);
        (step.unsigned_abs() > STEP).then_some(step)
    }

    /// Writes the proven time when it is time to.
    pub(super) async fn note_when_due(&self) {
        let is_due = {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.uptime.saturating_sub(seen.noted) >= NOTE_EVERY
        };
        if is_due {
            self.note().await;
        }
    }

    /// Writes the proven time. What cannot be written waits for the next time.
    pub(super) async fn note(&self) {
        let (proven, uptime) = {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            (seen.proven, seen.uptime)
        };
        match self.store.note_proven_time(&proven).await {
            Ok(()) => self.seen.lock().unwrap_or_else(PoisonError::into_inner).noted = uptime,
            Err(error) => {
                tracing::warn!(%error, "the proven time cannot be stored; expired rows are kept longer")
            }
        }
    }
}
