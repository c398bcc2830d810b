//! A connection's place among those of its listener.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::Waker;

use futures_util::task::AtomicWaker;

/// No byte of a request has arrived.
pub const AWAITING_HEAD: u8 = 0;

/// A part of the head has arrived.
pub const HEAD_BEGUN: u8 = 1;

/// The head is complete; the request is in progress.
pub const HEAD_READ: u8 = 2;

/// The sending side is closed; further input is discarded.
pub const LINGERING: u8 = 3;

/// The connection must end at once.
pub const DISMISSED: u8 = 4;

/// The connection has ended.
pub(super) const GONE: u8 = 5;

pub(super) fn is_idle(phase: u8) -> bool {
    matches!(phase, AWAITING_HEAD | HEAD_BEGUN | LINGERING)
}

/// The listener's record of one connection.
#[derive(Debug)]
pub struct Seat {
    pub(super) id: u64,
    pub(super) address: IpAddr,
    pub(super) phase: AtomicU8,
    /// The start of its idle time.
    pub(super) since: AtomicU64,
    /// The time under which its address lists it; 0: unlisted. Written under the lock only.
    pub(super) listed: AtomicU64,
    /// The connection's task while it is idle.
    pub(super) task: AtomicWaker,
}

impl Seat {
    /// The phase of the current request.
    pub fn phase(&self) -> u8 {
        self.phase.load(Ordering::SeqCst)
    }

    /// Whether the connection must end at once. Wakes the task when that changes.
    pub fn is_dismissed(&self, task: &Waker) -> bool {
        self.task.register(task);
        self.phase() == DISMISSED
    }

    /// Moves to the next phase. Returns false if the connection was dismissed meanwhile.
    pub fn advance(&self, from: u8, to: u8) -> bool {
        self.phase
            .compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    /// Dismisses the connection if it is idle.
    pub fn dismiss(&self) -> bool {
        let dismiss = |phase| is_idle(phase).then_some(DISMISSED);
        let is_done = self
            .phase
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, dismiss)
            .is_ok();
        if is_done {
            self.task.wake();
        }
        is_done
    }
}
