//! The composition root: a configuration becomes parts, listeners and tasks.
//!
//! The only place that names everything, and the only one that spawns tasks. [`build`] makes a
//! [`Generation`](build::Generation) from a configuration and the living parts of the generation
//! before it; [`run`] binds, spawns and registers. Two kinds of threads: the workers, one
//! current-thread runtime each, serve requests; the runtime that [`start`] is called on does
//! everything else (fetching, the store, name resolution), so that none of it delays a request.

mod build;
mod error;
pub mod explain;
mod part;
mod process;
mod run;
mod tasks;
pub mod would_issue;

pub use build::admin_token;
pub use run::{Running, start, start_with_clock};

/// The name of the issuer's own listener.
pub const ISSUER: &str = "issuer";
/// The name of the management API's listener.
pub const ADMIN: &str = "admin";
/// The name of the probes' listener.
pub const PROBES: &str = "probes";
/// The name of the listener that gives tokens to local programs.
pub const LOCAL_API: &str = "localApi";
