//! The times at which stored secrets were last used, collected here and written from time to time.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::clock::UnixTime;
use crate::store::{Store, StoreError};

const WRITE_EVERY: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct UsedSecrets(Mutex<Used>);

#[derive(Default)]
struct Used {
    /// By id.
    last: HashMap<String, UnixTime>,
    written_at: Option<UnixTime>,
}

impl UsedSecrets {
    fn lock(&self) -> MutexGuard<'_, Used> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note(&self, secret_id: &str, now: UnixTime) {
        let mut used = self.lock();
        match used.last.get_mut(secret_id) {
            Some(last) => *last = now,
            None => {
                used.last.insert(secret_id.to_owned(), now);
            }
        }
    }

    /// Writes the collected times, if the last write is long ago.
    pub(super) async fn write(&self, store: &dyn Store, now: UnixTime) -> Result<(), StoreError> {
        let is_recent = |at: UnixTime| at <= now && at.until(now) < WRITE_EVERY;
        if self.lock().written_at.is_some_and(is_recent) {
            Ok(())
        } else {
            self.write_all(store, now).await
        }
    }

    /// Writes the collected times. After a failure they stay for the next write.
    pub(super) async fn write_all(
        &self,
        store: &dyn Store,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        let due: Vec<_> = {
            let mut used = self.lock();
            if used.last.is_empty() {
                return Ok(());
            }
            used.written_at = Some(now);
            used.last.drain().collect()
        };
        let written = store.touch_secrets(&due).await;
        if written.is_err() {
            let mut used = self.lock();
            for (secret_id, last) in due {
                used.last.entry(secret_id).or_insert(last);
            }
        }
        written
    }
}
