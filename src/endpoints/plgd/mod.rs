//! The interfaces of plgd's clients beside the RFCs: the tokens API, paths with a slash at their
//! end, and errors in plgd's form.
//!
//! Unlike plgd's own server, an M2M token finds and revokes only itself, claims are read only after
//! verification, and a deletion must name the tokens.

mod caller;
mod list;
mod messages;
mod query;
mod status;
mod tokens;

pub use self::caller::{Caller, UnknownCaller, VerifyCaller};
pub(super) use self::status::token_error_answer;
pub(super) use self::tokens::{TokensApi, tokens_api};

/// The ends of every path: plgd's server accepts one slash more.
pub(super) const SLASHES: [&str; 2] = ["", "/"];
