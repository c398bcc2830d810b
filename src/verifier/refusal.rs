//! The refusal of a request.

use std::borrow::Cow;
use std::time::Duration;

use super::VerifiedToken;
use crate::domain::reason::Reason;
use crate::domain::scope::ScopeSet;

/// Why a request may not pass.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The check that refused.
    pub reason: Reason,
    /// The scopes that the rule needs, if they are the reason (RFC 6750 §3).
    pub needed: Option<ScopeSet>,
    /// The request's valid token, for the access log.
    pub token: Option<VerifiedToken>,
    /// When to try again, if that is known.
    pub retry_after: Option<Duration>,
    /// Details for the client and the log.
    pub detail: Option<Cow<'static, str>>,
}

impl Refusal {
    /// A refusal without details.
    #[must_use]
    pub fn new(reason: Reason) -> Self {
        Self {
            reason,
            needed: None,
            token: None,
            retry_after: None,
            detail: None,
        }
    }

    /// A refusal of a token with `size` bytes, more than `limit`.
    pub(super) fn too_large(size: usize, limit: usize) -> Self {
        let detail = Some(format!("the token has {size} bytes, the limit is {limit}").into());
        Self {
            detail,
            ..Self::new(Reason::TokenTooLarge)
        }
    }
}
