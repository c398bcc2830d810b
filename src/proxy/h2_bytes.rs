//! The DATA frames of an HTTP/2 stream as bytes, which carry a WebSocket (RFC 8441 §5).

use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::ReadBuf;

/// The bytes that the other side of a stream sends.
#[derive(Default)]
pub(super) struct Received {
    /// The rest of the last frame. Its window is released when it is read.
    ahead: Bytes,
}

impl Received {
    /// Reads bytes, none at the end of the stream.
    pub fn poll_read(
        &mut self,
        stream: &mut RecvStream,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<(), h2::Error>> {
        while self.ahead.is_empty() {
            self.ahead = match ready!(stream.poll_data(cx)) {
                Some(Ok(data)) => data,
                // The other side has sent everything, and reads no more (RFC 9113 §8.1).
                Some(Err(error)) if error.reason() == Some(Reason::NO_ERROR) => {
                    return Poll::Ready(Ok(()));
                }
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return stream.poll_trailers(cx).map(no_trailers),
            };
        }
        let taken = self.ahead.len().min(buf.remaining());
        buf.put_slice(self.ahead.get(..taken).unwrap_or_default());
        self.ahead.advance(taken);
        // Fails only for a stream that has ended.
        let _ = stream.flow_control().release_capacity(taken);
        Poll::Ready(Ok(()))
    }
}

/// Only DATA frames follow a CONNECT (RFC 9113 §8.5).
fn no_trailers<T>(trailers: Result<Option<T>, h2::Error>) -> Result<(), h2::Error> {
    match trailers? {
        None => Ok(()),
        Some(_) => Err(Reason::PROTOCOL_ERROR.into()),
    }
}

/// How many bytes the windows and the buffer of the connection permit now; not 0, and more than
/// `wanted` only by chance.
pub(super) fn poll_room(
    stream: &mut SendStream<Bytes>,
    wanted: usize,
    cx: &mut Context<'_>,
) -> Poll<Result<usize, h2::Error>> {
    stream.reserve_capacity(wanted);
    let mut room = stream.capacity();
    while room == 0 {
        match ready!(stream.poll_capacity(cx)) {
            Some(more) => room = more?,
            // The other side has reset the stream, or the connection has ended.
            None => return Poll::Ready(Err(Reason::CANCEL.into())),
        }
    }
    Poll::Ready(Ok(room))
}
