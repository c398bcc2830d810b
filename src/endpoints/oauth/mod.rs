//! The issuer's endpoints: tokens, introspection, revocation, keys and metadata.

mod body;
mod error;
mod introspection;
mod metadata;
mod revocation;
mod router;
mod token;

pub(super) use self::body::body_error;
pub use self::router::{Placement, error_forms, issuer_paths, issuer_router, paths_below};
pub(super) use self::token::TokenEndpoint;
pub use self::token::{Observer, Outcome};

#[cfg(test)]
mod tests;
