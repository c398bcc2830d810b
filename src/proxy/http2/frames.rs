//! Watches the frames of a connection while they are read (RFC 9113 §4.1).
//!
//! A frame that carries no request and no body costs the client a few bytes, and this side a reply
//! or the state of a stream. So such frames use up a budget, which time and responses refill. The
//! floods of PING, SETTINGS, PRIORITY, WINDOW_UPDATE and RST_STREAM frames end at it. The `h2`
//! crate itself limits CONTINUATION frames and empty DATA frames.
//!
//! Honest clients pay with what they receive: some send WINDOW_UPDATE and PING frames for each DATA
//! frame, and a gateway resets the streams of calls that its own clients give up.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::scan::{Scan, UNDONE};
use crate::proxy::connection::{ClientStream, Clients, LargeHead};

/// The budget of a new connection, which is also the most that it can become.
const MOST: u64 = 1_000;
/// The gain of the budget in a second.
const A_SECOND: u64 = 125;
/// The gain with the head of a response: the work for it is not lost.
pub(super) const A_HEAD: u64 = UNDONE;
/// The gain with a response that was sent whole: a WINDOW_UPDATE and a PRIORITY frame.
pub(super) const A_RESPONSE: u64 = 2;
/// The gain with a DATA frame that was sent: a WINDOW_UPDATE for stream and connection, and a PING.
const A_DATA_FRAME: u64 = 3;
/// Most bytes of a DATA frame that was sent, unless the client permits more.
const DATA_FRAME: usize = 16 * 1024;

/// The gain with DATA frames of so many bytes.
pub(super) fn gain(bytes: usize) -> u64 {
    A_DATA_FRAME * bytes.div_ceil(DATA_FRAME) as u64
}

/// The state that a connection, its streams and its frames share.
#[derive(Default)]
pub(super) struct Watch {
    /// Whether the budget is used up.
    is_over: AtomicBool,
    /// The gain from responses that the budget has not taken over yet.
    earned: AtomicU64,
    /// The cost of streams that the budget has not taken over yet.
    charged: AtomicU64,
    /// Whether a part of a request's head has been read, and not its end.
    is_inside_head: AtomicBool,
    /// Bytes read so far.
    read: AtomicU64,
    /// Bytes written so far.
    written: AtomicU64,
    /// Bytes that have left a buffer of the stream itself.
    flushed: AtomicU64,
    /// Whether the last write could not be finished.
    is_blocked: AtomicBool,
}

impl Watch {
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    pub fn earn(&self, amount: u64) {
        self.earned.fetch_add(amount, Ordering::Relaxed);
    }

    /// Takes the cost of a stream out of the budget, at the next read.
    pub fn charge(&self, amount: u64) {
        self.charged.fetch_add(amount, Ordering::Relaxed);
    }

    /// Whether a part of a request's head has been read, and not its end.
    pub fn is_inside_head(&self) -> bool {
        self.is_inside_head.load(Ordering::Relaxed)
    }

    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Grows with every byte that is written or flushed.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed) + self.flushed.load(Ordering::Relaxed)
    }

    pub fn is_blocked(&self) -> bool {
        self.is_blocked.load(Ordering::Relaxed)
    }
}

/// The byte stream of a connection, whose frames are counted.
pub(super) struct Frames {
    stream: Box<dyn ClientStream>,
    /// Bytes that were read before the protocol was known.
    ahead: Bytes,
    watch: Arc<Watch>,
    scan: Scan,
    budget: Budget,
    clients: Arc<Clients>,
    /// Set while a larger head than usual is read.
    large_head: Option<LargeHead>,
}

impl Frames {
    pub fn new(
        stream: Box<dyn ClientStream>,
        ahead: Bytes,
        watch: Arc<Watch>,
        clients: Arc<Clients>,
    ) -> Self {
        Self {
            stream,
            ahead,
            watch,
            scan: Scan::default(),
            budget: Budget::new(),
            clients,
            large_head: None,
        }
    }

