//! The client side of HTTP/2 (RFC 9113), over the `h2` crate: a connection gives its requests as
//! streams, and each stream is the client's side of one request.
//!
//! The crate checks frames, states, windows and pseudo-header fields. This room adds what HTTP/1.1
//! clients meet in [`framing`](super::framing) and [`connection`](super::connection): the rules for
//! targets, hosts and lengths, deadlines, a seat, and a budget for frames that carry nothing.

mod connection;
mod frames;
mod request;
mod scan;
mod sending;
mod shared;
mod stream;
mod websocket;

use std::time::Duration;

pub use self::connection::{Connection, Next};
pub use self::stream::Stream;

/// Streams of one connection at a time.
const MOST_STREAMS: u32 = 128;
/// Bytes of the heads of all requests in progress of a connection. Further streams are refused, so
/// that compressed heads do not take far more memory than bytes on the wire.
const MOST_HEAD_BYTES: usize = 512 * 1024;
/// Bytes of one request's body that a client may send ahead.
const STREAM_WINDOW: u32 = 128 * 1024;
/// Bytes of all request bodies of a connection that its client may send ahead. A few uploads to a
/// slow upstream must not hold up the others.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// Bytes of one response that wait in the connection.
const SEND_BUFFER: usize = 64 * 1024;
/// Bytes that the HPACK form of a head may have beyond its HTTP/1.1 form: 32 for each field.
const HPACK_OVERHEAD: usize = 16 * 1024;
/// Streams that this side has reset and still recognizes. Frames in transit to them are no errors.
const RESET_STREAMS: usize = 256;
/// How long they are recognized. A slow client sends the rest of its window meanwhile.
const RESET_RECOGNIZED: Duration = Duration::from_secs(10);
/// Requests that may wait for this task although they are reset. A busy worker finds several.
const RESET_REQUESTS: usize = 100;
/// The `h2` crate counts 256 bytes less the length for each short DATA frame that waits. So 16,000
/// of them may wait, each of which costs about 300 bytes.
const SHORT_FRAMES: usize = 4 * 1024 * 1024;

#[cfg(test)]
mod tests;
