//! The decisions of a listener, as far as the relay needs them.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use pingora::http::{RequestHeader, ResponseHeader};

use crate::domain::reason::Reason;
use crate::proxy::access::Access;
use crate::proxy::client::Client;
use crate::proxy::connection::ClientError;
use crate::proxy::fault::Fault;
use crate::proxy::headers::Added;
use crate::proxy::upstream::{Pool, Tries, Unconnected, UpstreamConnection, UpstreamError};
use crate::telemetry::RequestMetrics;

/// The service of a listener. The relay calls it in the order of its methods.
pub trait Policy: Send + Sync + 'static {
    /// The state of one request.
    type State: Send + Sync;

    /// Begins a request.
    fn begin(&self) -> Self::State;

    /// Decides about a request, and answers it if it is not forwarded.
    fn decide(
        &self,
        client: &mut Client<'_>,
        request: &RequestHeader,
        state: &mut Self::State,
        access: &mut Access,
    ) -> impl Future<Output = Decision> + Send;

    /// The form of the listener's own responses to a request, and where they count.
    fn own_answers(&self, state: &Self::State) -> OwnAnswers<'_>;

    // A listener that forwards nothing needs none of the following.

    /// Connects to the upstream of a request.
    fn connect(
        &self,
        _: &Arc<Pool>,
        _: &mut Tries,
        _: &mut Self::State,
    ) -> impl Future<Output = Result<UpstreamConnection, Unconnected>> + Send {
        async { Err(Unconnected::Refused(Reason::Internal)) }
    }

    /// Changes the request into the one that is sent to the upstream at this address. Hop-by-hop
    /// fields are removed already. The added fields follow those of the request.
    ///
    /// # Errors
    /// Why the request cannot be sent.
    fn forward(
        &self,
        _: &mut RequestHeader,
        _: &mut Added,
        _: &mut Self::State,
        _: SocketAddr,
        _: &Access,
    ) -> Result<(), Fault> {
        Err(Reason::Internal.into())
    }

    /// How long the upstream of a request may pause.
    fn waits(&self, _: &Self::State) -> Waits {
        Waits::default()
    }

    /// Checks how many bytes of the body have arrived.
    ///
    /// # Errors
    /// Why the request ends here.
    fn check_body(&self, _: u64, _: &Self::State, _: &mut Access) -> Result<(), Fault> {
        Ok(())
    }

    /// Whether an upstream may get a trailer with this name. The relay has dropped those that
    /// frame, route or authenticate a request.
    fn permits_trailer(&self, _: &HeaderName) -> bool {
        false
    }

    /// The requests that are repeated when an idle connection swallows them.
    fn repeats(&self) -> Repeat {
        Repeat::Never
    }

    /// Decides about a response (not an interim one) before any of it is sent.
    /// `can_be_sent_again`: the whole request can be repeated.
    fn answered(
        &self,
        _: &mut Client<'_>,
        _: &ResponseHeader,
        _: bool,
        _: &mut Self::State,
        _: &mut Access,
    ) -> impl Future<Output = Result<Answered, Reason>> + Send {
        async { Ok(Answered::Send) }
    }

    /// Changes a response, or an interim one, before it is sent.
    ///
    /// # Errors
    /// Why the response cannot be sent.
    fn respond(&self, _: &mut ResponseHeader, _: &Self::State) -> Result<(), Fault> {
        Ok(())
    }

    /// Whether a request may switch to this protocol (RFC 9110 §7.8). Otherwise the upstream gets
    /// the request without its upgrade.
    fn upgrades(&self, _protocol: &[u8], _: &Self::State) -> bool {
        false
    }

    /// How long a tunnel may carry no byte in either direction; `None`: no limit.
    fn tunnel_idle(&self, _: &Self::State) -> Option<Duration> {
        None
    }

    /// Ends a stream, which is a tunnel or a long response: is ready with the reason, for example
    /// when the token expires. `_request` is the request as it was received.
    fn stream_ends(
        &self,
        _: &Self::State,
        _request: RequestHeader,
    ) -> impl Future<Output = Reason> + Send {
        std::future::pending()
    }

    /// Records that the upstream failed after its connection was made. `is_answered`: a response
    /// had begun. Returns a better explanation if there is one.
    fn broke(
        &self,
        _: &UpstreamError,
        _: bool,
        _: &Tries,
        _: &Self::State,
    ) -> impl Future<Output = Option<Fault>> + Send {
        async { None }
    }
}

/// How a listener's own responses look and where they count.
#[derive(Clone, Copy)]
pub struct OwnAnswers<'p> {
    /// The listener's name, for challenges.
    pub realm: &'p str,
    /// Whether pages of other sites may read its error responses.
    pub for_pages: bool,
    pub metrics: &'p RequestMetrics,
}

/// The result of a decision about a request.
pub enum Decision {
    /// It is forwarded.
    Forward,
    /// It has been answered.
    Answered,
    /// The client gets this response, and then a tunnel to the upstream for any bytes.
    Tunnel(Box<ResponseHeader>),
    /// It fails.
    Failed(Fault),
}

/// The result of a decision about a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// It is sent.
    Send,
    /// It is dropped, and the request is sent again.
    Repeat,
}

/// The requests that are repeated when a reused connection breaks before the first byte of the
/// response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Those with an idempotent method (RFC 9110 §9.2.2) whose body, if any, is still available.
    Idempotent,
    /// Idempotent requests without a body. The bodies of others are kept for another reason.
    IdempotentWithoutBody,
    /// None.
    Never,
}

impl From<Result<(), ClientError>> for Decision {
    fn from(answered: Result<(), ClientError>) -> Self {
        match answered {
            Ok(()) => Self::Answered,
            Err(error) => Self::Failed(error.into()),
        }
    }
}

/// How long an upstream may pause.
#[derive(Clone, Copy, Debug, Default)]
pub struct Waits {
    /// Between two reads of the response; `None`: no limit.
    pub read: Option<Duration>,
    /// Between two writes of the request.
    pub write: Duration,
}

/// Why a request ended without a complete response.
#[derive(Debug)]
pub enum Broken {
    Client(ClientError),
    Upstream(UpstreamError),
    Fault(Fault),
}

impl From<ClientError> for Broken {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Reason> for Broken {
    fn from(reason: Reason) -> Self {
        Self::Fault(reason.into())
    }
}

impl From<Unconnected> for Broken {
    fn from(error: Unconnected) -> Self {
        match error {
            Unconnected::Refused(reason) => reason.into(),
            Unconnected::Failed(error) => Self::Upstream(error),
        }
    }
}
