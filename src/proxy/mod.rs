//! The reverse proxy: listeners, the relay, upstreams, headers, responses. Only this floor and
//! `app` depend on pingora.

pub mod access;
pub mod answer;
pub mod anywhere;
mod bound_socket;
pub mod client;
pub mod connection;
pub mod deadlines;
pub mod decisions;
pub mod dry_run;
pub mod fault;
pub mod forwarded;
pub mod framing;
pub mod grpc;
mod h2_bytes;
pub mod head;
pub mod headers;
mod http1;
pub mod http2;
pub mod in_memory;
pub mod inbound;
pub mod listener;
pub mod local;
pub mod loop_mark;
pub mod outbound;
pub mod own;
pub mod relay;
pub mod request_id;
mod respond;
pub mod response_fields;
pub mod sender;
pub mod switch;
pub mod tls;
mod unix_socket;
pub mod upstream;
