//! A connection to an upstream, as a codec: requests become bytes, and bytes become responses. It
//! has no timers and spawns no task; the relay polls it.

use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode, Version, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Stream;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use super::error::UpstreamError;
use super::pool::{Pool, PoolKey};
use crate::proxy::http1::chunked::{ChunkDecoder, Decoded};
use crate::proxy::http1::outgoing::Outgoing;
use crate::proxy::http1::response::{self, HeadFault, MAX_HEAD, Parsed, ResponseBody};

/// The size of the first reads. Larger bodies raise it up to [`MAX_READ`].
const FIRST_READ: usize = 4 * 1024;
const MAX_READ: usize = 64 * 1024;
/// A read buffer beyond this size is given back before the connection waits in the pool.
const KEPT: usize = 2 * FIRST_READ;
/// A connection beyond this age carries no other request, so that the load of an upstream follows
/// its addresses.
const MAX_AGE: Duration = Duration::from_hours(1);

/// How the body of a request is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestBody {
    None,
    Length(u64),
    Chunked,
}

pub struct UpstreamConnection {
    stream: Stream,
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

impl UpstreamConnection {
    /// A new connection, which may be idle for so long.
    #[must_use]
    pub fn new(stream: Stream, key: PoolKey, idle: Duration) -> Self {
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
        }
    }

    /// Whether it has carried another request before.
    #[must_use]
    pub fn is_reused(&self) -> bool {
        self.is_reused
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.key.address
    }

    #[must_use]
    pub fn key(&self) -> &PoolKey {
        &self.key
    }

    /// Begins a request: queues its line and fields, which already contain the framing of `body`.
    ///
    /// # Errors
    /// [`UpstreamError::Target`].
    pub fn begin(&mut self, head: &RequestHeader, body: RequestBody) -> Result<(), UpstreamError> {
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
        self.keeps_alive = response::keeps_alive(&head.headers).unwrap_or(is_http_11);
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
    pub fn end(&mut self) {
        if self.request.body == RequestBody::Chunked && !self.request.is_complete {
            self.outgoing.put_last_chunk(None);
            self.request.is_complete = true;
        }
    }

    /// Whether bytes of the request wait to be written.
    #[must_use]
    pub fn has_unsent(&self) -> bool {
        !self.outgoing.is_empty()
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

    /// Writes what is queued.
    ///
    /// # Errors
    /// [`UpstreamError::Write`], once; a response may still be read then. The rest of the request
    /// is dropped.
    pub fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UpstreamError>> {
        let written = ready!(self.outgoing.poll_write(cx, &mut *self.stream));
        Poll::Ready(written.map_err(|error| {
            self.outgoing.clear();
            self.request.body = RequestBody::None;
            self.request.is_complete = false;
            self.keeps_alive = false;
            UpstreamError::Write(error)
        }))
    }

    /// The next head of the response: any number of interim ones (1xx), one for each call, then the
    /// final one. After `101 Switching Protocols`, [`UpstreamConnection::into_stream`] follows.
    ///
    /// # Errors
    /// [`UpstreamError`]. The connection is of no further use then.
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<ResponseHeader, UpstreamError>> {
        loop {
            let unread = self.incoming.get(self.searched..).unwrap_or_default();
            // A head ends in a line feed. The first bytes show whether it is HTTP at all.
            if !unread.is_empty() && (self.searched == 0 || memchr::memchr(b'\n', unread).is_some())
            {
                match response::parse(&mut self.incoming, &self.request.method) {
                    Ok(Some(parsed)) => return Poll::Ready(self.take_head(parsed)),
                    Ok(None) => {}
                    Err(fault) => return Poll::Ready(self.fail(UpstreamError::Head(fault))),
                }
            }
            self.searched = self.incoming.len();
            if self.searched > MAX_HEAD {
                return Poll::Ready(self.fail(UpstreamError::Head(HeadFault::TooLarge)));
            }
            if let Err(error) = ready!(self.poll_read(cx)) {
                return Poll::Ready(self.fail(error));
            }
        }
    }

    fn take_head(&mut self, parsed: Parsed) -> Result<ResponseHeader, UpstreamError> {
        self.searched = 0;
        let head = parsed.head;
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            if !self.request.asks_upgrade || head.version != Version::HTTP_11 {
                return self.fail(UpstreamError::Upgrade);
            }
            self.answer = Answer::Upgraded;
        } else if !head.status.is_informational() {
            self.answer = match parsed.body {
                ResponseBody::None | ResponseBody::Length(0) => Answer::Complete(None),
                ResponseBody::Length(length) => Answer::Length(length),
                ResponseBody::Chunked => Answer::Chunked(ChunkDecoder::keeping_trailers()),
                ResponseBody::UntilClose => Answer::UntilClose,
            };
            self.keeps_alive &= parsed.keeps_alive;
            if let Some(seconds) = parsed.idle_seconds {
                self.idle = self.idle.min(slightly_less(seconds));
            }
        }
        Ok(head)
    }

    /// The next bytes of the response's body; `None` when it is complete.
    ///
    /// # Errors
    /// [`UpstreamError`]. The connection is of no further use then.
    pub fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, UpstreamError>> {
        loop {
            match self.buffered() {
                Ok(Some(data)) => return Poll::Ready(Ok(Some(data))),
                Ok(None) => {}
                Err(error) => return Poll::Ready(self.fail(error)),
            }
            if self.is_answer_complete() {
                return Poll::Ready(Ok(None));
            }
            match ready!(self.poll_read(cx)) {
                Ok(()) => {}
                Err(UpstreamError::Closed { .. }) if matches!(self.answer, Answer::UntilClose) => {
                    self.answer = Answer::Complete(None);
                }
                Err(error) => return Poll::Ready(self.fail(error)),
            }
        }
    }

    /// The next bytes of the body that have been read already.
    fn buffered(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        match &mut self.answer {
            Answer::Complete(_) => Ok(None),
            Answer::Head | Answer::Upgraded | Answer::Failed => {
                Err(UpstreamError::Closed { begun: true })
            }
            _ if self.incoming.is_empty() => Ok(None),
            Answer::UntilClose => Ok(Some(self.incoming.split().freeze())),
            Answer::Length(left) => {
                let available = self.incoming.len();
                let taken = usize::try_from(*left).map_or(available, |left| left.min(available));
                *left -= taken as u64;
                if *left == 0 {
                    self.answer = Answer::Complete(None);
                }
                Ok(Some(self.incoming.split_to(taken).freeze()))
            }
            Answer::Chunked(decoder) => match decoder.decode(&mut self.incoming) {
                Ok(Decoded::Data(data)) => Ok(Some(data)),
                Ok(Decoded::NeedMore) => Ok(None),
                Ok(Decoded::End) => {
                    self.answer = Answer::Complete(decoder.trailers());
                    Ok(None)
                }
                Err(fault) => Err(UpstreamError::Body(fault)),
            },
        }
    }

    /// The trailers of a complete response, once.
    pub fn trailers(&mut self) -> Option<HeaderMap> {
        match &mut self.answer {
            Answer::Complete(trailers) => trailers.take(),
            _ => None,
        }
    }

    /// Whether the response is complete, so that [`UpstreamConnection::poll_body`] yields nothing
    /// more.
    #[must_use]
    pub fn is_answer_complete(&self) -> bool {
        matches!(self.answer, Answer::Complete(_))
    }

    /// Whether every byte of the request has been written.
    #[must_use]
    pub fn is_request_complete(&self) -> bool {
        self.request.is_complete && self.outgoing.is_empty()
    }

    fn fail<T>(&mut self, error: UpstreamError) -> Result<T, UpstreamError> {
        self.answer = Answer::Failed;
        self.keeps_alive = false;
        Err(error)
    }

    /// Reads further bytes of the response.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UpstreamError>> {
        let offered = self.make_room();
        let begun = self.has_begun;
        let read = ready!(pin!(self.stream.read_buf(&mut self.incoming)).poll(cx));
        Poll::Ready(match read {
            Ok(0) => Err(UpstreamError::Closed { begun }),
            Ok(read) => {
                self.has_begun = true;
                if read >= offered {
                    self.read_size = (self.read_size * 4).min(MAX_READ);
                }
                Ok(())
            }
            Err(error) => Err(UpstreamError::Read { error, begun }),
        })
    }

