//! Why there is no access token. The text is ours; the message of a `google.rpc.Status` is added,
//! escaped and cut.

use std::path::Path;
use std::time::Duration;

use url::Url;

use super::file_fault::TokenFileFault;
use crate::domain::oauth::ErrorCode;
use crate::domain::reason::Reason;
use crate::http_client::{Failed, HttpAnswer, HttpError, place};

/// Why a token request brought no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    #[error("the authority's metadata could not be fetched: {0}")]
    Metadata(HttpError),
    #[error(
        "the authority has no metadata where RFC 8414 and OpenID Connect Discovery look for it: \
         status {0}"
    )]
    MetadataStatus(u16),
    #[error("the authority's metadata is not a JSON object")]
    MetadataMalformed,
    #[error("the authority's metadata names another issuer")]
    MetadataIssuer,
    /// The metadata's `token_endpoint` is missing, invalid, or less protected than the authority.
    #[error("the authority's metadata has no usable token_endpoint")]
    MetadataEndpoint,
    #[error("the token request failed: {0}")]
    Http(HttpError),
    /// The authority refused with a standard error code.
    #[error("the authority refused the token request: {}, status {status}", .code.as_str())]
    Refused { code: ErrorCode, status: u16 },
    /// The authority answered with this status and no known error code.
    #[error("the authority answered the token request with status {0}")]
    Status(u16),
    /// The authority answered with this success status and an error without a standard code.
    #[error(
        "the authority answered the token request with status {0} and an error instead of a token"
    )]
    ErrorAnswer(u16),
    #[error("the token answer is not a JSON object")]
    Malformed,
    /// The response has no `access_token`, or one that is invalid in a header.
    #[error("the token answer has no usable access_token")]
    AccessToken,
    /// The response's `token_type`, which is not Bearer.
    #[error("the token answer's token_type is {0}: a bearer header cannot carry such a token")]
    TokenType(&'static str),
    /// The request has a DPoP proof, and the response's `token_type` is not DPoP.
    #[error(
        "the token answer's token_type is not DPoP: the authority ignores the proof. Enable DPoP \
         for this client there, or remove `dpop` from the credential"
    )]
    NotBound,
    /// The token had expired when it was issued, by its own `exp`.
    #[error("the access token's exp had passed when it was issued")]
    Expired,
    /// The token expired before its response was complete.
    #[error("the access token expired in transit")]
    Late,
    /// The client id, the secret or a parameter cannot be sent.
    #[error("the token request could not be built")]
    Request,
    /// A file of the credential is missing or invalid.
    #[error("a file of the credential cannot be used")]
    Files,
    /// The file that another program keeps fresh has no usable token.
    #[error("{0}")]
    TokenFile(TokenFileFault),
    /// The answer of a login has no token at the configured place, or one that is invalid in a
    /// header.
    #[error("the answer has no usable token where `login.token` points")]
    LoginToken,
    #[error(
        "the answer has no number of seconds and no RFC 3339 time where `login.expiresIn` points"
    )]
    LoginExpiry,
    /// Too many callers wait for a token.
    #[error("too many callers wait for a token")]
    Busy,
    /// The program that renews it has stopped, or renews it too late.
    #[error("the assertion in `assertionFile` has expired: check the program that renews the file")]
    AssertionExpired,
    /// The sidecar is stopping, or the background task is not running.
    #[error("token fetching has stopped")]
    Stopped,
}

impl FetchError {
    /// A stable code for metrics; the set is bounded.
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
            Self::ErrorAnswer(_)
            | Self::Malformed
            | Self::AccessToken
            | Self::LoginToken
            | Self::LoginExpiry
            | Self::TokenType(_)
            | Self::NotBound => "malformed_answer",
            Self::Expired | Self::Late => "expired",
            Self::Request => "request",
            Self::Files | Self::AssertionExpired => "files",
            Self::TokenFile(fault) => fault.code(),
            Self::Busy => "busy",
            Self::Stopped => "stopped",
        }
    }

    /// The error code of the authority's answer, if it is a standard one.
    #[must_use]
    pub fn refused_with(self) -> Option<&'static str> {
        match self {
            Self::Refused { code, .. } => Some(code.as_str()),
            _ => None,
        }
    }

    /// Whether the failure may pass by itself: the authority is down, busy or restarting.
    ///
    /// Only such a request is repeated quickly. Others are repeated with growing pauses, because a
    /// wrong secret in quick succession may lock the client out.
    #[must_use]
    pub fn is_transient(self) -> bool {
        match self {
            Self::Metadata(error) | Self::Http(error) => {
                matches!(
                    error,
                    HttpError::Timeout
                        | HttpError::Dns
                        | HttpError::Refused
                        | HttpError::Connect
                        | HttpError::Broken
                        | HttpError::Proxy
                )
            }
            Self::Refused {
                code: ErrorCode::TemporarilyUnavailable | ErrorCode::ServerError,
                ..
            } => true,
            // Some authorities send `invalid_client` with 500. Only a status of overload says more
            // than the code.
            Self::Refused { status, .. } => status != 500 && is_transient_status(status),
            Self::Status(status) | Self::MetadataStatus(status) => is_transient_status(status),
            Self::Late | Self::TokenFile(TokenFileFault::Changing) => true,
            _ => false,
        }
    }
}

