//! A stream in memory that gives each piece of bytes by itself, stalls, ends and breaks on command.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The bytes that one write takes at most, so that large writes are written in parts.
const MOST_WRITTEN: usize = 1000;

/// The test's side of a stream.
#[derive(Clone, Default)]
pub struct Handle(Arc<Mutex<State>>);

/// The relay's side of a stream.
pub struct Stream(Handle);

#[derive(Default)]
struct State {
    pieces: VecDeque<Vec<u8>>,
    received: Vec<u8>,
    is_ended: bool,
    is_reset: bool,
    is_stalled: bool,
    /// Whether the relay has closed its sending side.
    is_shut_down: bool,
    /// Whether the relay has closed the stream.
    is_closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl State {
    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()]
            .into_iter()
            .flatten()
        {
            waker.wake();
        }
    }
}

impl Handle {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        state.wake();
    }

    /// The relay's side.
    pub fn stream(&self) -> Stream {
        Stream(self.clone())
    }

    /// Sends a piece; `false` if the stream takes no more.
    pub fn send(&self, bytes: &[u8]) -> bool {
        let mut state = self.state();
        let is_open = !state.is_ended && !state.is_reset && !state.is_closed;
        if is_open && !bytes.is_empty() {
            state.pieces.push_back(bytes.to_vec());
            state.wake();
        }
        is_open
    }

    pub fn end(&self) {
        self.change(|state| state.is_ended = true);
    }

    pub fn reset(&self) {
        self.change(|state| state.is_reset = true);
    }

    pub fn stall(&self, stalls: bool) {
        self.change(|state| state.is_stalled = stalls);
    }

    pub fn is_reset(&self) -> bool {
        self.state().is_reset
    }

    /// Everything that the relay has written.
    pub fn received(&self) -> Vec<u8> {
        self.state().received.clone()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.0.state();
        if state.is_reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let Some(mut piece) = state.pieces.pop_front() else {
            if state.is_ended {
                return Poll::Ready(Ok(()));
            }
            state.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        let taken = piece.len().min(buf.remaining());
        buf.put_slice(&piece[..taken]);
        if taken < piece.len() {
            state.pieces.push_front(piece.split_off(taken));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.0.state();
        assert!(!state.is_shut_down, "a write behind the end");
        if state.is_reset {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if state.is_stalled {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let taken = bytes.len().min(MOST_WRITTEN);
        state.received.extend_from_slice(&bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.state().is_shut_down = true;
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.state().is_closed = true;
    }
}
