//! The end of a connection whose client may still be sending.
//!
//! Closing a socket that holds unread bytes resets the connection: a client in the middle of its
//! upload then gets a broken pipe instead of its answer. So our side is closed first, and what the
//! client sends is read and discarded until the client closes its side, pauses, or reaches a limit.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::super::framing::Unread;

/// The limits where the request was read to its end: only a further request can follow.
const AFTER_REQUEST: Limits = Limits {
    pause: Duration::from_secs(2),
    total: Duration::from_secs(2),
    bytes: 256 * 1024,
};
/// The limits where the client may still be sending its request.
const AMID_REQUEST: Limits = Limits {
    pause: Duration::from_secs(5),
    total: Duration::from_mins(2),
    bytes: 64 * 1024 * 1024,
};
/// How much is discarded in one read.
const READ: usize = 16 * 1024;

/// How long, and how much, is read and discarded.
#[derive(Clone, Copy)]
struct Limits {
    /// How long the client may send nothing.
    pause: Duration,
    /// How long the closing may take.
    total: Duration,
    /// How many bytes are discarded.
    bytes: u64,
}

/// A connection that is being closed.
pub(super) struct Closing {
    limits: Limits,
    /// When it ends at the latest.
    end: Instant,
    /// When the client's pause has become too long.
    pause_ends: Pin<Box<Sleep>>,
    discarded: u64,
}

impl Closing {
    /// Begins to close.
    pub fn begin(unread: Unread) -> Self {
        let limits = match unread {
            Unread::Bytes(0) => AFTER_REQUEST,
            // A client that announced more than the limit may well send all of it before it reads.
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

    /// Reads and discards until the client closes its side or a limit is reached.
    pub fn poll_discard(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut TcpStream,
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
