//! The client side of HTTP/2 (RFC 9113), over the `h2` crate: a connection gives its requests as
//! streams, and each stream is the client's side of one request.
//!
//! The crate checks frames, states, windows and pseudo-header fields. This room adds what HTTP/1.1
//! clients meet in [`framing`](super::framing) and [`connection`](super::connection): the rules for
//! targets, hosts and lengths, deadlines, a seat, and a budget for frames that carry nothing.

mod connection;
mod frames;
mod request;
mod shared;
mod stream;

pub use self::connection::{Connection, Next};
pub use self::stream::Stream;

/// Streams of one connection at a time.
const MOST_STREAMS: u32 = 128;
/// Bytes of one request's body that a client may send ahead.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Bytes of all request bodies of a connection that its client may send ahead.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of one response that wait in the connection.
const SEND_BUFFER: usize = 64 * 1024;
