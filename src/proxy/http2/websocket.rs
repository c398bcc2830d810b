//! A stream that carries a WebSocket (RFC 8441): its DATA frames are the bytes of a connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use h2::Reason as Code;
use http::{StatusCode, header};
use pingora::http::ResponseHeader;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use super::stream::Stream;

impl Stream {
    /// Whether the request is a CONNECT, whose DATA frames are no body.
    #[must_use]
    pub fn is_connect(&self) -> bool {
        self.is_connect
    }

    /// Sends the head of a `101` response in the form of HTTP/2 (RFC 8441 §5).
    pub fn write_switch(&mut self, mut head: ResponseHeader) {
        head.remove_header(&header::SEC_WEBSOCKET_ACCEPT);
        // Fails only for a status beyond the range.
        let _ = head.set_status(StatusCode::OK);
        self.status = Some(head.status);
        // RFC 8441 §5: a connection behind the stream that broke.
        self.sending.reset_code = Code::CANCEL;
        self.sending.head(&head, false);
    }

    /// Counts bytes of the other protocol as bytes of the response.
    pub fn count_sent(&mut self, bytes: u64) {
        self.body_bytes += bytes;
    }

    /// Is cancelled when the listener ends.
    #[must_use]
    pub fn ending(&self) -> CancellationToken {
        self.shared.ending.clone()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match ready!(this.received.poll_read(&mut this.body, cx, buf)) {
            Ok(()) => Poll::Ready(Ok(())),
            // After the last frame, a reset ends the client's side as well.
            Err(_) if this.sending.has_ended() => Poll::Ready(Ok(())),
            Err(error) => {
                this.failed(&error);
                Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().sending.poll_write(cx, bytes)
    }

    /// The connection sends what it has.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sending = &mut self.get_mut().sending;
        sending.end(None);
        let ended = ready!(sending.poll(cx));
        Poll::Ready(ended.map_err(|_| io::ErrorKind::BrokenPipe.into()))
    }
}
