//! The connection after `101 Switching Protocols` (RFC 9110 §15.2.2): it carries the bytes of
//! another protocol, and no further request.

use bytes::{BufMut, Bytes};
use pingora::http::ResponseHeader;
use tokio_util::sync::CancellationToken;

use super::writing::write_fields;
use super::{ClientStream, Connection, Framing};

impl Connection {
    /// Puts the head of the `101` response into the send buffer. The caller has set `Connection`
    /// and `Upgrade`.
    pub fn write_switch(&mut self, head: &ResponseHeader) {
        self.end_after_response();
        self.current.status = Some(head.status);
        self.current.framing = Framing::None;
        let buffer = self.outgoing.small();
        write_fields(buffer, head);
        buffer.put_slice(b"\r\n");
    }

    /// The bytes of the other protocol that have been read already.
    pub fn take_received(&mut self) -> Bytes {
        std::mem::take(&mut self.received).freeze()
    }

    /// The stream of the other protocol.
    pub fn stream(&mut self) -> &mut dyn ClientStream {
        &mut *self.stream
    }

    /// Counts bytes of the other protocol as bytes of the response.
    pub fn count_sent(&mut self, bytes: u64) {
        self.current.body_bytes += bytes;
    }

    /// Is cancelled when the listener ends.
    #[must_use]
    pub fn ending(&self) -> CancellationToken {
        self.ending.clone()
    }
}
