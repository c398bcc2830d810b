//! Our own HTTP endpoints.
