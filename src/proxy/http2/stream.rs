//! One stream: the client's side of one request.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason as Code, RecvStream, SendStream};
use http::{HeaderMap, Method, Response, StatusCode, Version, header};
use pingora::http::{RequestHeader, ResponseHeader};

use super::frames::A_RESPONSE;
use super::request::Head;
use super::shared::Shared;
use crate::domain::error_form::ErrorForms;
use crate::domain::reason::Reason;
use crate::proxy::connection::{ClientError, ClientTimeouts, Framing, InProgress, date_value};
use crate::proxy::deadlines::{Deadlines, Wait};
use crate::proxy::fault::Fault;
use crate::proxy::framing::Unread;
use crate::proxy::response_fields::FieldsOfRequest;
use crate::proxy::tls::TlsPeer;
use crate::proxy::upstream::RequestBody;

const LENGTH: &str = "the body does not have the length of Content-Length";

/// A request of an HTTP/2 connection and the way of its response.
pub struct Stream {
    shared: Arc<Shared>,
    pub peer: SocketAddr,
    pub local: SocketAddr,
    pub tls: Option<Arc<TlsPeer>>,
    /// The request as it was received.
    head: RequestHeader,
    request_body: RequestBody,
    expects_continue: bool,
    has_continue: bool,
    has_begun_body: bool,
    body: RecvStream,
    is_body_done: bool,
    sending: Sending,
    status: Option<StatusCode>,
    response_fields: Option<FieldsOfRequest>,
    body_bytes: u64,
    pub(in crate::proxy) deadlines: Deadlines,
    _in_progress: InProgress,
}

/// The state of a response.
struct Sending {
    way: Way,
    /// Parts of the body that wait for the client's window.
    queue: VecDeque<Bytes>,
    queued: usize,
    /// The end of the response, when it waits behind the queue.
    end: Option<Option<HeaderMap>>,
}

/// How the rest of a response is sent.
enum Way {
    /// The head follows.
    Head(SendResponse<Bytes>),
    /// The body follows.
    Body(SendStream<Bytes>),
    /// Nothing follows.
    Ended(SendStream<Bytes>),
    /// The client is gone.
    Broken,
}

impl Stream {
    pub(super) fn new(
        shared: Arc<Shared>,
        head: &Head,
        body: RecvStream,
        respond: SendResponse<Bytes>,
    ) -> Self {
        let is_body_done = body.is_end_stream();
        let request = &head.request;
        Self {
            peer: shared.peer,
            local: shared.local,
            tls: shared.tls.clone(),
            head: request.clone(),
            request_body: head.body,
            expects_continue: !is_body_done && request.headers.contains_key(header::EXPECT),
            has_continue: false,
            has_begun_body: false,
            body,
            is_body_done,
            sending: Sending {
                way: Way::Head(respond),
                queue: VecDeque::new(),
                queued: 0,
                end: None,
            },
            status: None,
            response_fields: None,
            body_bytes: 0,
            deadlines: Deadlines::default(),
            _in_progress: shared.begin_stream(),
            shared,
        }
    }

    #[must_use]
    pub fn error_forms(&self) -> &ErrorForms {
        &self.shared.settings.error_forms
    }

    #[must_use]
    pub fn timeouts(&self) -> &ClientTimeouts {
        &self.shared.settings.timeouts
    }

    #[must_use]
    pub fn method(&self) -> &Method {
        &self.head.method
    }

    #[must_use]
    pub fn version(&self) -> Version {
        Version::HTTP_2
    }

    /// The request in normal form.
    ///
    /// # Errors
    /// None.
    pub fn received_head(&self) -> Result<RequestHeader, Reason> {
        Ok(self.head.clone())
    }

    /// The fields that are set on every response to the current request.
    #[must_use]
    pub fn response_fields(&self) -> Option<&FieldsOfRequest> {
        self.response_fields.as_ref()
    }

    /// Sets fields on every response to the current request.
    pub fn set_response_fields(&mut self, fields: FieldsOfRequest) {
        self.response_fields = Some(fields);
    }

    #[must_use]
    pub fn request_body(&self) -> RequestBody {
        self.request_body
    }

