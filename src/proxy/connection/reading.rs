//! Reads request bodies, and notices that a client disconnects.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, ReadBuf};

use super::departure::reset_of;
use super::{ClientError, Connection, MOST_HELD};
use crate::proxy::deadlines::Wait;

/// Size of the first read of a body.
pub(super) const FIRST_READ: usize = 8 * 1024;
/// Size of the largest read of a body.
const LARGEST_READ: usize = 64 * 1024;
/// Size of one read ahead.
const READ_AHEAD: usize = 4 * 1024;

impl Connection {
    /// The next part of the body; `None` at its end. The caller watches the deadline.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ClientError>> {
        loop {
            let read = self.current.body.read(&mut self.received);
            if let Some(data) = read.map_err(ClientError::Broken)? {
                return Poll::Ready(Ok(Some(data)));
            }
            if self.current.body.is_ended() {
                return Poll::Ready(Ok(None));
            }
            match ready!(self.poll_more(cx)) {
                Ok(0) | Err(_) => return Poll::Ready(Err(ClientError::Gone)),
                Ok(_) => {}
            }
        }
    }

    /// The next part of the body, within the client's timeout; `None` at its end.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn read_body(&mut self) -> Result<Option<Bytes>, ClientError> {
        let wait = self.settings.timeouts.read;
        let read = poll_fn(|cx| {
            let read = self.poll_body(cx);
            if read.is_ready() {
                return read;
            }
            self.deadlines.start(Wait::ClientRead, wait);
            ready!(self.deadlines.poll(cx));
            Poll::Ready(Err(ClientError::Silent))
        });
        let read = read.await;
        self.deadlines.stop(Wait::ClientRead);
        read
    }

    /// Reads more of a body. The size of the reads follows the client's speed.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let size = self.read_size;
        self.received.reserve(size);
        let reading = pin!(self.stream.read_buf(&mut self.received));
        let read = ready!(std::future::Future::poll(reading, cx))?;
        self.read_size = if read >= size {
            (size * 2).min(LARGEST_READ)
        } else {
            size
        };
        Poll::Ready(Ok(read))
    }

    /// Ready when the client resets the connection while its request is answered. Bytes that arrive
    /// meanwhile belong to later requests and are held back. A half-closed client still expects its
    /// response.
    #[inline(never)]
    pub fn poll_departure(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut ahead = [0; READ_AHEAD];
        while self.is_body_done() && !self.is_half_closed && self.received.len() < MOST_HELD {
            let mut ahead = ReadBuf::new(&mut ahead);
            match ready!(Pin::new(&mut *self.stream).poll_read(cx, &mut ahead)) {
                Err(_) => return Poll::Ready(()),
                Ok(()) if ahead.filled().is_empty() => self.is_half_closed = true,
                Ok(()) => self.received.extend_from_slice(ahead.filled()),
            }
        }
        self.poll_reset(cx)
    }

    /// Ready when the client has reset the connection. Reads nothing.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(socket) = self.stream.socket() else {
            return Poll::Pending;
        };
        self.reset
            .get_or_insert_with(|| reset_of(socket))
            .as_mut()
            .poll(cx)
            .map(drop)
    }

    /// Waits until the client disconnects. Does not read the body.
    pub async fn departed(&mut self) {
        poll_fn(|cx| self.poll_departure(cx)).await;
    }
}
