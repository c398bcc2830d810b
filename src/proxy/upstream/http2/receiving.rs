//! Reads the response of one request.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use pingora::http::ResponseHeader;

use super::answer::Answer;
use super::response::{permitted, switched, translate};
use super::stream::Http2Stream;
use crate::proxy::h2_bytes::Received;
use crate::proxy::upstream::error::UpstreamError;

impl Http2Stream {
    /// The next head of the response: any number of interim ones (1xx), one for each call, then the
    /// final one.
    ///
    /// # Errors
    /// [`UpstreamError`]. The stream is of no further use then.
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<ResponseHeader, UpstreamError>> {
        let Answer::Head(response) = &mut self.answer else {
            let error = match std::mem::replace(&mut self.answer, Answer::Failed) {
                Answer::Refused(error) => error,
                _ => UpstreamError::Closed { begun: true },
            };
            return Poll::Ready(Err(error));
        };
        match response.poll_informational(cx) {
            Poll::Ready(Some(Ok(interim))) => {
                self.has_begun = true;
                let (status, fields) = (interim.status(), interim.headers());
                // RFC 9113 §8.6: there is no such switch in HTTP/2.
                let head = if status == StatusCode::SWITCHING_PROTOCOLS {
                    Err(UpstreamError::Upgrade)
                } else {
                    translate(status, fields).map_err(UpstreamError::Head)
                };
                return Poll::Ready(head.or_else(|error| self.fail(error)));
            }
            Poll::Ready(Some(Err(error))) => return Poll::Ready(self.fail_with(error)),
            Poll::Ready(None) | Poll::Pending => {}
        }
        match ready!(pin!(response).poll(cx)) {
            Ok(response) => {
                self.has_begun = true;
                let (head, stream) = response.into_parts();
                let key = self.websocket.as_ref();
                let key = key.filter(|_| head.status.is_success());
                let translated = match key {
                    Some(key) => switched(&head.headers, key),
                    None => translate(head.status, &head.headers),
                };
                self.answer = if key.is_some() {
                    Answer::WebSocket(stream, Received::default())
                } else if stream.is_end_stream() {
                    Answer::Complete(None)
                } else {
                    Answer::Body { stream, taken: 0 }
                };
                let translated = translated.map_err(UpstreamError::Head);
                Poll::Ready(translated.or_else(|error| self.fail(error)))
            }
            Err(error) => Poll::Ready(self.fail_with(error)),
        }
    }

    /// The next bytes of the response's body; `None` when it is complete. The upstream may send as
    /// many more when they are fetched again.
    ///
    /// # Errors
    /// [`UpstreamError`]. The stream is of no further use then.
    pub fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, UpstreamError>> {
        loop {
            let (stream, taken) = match &mut self.answer {
                Answer::Body { stream, taken } => (stream, taken),
                Answer::Complete(_) => return Poll::Ready(Ok(None)),
                _ => return Poll::Ready(self.fail(UpstreamError::Closed { begun: true })),
            };
            let passed_on = std::mem::take(taken);
            // Fails only for a stream that has ended.
            let _ = stream.flow_control().release_capacity(passed_on);
            match ready!(stream.poll_data(cx)) {
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => {
                    *taken = data.len();
                    return Poll::Ready(Ok(Some(data)));
                }
                Some(Err(error)) => return Poll::Ready(self.fail_with(error)),
                None => match ready!(stream.poll_trailers(cx)) {
                    Ok(trailers) => self.answer = Answer::Complete(trailers.map(permitted)),
                    Err(error) => return Poll::Ready(self.fail_with(error)),
                },
            }
        }
    }

    #[must_use]
    pub fn is_answer_complete(&self) -> bool {
        matches!(self.answer, Answer::Complete(_))
    }

    /// The trailers of a complete response, once.
    pub fn trailers(&mut self) -> Option<HeaderMap> {
        match &mut self.answer {
            Answer::Complete(trailers) => trailers.take(),
            _ => None,
        }
    }

    fn fail<T>(&mut self, error: UpstreamError) -> Result<T, UpstreamError> {
        self.answer = Answer::Failed;
        Err(error)
    }

    fn fail_with<T>(&mut self, error: h2::Error) -> Result<T, UpstreamError> {
        let has_not_left = self.seat.has_written_nothing();
        let error = UpstreamError::of_http2(error, self.has_begun, has_not_left);
        self.fail(error)
    }
}
