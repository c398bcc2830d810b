//! Writes responses, and closes the connection.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use pingora::http::ResponseHeader;

use super::admission::LINGERING;
use super::closing::Closing;
use super::date;
use super::{ClientError, Connection};
use crate::proxy::answer;
use crate::proxy::deadlines::Wait;
use crate::proxy::fault::Fault;
use crate::proxy::framing::Unread;

/// How a client finds the end of a response's body (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// The head announces the length.
    Length,
    /// Chunks, or in HTTP/2 the end of the stream.
    Chunked,
    /// The connection ends with the body.
    UntilClose,
}

impl Connection {
    /// Puts the head of an interim response into the send buffer (RFC 9110 §15.2).
    pub fn write_interim(&mut self, head: &ResponseHeader) {
        // Other interim responses do not ask for the body.
        self.current.has_continue |= head.status == StatusCode::CONTINUE;
        let buffer = self.outgoing.small();
        write_fields(buffer, head);
        buffer.put_slice(b"\r\n");
    }

    /// Puts the head of the response into the send buffer, with the fields that announce whether
    /// the connection stays open. The caller has set those that announce `framing`.
    #[inline(never)]
    pub fn write_head(&mut self, head: &ResponseHeader, framing: Framing) {
        self.current.status = Some(head.status);
        self.current.framing = framing;
        if framing == Framing::UntilClose {
            self.end_after_response();
        }
        let buffer = self.outgoing.small();
        write_fields(buffer, head);
        if !head.headers.contains_key(header::DATE) {
            buffer.put_slice(&date::field());
        }
        buffer.put_slice(if self.current.keeps_alive {
            &self.keep_alive
        } else {
            b"Connection: close\r\n"
        });
        buffer.put_slice(b"\r\n");
    }

    /// Puts a part of the response's body into the send buffer.
    pub fn write_body(&mut self, data: Bytes) {
        if self.current.framing == Framing::None {
            return;
        }
        self.current.body_bytes += data.len() as u64;
        if self.current.framing == Framing::Chunked {
            self.outgoing.put_chunk(data);
        } else {
            self.outgoing.put_data(data);
        }
    }

    /// Ends the body of the response.
    pub fn end_body(&mut self, trailers: Option<&HeaderMap>) {
        if self.current.framing == Framing::Chunked {
            self.outgoing.put_last_chunk(trailers);
        }
    }

    /// How many bytes wait to be sent.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.outgoing.len()
    }

    /// Sends what waits. Starts and stops the deadline of the write; the caller watches it.
    #[inline(never)]
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        let progress = |it: &Self| (it.outgoing.written(), it.stream.flushed());
        let before = progress(self);
        let sent = self.outgoing.poll_write(cx, &mut *self.stream);
        if sent.is_ready() || progress(self) != before {
            self.deadlines.stop(Wait::ClientWrite);
        }
        if sent.is_pending() {
            let wait = self.settings.timeouts.write;
            self.deadlines.start(Wait::ClientWrite, wait);
        }
        sent.map_err(|_| ClientError::Gone)
    }

    /// Sends what waits, within the client's timeout.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn flush(&mut self) -> Result<(), ClientError> {
        let flushed = poll_fn(|cx| {
            let flushed = self.poll_flush(cx);
            if flushed.is_ready() {
                return flushed;
            }
            ready!(self.deadlines.poll(cx));
            Poll::Ready(Err(ClientError::Stalled))
        });
        flushed.await
    }

    /// Answers a head that is refused before it is a request.
    pub fn write_refusal(&mut self, fault: &Fault) {
        self.is_refused = true;
        let answer = answer::on_the_wire(fault, self.heads.error_form());
        self.outgoing.small().extend_from_slice(&answer);
    }

    /// Closes the connection. Sends what waits, closes the sending side and discards further input:
    /// see `closing`.
    pub async fn close(&mut self) {
        poll_fn(|cx| self.poll_close(cx)).await;
    }

    #[inline(never)]
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.in_progress = None;
        // No request was in progress, and another connection waits for this seat.
        if self.seat.is_dismissed(cx.waker()) {
            if !self.is_shut_down {
                // Does not wait: a client that does not read must not keep the seat.
                let _ = self.outgoing.poll_write(cx, &mut *self.stream);
                let _ = Pin::new(&mut *self.stream).poll_shutdown(cx);
            }
            return Poll::Ready(());
        }
        // The received bytes are no longer a request.
        let unread = if self.received.is_empty() && !self.heads.is_inside() && !self.is_refused {
            self.unread()
        } else {
            Unread::Unknown
        };
        let closing = self.closing.get_or_insert_with(|| Closing::begin(unread));
        // A client that does not read could block this write without end.
        if closing.is_over(cx) {
            return Poll::Ready(());
        }
        if !self.is_shut_down {
            let sent = ready!(self.outgoing.poll_write(cx, &mut *self.stream));
            let shut_down = ready!(Pin::new(&mut *self.stream).poll_shutdown(cx));
            if sent.and(shut_down).is_err() {
                return Poll::Ready(());
            }
            self.is_shut_down = true;
            self.seat.becomes_idle(LINGERING);
        }
        closing.poll_discard(cx, &mut *self.stream).map(drop)
    }
}

/// Writes the status line and the fields (RFC 9112 §4).
pub(super) fn write_fields(buffer: &mut BytesMut, head: &ResponseHeader) {
    buffer.put_slice(b"HTTP/1.1 ");
    buffer.put_slice(head.status.as_str().as_bytes());
    buffer.put_u8(b' ');
    buffer.put_slice(head.get_reason_phrase().unwrap_or_default().as_bytes());
    buffer.put_slice(b"\r\n");
    head.header_to_h1_wire(buffer);
}
