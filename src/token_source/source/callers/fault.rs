//! Whose fault a failed exchange is: that of one caller's token, or one that concerns all callers.

use std::time::Duration;

use crate::domain::oauth::ErrorCode;
use crate::token_source::error::{Failure, FetchError};

/// How long callers get a failure of the authority without another try, if it may pass by itself,
/// and if it may not.
pub(super) const FAILING_FOR: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];
/// The longest accepted `Retry-After`.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// How long all callers without a token get a failure.
pub(super) fn pause(failure: &Failure) -> Duration {
    let [transient, lasting] = FAILING_FOR;
    let least = if failure.error.is_transient() {
        transient
    } else {
        lasting
    };
    let asked = failure.retry_after.unwrap_or_default();
    asked.min(MAX_RETRY_AFTER).max(least)
}

/// Whether an error is about the caller's token, and not about the credential. The scopes and
/// audiences that a client may get can depend on the token (RFC 8693 §2.2.2). Authorities refuse
/// tokens by other codes and by bare statuses too: one caller must not stop the others.
pub(super) fn is_of_subject(error: FetchError) -> bool {
    match error {
        FetchError::Refused {
            code:
                ErrorCode::InvalidRequest
                | ErrorCode::InvalidGrant
                | ErrorCode::InvalidScope
                | ErrorCode::InvalidTarget,
            ..
        } => !error.is_transient(),
        // The new token ends with the caller's.
        FetchError::Expired => true,
        FetchError::Status(status) => {
            (400..500).contains(&status) && !matches!(status, 401 | 404 | 405 | 408 | 425 | 429)
        }
        _ => false,
    }
}

/// Whether one token may be the cause of the authority's failure: then only its caller waits.
pub(super) fn may_be_of_subject(error: FetchError) -> bool {
    match error {
        FetchError::Refused { code, .. } => code == ErrorCode::ServerError,
        FetchError::Status(status) => (500..600).contains(&status) && status != 503,
        FetchError::Late => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_token_is_the_fault_of_its_caller_only() {
        let refused = |code, status| FetchError::Refused { code, status };
        for error in [
            refused(ErrorCode::InvalidRequest, 400),
            refused(ErrorCode::InvalidGrant, 400),
            refused(ErrorCode::InvalidScope, 200),
            refused(ErrorCode::InvalidTarget, 400),
            FetchError::Expired,
            FetchError::Status(400),
            FetchError::Status(403),
            FetchError::Status(413),
            FetchError::Status(431),
        ] {
            assert!(is_of_subject(error), "{error:?}");
        }
        for error in [
            refused(ErrorCode::InvalidClient, 401),
            refused(ErrorCode::UnauthorizedClient, 400),
            refused(ErrorCode::UnsupportedGrantType, 400),
            refused(ErrorCode::ServerError, 500),
            refused(ErrorCode::InvalidRequest, 503),
            FetchError::Status(401),
            FetchError::Status(404),
            FetchError::Status(429),
            FetchError::Status(500),
            FetchError::Malformed,
            FetchError::Files,
        ] {
            assert!(!is_of_subject(error), "{error:?}");
        }
    }

    #[test]
    fn only_a_failure_without_a_sign_of_the_whole_authority_may_be_of_one_token() {
        assert!(may_be_of_subject(FetchError::Status(500)));
        assert!(may_be_of_subject(FetchError::Status(502)));
        for status in [429, 503, 401] {
            assert!(!may_be_of_subject(FetchError::Status(status)), "{status}");
        }
        assert!(!may_be_of_subject(FetchError::Files));
    }
}
