//! One request on a shared connection.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::http::RequestHeader;

use super::answer::Answer;
use super::load::Seat;
use super::{Http2Connection, request};
use crate::proxy::upstream::body::RequestBody;
use crate::proxy::upstream::error::UpstreamError;
use crate::proxy::upstream::key::PoolKey;

/// Carries one request. Dropping it resets the stream unless both sides have ended.
pub struct Http2Stream {
    connection: SendRequest<Bytes>,
    key: PoolKey,
    is_tls: bool,
    pub(super) seat: Seat,
    outgoing: Outgoing,
    pub(super) answer: Answer,
    /// Whether a part of the response has arrived.
    pub(super) has_begun: bool,
    /// The key of the WebSocket that the request asks for.
    pub(super) websocket: Option<HeaderValue>,
}

/// The request's body.
struct Outgoing {
    stream: Option<SendStream<Bytes>>,
    body: RequestBody,
    waiting: VecDeque<Bytes>,
    /// The bytes in `waiting`.
    unsent: usize,
    /// The bytes that the connection has taken.
    sent: u64,
    end: End,
}

/// The end of the request's body.
enum End {
    NotYet,
    /// It is to be sent behind the waiting bytes.
    Waiting(Option<HeaderMap>),
    Sent,
}

impl Http2Stream {
    pub(super) fn new(connection: &Http2Connection) -> Self {
        Self {
            connection: connection.send.clone(),
            key: connection.key,
            is_tls: connection.is_tls,
            seat: Seat::take(&connection.load),
            outgoing: Outgoing {
                stream: None,
                body: RequestBody::None,
                waiting: VecDeque::new(),
                unsent: 0,
                sent: 0,
                end: End::Sent,
            },
            answer: Answer::Failed,
            has_begun: false,
            websocket: None,
        }
    }

    /// Whether its connection has carried another request before.
    #[must_use]
    pub fn is_reused(&self) -> bool {
        self.seat.is_reused
    }

    #[must_use]
    pub fn key(&self) -> &PoolKey {
        &self.key
    }

    /// Whether the upstream serves WebSockets on its connection (RFC 8441 §3).
    #[must_use]
    pub fn carries_websockets(&self) -> bool {
        self.connection.is_extended_connect_protocol_enabled()
    }

    /// Begins the request. [`Http2Stream::poll_head`] reports that the connection takes none.
    ///
    /// # Errors
    /// [`UpstreamError::Target`].
    pub fn begin(
        &mut self,
        head: &RequestHeader,
        added: &[(HeaderName, HeaderValue)],
        body: RequestBody,
    ) -> Result<(), UpstreamError> {
        self.websocket = request::websocket_key(head)
            .filter(|_| self.carries_websockets())
            .cloned();
        let is_websocket = self.websocket.is_some();
        let request = request::translate(head, added, self.is_tls, is_websocket)?;
        let is_complete =
            !is_websocket && matches!(body, RequestBody::None | RequestBody::Length(0));
        self.answer = match self.connection.send_request(request, is_complete) {
            Ok((response, stream)) => {
                self.outgoing.stream = Some(stream);
                Answer::Head(response)
            }
            // Nothing of the request has been sent.
            Err(error) => Answer::Refused(UpstreamError::of_http2(error, false, true)),
        };
        self.outgoing.body = body;
        if !is_complete {
            self.outgoing.end = End::NotYet;
        }
        Ok(())
    }

    /// Queues bytes of the request's body. Bytes beyond its length are dropped.
    pub fn send(&mut self, mut data: Bytes) {
        let out = &mut self.outgoing;
        match &mut out.body {
            RequestBody::None => return,
            RequestBody::Chunked => {}
            RequestBody::Length(left) => {
                let taken = usize::try_from(*left).map_or(data.len(), |left| left.min(data.len()));
                *left -= taken as u64;
                data.truncate(taken);
                if *left == 0 && matches!(out.end, End::NotYet) {
                    out.end = End::Waiting(None);
                }
            }
        }
        if !data.is_empty() {
            out.unsent += data.len();
            out.waiting.push_back(data);
        }
    }

