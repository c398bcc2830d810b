//! Writes to a connection, and closes it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::Connection;
use super::admission::{HEAD_READ, LINGERING};
use super::closing::Closing;
use crate::proxy::answer;
use crate::proxy::fault::Fault;
use crate::proxy::framing::Unread;

/// The rule for heads that Pingora refuses although `framing` accepted them.
pub(super) const UNREADABLE: &str = "the head cannot be read";

impl Connection {
    /// Passes a write's result on, or ends a write that is blocked for too long.
    pub(super) fn in_time<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write_deadline = None;
            self.answer_deadline.restart(&self.state.answer);
            return written;
        }
        // No request is in progress, and another connection waits for this seat.
        let seat = &self.state.seat;
        if seat.phase() != HEAD_READ && seat.is_dismissed(cx.waker()) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let wait = self.state.timeouts().write;
        let deadline = self
            .write_deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(wait)));
        ready!(deadline.as_mut().poll(cx));
        self.state.stalled.store(true, Ordering::Relaxed);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Answers in Pingora's place and ends the input.
    pub(super) fn poll_refuse(
        &mut self,
        cx: &mut Context<'_>,
        fault: Fault,
    ) -> Poll<io::Result<()>> {
        let code = fault.reason.code();
        self.write_refusal(cx, fault);
        let _ = Pin::new(&mut self.io).poll_flush(cx);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, code)))
    }

    /// Puts the response for a fault into the write buffer. The buffer is empty, because nothing
    /// was written since the last flush, and it is larger than the response.
    pub(super) fn write_refusal(&mut self, cx: &mut Context<'_>, fault: Fault) {
        if self.state.refused().is_none() {
            let _ = Pin::new(&mut self.io)
                .poll_write(cx, &answer::on_the_wire(&fault, self.framing.error_form()));
            let _ = self.state.refused.set(fault);
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.state.seat.phase() == HEAD_READ {
            let written = Pin::new(&mut self.io).poll_write(cx, buf);
            return self.in_time(cx, written);
        }
        // Before a head is accepted Pingora writes only its own error page, which is replaced here.
        self.write_refusal(cx, Fault::malformed(UNREADABLE));
        Poll::Ready(Ok(buf.len()))
    }

    /// Writes a chunk, its size and its end at once, although the buffer is too small for them.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.state.seat.phase() == HEAD_READ {
            let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
            return self.in_time(cx, written);
        }
        let first = bufs
            .iter()
            .find(|buf| !buf.is_empty())
            .map_or(&[][..], |buf| buf);
        self.poll_write(cx, first)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.in_time(cx, flushed)
    }

    /// Closes the sending side and discards further input: see `closing`.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.state.request_is_over();
        // No request was in progress, and another connection waits for this seat.
        if this.state.seat.is_dismissed(cx.waker()) {
            if !this.is_shut_down {
                // Does not wait: a client that does not read must not keep the seat.
                let _ = Pin::new(&mut this.io).poll_shutdown(cx);
            }
            return Poll::Ready(Ok(()));
        }
        // The held bytes are no longer a request.
        let unread = if this.held.is_empty() {
            this.framing.unread()
        } else {
            Unread::Unknown
        };
        let closing = this.closing.get_or_insert_with(|| Closing::begin(unread));
        // A client that does not read could block this write without end.
        if closing.is_over(cx) {
            return Poll::Ready(Ok(()));
        }
        if !this.is_shut_down {
            ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
            this.is_shut_down = true;
            this.state.seat.becomes_idle(LINGERING);
        }
        closing.poll_discard(cx, this.io.get_mut())
    }
}