    #[must_use]
    pub fn is_body_done(&self) -> bool {
        self.is_body_done
    }

    #[must_use]
    pub fn has_begun_body(&self) -> bool {
        self.has_begun_body
    }

    #[must_use]
    pub fn holds_body_back(&self) -> bool {
        self.expects_continue && !self.has_begun_body
    }

    #[must_use]
    pub fn expects_continue(&self) -> bool {
        self.expects_continue && !self.has_continue && self.status.is_none()
    }

    /// The rest of the body disturbs no other request.
    #[must_use]
    pub fn unread(&self) -> Unread {
        Unread::Bytes(0)
    }

    /// All clients of HTTP/2 read trailers, and gRPC needs them.
    #[must_use]
    pub fn takes_trailers(&self) -> bool {
        true
    }

    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        self.status
    }

    #[must_use]
    pub fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// The next part of the body; `None` at its end. Trailers are dropped.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ClientError>> {
        while !self.is_body_done {
            match ready!(self.body.poll_data(cx)) {
                Some(Ok(data)) => {
                    self.has_begun_body = true;
                    // The relay asks for more only when the upstream has taken what it was given.
                    let _ = self.body.flow_control().release_capacity(data.len());
                    if !data.is_empty() {
                        return Poll::Ready(Ok(Some(data)));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Err(failed(&error))),
                None => {
                    if let Err(error) = ready!(self.body.poll_trailers(cx)) {
                        return Poll::Ready(Err(failed(&error)));
                    }
                    self.is_body_done = true;
                }
            }
        }
        Poll::Ready(Ok(None))
    }

    /// The next part of the body, within the client's timeout; `None` at its end.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn read_body(&mut self) -> Result<Option<Bytes>, ClientError> {
        let wait = self.timeouts().read;
        let read = poll_fn(|cx| {
            let read = self.poll_body(cx);
            if read.is_ready() {
                return read;
            }
            self.deadlines.start(Wait::ClientRead, wait);
            ready!(self.deadlines.poll(cx));
            Poll::Ready(Err(ClientError::Silent))
        });
        let read = read.await;
        self.deadlines.stop(Wait::ClientRead);
        read
    }

    /// Ready when the client resets the stream or the connection breaks.
    pub fn poll_departure(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_reset(cx)
    }

    /// Ready when the client resets the stream or the connection breaks.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let reset = match &mut self.sending.way {
            Way::Head(respond) => respond.poll_reset(cx),
            Way::Body(sending) | Way::Ended(sending) => sending.poll_reset(cx),
            Way::Broken => return Poll::Ready(()),
        };
        reset.map(|_| self.sending.way = Way::Broken)
    }

    /// Waits until the client resets the stream.
    pub async fn departed(&mut self) {
        poll_fn(|cx| self.poll_departure(cx)).await;
    }

    /// Sends the head of an interim response.
    pub fn write_interim(&mut self, head: &ResponseHeader) {
        self.has_continue |= head.status == StatusCode::CONTINUE;
        if let Way::Head(respond) = &mut self.sending.way {
            // A failure shows with the final response.
            let _ = respond.send_informational(response(head));
        }
    }

    /// Sends the head of the response.
    pub fn write_head(&mut self, head: &ResponseHeader, framing: Framing) {
        self.status = Some(head.status);
        let Way::Head(respond) = &mut self.sending.way else {
            return;
        };
        let mut response = response(head);
        if !head.headers.contains_key(header::DATE)
            && let Some(date) = date_value()
        {
            response.headers_mut().insert(header::DATE, date);
        }
        let is_whole = framing == Framing::None;
        self.sending.way = match respond.send_response(response, is_whole) {
            Ok(sending) if is_whole => {
                self.shared.watch.earn(A_RESPONSE);
                Way::Ended(sending)
            }
            Ok(sending) => Way::Body(sending),
            Err(_) => Way::Broken,
        };
    }

    /// Puts a part of the response's body into the queue.
    pub fn write_body(&mut self, data: Bytes) {
        if matches!(self.sending.way, Way::Body(_)) && !data.is_empty() {
            self.body_bytes += data.len() as u64;
            self.sending.queued += data.len();
            self.sending.queue.push_back(data);
        }
    }

    /// Ends the body of the response.
    pub fn end_body(&mut self, trailers: Option<&HeaderMap>) {
        if matches!(self.sending.way, Way::Body(_)) {
            let trailers = trailers.filter(|trailers| !trailers.is_empty());
            self.sending.end = Some(trailers.cloned());
        }
    }

    /// How many bytes wait, with 1 for the end of the response.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.sending.queued + usize::from(self.sending.end.is_some())
    }

    /// Sends what the client's window permits. Starts and stops the deadline of the write.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        let before = self.unsent();
        let sent = self.poll_send(cx);
        if sent.is_ready() || self.unsent() != before {
            self.deadlines.stop(Wait::ClientWrite);
        }
        if sent.is_pending() {
            let wait = self.timeouts().write;
            self.deadlines.start(Wait::ClientWrite, wait);
        }
        sent
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        match ready!(self.sending.poll(cx)) {
            Ok(true) => self.shared.watch.earn(A_RESPONSE),
            Ok(false) => {}
            Err(_) => {
                self.sending.way = Way::Broken;
                return Poll::Ready(Err(ClientError::Gone));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what waits, within the client's timeout.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn flush(&mut self) -> Result<(), ClientError> {
        let flushed = poll_fn(|cx| {
            let flushed = self.poll_flush(cx);
            if flushed.is_ready() {
                return flushed;
            }
            ready!(self.deadlines.poll(cx));
            Poll::Ready(Err(ClientError::Stalled))
        });
        flushed.await
    }
}

