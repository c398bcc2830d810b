//! The memory of the proofs that were used.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use super::{MAX_AGE, Proof};
use crate::domain::clock::UnixTime;
use crate::domain::keyed_digest::KeyedDigest;

/// How many proofs are remembered, in at most 48 MiB. A proof made now is remembered for 70 s at
/// most, so 15,000 in each second fit.
const CAPACITY: usize = 1 << 20;
/// Parts with a lock of their own.
const PARTS: usize = 16;
/// Proofs that end within the same seconds are forgotten together.
const SLOT: i64 = 10;

/// Accepts each proof once. A proof is remembered until its `iat` is too old.
pub struct ReplayMemory {
    parts: Box<[Mutex<Part>]>,
    capacity: usize,
}

/// Why a proof is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotFirst {
    /// It was used before.
    Replayed,
    /// The memory is full, so a replay could not be recognised.
    Full,
}

/// Some of the proofs, by the slot of time in which they end; the first to end first.
#[derive(Default)]
struct Part {
    slots: VecDeque<Slot>,
    count: usize,
}

struct Slot {
    number: i64,
    proofs: HashSet<KeyedDigest>,
}

impl Default for ReplayMemory {
    fn default() -> Self {
        Self::with_capacity(CAPACITY)
    }
}

impl ReplayMemory {
    /// A memory of about so many proofs.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            parts: (0..PARTS).map(|_| Mutex::default()).collect(),
            capacity: capacity.div_ceil(PARTS),
        }
    }

    /// Records the use of a valid proof.
    ///
    /// # Errors
    /// [`NotFirst`].
    pub fn use_once(&self, proof: &Proof, now: UnixTime) -> Result<(), NotFirst> {
        let id = proof.id();
        let place = usize::from(id.as_bytes()[0]) % PARTS;
        let part = self.parts.get(place).ok_or(NotFirst::Full)?;
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        part.forget(now);
        part.add(id, proof.issued_at().plus(MAX_AGE), self.capacity)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let counts = self.parts.iter().map(|part| part.lock().unwrap().count);
        counts.sum()
    }
}

impl Part {
    /// Removes the proofs that are too old now.
    fn forget(&mut self, now: UnixTime) {
        while let Some(first) = self.slots.front()
            && (first.number + 1).saturating_mul(SLOT) <= now.0
        {
            self.count -= first.proofs.len();
            self.slots.pop_front();
        }
    }

    fn add(&mut self, id: KeyedDigest, end: UnixTime, capacity: usize) -> Result<(), NotFirst> {
        if self.slots.iter().any(|slot| slot.proofs.contains(&id)) {
            return Err(NotFirst::Replayed);
        }
        if self.count >= capacity {
            return Err(NotFirst::Full);
        }
        let number = end.0.div_euclid(SLOT);
        let place = self.slots.partition_point(|slot| slot.number < number);
        if self
            .slots
            .get(place)
            .is_none_or(|slot| slot.number != number)
        {
            let proofs = HashSet::new();
            self.slots.insert(place, Slot { number, proofs });
        }
        if let Some(slot) = self.slots.get_mut(place) {
            slot.proofs.insert(id);
            self.count += 1;
        }
        Ok(())
    }
}
