//! One stream: the client's side of one request.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason as Code, RecvStream};
use http::{HeaderMap, Method, StatusCode, Version, header};
use pingora::http::{RequestHeader, ResponseHeader};

use super::request::Head;
use super::scan::UNDONE;
use super::sending::Sending;
use super::shared::Shared;
use crate::domain::error_form::ErrorForms;
use crate::domain::reason::Reason;
use crate::proxy::connection::{ClientError, ClientTimeouts, Framing, InProgress, LocalPeer, Way};
use crate::proxy::deadlines::{Deadlines, Wait};
use crate::proxy::fault::Fault;
use crate::proxy::framing::Unread;
use crate::proxy::h2_bytes::Received;
use crate::proxy::response_fields::FieldsOfRequest;
use crate::proxy::tls::TlsPeer;
use crate::proxy::upstream::RequestBody;

/// The most bytes of trailers that are passed on, as in HTTP/1.1.
const MOST_TRAILERS: usize = 8 * 1024;

const LENGTH: &str = "the body does not have the length of Content-Length";

/// A request of an HTTP/2 connection and the way of its response.
pub struct Stream {
    pub(super) shared: Arc<Shared>,
    pub peer: SocketAddr,
    pub local: SocketAddr,
    pub tls: Option<Arc<TlsPeer>>,
    pub process: Option<LocalPeer>,
    /// The request as it was received.
    head: RequestHeader,
    request_body: RequestBody,
    expects_continue: bool,
    has_continue: bool,
    has_begun_body: bool,
    pub(super) body: RecvStream,
    is_body_done: bool,
    /// A box, because most requests have none.
    trailers: Option<Box<HeaderMap>>,
    /// Whether the request is a CONNECT, whose DATA frames are no body.
    pub(super) is_connect: bool,
    pub(super) received: Received,
    pub(super) sending: Sending,
    pub(super) status: Option<StatusCode>,
    response_fields: Option<FieldsOfRequest>,
    pub(super) body_bytes: u64,
    pub(in crate::proxy) deadlines: Deadlines,
    /// Bytes of the head.
    head_size: usize,
    _in_progress: InProgress,
}

impl Stream {
    pub(super) fn new(
        shared: Arc<Shared>,
        head: &Head,
        body: RecvStream,
        respond: SendResponse<Bytes>,
    ) -> Self {
        let is_body_done = body.is_end_stream() || head.is_connect;
        let request = &head.request;
        Self {
            peer: shared.peer,
            local: shared.local,
            tls: shared.tls.clone(),
            process: shared.process,
            head: request.clone(),
            request_body: head.body,
            expects_continue: !is_body_done && request.headers.contains_key(header::EXPECT),
            has_continue: false,
            has_begun_body: false,
            body,
            is_body_done,
            trailers: None,
            is_connect: head.is_connect,
            received: Received::default(),
            sending: Sending::new(respond, shared.watch.clone()),
            status: None,
            response_fields: None,
            body_bytes: 0,
            deadlines: Deadlines::default(),
            _in_progress: shared.begin_stream(head.size),
            head_size: head.size,
            shared,
        }
    }

    /// The way on which the connection arrived.
    #[must_use]
    pub fn way(&self) -> &Way {
        &self.shared.way
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

    /// The trailers of a complete body, once.
    pub fn take_trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take().map(|trailers| *trailers)
    }

    /// The next part of the body; `None` at its end.
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
                Some(Err(error)) => return Poll::Ready(Err(self.failed(&error))),
                None => {
                    match ready!(self.body.poll_trailers(cx)) {
                        Ok(trailers) => self.trailers = trailers.and_then(permitted),
                        Err(error) => return Poll::Ready(Err(self.failed(&error))),
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
        self.sending.poll_reset(cx)
    }

    /// Waits until the client resets the stream.
    pub async fn departed(&mut self) {
        poll_fn(|cx| self.poll_departure(cx)).await;
    }

    /// Sends the head of an interim response.
    pub fn write_interim(&mut self, head: &ResponseHeader) {
        self.has_continue |= head.status == StatusCode::CONTINUE;
        self.sending.interim(head);
    }

    /// Sends the head of the response.
    pub fn write_head(&mut self, head: &ResponseHeader, framing: Framing) {
        self.status = Some(head.status);
        self.sending.head(head, framing == Framing::None);
    }

    /// Puts a part of the response's body into the queue.
    pub fn write_body(&mut self, data: Bytes) {
        self.body_bytes += self.sending.data(data) as u64;
    }

    /// Ends the body of the response.
    pub fn end_body(&mut self, trailers: Option<&HeaderMap>) {
        self.sending.end(trailers);
    }

    /// Sets the code that tells the client of a response that is not whole.
    pub fn set_reset_code(&mut self, code: Code) {
        self.sending.reset_code = code;
    }

    /// How many bytes wait, with 1 for the end of the response.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.sending.unsent()
    }

    /// Whether a part of the response was sent, and its end will not be.
    #[must_use]
    pub fn is_cut_short(&self) -> bool {
        self.sending.is_inside_body()
    }

    /// Sends what the client's window permits. Starts and stops the deadline of the write.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        let before = self.unsent();
        let sent = self.sending.poll(cx);
        if sent.is_ready() || self.unsent() != before {
            self.deadlines.stop(Wait::ClientWrite);
        }
        if sent.is_pending() {
            let wait = self.timeouts().write;
            self.deadlines.start(Wait::ClientWrite, wait);
        }
        sent
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

impl Stream {
    /// Why the body of the request ended early.
    pub(super) fn failed(&self, error: &h2::Error) -> ClientError {
        if !error.is_library() {
            return ClientError::Gone;
        }
        // The client broke a rule of the protocol, which undoes the request as a reset does.
        self.shared.watch.charge(UNDONE);
        if error.reason() == Some(Code::PROTOCOL_ERROR) {
            ClientError::Broken(Fault::malformed(LENGTH))
        } else {
            ClientError::Gone
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.end_stream(self.head_size);
    }
}

/// The trailers of a request, unless they are too long.
fn permitted(trailers: HeaderMap) -> Option<Box<HeaderMap>> {
    let lengths = trailers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len());
    (lengths.sum::<usize>() <= MOST_TRAILERS).then(|| Box::new(trailers))
}
