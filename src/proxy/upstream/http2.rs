//! HTTP/2 connections to an upstream (RFC 9113). Each carries many requests at once.
//!
//! One task per connection moves its frames; see [`driver`]. A request is a [`Http2Stream`], which
//! the relay polls as it polls an HTTP/1.1 connection.

mod answer;
mod driver;
mod load;
mod receiving;
mod request;
mod response;
mod stream;
mod traffic;
mod websocket;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use tokio::time::Instant;

use self::load::Load;
pub use self::stream::Http2Stream;
use self::traffic::Counted;
use super::error::UpstreamError;
use super::key::PoolKey;
use super::stream::UpstreamStream;
use crate::proxy::http1::response::MAX_HEAD;

/// Most streams of one connection, even if the upstream permits more.
pub(super) const MOST_STREAMS: usize = 100;
/// How many bytes of a response may wait for a slow client.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Enough for the windows of all streams: slow clients of one connection do not stop the others.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * 100;
/// How many bytes of requests may wait for the connection.
const SEND_BUFFER: usize = 64 * 1024;
/// The stream limit before the upstream has announced its own.
const UNKNOWN: usize = usize::MAX - 1;
/// A connection beyond this age carries no further request, so that the load of an upstream follows
/// its addresses.
const MAX_AGE: Duration = Duration::from_hours(1);

/// A connection that requests share. Dropping it lets the requests on it end; then it is closed.
pub struct Http2Connection {
    send: SendRequest<Bytes>,
    key: PoolKey,
    is_tls: bool,
    opened: Instant,
    idle: Duration,
    load: Arc<Load>,
}

impl Http2Connection {
    /// Begins HTTP/2 on a new connection, and waits for the upstream's settings, which it sends
    /// first.
    ///
    /// # Errors
    /// [`UpstreamError`]. No request has been sent.
    pub async fn begin(
        stream: UpstreamStream,
        key: PoolKey,
        idle: Duration,
    ) -> Result<Self, UpstreamError> {
        let load = Arc::new(Load::default());
        let is_tls = stream.is_tls();
        let counted = Counted::new(stream, load.clone());
        let begun = builder().handshake::<_, Bytes>(counted).await;
        let failed = |error| UpstreamError::of_http2_begin(error, load.first_bytes());
        let (send, mut connection) = begun.map_err(failed)?;
        poll_fn(|cx| match pin!(&mut connection).poll(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(failed(error))),
            Poll::Ready(Ok(())) => Poll::Ready(Err(UpstreamError::Closed { begun: false })),
            Poll::Pending if send.current_max_send_streams() == UNKNOWN => Poll::Pending,
            Poll::Pending => Poll::Ready(Ok(())),
        })
        .await?;
        tokio::spawn(driver::drive(connection, load.clone()));
        Ok(Self {
            send,
            key,
            is_tls,
            opened: Instant::now(),
            idle,
            load,
        })
    }

    #[must_use]
    pub fn key(&self) -> &PoolKey {
        &self.key
    }

    /// How many streams it carries at once.
    #[must_use]
    pub fn most_streams(&self) -> usize {
        self.send.current_max_send_streams().min(MOST_STREAMS)
    }

    /// Whether the upstream serves WebSockets on it (RFC 8441 §3).
    #[must_use]
    pub fn carries_websockets(&self) -> bool {
        self.send.is_extended_connect_protocol_enabled()
    }

    /// Whether another request may use it now.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.load.open() < self.most_streams()
    }

    /// Whether it is open, and may carry further requests when it has room.
    #[must_use]
    pub fn is_usable(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        // An error also after GOAWAY (RFC 9113 §6.8).
        let is_open = matches!(self.send.poll_ready(&mut cx), Poll::Ready(Ok(())));
        let is_young = self.opened.elapsed() < MAX_AGE && !self.idle.is_zero();
        is_open && is_young && !self.load.is_retired()
    }

    /// Whether no request has used it for its idle time.
    #[must_use]
    pub fn is_expired(&self, now: Instant) -> bool {
        self.load.open() == 0 && now >= self.load.used_last() + self.idle
    }

    /// A stream for one request.
    #[must_use]
    pub fn stream(&self) -> Http2Stream {
        Http2Stream::new(self)
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_max_send_streams(UNKNOWN)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX));
    builder
}

#[cfg(test)]
#[path = "http2_tests.rs"]
mod tests;
