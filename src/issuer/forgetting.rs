//! When something may be forgotten: by the proven time, which a clock that is wrong for a while
//! does not move.
//!
//! What expires is refused by the clock, at once. What was revoked, used up or replaced is
//! forgotten only when the proven time says that nothing is left that it refuses. The proven time
//! is kept in the store, so that a process that runs under a wrong clock for a short time deletes
//! nothing either.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::clock::{SharedClock, UnixTime};
use crate::domain::proven_time::ProvenTime;
use crate::store::tokens::NotedTime;
use crate::store::{Store, StoreError};

/// How often the proven time is written: what passed since then is lost by a crash, which costs
/// some room.
const NOTE_EVERY: Duration = Duration::from_mins(10);
/// By how many seconds more than the machine ran the clock may have moved between two looks. More
/// is a clock that was set.
const STEP: u64 = 3;

/// The proven time of this process, and the clock as it was last seen.
pub(super) struct Forgetting {
    store: Arc<dyn Store>,
    clock: SharedClock,
    boot: Option<String>,
    seen: Mutex<Seen>,
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
    /// Goes on from the time that the store has. The machine may have run since it was written,
    /// also while no process of ours did.
    pub(super) async fn open(
        store: Arc<dyn Store>,
        clock: SharedClock,
    ) -> Result<Self, StoreError> {
        let stored = store.proven_time().await?;
        let (now, uptime, boot) = (clock.now(), clock.uptime(), clock.boot());
        let is_new = stored.is_none();
        let proven = match stored {
            None => ProvenTime::beginning(now),
            Some(noted) => {
                let is_same_start = boot.is_some() && noted.boot == boot;
                let ran = Some(noted.uptime)
                    .filter(|_| is_same_start)
                    .and_then(|from| uptime.checked_sub(from));
                noted
                    .proven
                    .after(whole_seconds(ran.unwrap_or_default()), now)
            }
        };
        let seen = Mutex::new(Seen {
            proven,
            now,
            uptime,
            noted: uptime,
        });
        let forgetting = Self {
            store,
            clock,
            boot,
            seen,
        };
        if is_new {
            forgetting.write(proven, uptime).await?;
        }
        Ok(forgetting)
    }

    /// What expired before this time may be forgotten: the lesser of the clock's and the proven
    /// time.
    pub(super) fn time(&self) -> UnixTime {
        let (now, uptime) = (self.clock.now(), self.clock.uptime());
        let seen = self.seen();
        seen.proven
            .at
            .plus(whole_seconds(uptime.saturating_sub(seen.uptime)))
            .min(now)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the time that passed. Gives by how many seconds the clock was set since the last
    /// look, if it was.
    pub(super) fn look(&self) -> Option<i64> {
        let (now, uptime) = (self.clock.now(), self.clock.uptime());
        let mut seen = self.seen();
        // It cannot be read just now: the next look counts the time.
        let ran = whole_seconds(uptime.checked_sub(seen.uptime)?);
        let step = now.0.saturating_sub(seen.now.plus(ran).0);
        seen.proven = seen.proven.after(ran, now);
        seen.uptime += ran;
        seen.now = now;
        (step.unsigned_abs() > STEP).then_some(step)
    }

    /// Writes the proven time when it is time to.
    pub(super) async fn note_when_due(&self) {
        let is_due = {
            let seen = self.seen();
            seen.uptime.saturating_sub(seen.noted) >= NOTE_EVERY
        };
        if is_due {
            self.note().await;
        }
    }

    /// Writes the proven time. What cannot be written waits for the next time.
    pub(super) async fn note(&self) {
        let (proven, uptime) = {
            let seen = self.seen();
            (seen.proven, seen.uptime)
        };
        match self.write(proven, uptime).await {
            Ok(()) => self.seen().noted = uptime,
            Err(error) => {
                tracing::warn!(%error, "the proven time cannot be stored; expired rows are kept longer")
            }
        }
    }

    async fn write(&self, proven: ProvenTime, uptime: Duration) -> Result<(), StoreError> {
        // Rounded up: what is counted from here on is never more than has passed.
        let uptime = whole_seconds(uptime + Duration::from_secs(1));
        self.store
            .note_proven_time(&NotedTime {
                proven,
                boot: self.boot.clone(),
                uptime,
            })
            .await
    }
}

fn whole_seconds(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs())
}
