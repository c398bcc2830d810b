//! A request to an upstream: over a connection of its own in HTTP/1.1, or as a stream of a shared
//! one in HTTP/2.

use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Stream;

pub use super::body::RequestBody;
use super::error::UpstreamError;
use super::http1::Http1Connection;
use super::http2::Http2Stream;
pub use super::key::PoolKey;
use super::switched::SwitchedStream;

/// A connection or a stream that carries one request at a time. It has no timers; the relay polls
/// it.
#[expect(
    clippy::large_enum_variant,
    reason = "a box would cost the usual request an allocation"
)]
pub enum UpstreamConnection {
    Http1(Http1Connection),
    Http2(Box<Http2Stream>),
}

impl UpstreamConnection {
    /// A new HTTP/1.1 connection, which may be idle for so long.
    #[must_use]
    pub fn http1(stream: Stream, key: PoolKey, idle: Duration) -> Self {
        Self::Http1(Http1Connection::new(stream, key, idle))
    }

    /// Whether it has carried another request before.
    #[must_use]
    pub fn is_reused(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.is_reused(),
            Self::Http2(stream) => stream.is_reused(),
        }
    }

    /// Whether it is a stream of HTTP/2, whose end can guarantee that nothing was processed.
    #[must_use]
    pub fn is_http2(&self) -> bool {
        matches!(self, Self::Http2(_))
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        match self {
            Self::Http1(connection) => connection.key().address,
            Self::Http2(stream) => stream.key().address,
        }
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
        match self {
            Self::Http1(connection) => connection.begin(head, added, body),
            Self::Http2(stream) => stream.begin(head, added, body),
        }
    }

    /// Queues bytes of the request's body. Bytes beyond its length are dropped.
    pub fn send(&mut self, data: Bytes) {
        match self {
            Self::Http1(connection) => connection.send(data),
            Self::Http2(stream) => stream.send(data),
        }
    }

    /// Ends the request's body. A body that is shorter than its length stays incomplete. HTTP/1.1
    /// drops the trailers of a body with a length.
    pub fn end(&mut self, trailers: Option<HeaderMap>) {
        match self {
            Self::Http1(connection) => connection.end(trailers.as_ref()),
            Self::Http2(stream) => stream.end(trailers),
        }
    }

    /// Whether bytes of the request wait to be written, here or in the stream's own buffer.
    #[must_use]
    pub fn has_unsent(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.has_unsent(),
            Self::Http2(stream) => stream.has_unsent(),
        }
    }

    /// The number of bytes that wait to be written.
    #[must_use]
    pub fn unsent(&self) -> usize {
        match self {
            Self::Http1(connection) => connection.unsent(),
            Self::Http2(stream) => stream.unsent(),
        }
    }

    /// The number of bytes that this connection has written, by which the relay sees progress.
    #[must_use]
    pub fn sent(&self) -> u64 {
        match self {
            Self::Http1(connection) => connection.sent(),
            Self::Http2(stream) => stream.sent(),
        }
    }

    /// Writes the queued bytes.
    ///
    /// # Errors
    /// [`UpstreamError::Write`], once; a response may still be read then. The rest of the request
    /// is dropped.
    pub fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UpstreamError>> {
        match self {
            Self::Http1(connection) => connection.poll_send(cx),
            Self::Http2(stream) => stream.poll_send(cx),
        }
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
        match self {
            Self::Http1(connection) => connection.poll_head(cx),
            Self::Http2(stream) => stream.poll_head(cx),
        }
    }

    /// The next bytes of the response's body; `None` when it is complete.
    ///
    /// # Errors
    /// [`UpstreamError`]. The connection is of no further use then.
    pub fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, UpstreamError>> {
        match self {
            Self::Http1(connection) => connection.poll_body(cx),
            Self::Http2(stream) => stream.poll_body(cx),
        }
    }

    /// Whether the response is complete, so that [`UpstreamConnection::poll_body`] yields nothing
    /// more.
    #[must_use]
    pub fn is_answer_complete(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.is_answer_complete(),
            Self::Http2(stream) => stream.is_answer_complete(),
        }
    }

    /// The trailers of a complete response, once.
    pub fn trailers(&mut self) -> Option<HeaderMap> {
        match self {
            Self::Http1(connection) => connection.trailers(),
            Self::Http2(stream) => stream.trailers(),
        }
    }

    /// Whether every byte of the request has been written.
    #[must_use]
    pub fn is_request_complete(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.is_request_complete(),
            Self::Http2(stream) => stream.is_request_complete(),
        }
    }

    /// After `101 Switching Protocols`: the stream, and the bytes of the other protocol that have
    /// been read already.
    #[must_use]
    pub fn into_stream(self) -> (SwitchedStream, Bytes) {
        match self {
            Self::Http1(connection) => {
                let (stream, ahead) = connection.into_stream();
                (SwitchedStream::Left(stream), ahead)
            }
            Self::Http2(stream) => (SwitchedStream::Right(stream), Bytes::new()),
        }
    }
}
