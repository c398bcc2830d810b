//! Why a request is refused.

use std::borrow::Cow;
use std::time::Duration;

use crate::domain::reason::Reason;
use crate::domain::scope::ScopeSet;

/// Why a request may not pass.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The check that refused.
    pub reason: Reason,
    /// The scopes the rule asks for, when that is the reason (RFC 6750 §3).
    pub needed: Option<ScopeSet>,
    /// The client of a token that was good in itself, for the access log.
    pub client_id: Option<String>,
    /// The `jti` of such a token.
    pub jti: Option<String>,
    /// When it is worth trying again, where that is known.
    pub retry_after: Option<Duration>,
    /// More than the reason says, fit for the client and the log.
    pub detail: Option<Cow<'static, str>>,
}

impl Refusal {
    /// A refusal by a check that knows no more.
    #[must_use]
    pub fn new(reason: Reason) -> Self {
        Self {
            reason,
            needed: None,
            client_id: None,
            jti: None,
            retry_after: None,
            detail: None,
        }
    }

    /// A refusal of a token of this size where this is the limit, both in bytes.
    pub(super) fn too_large(size: usize, limit: usize) -> Self {
        let detail = Some(format!("the token has {size} bytes, the limit is {limit}").into());
        Self {
            detail,
            ..Self::new(Reason::TokenTooLarge)
        }
    }
}
