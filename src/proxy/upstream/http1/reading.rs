//! Reads a response.

use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, Version};
use pingora::http::ResponseHeader;
use tokio::io::AsyncReadExt;

use super::{Answer, FIRST_READ, Http1Connection, MAX_READ, UpstreamError};
use crate::proxy::http1::chunked::{ChunkDecoder, Decoded};
use crate::proxy::http1::response::{self, HeadFault, MAX_HEAD, Parsed, ResponseBody};

impl Http1Connection {
    /// The next head of the response: any number of interim ones (1xx), one for each call, then the
    /// final one. After `101 Switching Protocols`, [`Http1Connection::into_stream`] follows.
    ///
    /// # Errors
    /// [`UpstreamError`]. The connection is of no further use then.
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<ResponseHeader, UpstreamError>> {
        loop {
            let unread = self.incoming.get(self.searched..).unwrap_or_default();
            // A head ends in a line feed. A short one is also read without, to see early that it is
            // not HTTP.
            let may_end =
                self.incoming.len() <= FIRST_READ || memchr::memchr(b'\n', unread).is_some();
            if !unread.is_empty() && may_end {
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
                ResponseBody::Chunked => Answer::Chunked(ChunkDecoder::of_response()),
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
                // After a failed write the end may be that of a broken connection.
                Err(UpstreamError::Closed { .. })
                    if matches!(self.answer, Answer::UntilClose) && !self.is_broken =>
                {
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
