//! HTTP/1.1 on the wire, for both sides of the relay: bytes that wait to be written, chunked
//! bodies, and response heads.

pub mod chunked;
pub mod outgoing;
pub mod response;

use http::{HeaderMap, header};

/// Whether the sender keeps the connection open by its `Connection` fields (RFC 9112 §9.3); `None`:
/// its version decides.
#[must_use]
pub fn keeps_alive(headers: &HeaderMap) -> Option<bool> {
    let mut keeps = None;
    let values = headers.get_all(header::CONNECTION).iter();
    let tokens = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    for token in tokens.map(<[u8]>::trim_ascii) {
        if token.eq_ignore_ascii_case(b"close") {
            return Some(false);
        }
        if token.eq_ignore_ascii_case(b"keep-alive") {
            keeps = Some(true);
        }
    }
    keeps
}
