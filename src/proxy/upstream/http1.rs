//! An HTTP/1.1 connection to an upstream, as a codec: requests become bytes, and bytes become
//! responses. It has no timers and spawns no task; the relay polls it.

mod reading;

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};
use pingora::http::RequestHeader;
use pingora::protocols::Stream;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::time::Instant;

use super::body::RequestBody;
use super::error::UpstreamError;
use super::key::PoolKey;
use super::stream::UpstreamStream;
use crate::proxy::http1;
use crate::proxy::http1::chunked::ChunkDecoder;
use crate::proxy::http1::outgoing::Outgoing;

/// The size of the first reads. Larger bodies raise it up to [`MAX_READ`].
const FIRST_READ: usize = 4 * 1024;
const MAX_READ: usize = 64 * 1024;
/// A read buffer beyond this size is given back before the connection waits in the pool.
const KEPT: usize = 2 * FIRST_READ;
/// A connection beyond this age carries no other request, so that the load of an upstream follows
/// its addresses.
const MAX_AGE: Duration = Duration::from_hours(1);

pub struct Http1Connection {
    stream: UpstreamStream,
    key: PoolKey,
    is_reused: bool,
    opened: Instant,
    /// How long it may be idle: the configured time, or less if the upstream announces less.
    idle: Duration,
    outgoing: Outgoing,
    incoming: BytesMut,
    /// How many bytes of `incoming` have been searched for the end of a head.
    searched: usize,
    /// The size of the next read.
    read_size: usize,
    request: Request,
    answer: Answer,
    /// Whether a byte of the response has arrived.
    has_begun: bool,
    /// Whether both sides keep the connection open after this exchange.
    keeps_alive: bool,
    /// Whether a write has failed.
    is_broken: bool,
}

/// The request that is being sent.
struct Request {
    method: Method,
    /// The rest of the body.
    body: RequestBody,
    is_complete: bool,
    /// Whether it asks for another protocol.
    asks_upgrade: bool,
}

/// The next part of the response.
enum Answer {
    Head,
    Length(u64),
    Chunked(ChunkDecoder),
    UntilClose,
    Complete(Option<HeaderMap>),
    /// The connection speaks another protocol.
    Upgraded,
    Failed,
}

impl Http1Connection {
    /// A new connection without TLS, which may be idle for so long.
    #[must_use]
    pub fn new(stream: Stream, key: PoolKey, idle: Duration) -> Self {
        Self::over(UpstreamStream::Plain(stream), key, idle)
    }

    /// A new connection, which may be idle for so long.
    pub(super) fn over(stream: UpstreamStream, key: PoolKey, idle: Duration) -> Self {
        Self {
            stream,
            key,
            is_reused: false,
            opened: Instant::now(),
            idle,
            outgoing: Outgoing::default(),
            incoming: BytesMut::new(),
            searched: 0,
            read_size: FIRST_READ,
            request: Request {
                method: Method::GET,
                body: RequestBody::None,
                is_complete: true,
                asks_upgrade: false,
            },
            answer: Answer::Complete(None),
            has_begun: false,
            keeps_alive: true,
            is_broken: false,
        }
    }

    /// Whether it has carried another request before.
    #[must_use]
    pub fn is_reused(&self) -> bool {
        self.is_reused
    }

    #[must_use]
    pub fn key(&self) -> &PoolKey {
        &self.key
    }

