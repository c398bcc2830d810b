//! The connection of a client: reads requests and writes responses in HTTP/1.1 (RFC 9112).
//!
//! It holds the rules of a connection that do not depend on the request's destination:
//! - a limit on connections (see `admission`);
//! - deadlines for the first byte, the head, each part of a body and each write;
//! - strict parsing, with the next request held back until this one is answered (see
//!   [`framing`](super::framing));
//! - a close that lets the response arrive while the client is still sending.

mod accepted;
mod admission;
mod clients;
mod closing;
mod date;
mod departure;
mod heads;
mod peers;
mod reading;
mod stream;
mod tunnel;
mod way;
mod writing;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode, Version, header};
use pingora::http::RequestHeader;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

pub use self::accepted::{Accepted, LocalPeer};
pub use self::admission::{AWAITING_HEAD, Admitted, Capacity, Full, HEAD_READ, MaxConnections};
pub(super) use self::clients::LargeHead;
pub use self::clients::{ClientSettings, ClientTimeouts, Clients, InProgress};
use self::closing::Closing;
pub(super) use self::date::value as date_value;
use self::departure::Reset;
pub use self::heads::Next;
pub use self::peers::Peers;
pub use self::stream::ClientStream;
pub use self::way::Way;
pub use self::writing::Framing;
use super::deadlines::{Deadlines, Wait};
use super::fault::Fault;
use super::framing::{BodyReader, HeadReader, Unread};
use super::http1::{self, outgoing::Outgoing};
use super::response_fields::FieldsOfRequest;
use super::tls::TlsPeer;
use super::upstream::RequestBody;
use crate::domain::error_form::ErrorForms;
use crate::domain::reason::Reason;

/// How long a new connection may send nothing.
pub const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a new connection may wait for its first request when its listener has ended: the
/// request is probably on its way.
pub const LAST_FIRST_BYTE: Duration = Duration::from_secs(1);

/// How long a request head may take from its first byte.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How many bytes of later requests are held back while a request is answered.
const MOST_HELD: usize = 64 * 1024;

/// An accepted connection.
pub struct Connection {
    stream: Box<dyn ClientStream>,
    pub peer: SocketAddr,
    pub local: SocketAddr,
    /// The facts of the TLS handshake; `None` without TLS.
    pub tls: Option<Arc<TlsPeer>>,
    /// The process at the other end of a socket in the file system.
    pub process: Option<LocalPeer>,
    way: Way,
    clients: Arc<Clients>,
    settings: Arc<ClientSettings>,
    /// The fields of a response after which the connection stays open.
    keep_alive: Bytes,
    seat: Admitted,
    /// Cancelled when the listener ends.
    ending: CancellationToken,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
    began: Instant,
    heads: HeadReader,
    /// Set while a larger head than usual is read.
    large_head: Option<LargeHead>,
    /// Bytes that are not parsed yet; during a response, those of the next requests.
    received: BytesMut,
    /// The size of the next read of a body.
    read_size: usize,
    /// The current request.
    current: Current,
    outgoing: Outgoing,
    pub(super) deadlines: Deadlines,
    /// Whether no request has arrived yet.
    is_new: bool,
    /// Whether the rest of a head is awaited.
    waits_for_head: bool,
    /// The current request, as the listener counts it.
    in_progress: Option<InProgress>,
    /// Whether the connection was closed because it sent nothing in time.
    is_silent: bool,
    /// Whether a head was refused, so that the end of its request is unknown.
    is_refused: bool,
    /// Whether the client has closed its sending side.
    is_half_closed: bool,
    /// Set while no read would report a reset.
    reset: Option<Reset>,
    /// Set while the connection is being closed.
    closing: Option<Closing>,
    /// Whether the sending side is closed.
    is_shut_down: bool,
}

/// Waits until the listener has ended and a connection that has begun had time for its handshake.
pub async fn late(ending: &CancellationToken) {
    ending.cancelled().await;
    tokio::time::sleep(LAST_FIRST_BYTE).await;
}

/// The current request of a connection and the state of its response.
struct Current {
    method: Method,
    version: Version,
    /// The received head.
    raw: Bytes,
    body: BodyReader,
    request_body: RequestBody,
    expects_continue: bool,
    takes_trailers: bool,
    /// Whether the connection can carry another request.
    keeps_alive: bool,
    /// Whether `100 Continue` has been written.
    has_continue: bool,
    /// The status of the response.
    status: Option<StatusCode>,
    framing: Framing,
    /// Fields of every response.
    response_fields: Option<FieldsOfRequest>,
    /// Bytes of the response's body so far.
    body_bytes: u64,
}

impl Current {
    fn none() -> Self {
        Self {
            method: Method::GET,
            version: Version::HTTP_11,
            raw: Bytes::new(),
            body: BodyReader::none(),
            request_body: RequestBody::None,
            expects_continue: false,
            takes_trailers: false,
            keeps_alive: false,
            has_continue: false,
            status: None,
            framing: Framing::None,
            response_fields: None,
            body_bytes: 0,
        }
    }
}

/// Why a client did not send its request, or did not take its response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientError {
    /// It has disconnected.
    Gone,
    /// It paused for too long while it read the response.
    Stalled,
    /// It paused for too long while it sent the body.
    Silent,
    /// Its body violates HTTP.
    Broken(Fault),
}

impl From<ClientError> for Fault {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Gone => Reason::ClientGone.into(),
            ClientError::Stalled => Reason::ClientStalled.into(),
            ClientError::Silent => Reason::BodyTimeout.into(),
            ClientError::Broken(fault) => fault,
        }
    }
}

