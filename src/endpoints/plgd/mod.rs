//! What plgd's clients expect beside the RFCs: its tokens API, and the shapes of its errors.
//!
//! Unlike at plgd's own server, an M2M token finds and ends only itself, claims are read only after
//! they are verified, and a deletion must name what it deletes.

mod messages;
mod status;
mod tokens;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::HeaderMap;

use super::oauth::TokenEndpoint;

pub(super) use status::token_error_answer;
pub(super) use tokens::tokens_api;

/// Who calls the tokens API, by a bearer token that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A user, by the owner claim of a token of a trusted authority.
    Owner {
        /// The owner claim's value.
        owner: String,
        /// The authority's issuer: another one may have a user of the same name.
        issuer: String,
    },
    /// An access token of ours.
    Token {
        /// Its `jti`.
        jti: String,
        /// Whether it was revoked: then it may read its own entry, which says so, and nothing else.
        is_revoked: bool,
    },
}

/// Why it is not known who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownCaller {
    /// There is no usable bearer token.
    Unauthenticated,
    /// The token may be good, but the keys or the state to judge it by cannot be had.
    Unavailable,
}

/// Finds out who calls, from a request's headers.
pub type VerifyCaller = Arc<
    dyn Fn(HeaderMap) -> Pin<Box<dyn Future<Output = Result<Caller, UnknownCaller>> + Send>>
        + Send
        + Sync,
>;

/// What the tokens API needs.
#[derive(Clone)]
pub(super) struct TokensApi {
    pub(super) tokens: TokenEndpoint,
    pub(super) callers: VerifyCaller,
}