    /// Provides free space in the read buffer, and returns its size.
    fn make_room(&mut self) -> usize {
        let free = self.incoming.capacity() - self.incoming.len();
        if free < self.read_size / 2 {
            self.incoming.reserve(self.read_size);
        }
        self.incoming.capacity() - self.incoming.len()
    }

    /// Returns the connection to the pool if it can carry another request; otherwise closes it.
    pub fn release(mut self, pool: &Pool) {
        let is_clean =
            self.is_request_complete() && self.is_answer_complete() && self.incoming.is_empty();
        let may_stay = !self.idle.is_zero() && self.opened.elapsed() < MAX_AGE;
        if !(is_clean && self.keeps_alive && may_stay) {
            return self.close();
        }
        if self.incoming.capacity() > KEPT {
            self.incoming = BytesMut::new();
        }
        self.read_size = FIRST_READ;
        self.is_reused = true;
        let idle = self.idle;
        pool.put(self, idle);
    }

    /// Closes the connection. A TLS upstream is told so if that needs no waiting.
    pub fn close(mut self) {
        if self.stream.get_ssl().is_some() {
            let mut cx = Context::from_waker(Waker::noop());
            let _ = std::pin::Pin::new(&mut *self.stream).poll_shutdown(&mut cx);
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
    pub fn into_stream(self) -> (Stream, Bytes) {
        (self.stream, self.incoming.freeze())
    }
}

/// The idle time for an announced one, slightly below it, so that no request meets the end of the
/// connection.
fn slightly_less(seconds: u64) -> Duration {
    match seconds {
        0 => Duration::ZERO,
        1 => Duration::from_millis(500),
        seconds => Duration::from_secs(seconds - 1),
    }
}
