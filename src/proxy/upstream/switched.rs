//! The bytes to and from an upstream after `101 Switching Protocols`.

use tokio_util::either::Either;

use super::http2::Http2Stream;
use super::stream::UpstreamStream;

/// A whole connection, or a stream of HTTP/2 that carries a WebSocket.
pub type SwitchedStream = Either<UpstreamStream, Box<Http2Stream>>;