/// Statuses of a temporary failure: 408, 425, 429 and every 5xx except 501 and 505.
fn is_transient_status(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502..=504 | 506..=599)
}

/// A failed token request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub error: FetchError,
    pub retry_after: Option<Duration>,
    /// The URL; without an answer also the cause, else the message of a `Status` in it.
    pub place: Option<String>,
}

impl Failure {
    /// A request without a response.
    pub fn unanswered(error: fn(HttpError) -> FetchError, failed: &Failed) -> Self {
        Self {
            place: Some(failed.to_string()),
            ..error(failed.kind()).into()
        }
    }

    /// Adds this URL, unless there is one.
    pub fn at(mut self, url: &Url) -> Self {
        self.place.get_or_insert_with(|| place(url));
        self
    }

    /// Adds the URL and the message of an answer without a token. `sent` are the secrets of the
    /// request, which are removed from the message.
    pub fn answered(self, url: &Url, answer: &HttpAnswer, sent: &[&str]) -> Self {
        let more = answer
            .hint(url)
            .map(str::to_owned)
            .or_else(|| answer.said(url, sent));
        let more = more.map_or(String::new(), |more| format!(": {more}"));
        Self {
            place: Some(place(url) + &more),
            ..self
        }
    }

    /// Adds this file, and more about it.
    pub fn in_file(mut self, file: &Path, more: &str) -> Self {
        self.place = Some(format!("{}{more}", file.display()));
        self
    }

    /// The error and its place.
    pub fn text(&self) -> String {
        match &self.place {
            Some(place) => format!("{} ({place})", self.error),
            None => self.error.to_string(),
        }
    }
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        Self {
            error,
            retry_after: None,
            place: None,
        }
    }
}

/// No access token is available now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no access token is available: {error}")]
pub struct TokenUnavailable {
    /// The cause, for the log and the status page.
    pub error: FetchError,
    /// When to try again; at least a second.
    pub retry_after: Duration,
}

impl TokenUnavailable {
    /// The reason in the answer to a request that needs the token.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self.error {
            FetchError::TokenFile(_) => Reason::TokenFile,
            _ => Reason::TokenUnavailable,
        }
    }

    pub(super) fn new(error: FetchError, retry_after: Duration) -> Self {
        Self {
            error,
            retry_after: retry_after.max(Duration::from_secs(1)),
        }
    }

    /// The value of `Retry-After`: whole seconds, rounded up.
    #[must_use]
    pub fn retry_after_secs(&self) -> u64 {
        self.retry_after.as_secs() + u64::from(self.retry_after.subsec_nanos() > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_temporary_failure_is_transient() {
        let refused = |code, status| FetchError::Refused { code, status };
        for error in [
            FetchError::Http(HttpError::Timeout),
            FetchError::Http(HttpError::Broken),
            FetchError::Metadata(HttpError::Connect),
            FetchError::Status(500),
            FetchError::Status(503),
            FetchError::Status(429),
            refused(ErrorCode::TemporarilyUnavailable, 400),
            refused(ErrorCode::ServerError, 200),
            refused(ErrorCode::InvalidRequest, 429),
            FetchError::Late,
            FetchError::TokenFile(TokenFileFault::Changing),
        ] {
            assert!(error.is_transient(), "{error:?}");
        }
        for error in [
            FetchError::Http(HttpError::Tls),
            FetchError::Http(HttpError::TooLarge),
            refused(ErrorCode::InvalidClient, 401),
            refused(ErrorCode::InvalidClient, 500),
            refused(ErrorCode::InvalidScope, 200),
            FetchError::ErrorAnswer(200),
            FetchError::Malformed,
            FetchError::AccessToken,
            FetchError::TokenType("mac"),
            FetchError::NotBound,
            // An authority that hands out a token of its cache does so again a second later.
            FetchError::Expired,
            FetchError::Status(404),
            FetchError::Status(302),
            FetchError::Status(501),
            FetchError::MetadataStatus(404),
            FetchError::MetadataMalformed,
            FetchError::MetadataIssuer,
            FetchError::MetadataEndpoint,
            FetchError::Request,
            FetchError::Files,
            FetchError::TokenFile(TokenFileFault::Expired),
            FetchError::TokenFile(TokenFileFault::Missing),
        ] {
            assert!(!error.is_transient(), "{error:?}");
        }
    }

    #[test]
    fn retry_after_is_rounded_up_and_never_zero() {
        let secs = |ms| {
            TokenUnavailable::new(FetchError::Stopped, Duration::from_millis(ms)).retry_after_secs()
        };
        assert_eq!([secs(0), secs(1000), secs(1001), secs(1999)], [1, 1, 2, 2]);
    }

    #[test]
    fn the_text_names_code_and_status() {
        let refused = FetchError::Refused {
            code: ErrorCode::InvalidClient,
            status: 401,
        };
        assert_eq!(
            refused.to_string(),
            "the authority refused the token request: invalid_client, status 401"
        );
    }
}
