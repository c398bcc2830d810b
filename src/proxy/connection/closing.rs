//! The end of a connection whose client may still be sending.
//!
//! Closing a socket with unread bytes resets the connection, and a client in the middle of an
//! upload would get a broken pipe instead of its response. So the sending side is closed first, and
//! further input is discarded until the client closes its side, pauses, or reaches a limit.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::ReadBuf;
use tokio::time::{Instant, Sleep};

use super::super::framing::Unread;
use super::stream::ClientStream;

/// After a complete request: only another request can follow.
const AFTER_REQUEST: Limits = Limits {
    pause: Duration::from_secs(2),
    total: Duration::from_secs(2),
    bytes: 256 * 1024,
};
/// While the client may still be sending its request.
const AMID_REQUEST: Limits = Limits {
    pause: Duration::from_secs(5),
    total: Duration::from_mins(2),
    bytes: 64 * 1024 * 1024,
};
/// Size of one discarding read.
const READ: usize = 16 * 1024;

/// The limits of discarding.
#[derive(Clone, Copy)]
struct Limits {
    /// How long the client may send nothing.
    pause: Duration,
    /// How long the close may take.
    total: Duration,
    /// How many bytes are discarded.
    bytes: u64,
}

/// A connection that is being closed.
pub(super) struct Closing {
    limits: Limits,
    /// The latest end.
    end: Instant,
    /// The end of the permitted pause.
    pause_ends: Pin<Box<Sleep>>,
    discarded: u64,
}

impl Closing {
    /// Starts the close.
    pub fn begin(unread: Unread) -> Self {
        let limits = match unread {
            Unread::Bytes(0) => AFTER_REQUEST,
            // A client that announced a longer body may send all of it before it reads the
            // response.
            Unread::Bytes(bytes) => Limits {
                bytes: bytes.max(AMID_REQUEST.bytes),
                ..AMID_REQUEST
            },
            Unread::Unknown => AMID_REQUEST,
        };
        let now = Instant::now();
        let pause_ends = Box::pin(tokio::time::sleep_until(now + limits.pause));
        Self {
            limits,
            end: now + limits.total,
            pause_ends,
            discarded: 0,
        }
    }

    /// Whether a limit is reached. Wakes the task when the time is over.
    pub fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        self.discarded > self.limits.bytes || self.pause_ends.as_mut().poll(cx).is_ready()
    }

    /// Discards input until the client closes its side or a limit is reached.
    pub fn poll_discard(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut dyn ClientStream,
    ) -> Poll<io::Result<()>> {
        let mut sink = [0; READ];
        while !self.is_over(cx) {
            let mut sink = ReadBuf::new(&mut sink);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut sink))?;
            match sink.filled().len() {
                0 => break,
                read => self.discarded += read as u64,
            }
            let pause_ends = (Instant::now() + self.limits.pause).min(self.end);
            self.pause_ends.as_mut().reset(pause_ends);
        }
        Poll::Ready(Ok(()))
    }
}
