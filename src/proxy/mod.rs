//! The reverse proxy: listeners, phases, upstreams, headers, answers. With `app` the only floor that knows pingora.

pub mod inbound;
pub mod outbound;
pub mod upstream;