    /// Counts the frames in received bytes.
    fn count(&mut self, bytes: &[u8]) {
        self.watch
            .read
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let cost = self.scan.cost(bytes) + self.watch.charged.swap(0, Ordering::Relaxed);
        let held = self.scan.head_bytes();
        self.watch
            .is_inside_head
            .store(held.is_some(), Ordering::Relaxed);
        let slot = self
            .clients
            .large_head(self.large_head.take(), held.unwrap_or_default());
        let is_over = slot.is_err() || cost > 0 && !self.budget.pays(cost, &self.watch);
        self.large_head = slot.unwrap_or_default();
        if is_over {
            self.watch.is_over.store(true, Ordering::Relaxed);
        }
    }
}

struct Budget {
    left: u64,
    /// When time last refilled it.
    filled: Instant,
}

impl Budget {
    fn new() -> Self {
        Self {
            left: MOST,
            filled: Instant::now(),
        }
    }

    /// Takes a cost out of the budget. Returns false if it is too small.
    fn pays(&mut self, cost: u64, watch: &Watch) -> bool {
        if self.left < cost {
            let elapsed = u64::try_from(self.filled.elapsed().as_millis()).unwrap_or(u64::MAX);
            let gained = elapsed.saturating_mul(A_SECOND) / 1000;
            if gained > 0 {
                self.filled = Instant::now();
            }
            let earned = watch.earned.swap(0, Ordering::Relaxed);
            self.left = self
                .left
                .saturating_add(gained)
                .saturating_add(earned)
                .min(MOST);
        }
        let pays = self.left >= cost;
        self.left = self.left.saturating_sub(cost);
        pays
    }
}

impl AsyncRead for Frames {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let frames = &mut *self;
        if frames.watch.is_over() {
            // Nothing more is read. The connection looks at this after each read, and ends.
            return Poll::Pending;
        }
        let before = buf.filled().len();
        if frames.ahead.is_empty() {
            match Pin::new(&mut *frames.stream).poll_read(cx, buf) {
                Poll::Ready(Ok(())) => {}
                other => return other,
            }
        } else {
            let taken = frames.ahead.len().min(buf.remaining());
            buf.put_slice(frames.ahead.get(..taken).unwrap_or_default());
            frames.ahead.advance(taken);
        }
        let bytes = buf.filled().get(before..).unwrap_or_default();
        frames.count(bytes);
        Poll::Ready(Ok(()))
    }
}

impl Frames {
    fn note_write(&self, written: &Poll<io::Result<usize>>) {
        let watch = &self.watch;
        watch
            .is_blocked
            .store(written.is_pending(), Ordering::Relaxed);
        if let Poll::Ready(Ok(bytes)) = written {
            watch.written.fetch_add(*bytes as u64, Ordering::Relaxed);
        }
    }
}

impl AsyncWrite for Frames {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut *self.stream).poll_write(cx, bytes);
        self.note_write(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut *self.stream).poll_write_vectored(cx, parts);
        self.note_write(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut *self.stream).poll_flush(cx);
        let watch = &self.watch;
        watch
            .is_blocked
            .store(flushed.is_pending(), Ordering::Relaxed);
        if flushed.is_pending() {
            watch
                .flushed
                .store(self.stream.flushed(), Ordering::Relaxed);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn time_and_complete_responses_refill_the_budget() {
        let watch = Watch::default();
        let mut budget = Budget::new();
        assert!(budget.pays(MOST, &watch));
        assert!(!budget.pays(1, &watch));
        watch.earn(A_RESPONSE);
        assert!(budget.pays(A_RESPONSE, &watch));
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        assert!(budget.pays(A_SECOND, &watch));
        assert!(!budget.pays(1, &watch));
        tokio::time::advance(std::time::Duration::from_hours(1)).await;
        assert!(!budget.pays(MOST + 1, &watch), "it never exceeds its most");
    }
}