    /// Ends the request's body. One that is shorter than its length stays incomplete.
    pub fn end(&mut self, trailers: Option<HeaderMap>) {
        let out = &mut self.outgoing;
        if out.body == RequestBody::Chunked && matches!(out.end, End::NotYet) {
            out.end = End::Waiting(trailers);
        }
    }

    #[must_use]
    pub fn has_unsent(&self) -> bool {
        self.outgoing.stream.is_some()
            && (!self.outgoing.waiting.is_empty() || matches!(self.outgoing.end, End::Waiting(_)))
    }

    #[must_use]
    pub fn unsent(&self) -> usize {
        self.outgoing.unsent
    }

    #[must_use]
    pub fn sent(&self) -> u64 {
        self.outgoing.sent
    }

    #[must_use]
    pub fn is_request_complete(&self) -> bool {
        // The frames of a WebSocket are no part of its request.
        let is_ended = matches!(self.outgoing.end, End::Sent) || self.websocket.is_some();
        is_ended && self.outgoing.waiting.is_empty()
    }

    /// Gives the connection as many of the waiting bytes as the upstream's windows permit.
    ///
    /// # Errors
    /// [`UpstreamError::Write`], once; a response may still be read then. The rest of the request
    /// is dropped.
    pub fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UpstreamError>> {
        let sent = ready!(self.outgoing.poll(cx));
        Poll::Ready(sent.map_err(|error| {
            self.outgoing.give_up();
            UpstreamError::Write(error)
        }))
    }

    /// The way of the bytes to the upstream, unless it has ended.
    pub(super) fn sending(&mut self) -> Option<&mut SendStream<Bytes>> {
        let out = &mut self.outgoing;
        out.stream
            .as_mut()
            .filter(|_| matches!(out.end, End::NotYet))
    }

    /// Ends the way of the bytes to the upstream.
    pub(super) fn end_sending(&mut self) {
        if let Some(stream) = self.sending() {
            // Fails only for a stream that was reset.
            let _ = stream.send_data(Bytes::new(), true);
        }
        self.outgoing.end = End::Sent;
    }
}

impl Outgoing {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Ok(()));
        };
        while let Some(part) = self.waiting.front_mut() {
            stream.reserve_capacity(self.unsent);
            let mut capacity = stream.capacity();
            if capacity == 0 {
                capacity = match ready!(stream.poll_capacity(cx)) {
                    Some(Ok(capacity)) => capacity,
                    Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                    // The upstream has reset the stream, or the connection has ended.
                    None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                };
            }
            let data = part.split_to(capacity.min(part.len()));
            if part.is_empty() {
                self.waiting.pop_front();
            }
            self.unsent -= data.len();
            self.sent += data.len() as u64;
            let is_last = self.waiting.is_empty() && matches!(self.end, End::Waiting(None));
            stream.send_data(data, is_last).map_err(broken)?;
            if is_last {
                self.end = End::Sent;
            }
        }
        match std::mem::replace(&mut self.end, End::Sent) {
            End::NotYet => self.end = End::NotYet,
            End::Sent => {}
            End::Waiting(None) => stream.send_data(Bytes::new(), true).map_err(broken)?,
            End::Waiting(Some(trailers)) => stream.send_trailers(trailers).map_err(broken)?,
        }
        Poll::Ready(Ok(()))
    }

    fn give_up(&mut self) {
        self.waiting.clear();
        self.unsent = 0;
        self.body = RequestBody::None;
        self.end = End::NotYet;
        self.stream = None;
    }
}

pub(super) fn broken(error: h2::Error) -> io::Error {
    match error.into_io() {
        Some(error) => error,
        None => io::ErrorKind::BrokenPipe.into(),
    }
}

impl Drop for Http2Stream {
    fn drop(&mut self) {
        let is_answered = matches!(self.answer, Answer::Complete(_));
        let carries_websocket = matches!(self.answer, Answer::WebSocket(..));
        if !is_answered && !carries_websocket {
            self.seat.suspect();
        }
        // RFC 9113 §8.1: the upstream has answered without the rest of the request. Otherwise the
        // stream is reset with CANCEL.
        if let Some(stream) = &mut self.outgoing.stream
            && is_answered
            && !matches!(self.outgoing.end, End::Sent)
        {
            stream.send_reset(Reason::NO_ERROR);
        }
    }
}
