//! HTTP/1.1 on the wire, for both sides of the relay: bytes that wait to be written, chunked
//! bodies, and response heads.

pub mod chunked;
pub mod outgoing;
pub mod response;
