//! When expired rows may be deleted: by the proven time, which a temporarily wrong clock does not
//! move.
//!
//! Expired tokens are refused by the clock, at once. Revoked, used and replaced ones are deleted
//! only when the proven time shows that they have expired. The store keeps the proven time, so that
//! a process that runs briefly with a wrong clock deletes nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::clock::{SharedClock, UnixTime};
use crate::domain::proven_time::ProvenTime;
use crate::store::tokens::NotedTime;
use crate::store::{Store, StoreError};

/// How often the proven time is written. A crash loses the time since then, which costs some space.
const NOTE_EVERY: Duration = Duration::from_mins(10);
/// The tolerance in seconds between the clock and the uptime from one look to the next. Beyond it,
/// the clock was set.
const STEP: u64 = 3;

/// The proven time of this process, and the last seen clock.
pub(super) struct Forgetting {
    store: Arc<dyn Store>,
    clock: SharedClock,
    boot: Option<String>,
    seen: Mutex<Seen>,
}

struct Seen {
    proven: ProvenTime,
    /// The clock.
    now: UnixTime,
    /// The uptime that `proven` includes.
    uptime: Duration,
    /// The uptime at the last write.
    noted: Duration,
}

impl Forgetting {
    /// Continues from the time in the store. The machine may have run since then, even while no
    /// process did.
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

    /// The time before which everything that expired may be deleted: the earlier of the clock and
    /// the proven time.
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

    /// Counts the time since the last look. Gives the seconds by which the clock was set since
    /// then, if it was.
    pub(super) fn look(&self) -> Option<i64> {
        let (now, uptime) = (self.clock.now(), self.clock.uptime());
        let mut seen = self.seen();
        // The uptime cannot be read now: the next look counts the time.
        let ran = whole_seconds(uptime.checked_sub(seen.uptime)?);
        let step = now.0.saturating_sub(seen.now.plus(ran).0);
        seen.proven = seen.proven.after(ran, now);
        seen.uptime += ran;
        seen.now = now;
        (step.unsigned_abs() > STEP).then_some(step)
    }

    /// Writes the proven time if it is due.
    pub(super) async fn note_when_due(&self) {
        let is_due = {
            let seen = self.seen();
            seen.uptime.saturating_sub(seen.noted) >= NOTE_EVERY
        };
        if is_due {
            self.note().await;
        }
    }

    /// Writes the proven time. After a failure the next write does it.
    pub(super) async fn note(&self) {
        let (proven, uptime) = {
            let seen = self.seen();
            (seen.proven, seen.uptime)
        };
        match self.write(proven, uptime).await {
            Ok(()) => self.seen().noted = uptime,
            Err(error) => {
                tracing::warn!(%error, "the proven time cannot be stored; expired rows are kept \
                    longer")
            }
        }
    }

    async fn write(&self, proven: ProvenTime, uptime: Duration) -> Result<(), StoreError> {
        // Rounded up, so that the time counted from here never exceeds the real time.
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
