//! The callers of the tokens API.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::HeaderMap;

/// The caller of the tokens API, identified by a verified bearer token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A user, by the owner claim of a trusted authority's token.
    Owner {
        owner: String,
        /// The authority's issuer: another one may have a user of the same name.
        issuer: String,
    },
    /// An access token of this issuer.
    Token {
        jti: String,
        /// A revoked token may read its own entry, which says so, and nothing else.
        is_revoked: bool,
    },
}

/// Why the caller is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownCaller {
    /// There is no valid bearer token.
    Unauthenticated,
    /// The keys or the revocation status for the bearer token are not available.
    Unavailable,
}

/// Authenticates the caller by a request's headers.
pub type VerifyCaller = Arc<
    dyn Fn(HeaderMap) -> Pin<Box<dyn Future<Output = Result<Caller, UnknownCaller>> + Send>>
        + Send
        + Sync,
>;