impl Connection {
    /// Wraps an accepted stream between these addresses. Idle connections end with `ending`.
    #[must_use]
    pub fn new(
        stream: Box<dyn ClientStream>,
        (peer, local): (SocketAddr, SocketAddr),
        clients: Arc<Clients>,
        seat: Admitted,
        ending: CancellationToken,
    ) -> Self {
        let settings = clients.settings();
        let began = Instant::now();
        let mut heads = HeadReader::new(settings.error_forms.clone(), settings.max_head);
        heads.permit_tunnels(settings.tunnels);
        let mut deadlines = Deadlines::default();
        deadlines.start_at(Wait::Request, began + FIRST_BYTE_TIMEOUT);
        Self {
            stream,
            peer,
            local,
            tls: None,
            process: None,
            way: Way::Direct,
            heads,
            clients,
            keep_alive: announced(settings.timeouts.keep_alive),
            settings,
            seat,
            ended: Box::pin(ending.clone().cancelled_owned()),
            ending,
            began,
            large_head: None,
            received: BytesMut::new(),
            read_size: reading::FIRST_READ,
            current: Current::none(),
            outgoing: Outgoing::default(),
            deadlines,
            is_new: true,
            waits_for_head: false,
            in_progress: None,
            is_silent: false,
            is_refused: false,
            is_half_closed: false,
            reset: None,
            closing: None,
            is_shut_down: false,
        }
    }

    /// The error forms for the client.
    #[must_use]
    pub fn error_forms(&self) -> &ErrorForms {
        &self.settings.error_forms
    }

    #[must_use]
    pub fn timeouts(&self) -> &ClientTimeouts {
        &self.settings.timeouts
    }

    /// Whether the connection was closed because it sent nothing in time.
    #[must_use]
    pub fn was_silent(&self) -> bool {
        self.is_silent
    }

    /// The method of the current request.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.current.method
    }

    /// The version of the current request.
    #[must_use]
    pub fn version(&self) -> Version {
        self.current.version
    }

    /// The current request as it was received.
    ///
    /// # Errors
    /// [`Reason::Internal`] if no request has been received.
    pub fn received_head(&self) -> Result<RequestHeader, Reason> {
        super::framing::parse_again(&self.current.raw).ok_or(Reason::Internal)
    }

    /// The fields that are set on every response to the current request.
    #[must_use]
    pub fn response_fields(&self) -> Option<&FieldsOfRequest> {
        self.current.response_fields.as_ref()
    }

    /// Sets fields on every response to the current request.
    pub fn set_response_fields(&mut self, fields: FieldsOfRequest) {
        self.current.response_fields = Some(fields);
    }

    /// Whether the current request's body is complete.
    #[must_use]
    pub fn is_body_done(&self) -> bool {
        self.current.body.is_ended()
    }

    /// The trailers of a complete body, once.
    pub fn take_trailers(&mut self) -> Option<HeaderMap> {
        self.current.body.take_trailers()
    }

    /// Whether the client has begun to send the body.
    #[must_use]
    pub fn has_begun_body(&self) -> bool {
        // Until the body is complete, all received bytes are a part of it.
        self.current.body.has_begun() || !self.is_body_done() && !self.received.is_empty()
    }

    /// How the upstream request frames the body.
    #[must_use]
    pub fn request_body(&self) -> RequestBody {
        self.current.request_body
    }

    /// Whether the client announced that it waits for `100 Continue`, and has sent no body.
    #[must_use]
    pub fn holds_body_back(&self) -> bool {
        self.current.expects_continue && !self.has_begun_body()
    }

    /// The part of the request that has not arrived.
    #[must_use]
    pub fn unread(&self) -> Unread {
        self.current.body.unread()
    }

    /// Whether the client waits for `100 Continue` (RFC 9110 §10.1.1) and has received none.
    #[must_use]
    pub fn expects_continue(&self) -> bool {
        self.current.expects_continue && !self.current.has_continue && self.current.status.is_none()
    }

    /// Whether the client accepts trailers (RFC 9110 §6.5.1).
    #[must_use]
    pub fn takes_trailers(&self) -> bool {
        self.current.takes_trailers
    }

    /// Whether the connection can carry another request.
    #[must_use]
    pub fn keeps_alive(&self) -> bool {
        self.current.keeps_alive
    }

    /// Closes the connection after this response.
    pub fn end_after_response(&mut self) {
        self.current.keeps_alive = false;
    }

    /// The status of the response, once its head is written.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        self.current.status
    }

    /// How many bytes of the response's body were written.
    #[must_use]
    pub fn body_bytes(&self) -> u64 {
        self.current.body_bytes
    }
}

/// Announces how long the connection stays open for another request: whole seconds, at least 1.
fn announced(keep_alive: Duration) -> Bytes {
    let seconds = keep_alive.as_secs().max(1);
    format!("Connection: keep-alive\r\nKeep-Alive: timeout={seconds}\r\n").into()
}

/// Whether a client keeps its connection open after this request (RFC 9112 §9.3).
fn keeps_alive(version: Version, headers: &HeaderMap) -> bool {
    http1::keeps_alive(headers).unwrap_or(version == Version::HTTP_11)
}

/// Whether a list of `TE` holds `trailers` (RFC 9110 §10.1.4).
fn takes_trailers(version: Version, headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::TE).iter();
    version == Version::HTTP_11
        && values
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

#[cfg(test)]
mod tests;
