//! Why there is no access token: in our words, never the authority's.

use std::time::Duration;

use crate::domain::oauth::ErrorCode;
use crate::http_client::HttpError;

/// Why one token request brought no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The authority's metadata could not be fetched.
    #[error("the authority's metadata could not be fetched: {0}")]
    Metadata(HttpError),
    /// The authority answered the request for its metadata with this status.
    #[error(
        "the authority has no metadata where RFC 8414 and OpenID Connect Discovery look for it: status {0}"
    )]
    MetadataStatus(u16),
    /// The metadata is no JSON object.
    #[error("the authority's metadata is not a JSON object")]
    MetadataMalformed,
    /// The metadata's `issuer` is not the configured authority.
    #[error("the authority's metadata names another issuer")]
    MetadataIssuer,
    /// The metadata's `token_endpoint` is missing, no URL, or less protected than the authority.
    #[error("the authority's metadata names no token_endpoint that can be used")]
    MetadataEndpoint,
    /// The token request got no answer.
    #[error("the token request failed: {0}")]
    Http(HttpError),
    /// The authority refused, with one of the RFCs' error codes.
    #[error("the authority refused the token request: {}, status {status}", .code.as_str())]
    Refused {
        /// The error code.
        code: ErrorCode,
        /// The HTTP status.
        status: u16,
    },
    /// The authority answered with this status and no error code that we know.
    #[error("the authority answered the token request with status {0}")]
    Status(u16),
    /// The answer is no JSON object.
    #[error("the token answer is not a JSON object")]
    Malformed,
    /// The answer has no `access_token`, or one that cannot stand in a header.
    #[error("the token answer has no usable access_token")]
    AccessToken,
    /// The answer's `token_type` is missing or another than Bearer.
    #[error("the token answer's token_type is not Bearer")]
    TokenType,
    /// `expires_in` is no number, or less than a second.
    #[error("the token answer's expires_in is no number of seconds")]
    ExpiresIn,
    /// The token had expired when it arrived.
    #[error("the access token had expired when it arrived")]
    Expired,
    /// The client id, the secret or a parameter cannot be sent.
    #[error("the token request could not be built")]
    Request,
    /// Nobody is fetching: the sidecar is stopping, or the background task is not running.
    #[error("token fetching has stopped")]
    Stopped,
}

impl FetchError {
    /// A short stable code, for metrics; the set is bounded.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Metadata(_) => "metadata_unreachable",
            Self::MetadataStatus(_)
            | Self::MetadataMalformed
            | Self::MetadataIssuer
            | Self::MetadataEndpoint => "metadata",
            Self::Http(error) => error.code(),
            Self::Refused { code, .. } => code.as_str(),
            Self::Status(_) => "status",
            Self::Malformed | Self::AccessToken | Self::TokenType | Self::ExpiresIn => "malformed_answer",
            Self::Expired => "expired",
            Self::Request => "request",
            Self::Stopped => "stopped",
        }
    }

    /// Whether the same request may well succeed a moment later.
    ///
    /// The others are asked again too, for a secret or an authority can be put right, but without hurry: a wrong
    /// secret sent in quick succession gets a client locked out.
    #[must_use]
    pub fn is_transient(self) -> bool {
        match self {
            Self::Metadata(error) | Self::Http(error) => {
                matches!(error, HttpError::Timeout | HttpError::Connect | HttpError::Broken)
            }
            Self::Refused { code: ErrorCode::TemporarilyUnavailable | ErrorCode::ServerError, .. } => true,
            Self::Refused { status, .. } | Self::Status(status) | Self::MetadataStatus(status) => {
                is_transient_status(status)
            }
            Self::Expired => true,
            _ => false,
        }
    }
}

/// Statuses that speak of the moment and not of the request: 408, 429 and every 5xx.
fn is_transient_status(status: u16) -> bool {
    matches!(status, 408 | 429 | 500..=599)
}

/// A failed token request, with what the authority said about the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub error: FetchError,
    pub retry_after: Option<Duration>,
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        Self { error, retry_after: None }
    }
}

impl Failure {
    /// Whether to ask again at once, instead of after the backoff. An authority that names a time, or has too many
    /// requests as it is, is not hurried.
    pub fn may_hurry(&self) -> bool {
        let busy = matches!(self.error, FetchError::Status(429) | FetchError::Refused { status: 429, .. });
        self.error.is_transient() && self.retry_after.is_none() && !busy
    }
}

/// No access token is to be had at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no access token to be had: {error}")]
pub struct TokenUnavailable {
    /// Why; for the log and the status page.
    pub error: FetchError,
    /// When it makes sense to ask again; at least a second.
    pub retry_after: Duration,
}

impl TokenUnavailable {
    pub(super) fn new(error: FetchError, retry_after: Duration) -> Self {
        Self { error, retry_after: retry_after.max(Duration::from_secs(1)) }
    }

    /// The value of a `Retry-After` header: whole seconds, rounded up.
    #[must_use]
    pub fn retry_after_secs(&self) -> u64 {
        self.retry_after.as_secs() + u64::from(self.retry_after.subsec_nanos() > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_by_itself_is_tried_again_in_a_hurry() {
        let hurried = |error: FetchError| Failure::from(error).may_hurry();
        assert!(hurried(FetchError::Http(HttpError::Timeout)));
        assert!(hurried(FetchError::Status(503)));
        assert!(hurried(FetchError::Refused { code: ErrorCode::TemporarilyUnavailable, status: 400 }));
        assert!(!hurried(FetchError::Status(429)));
        assert!(FetchError::Status(429).is_transient());
        assert!(!hurried(FetchError::Status(404)));
        assert!(!hurried(FetchError::Http(HttpError::Tls)));
        assert!(!hurried(FetchError::Refused { code: ErrorCode::InvalidClient, status: 401 }));
        let named = Failure { error: FetchError::Status(503), retry_after: Some(Duration::from_secs(1)) };
        assert!(!named.may_hurry());
    }

    #[test]
    fn retry_after_is_rounded_up_and_never_zero() {
        let secs =
            |ms| TokenUnavailable::new(FetchError::Stopped, Duration::from_millis(ms)).retry_after_secs();
        assert_eq!([secs(0), secs(1000), secs(1001), secs(1999)], [1, 1, 2, 2]);
    }

    #[test]
    fn the_text_names_code_and_status() {
        let refused = FetchError::Refused { code: ErrorCode::InvalidClient, status: 401 };
        assert_eq!(
            refused.to_string(),
            "the authority refused the token request: invalid_client, status 401"
        );
    }
}
