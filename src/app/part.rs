//! Living parts: they outlive a configuration when the next one needs them unchanged.

use std::ops::Deref;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::error::StartError;
use super::process::Process;
use super::tasks::Tasks;
use crate::telemetry::{Metrics, Reading};

type Begin = Box<dyn FnOnce(&mut Life) + Send>;
type End = Box<dyn FnOnce() + Send>;

/// A part: its value and its tasks. Making one has no effect. Its tasks begin with the first
/// generation that is started with it, and end when no generation uses it any more.
pub(super) struct Part<T> {
    value: T,
    begin: Mutex<Option<Begin>>,
    life: OnceLock<Life>,
    end: Mutex<Option<End>>,
}

/// The running side of a part.
pub(super) struct Life {
    pub tasks: Tasks,
    pub metrics: Arc<Metrics>,
    readings: Vec<Reading>,
}

impl Life {
    /// Keeps a reading of the metrics as long as the part.
    pub(super) fn keep(&mut self, reading: Reading) {
        self.readings.push(reading);
    }
}

impl<T> Part<T> {
    /// A part whose tasks are spawned by `begin`.
    pub(super) fn new(value: T, begin: impl FnOnce(&mut Life) + Send + 'static) -> Arc<Self> {
        Self::with_end(value, begin, || {})
    }

    /// The same with an `end`, which is called when the part is dropped, begun or not.
    pub(super) fn with_end(
        value: T,
        begin: impl FnOnce(&mut Life) + Send + 'static,
        end: impl FnOnce() + Send + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            value,
            begin: Mutex::new(Some(Box::new(begin))),
            life: OnceLock::new(),
            end: Mutex::new(Some(Box::new(end))),
        })
    }
}

impl<T> Deref for Part<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Drop for Part<T> {
    fn drop(&mut self) {
        if let Some(life) = self.life.get() {
            life.tasks.stop();
        }
        if let Some(end) = take(&self.end) {
            end();
        }
    }
}

fn take<T>(slot: &Mutex<Option<T>>) -> Option<T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// A part of any kind.
pub(super) trait Living: Send + Sync {
    /// Begins it, unless an earlier generation has.
    fn begin(&self, process: &Process);
}

impl<T: Send + Sync> Living for Part<T> {
    fn begin(&self, process: &Process) {
        let Some(begin) = take(&self.begin) else {
            return;
        };
        let mut life = Life {
            tasks: process.tasks.child(),
            metrics: process.metrics.clone(),
            readings: Vec::new(),
        };
        begin(&mut life);
        let _ = self.life.set(life);
    }
}

/// The parts of one kind in a generation, by their identity: the configuration they are made of.
pub(super) struct Registry<K, T>(Vec<(K, Arc<Part<T>>)>);

impl<K, T> Default for Registry<K, T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: PartialEq, T> Registry<K, T> {
    /// The part with this identity.
    pub(super) fn find(&self, key: &K) -> Option<Arc<Part<T>>> {
        let found = self.0.iter().find(|(known, _)| known == key);
        found.map(|(_, part)| part.clone())
    }

    /// The identities of the parts.
    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.iter().map(|(key, _)| key)
    }

    /// Adds a part.
    pub(super) fn put(&mut self, key: K, part: Arc<Part<T>>) -> Arc<Part<T>> {
        self.0.push((key, part.clone()));
        part
    }

    /// Takes over the part of `before` with this identity, or makes one.
    pub(super) fn take(
        &mut self,
        before: &Self,
        key: K,
        make: impl FnOnce(&K) -> Result<Arc<Part<T>>, StartError>,
    ) -> Result<Arc<Part<T>>, StartError> {
        let part = match before.find(&key) {
            Some(part) => part,
            None => make(&key)?,
        };
        Ok(self.put(key, part))
    }

    /// Every part, of whatever kind.
    pub(super) fn each(&self) -> impl Iterator<Item = &dyn Living>
    where
        T: Send + Sync,
    {
        self.0.iter().map(|(_, part)| &**part as &dyn Living)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A task that never ends by itself, and its end.
    fn part(ended: tokio::sync::mpsc::UnboundedSender<()>) -> Arc<Part<()>> {
        Part::new((), move |life| {
            life.tasks.spawn("waiting".to_owned(), move || {
                let ended = ended.clone();
                async move {
                    std::future::pending::<()>().await;
                    drop(ended);
                }
            });
        })
    }

    #[tokio::test]
    async fn the_tasks_of_a_part_end_with_its_last_user() {
        let process = Process::for_tests();
        let (ended, mut is_ended) = tokio::sync::mpsc::unbounded_channel();
        let part = part(ended);
        part.begin(&process);
        let other = part.clone();
        drop(part);
        tokio::task::yield_now().await;
        assert!(
            is_ended
                .try_recv()
                .is_err_and(|error| { error == tokio::sync::mpsc::error::TryRecvError::Empty })
        );
        drop(other);
        assert_eq!(is_ended.recv().await, None);
    }

    #[tokio::test]
    async fn a_part_begins_once_and_is_found_by_its_identity() {
        let process = Process::for_tests();
        let begun = Arc::new(AtomicUsize::new(0));
        let (mut first, mut second) = (Registry::default(), Registry::default());
        for registry in [&mut first, &mut second] {
            let before = Registry::default();
            let counted = begun.clone();
            let make = |_: &&str| {
                Ok(Part::new("value", move |_| {
                    counted.fetch_add(1, Ordering::Relaxed);
                }))
            };
            registry.take(&before, "key", make).unwrap();
        }
        let unused =
            |_: &&str| -> Result<Arc<Part<&str>>, StartError> { panic!("the part exists already") };
        let mut third = Registry::default();
        third.take(&first, "key", unused).unwrap();
        for part in first.each().chain(third.each()) {
            part.begin(&process);
        }
        assert_eq!(begun.load(Ordering::Relaxed), 1);
        assert!(third.find(&"another").is_none());
        drop(second);
    }
}
