//! The state of a connection that its streams, its task and the pool share.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A request that ends after this time without any byte from the upstream suggests that the
/// connection is dead.
const SUSPICIOUS: Duration = Duration::from_secs(2);

pub(super) struct Load {
    open: AtomicUsize,
    is_retired: AtomicBool,
    began: Instant,
    /// The bytes that the upstream has sent and taken.
    read: AtomicU64,
    /// When it sent the last one, in milliseconds from the begin.
    read_last: AtomicU64,
    written: AtomicU64,
    /// The first four bytes that the upstream sent.
    first: Mutex<[u8; 4]>,
    used_last: Mutex<Instant>,
    /// Whether it has carried a request.
    is_used: AtomicBool,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            open: AtomicUsize::new(0),
            is_retired: AtomicBool::new(false),
            began: Instant::now(),
            read: AtomicU64::new(0),
            read_last: AtomicU64::new(0),
            written: AtomicU64::new(0),
            first: Mutex::default(),
            used_last: Mutex::new(Instant::now()),
            is_used: AtomicBool::new(false),
        }
    }
}

impl Load {
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    pub fn is_retired(&self) -> bool {
        self.is_retired.load(Ordering::Relaxed)
    }

    /// Ends its use for further requests.
    pub fn retire(&self) {
        self.is_retired.store(true, Ordering::Relaxed);
    }

    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    pub fn used_last(&self) -> Instant {
        *self
            .used_last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub fn first_bytes(&self) -> [u8; 4] {
        *self.first.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long the upstream has sent nothing.
    fn silence(&self) -> Duration {
        let last = Duration::from_millis(self.read_last.load(Ordering::Relaxed));
        self.began.elapsed().saturating_sub(last)
    }

    pub fn count_read(&self, bytes: &[u8]) {
        let now = u64::try_from(self.began.elapsed().as_millis());
        self.read_last
            .store(now.unwrap_or(u64::MAX), Ordering::Relaxed);
        let before = self.read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let Ok(before @ 0..4) = usize::try_from(before) else {
            return;
        };
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        for (place, byte) in first.iter_mut().skip(before).zip(bytes) {
            *place = *byte;
        }
    }

    pub fn count_written(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// The place of one stream on its connection.
pub(super) struct Seat {
    load: Arc<Load>,
    /// Whether the connection has carried another request before.
    pub is_reused: bool,
    taken: Instant,
    /// The bytes that the connection had written when the seat was taken.
    written: u64,
}

impl Seat {
    pub fn take(load: &Arc<Load>) -> Self {
        load.open.fetch_add(1, Ordering::Relaxed);
        Self {
            is_reused: load.is_used.swap(true, Ordering::Relaxed),
            taken: Instant::now(),
            written: load.written(),
            load: load.clone(),
        }
    }

    /// Whether the connection has written nothing since, so that the request has not left.
    pub fn has_written_nothing(&self) -> bool {
        self.load.written() == self.written
    }

    /// Retires the connection if the upstream has been silent for long.
    pub fn suspect(&self) {
        if self.taken.elapsed().min(self.load.silence()) >= SUSPICIOUS {
            self.load.retire();
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let now = Instant::now();
        *self
            .load
            .used_last
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = now;
        self.load.open.fetch_sub(1, Ordering::Relaxed);
    }
}
