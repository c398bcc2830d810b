//! Watches the frames of a connection while they are read (RFC 9113 §4.1).
//!
//! A frame that carries no request and no body costs the client a few bytes, and this side a reply
//! or the state of a stream. So such frames use up a budget, which time and complete responses
//! refill. The floods of PING, SETTINGS, PRIORITY, WINDOW_UPDATE and RST_STREAM frames end at it.
//! The `h2` crate itself limits CONTINUATION frames and empty DATA frames.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::proxy::connection::ClientStream;

/// Length of the preface (RFC 9113 §3.4).
const PREFACE: usize = 24;
const FRAME_HEAD: usize = 9;

const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;

/// The budget of a new connection, which is also the most that it can become.
const MOST: u64 = 4_000;
/// The gain of the budget in a second.
const A_SECOND: u64 = 400;
/// The gain with a response that was sent whole.
pub(super) const A_RESPONSE: u64 = 8;

/// The cost of a frame of this type. A reset can undo the work for a whole request.
fn cost(kind: u8) -> u64 {
    match kind {
        0 | 1 | 9 => 0,
        RST_STREAM => 16,
        WINDOW_UPDATE => 1,
        PRIORITY | SETTINGS | PING => 4,
        _ => 4,
    }
}

/// The state that a connection, its streams and its frames share.
#[derive(Default)]
pub(super) struct Watch {
    /// Whether the budget is used up.
    is_over: AtomicBool,
    /// The gain from complete responses that the budget has not taken over yet.
    earned: AtomicU64,
    /// Bytes read so far.
    read: AtomicU64,
    /// Bytes written so far.
    written: AtomicU64,
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

    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
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
}

impl Frames {
    pub fn new(stream: Box<dyn ClientStream>, ahead: Bytes, watch: Arc<Watch>) -> Self {
        Self {
            stream,
            ahead,
            watch,
            scan: Scan::default(),
            budget: Budget::new(),
        }
    }

    /// Counts the frames in received bytes.
    fn count(&mut self, bytes: &[u8]) {
        self.watch
            .read
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let cost = self.scan.cost(bytes);
        if cost > 0 && !self.budget.pays(cost, &self.watch) {
            self.watch.is_over.store(true, Ordering::Relaxed);
        }
    }
}

/// The place in the received bytes.
struct Scan {
    /// Bytes until the next frame head.
    skip: usize,
    head: [u8; FRAME_HEAD],
    /// How many bytes of the head are known.
    known: usize,
}

impl Default for Scan {
    fn default() -> Self {
        Self {
            skip: PREFACE,
            head: [0; FRAME_HEAD],
            known: 0,
        }
    }
}

impl Scan {
    /// The cost of the frames whose heads end in these bytes.
    fn cost(&mut self, mut bytes: &[u8]) -> u64 {
        let mut total = 0;
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let taken = (FRAME_HEAD - self.known).min(bytes.len());
            let Some(room) = self.head.get_mut(self.known..self.known + taken) else {
                return total;
            };
            let (part, rest) = bytes.split_at(taken);
            room.copy_from_slice(part);
            bytes = rest;
            self.known += taken;
            if self.known < FRAME_HEAD {
                return total;
            }
            self.known = 0;
            let [a, b, c, kind, ..] = self.head;
            self.skip = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            total += cost(kind);
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
            let millis = self.filled.elapsed().as_millis();
            let gained = u64::try_from(millis).unwrap_or(u64::MAX) / 10 * (A_SECOND / 100);
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
            // The connection task sends its last frame; nothing more is read.
            cx.waker().wake_by_ref();
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
        self.watch
            .is_blocked
            .store(flushed.is_pending(), Ordering::Relaxed);
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, length: usize) -> Vec<u8> {
        let size = u32::try_from(length).unwrap().to_be_bytes();
        let mut bytes = vec![size[1], size[2], size[3], kind, 0, 0, 0, 0, 1];
        bytes.resize(FRAME_HEAD + length, 0);
        bytes
    }

    proptest! {
        #[test]
        fn the_cost_does_not_depend_on_the_cuts(
            frames in proptest::collection::vec((0_u8..12, 0_usize..40), 0..30),
            cut in 1_usize..50,
        ) {
            let mut bytes = vec![0; PREFACE];
            for (kind, length) in &frames {
                bytes.extend(frame(*kind, *length));
            }
            let mut scan = Scan::default();
            let total: u64 = bytes.chunks(cut).map(|part| scan.cost(part)).sum();
            prop_assert_eq!(total, frames.iter().map(|(kind, _)| cost(*kind)).sum::<u64>());
        }
    }

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
