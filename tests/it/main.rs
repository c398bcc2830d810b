//! The one integration binary: real bytes over real sockets, against a fake world (`support`).
//!
//! One file per behaviour. Servers listen on port 0, nothing waits for a fixed time, and every token and secret of the
//! fake world is known to `support::logs`, which looks for them in everything that was logged.

mod authorities;
mod commands;
#[cfg(target_os = "linux")] // It has the namespaces.
mod compose;
mod image;
mod inbound;
mod issuer;
mod listeners;
mod outbound;
mod readme;
mod smoke;
mod support;
mod tidy;