impl Sending {
    /// Hands the queue and the end of the response to the connection, as far as the client's window
    /// permits. Returns whether that ended the response.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, h2::Error>> {
        let sending = match &mut self.way {
            Way::Body(sending) => sending,
            Way::Broken => return Poll::Ready(Err(Code::CANCEL.into())),
            Way::Head(_) | Way::Ended(_) => return Poll::Ready(Ok(false)),
        };
        while let Some(first) = self.queue.front_mut() {
            sending.reserve_capacity(self.queued);
            let mut room = sending.capacity();
            if room == 0 {
                match ready!(sending.poll_capacity(cx)) {
                    Some(more) => room = more?,
                    None => return Poll::Ready(Err(Code::CANCEL.into())),
                }
            }
            let part = first.split_to(room.min(first.len()));
            if first.is_empty() {
                self.queue.pop_front();
            }
            self.queued -= part.len();
            let is_last = self.queue.is_empty() && self.end == Some(None);
            sending.send_data(part, is_last)?;
            if is_last {
                self.end = None;
                return Poll::Ready(Ok(self.has_ended()));
            }
        }
        match self.end.take() {
            None => return Poll::Ready(Ok(false)),
            Some(None) => sending.send_data(Bytes::new(), true)?,
            Some(Some(trailers)) => sending.send_trailers(trailers)?,
        }
        Poll::Ready(Ok(self.has_ended()))
    }

    fn has_ended(&mut self) -> bool {
        if let Way::Body(sending) = std::mem::replace(&mut self.way, Way::Broken) {
            self.way = Way::Ended(sending);
        }
        true
    }
}

impl Drop for Stream {
    /// Tells the client about a response that is not whole.
    fn drop(&mut self) {
        match &mut self.sending.way {
            Way::Head(respond) => respond.send_reset(Code::CANCEL),
            Way::Body(sending) => sending.send_reset(Code::INTERNAL_ERROR),
            Way::Ended(_) | Way::Broken => {}
        }
        self.shared.end_stream();
    }
}

/// Why the body of a request ended early.
fn failed(error: &h2::Error) -> ClientError {
    if error.is_library() && error.reason() == Some(Code::PROTOCOL_ERROR) {
        ClientError::Broken(Fault::malformed(LENGTH))
    } else {
        ClientError::Gone
    }
}

/// A response without the fields of an HTTP/1.1 connection (RFC 9113 §8.2.2).
fn response(head: &ResponseHeader) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = head.status;
    let headers = response.headers_mut();
    headers.clone_from(&head.headers);
    for name in [
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ] {
        headers.remove(name);
    }
    for name in ["keep-alive", "proxy-connection"] {
        headers.remove(name);
    }
    response
}
