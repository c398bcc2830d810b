//! The client's side of a tunnel: its connection in HTTP/1.1, its stream in HTTP/2.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use pingora::http::ResponseHeader;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use super::Client;

impl Client<'_> {
    /// Whether the request is a CONNECT of HTTP/2 (RFC 8441): a successful response opens a
    /// WebSocket.
    #[must_use]
    pub fn is_connect(&self) -> bool {
        match self {
            Self::Http1(_) => false,
            Self::Http2(stream) => stream.is_connect(),
        }
    }

    /// Puts the head of the response after which the tunnel begins into the send buffer. The caller
    /// has set `Connection` and `Upgrade`.
    pub fn write_switch(&mut self, head: ResponseHeader) {
        match self {
            Self::Http1(connection) => connection.write_switch(&head),
            Self::Http2(stream) => stream.write_switch(head),
        }
    }

    /// Opens the tunnel that an HTTP/1.1 request asks for: the sidecar serves the requests inside.
    pub fn open_tunnel(&mut self, authority: &str) {
        if let Self::Http1(connection) = self {
            connection.open_tunnel(authority);
        }
    }

    /// The bytes of the other protocol that have been read already.
    pub fn take_received(&mut self) -> Bytes {
        match self {
            Self::Http1(connection) => connection.take_received(),
            Self::Http2(_) => Bytes::new(),
        }
    }

    /// Counts bytes of the other protocol as bytes of the response.
    pub fn count_sent(&mut self, bytes: u64) {
        either!(self, it => it.count_sent(bytes));
    }

    /// Is cancelled when the listener ends.
    #[must_use]
    pub fn ending(&self) -> CancellationToken {
        either!(self, it => it.ending())
    }

    /// Ready when the client has broken off. Reads nothing.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Http1(connection) => connection.poll_reset(cx),
            Self::Http2(stream) => stream.poll_departure(cx),
        }
    }
}

impl AsyncRead for Client<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Http1(connection) => Pin::new(connection.stream()).poll_read(cx, buf),
            Self::Http2(stream) => Pin::new(&mut **stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Client<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Http1(connection) => Pin::new(connection.stream()).poll_write(cx, bytes),
            Self::Http2(stream) => Pin::new(&mut **stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Http1(connection) => Pin::new(connection.stream()).poll_flush(cx),
            Self::Http2(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Http1(connection) => Pin::new(connection.stream()).poll_shutdown(cx),
            Self::Http2(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }
}
