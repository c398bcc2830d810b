//! The client's side of one request, in any version of HTTP.

/// Does the same with either version.
macro_rules! either {
    ($client:expr, $it:ident => $does:expr) => {
        match $client {
            Client::Http1($it) => $does,
            Client::Http2($it) => $does,
        }
    };
}

mod tunnel;

use std::net::SocketAddr;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Version};
use pingora::http::{RequestHeader, ResponseHeader};

use super::connection::{ClientError, ClientTimeouts, Connection, Framing, LocalPeer, Way};
use super::deadlines::Deadlines;
use super::framing::Unread;
use super::http2;
use super::response_fields::FieldsOfRequest;
use super::tls::TlsPeer;
use super::upstream::RequestBody;
use crate::domain::error_form::ErrorForms;
use crate::domain::reason::Reason;

/// A request and the way of its response.
pub enum Client<'c> {
    /// The current request of an HTTP/1.1 connection.
    Http1(&'c mut Connection),
    /// A stream of an HTTP/2 connection.
    Http2(&'c mut http2::Stream),
}

impl Client<'_> {
    /// The address of the connection's other end.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        either!(self, it => it.peer)
    }

    /// The address that the connection was accepted at.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        either!(self, it => it.local)
    }

    /// The facts of the TLS handshake; `None` without TLS.
    #[must_use]
    pub fn tls(&self) -> Option<&TlsPeer> {
        either!(self, it => it.tls.as_deref())
    }

    /// The process at the other end of a socket in the file system.
    #[must_use]
    pub fn process(&self) -> Option<LocalPeer> {
        either!(self, it => it.process)
    }

    /// The way on which the request arrived.
    #[must_use]
    pub fn way(&self) -> &Way {
        either!(self, it => it.way())
    }

    /// The forms of errors for this client.
    #[must_use]
    pub fn error_forms(&self) -> &ErrorForms {
        either!(self, it => it.error_forms())
    }

    #[must_use]
    pub fn timeouts(&self) -> &ClientTimeouts {
        either!(self, it => it.timeouts())
    }

    /// The deadlines of the request, of both sides.
    pub fn deadlines(&mut self) -> &mut Deadlines {
        either!(self, it => &mut it.deadlines)
    }

    #[must_use]
    pub fn method(&self) -> &Method {
        either!(self, it => it.method())
    }

    #[must_use]
    pub fn version(&self) -> Version {
        either!(self, it => it.version())
    }

    /// The request as it was received.
    ///
    /// # Errors
    /// [`Reason::Internal`] if there is no request.
    pub fn received_head(&self) -> Result<RequestHeader, Reason> {
        either!(self, it => it.received_head())
    }

    /// How the upstream request frames the body.
    #[must_use]
    pub fn request_body(&self) -> RequestBody {
        either!(self, it => it.request_body())
    }

    /// Whether the request's body is complete.
    #[must_use]
    pub fn is_body_done(&self) -> bool {
        either!(self, it => it.is_body_done())
    }

    /// Whether the client has begun to send the body.
    #[must_use]
    pub fn has_begun_body(&self) -> bool {
        either!(self, it => it.has_begun_body())
    }

    /// Whether the client announced that it waits for `100 Continue`, and has sent no body.
    #[must_use]
    pub fn holds_body_back(&self) -> bool {
        either!(self, it => it.holds_body_back())
    }

    /// Whether the client waits for `100 Continue` (RFC 9110 §10.1.1) and has received none.
    #[must_use]
    pub fn expects_continue(&self) -> bool {
        either!(self, it => it.expects_continue())
    }

    /// The part of the request that has not arrived.
    #[must_use]
    pub fn unread(&self) -> Unread {
        either!(self, it => it.unread())
    }

    /// The next part of the body; `None` at its end. The caller watches the deadline.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ClientError>> {
        either!(self, it => it.poll_body(cx))
    }

    /// The trailers of a complete body, once. None of them frames, routes or authenticates the
    /// request.
    pub fn take_trailers(&mut self) -> Option<HeaderMap> {
        either!(self, it => it.take_trailers())
    }

    /// The next part of the body, within the client's timeout; `None` at its end.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn read_body(&mut self) -> Result<Option<Bytes>, ClientError> {
        either!(self, it => it.read_body().await)
    }

    /// Ready when the client gives up its request.
    pub fn poll_departure(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        either!(self, it => it.poll_departure(cx))
    }

    /// Waits until the client gives up its request. Does not read the body.
    pub async fn departed(&mut self) {
        either!(self, it => it.departed().await);
    }

    /// Whether the client accepts trailers (RFC 9110 §6.5.1).
    #[must_use]
    pub fn takes_trailers(&self) -> bool {
        either!(self, it => it.takes_trailers())
    }

    /// Puts the head of an interim response into the send buffer (RFC 9110 §15.2).
    pub fn write_interim(&mut self, head: &ResponseHeader) {
        either!(self, it => it.write_interim(head));
    }

    /// Puts the head of the response into the send buffer, with the fields that the listener sets
    /// on every response. The caller has set the fields that announce `framing`.
    pub fn write_head(&mut self, head: &mut ResponseHeader, framing: Framing) {
        either!(self, it => {
            if let Some(fields) = it.response_fields() {
                fields.write(head);
            }
            it.write_head(head, framing);
        });
    }

    /// Sets fields on every response to this request.
    pub fn set_response_fields(&mut self, fields: FieldsOfRequest) {
        either!(self, it => it.set_response_fields(fields));
    }

    /// Puts a part of the response's body into the send buffer.
    pub fn write_body(&mut self, data: Bytes) {
        either!(self, it => it.write_body(data));
    }

    /// Ends the body of the response.
    pub fn end_body(&mut self, trailers: Option<&HeaderMap>) {
        either!(self, it => it.end_body(trailers));
    }

    /// How many bytes wait to be sent, not 0 while the end of the response waits.
    #[must_use]
    pub fn unsent(&self) -> usize {
        either!(self, it => it.unsent())
    }

    /// Sends what waits. Starts and stops the deadline of the write; the caller watches it.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        either!(self, it => it.poll_flush(cx))
    }

    /// Sends what waits, within the client's timeout.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn flush(&mut self) -> Result<(), ClientError> {
        either!(self, it => it.flush().await)
    }

    /// Whether the connection can carry another request after this one. The streams of an HTTP/2
    /// connection do not depend on each other.
    #[must_use]
    pub fn keeps_alive(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.keeps_alive(),
            Self::Http2(_) => false,
        }
    }

    /// Closes the connection after this response, where the next request would begin at an unknown
    /// place.
    pub fn end_after_response(&mut self) {
        if let Self::Http1(connection) = self {
            connection.end_after_response();
        }
    }

    /// The status of the response, once its head is written.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        either!(self, it => it.status())
    }

    /// How many bytes of the response's body were written.
    #[must_use]
    pub fn body_bytes(&self) -> u64 {
        either!(self, it => it.body_bytes())
    }
}
