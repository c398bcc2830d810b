//! Reads from a connection: heads, bodies, and the client's disconnection.

use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

use super::admission::{AWAITING_HEAD, DISMISSED, HEAD_BEGUN, HEAD_COMPLETE, HEAD_READ};
use super::departure::reset_of;
use super::{Connection, HEAD_TIMEOUT, MOST_HELD, READ_AHEAD};
use crate::domain::reason::Reason;
use crate::proxy::fault::Fault;

impl Connection {
    /// Reads until the head is complete, parses it, and arms the deadline when a read blocks.
    pub(super) fn poll_read_head(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        loop {
            let phase = self.state.seat.phase();
            let begun = phase != AWAITING_HEAD && phase != DISMISSED;
            if phase == DISMISSED && !self.stays() {
                return Poll::Ready(Ok(()));
            }
            let Poll::Ready(read) = self.poll_next_bytes(cx, buf) else {
                return self.poll_wait_for_head(cx, begun);
            };
            read?;
            if !begun {
                if !self.state.seat.advance(AWAITING_HEAD, HEAD_BEGUN) {
                    buf.set_filled(before);
                    return Poll::Ready(Ok(()));
                }
                self.framing.next_request();
                self.deadline = None;
                self.first_byte = None;
                self.reset = None;
            }
            if buf.filled().len() == before {
                return match self.framing.cut_off() {
                    Some(fault) => self.poll_refuse(cx, fault),
                    None => Poll::Ready(Ok(())),
                };
            }
            if let Err(fault) = self.take(buf, before) {
                return self.poll_refuse(cx, fault);
            }
            // The reads of a trickling client may never block, so the deadline is checked here as
            // well.
            if self
                .deadline
                .as_mut()
                .is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready())
            {
                return self.poll_refuse(cx, Reason::HeadTimeout.into());
            }
            if !self.framing.awaits_head()
                && self.state.seat.phase() != HEAD_COMPLETE
                && !self.state.seat.advance(HEAD_BEGUN, HEAD_COMPLETE)
            {
                buf.set_filled(before);
                return Poll::Ready(Ok(()));
            }
            self.give_pending(buf);
            if buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Whether a dismissed connection has an unread request in the socket's buffer, and therefore
    /// stays.
    pub(super) fn stays(&self) -> bool {
        let no_byte_is_read = self.first_byte.is_some() || self.framing.is_ended();
        let mut byte = [std::mem::MaybeUninit::uninit()];
        let stays = no_byte_is_read
            && SockRef::from(self.io.get_ref())
                .peek(&mut byte)
                .is_ok_and(|waiting| waiting > 0);
        if stays {
            self.state.seat.stays();
        }
        stays
    }

    /// Waits for a head or its rest. The connection ends here as if the client had closed it.
    pub(super) fn poll_wait_for_head(
        &mut self,
        cx: &mut Context<'_>,
        begun: bool,
    ) -> Poll<io::Result<()>> {
        if self.state.seat.is_dismissed(cx.waker()) && !self.stays() {
            return Poll::Ready(Ok(()));
        }
        let end = match self.first_byte {
            _ if begun => Instant::now() + HEAD_TIMEOUT,
            Some(first_byte) => first_byte,
            None => return Poll::Pending,
        };
        if begun && self.deadline.is_none() {
            // The idle time starts now, because the head has just begun.
            self.state.seat.becomes_idle(HEAD_BEGUN);
        }
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
        ready!(deadline.as_mut().poll(cx));
        if begun {
            return self.poll_refuse(cx, Reason::HeadTimeout.into());
        }
        if self.state.seat.dismiss() {
            self.state.is_silent.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads a body. After its end, waits for the client to disconnect.
    pub(super) fn poll_read_body(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let is_ended = self.framing.is_ended();
        // While the client still sends, its own timeout applies.
        let is_upstreams_turn =
            is_ended || self.state.awaits_continue() && !self.framing.has_begun_body();
        if is_upstreams_turn
            && self
                .answer_deadline
                .poll_late(cx, &self.state.answer)
                .is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if is_ended {
            return self.poll_departure(cx).map(Err);
        }
        let before = buf.filled().len();
        ready!(self.poll_next_bytes(cx, buf))?;
        if let Err(fault) = self.take(buf, before) {
            let code = fault.reason.code();
            let _ = self.state.broken_body.set(fault);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, code)));
        }
        Poll::Ready(Ok(()))
    }

    /// Waits for a reset while a request is answered. Bytes that arrive meanwhile belong to later
    /// requests and are held back. A half-closed client still expects its response.
    pub(super) fn poll_departure(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let mut ahead = [0; READ_AHEAD];
        while !self.is_half_closed && self.held.len() < MOST_HELD {
            let mut ahead = ReadBuf::new(&mut ahead);
            match ready!(Pin::new(&mut self.io).poll_read(cx, &mut ahead)) {
                Err(error) => return Poll::Ready(error),
                Ok(()) if ahead.filled().is_empty() => self.is_half_closed = true,
                Ok(()) => self.held.extend_from_slice(ahead.filled()),
            }
        }
        let stream = self.io.get_ref();
        self.reset
            .get_or_insert_with(|| reset_of(stream))
            .as_mut()
            .poll(cx)
    }

    /// The held bytes, or else those of the socket.
    pub(super) fn poll_next_bytes(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.held.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let given = self.held.len().min(buf.remaining());
        buf.put_slice(self.held.get(..given).unwrap_or_default());
        self.held.drain(..given);
        Poll::Ready(Ok(()))
    }

    /// Parses the received bytes and holds back those of later requests. Pingora receives a head as
    /// a whole.
    pub(super) fn take(&mut self, buf: &mut ReadBuf<'_>, before: usize) -> Result<(), Fault> {
        let new = buf.filled().get(before..).unwrap_or_default();
        let progress = self.framing.read(new)?;
        self.large_head = self
            .state
            .clients
            .large_head(self.large_head.take(), self.framing.held())?;
        if let Some(next) = new.get(progress.taken..).filter(|next| !next.is_empty()) {
            // Pipelined requests come from `held` itself.
            self.held.splice(..0, next.iter().copied());
        }
        let mut given = progress.taken;
        if self.framing.awaits_head() {
            given = 0;
        } else if let Some(head) = progress.head {
            self.pending = head;
            self.pending.extend_from_slice(
                new.get(progress.of_head..progress.taken)
                    .unwrap_or_default(),
            );
            given = 0;
        }
        buf.set_filled(before + given);
        Ok(())
    }

    /// Gives Pingora as many of the parsed bytes as fit.
    pub(super) fn give_pending(&mut self, buf: &mut ReadBuf<'_>) {
        let given = self.pending.len().min(buf.remaining());
        buf.put_slice(self.pending.get(..given).unwrap_or_default());
        self.pending.drain(..given);
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.pending.is_empty() {
            self.give_pending(buf);
            return Poll::Ready(Ok(()));
        }
        if self.state.seat.phase() == HEAD_READ {
            self.poll_read_body(cx, buf)
        } else {
            self.poll_read_head(cx, buf)
        }
    }
}
