//! The state of a response.

use h2::RecvStream;
use h2::client::ResponseFuture;
use http::HeaderMap;

use crate::proxy::h2_bytes::Received;
use crate::proxy::upstream::error::UpstreamError;

/// The next part of the response.
pub(super) enum Answer {
    Head(ResponseFuture),
    Body {
        stream: RecvStream,
        /// The bytes that the relay has, and whose window is not yet released.
        taken: usize,
    },
    /// The upstream has accepted a WebSocket.
    WebSocket(RecvStream, Received),
    Complete(Option<HeaderMap>),
    /// The connection has taken no request.
    Refused(UpstreamError),
    Failed,
}
