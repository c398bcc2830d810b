//! The clock of an authority.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::domain::clock::UnixTime;

/// By how many seconds an authority's clock was ahead of ours in its last answer.
pub(super) struct Skew(AtomicI64);

const UNKNOWN: i64 = i64::MIN;

impl Default for Skew {
    fn default() -> Self {
        Self(AtomicI64::new(UNKNOWN))
    }
}

impl Skew {
    pub fn note(&self, seconds: Option<i64>) {
        if let Some(seconds) = seconds {
            self.0.store(seconds, Ordering::Relaxed);
        }
    }

    /// `None` before the first response with a `Date`.
    pub fn get(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|seconds| *seconds != UNKNOWN)
    }

    /// The estimated time of the authority.
    pub fn theirs(&self, ours: UnixTime) -> UnixTime {
        UnixTime(ours.0.saturating_add(self.get().unwrap_or(0)))
    }
}