    /// Begins a request: queues its line and fields, which already contain the framing of `body`.
    ///
    /// # Errors
    /// [`UpstreamError::Target`].
    pub fn begin(
        &mut self,
        head: &RequestHeader,
        added: &[(HeaderName, HeaderValue)],
        body: RequestBody,
    ) -> Result<(), UpstreamError> {
        let target = head.raw_path();
        if target.is_empty() || target.iter().any(|byte| b"\0\r\n ".contains(byte)) {
            return Err(UpstreamError::Target);
        }
        let version: &[u8] = if head.version == Version::HTTP_10 {
            b" HTTP/1.0\r\n"
        } else {
            b" HTTP/1.1\r\n"
        };
        let out = self.outgoing.small();
        for part in [head.method.as_str().as_bytes(), b" ", target, version] {
            out.extend_from_slice(part);
        }
        head.header_to_h1_wire(out);
        for (name, value) in added {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                out.extend_from_slice(part);
            }
        }
        out.extend_from_slice(b"\r\n");
        let is_http_11 = head.version != Version::HTTP_10;
        self.request = Request {
            method: head.method.clone(),
            body,
            is_complete: matches!(body, RequestBody::None | RequestBody::Length(0)),
            asks_upgrade: is_http_11 && head.headers.contains_key(header::UPGRADE),
        };
        self.answer = Answer::Head;
        self.has_begun = false;
        self.searched = 0;
        self.keeps_alive = http1::keeps_alive(&head.headers).unwrap_or(is_http_11);
        Ok(())
    }

    /// Queues bytes of the request's body. Bytes beyond its length are dropped.
    pub fn send(&mut self, data: Bytes) {
        match &mut self.request.body {
            RequestBody::None => {}
            RequestBody::Chunked => self.outgoing.put_chunk(data),
            RequestBody::Length(left) => {
                let taken = usize::try_from(*left).map_or(data.len(), |left| left.min(data.len()));
                *left -= taken as u64;
                self.request.is_complete = *left == 0;
                self.outgoing.put_data(data.slice(..taken));
            }
        }
    }

    /// Ends the request's body. A body that is shorter than its length stays incomplete.
    pub fn end(&mut self, trailers: Option<&HeaderMap>) {
        if self.request.body == RequestBody::Chunked && !self.request.is_complete {
            self.outgoing.put_last_chunk(trailers);
            self.request.is_complete = true;
        }
    }

    /// Whether bytes of the request wait to be written, here or in the stream's own buffer.
    #[must_use]
    pub fn has_unsent(&self) -> bool {
        !self.outgoing.is_sent()
    }

    /// The number of bytes that wait to be written.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.outgoing.len()
    }

    /// The number of bytes that this connection has written, by which the relay sees progress.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.outgoing.written()
    }

    /// Writes the queued bytes.
    ///
    /// # Errors
    /// [`UpstreamError::Write`], once; a response may still be read then. The rest of the request
    /// is dropped.
    pub fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UpstreamError>> {
        let written = ready!(self.outgoing.poll_write(cx, &mut self.stream));
        Poll::Ready(written.map_err(|error| {
            self.outgoing.clear();
            self.request.body = RequestBody::None;
            self.request.is_complete = false;
            self.keeps_alive = false;
            self.is_broken = true;
            UpstreamError::Write(error)
        }))
    }

    /// The trailers of a complete response, once.
    pub fn trailers(&mut self) -> Option<HeaderMap> {
        match &mut self.answer {
            Answer::Complete(trailers) => trailers.take(),
            _ => None,
        }
    }

    /// Whether the response is complete, so that [`Http1Connection::poll_body`] yields nothing
    /// more.
    #[must_use]
    pub fn is_answer_complete(&self) -> bool {
        matches!(self.answer, Answer::Complete(_))
    }

    /// Whether every byte of the request has been written.
    #[must_use]
    pub fn is_request_complete(&self) -> bool {
        self.request.is_complete && self.outgoing.is_sent()
    }

    /// How long the connection may be idle before another request, if it can carry one.
    pub(super) fn settle_for_idle(&mut self) -> Option<Duration> {
        let is_clean =
            self.is_request_complete() && self.is_answer_complete() && self.incoming.is_empty();
        let may_stay = !self.idle.is_zero() && self.opened.elapsed() < MAX_AGE;
        if !(is_clean && self.keeps_alive && may_stay) {
            return None;
        }
        if self.incoming.capacity() > KEPT {
            self.incoming = BytesMut::new();
        }
        self.read_size = FIRST_READ;
        self.is_reused = true;
        Some(self.idle)
    }

    /// Closes the connection. A TLS upstream is told so if that needs no waiting.
    pub fn close(mut self) {
        if self.stream.is_tls() {
            let mut cx = Context::from_waker(Waker::noop());
            let _ = Pin::new(&mut self.stream).poll_shutdown(&mut cx);
        }
    }

    /// Whether an idle connection is open and has received nothing. Needs no system call unless
    /// something has arrived.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut byte = [0_u8; 1];
        let mut cx = Context::from_waker(Waker::noop());
        // Without a budget, so that a busy task does not take an ended connection for an open one.
        let read = tokio::task::unconstrained(self.stream.read(&mut byte));
        pin!(read).poll(&mut cx).is_pending()
    }

    /// After `101 Switching Protocols`: the stream, and the bytes of the other protocol that have
    /// been read already.
    #[must_use]
    pub fn into_stream(self) -> (UpstreamStream, Bytes) {
        (self.stream, self.incoming.freeze())
    }
}

#[cfg(test)]
#[path = "http1_tests.rs"]
mod tests;
