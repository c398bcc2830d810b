//! A stream that carries a WebSocket (RFC 8441): its DATA frames are the bytes of a connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::Reason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::answer::Answer;
use super::stream::{Http2Stream, broken};
use crate::proxy::h2_bytes::poll_room;

impl AsyncRead for Http2Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Answer::WebSocket(stream, received) = &mut self.get_mut().answer else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        received.poll_read(stream, cx, buf).map_err(broken)
    }
}

impl AsyncWrite for Http2Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Some(stream) = self.get_mut().sending() else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let room = match ready!(poll_room(stream, bytes.len(), cx)) {
            Ok(room) => room,
            // An upstream that has sent everything may take no more. Its bytes still arrive.
            Err(_) if matches!(stream.poll_reset(cx), Poll::Ready(Ok(Reason::NO_ERROR))) => {
                return Poll::Ready(Ok(bytes.len()));
            }
            Err(error) => return Poll::Ready(Err(broken(error))),
        };
        let part = bytes.get(..room).unwrap_or(bytes);
        let sent = stream.send_data(Bytes::copy_from_slice(part), false);
        Poll::Ready(sent.map(|()| part.len()).map_err(broken))
    }

    /// The connection sends what it has.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Ends this side of the stream. A stream that the upstream has reset needs no end.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().end_sending();
        Poll::Ready(Ok(()))
    }
}
