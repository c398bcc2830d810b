//! Waits for the head of a request.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use http::header;
use pingora::http::RequestHeader;
use tokio::io::ReadBuf;

use super::admission::{AWAITING_HEAD, DISMISSED, HEAD_BEGUN, HEAD_READ};
use super::reading::FIRST_READ;
use super::{
    Connection, Current, Framing, HEAD_TIMEOUT, InProgress, LAST_FIRST_BYTE, keeps_alive,
    takes_trailers,
};
use crate::domain::reason::Reason;
use crate::proxy::deadlines::Wait;
use crate::proxy::fault::Fault;
use crate::proxy::framing::{HTTP_2_PREFACE, Head};
use crate::proxy::upstream::RequestBody;

/// Size of the buffer on the stack for the beginning of a request. An idle connection holds none.
const FIRST_BYTES: usize = 4 * 1024;

/// The next event on a connection that has no request.
#[expect(
    clippy::large_enum_variant,
    reason = "a box would cost an allocation for each request"
)]
pub enum Next {
    /// A request.
    Request(RequestHeader),
    /// A head that is refused before it is a request.
    Refused(Fault),
    /// The beginning of HTTP/2 (RFC 9113 §3.4), which stays in the received bytes.
    Http2,
    /// Nothing: the connection must be closed.
    End,
}

impl Connection {
    /// Waits for the next request. Ends an idle connection when its time is over, when another
    /// connection needs its seat, and when the listener ends.
    pub async fn next_request(&mut self) -> Next {
        self.await_head();
        let next = poll_fn(|cx| self.poll_next(cx)).await;
        self.deadlines.stop_all();
        next
    }

    /// Prepares for another request.
    fn await_head(&mut self) {
        self.in_progress = None;
        self.current = Current::none();
        self.waits_for_head = false;
        self.read_size = FIRST_READ;
        if self.received.is_empty() {
            // Gives back the memory of the last request.
            self.received = BytesMut::new();
        }
        if self.seat.phase() != AWAITING_HEAD {
            self.seat.becomes_idle(AWAITING_HEAD);
        }
        if !self.is_new {
            let keep_alive = self.settings.timeouts.keep_alive;
            self.deadlines.start(Wait::Request, keep_alive);
        }
    }

    #[inline(never)]
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        loop {
            if self.seat.phase() == DISMISSED && !self.stays() {
                return Poll::Ready(Next::End);
            }
            if self.received.len() > self.heads.held() {
                if !self.heads.is_inside() {
                    if !self.seat.advance(AWAITING_HEAD, HEAD_BEGUN) {
                        return Poll::Ready(Next::End);
                    }
                    self.deadlines.stop(Wait::Request);
                }
                if self.is_new && self.received.starts_with(HTTP_2_PREFACE) {
                    return Poll::Ready(Next::Http2);
                }
                if let Some(next) = self.take_head() {
                    return Poll::Ready(next);
                }
                self.deadlines.start(Wait::Head, HEAD_TIMEOUT);
            }
            match self.poll_first_bytes(cx) {
                Poll::Ready(Ok(0)) => {
                    let cut_off = self.heads.cut_off();
                    return Poll::Ready(cut_off.map_or(Next::End, Next::Refused));
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Next::End),
                Poll::Pending => return self.poll_wait_for_head(cx),
            }
            // The reads of a trickling client may never block, so the deadline is checked here as
            // well.
            if self.heads.is_inside() && self.deadlines.poll(cx) == Poll::Ready(Wait::Head) {
                return Poll::Ready(Next::Refused(Reason::HeadTimeout.into()));
            }
        }
    }

    /// Takes a head from the received bytes; `None` if it is incomplete.
    fn take_head(&mut self) -> Option<Next> {
        let head = match self.heads.read(&mut self.received) {
            Ok(head) => head,
            Err(fault) => return Some(Next::Refused(fault)),
        };
        let held = self.heads.held();
        match self.clients.large_head(self.large_head.take(), held) {
            Ok(slot) => self.large_head = slot,
            Err(fault) => return Some(Next::Refused(fault)),
        }
        let Head { request, raw, body } = head?;
        if !self.seat.advance(HEAD_BEGUN, HEAD_READ) {
            return Some(Next::End);
        }
        self.is_new = false;
        self.in_progress = Some(InProgress::begin(&self.clients));
        self.reset = None;
        let (version, headers) = (request.version, &request.headers);
        let is_whole = body.is_ended();
        self.current = Current {
            method: request.method.clone(),
            version,
            raw,
            request_body: match body.length() {
                Some(0) => RequestBody::None,
                Some(length) => RequestBody::Length(length),
                None => RequestBody::Chunked,
            },
            expects_continue: !is_whole
                && version == http::Version::HTTP_11
                && headers.contains_key(header::EXPECT),
            takes_trailers: takes_trailers(version, headers),
            keeps_alive: keeps_alive(version, headers) && !self.ending.is_cancelled(),
            body,
            has_continue: false,
            status: None,
            framing: Framing::None,
            response_fields: None,
            body_bytes: 0,
        };
        Some(Next::Request(request))
    }

    /// Reads into a buffer on the stack.
    fn poll_first_bytes(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        let mut bytes = [0; FIRST_BYTES];
        let mut bytes = ReadBuf::new(&mut bytes);
        let read = Pin::new(&mut *self.stream).poll_read(cx, &mut bytes);
        self.received.extend_from_slice(bytes.filled());
        read.map_ok(|()| bytes.filled().len())
    }

    /// Whether a dismissed connection has an unread request, and therefore stays.
    fn stays(&self) -> bool {
        let has_request = !self.received.is_empty() || self.stream.has_unread();
        let stays = !self.heads.is_inside() && has_request;
        if stays {
            self.seat.stays();
        }
        stays
    }

    /// Waits for a head or its rest. The connection ends here as if the client had closed it.
    fn poll_wait_for_head(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        if self.seat.is_dismissed(cx.waker()) && !self.stays() {
            return Poll::Ready(Next::End);
        }
        let is_inside = self.heads.is_inside();
        if is_inside {
            if !std::mem::replace(&mut self.waits_for_head, true) {
                // The idle time starts now, because the head has just begun.
                self.seat.becomes_idle(HEAD_BEGUN);
            }
        } else if self.ended.as_mut().poll(cx).is_ready() {
            if !self.is_new {
                return Poll::Ready(Next::End);
            }
            self.deadlines
                .start_at(Wait::End, self.began + LAST_FIRST_BYTE);
        }
        match self.deadlines.poll(cx) {
            Poll::Ready(Wait::End) => Poll::Ready(Next::End),
            Poll::Ready(Wait::Head) => Poll::Ready(Next::Refused(Reason::HeadTimeout.into())),
            Poll::Ready(_) => {
                if self.seat.dismiss() && self.is_new {
                    self.is_silent = true;
                }
                Poll::Ready(Next::End)
            }
            Poll::Pending => Poll::Pending,
        }
    }
}
