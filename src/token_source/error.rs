//! Why there is no access token: in our words. Beside them stands the message of a
//! google.rpc.Status, escaped and cut.

use std::time::Duration;

use url::Url;

use crate::domain::oauth::ErrorCode;
use crate::http_client::{Failed, HttpAnswer, HttpError, place};

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
    /// The authority answered with this status of success and an error that is none of the RFCs'
    /// codes.
    #[error(
        "the authority answered the token request with status {0} and an error instead of a token"
    )]
    ErrorAnswer(u16),
    /// The answer is no JSON object.
    #[error("the token answer is not a JSON object")]
    Malformed,
    /// The answer has no `access_token`, or one that cannot stand in a header.
    #[error("the token answer has no usable access_token")]
    AccessToken,
    /// The answer's `token_type` is this one, and not Bearer.
    #[error("the token answer's token_type is {0}: a bearer header cannot carry such a token")]
    TokenType(&'static str),
    /// The token had expired when it was issued, by its own `exp`.
    #[error("the access token's exp had passed when it was issued")]
    Expired,
    /// The token lived for less time than its answer took.
    #[error("the access token expired on its way")]
    Late,
    /// The client id, the secret or a parameter cannot be sent.
    #[error("the token request could not be built")]
    Request,
    /// A file of the credential is not there any more, or does not hold what it should.
    #[error("a file of the credential cannot be used")]
    Files,
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
            Self::ErrorAnswer(_) | Self::Malformed | Self::AccessToken | Self::TokenType(_) => {
                "malformed_answer"
            }
            Self::Expired | Self::Late => "expired",
            Self::Request => "request",
            Self::Files => "files",
            Self::Stopped => "stopped",
        }
    }

    /// Whether time alone can heal it: the authority is down, busy or restarting.
    ///
    /// Only such a request is repeated in a hurry. Everything else is repeated too, for a secret, a
    /// certificate or an authority can be put right, but in growing pauses however many callers ask
    /// for a token: a wrong secret sent in quick succession gets a client locked out.
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
                )
            }
            Self::Refused {
                code: ErrorCode::TemporarilyUnavailable | ErrorCode::ServerError,
                ..
            } => true,
            // Some authorities say `invalid_client` with 500. Only a status that speaks of load
            // says more than the code.
            Self::Refused { status, .. } => status != 500 && is_transient_status(status),
            Self::Status(status) | Self::MetadataStatus(status) => is_transient_status(status),
            Self::Late => true,
            _ => false,
        }
    }
}

/// Statuses that speak of the moment and not of the request: 408, 425, 429 and every 5xx but those
/// that say "never".
fn is_transient_status(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502..=504 | 506..=599)
}

/// A failed token request, with what the authority said about the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub error: FetchError,
    pub retry_after: Option<Duration>,
    /// Which URL was asked; when there was no answer also why, and else what a Status in it says.
    pub place: Option<String>,
}

impl Failure {
    /// A request that got no answer.
    pub fn unanswered(error: fn(HttpError) -> FetchError, failed: &Failed) -> Self {
        Self {
            place: Some(failed.to_string()),
            ..error(failed.kind()).into()
        }
    }

    /// The same, naming this URL unless it names one.
    pub fn at(mut self, url: &Url) -> Self {
        self.place.get_or_insert_with(|| place(url));
        self
    }

    /// The same, for an answer of this URL that brings no token. `sent`: the secrets of the
    /// request, which the answer may repeat.
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

    /// The error and its place, for people.
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
        Self {
            error,
            retry_after: retry_after.max(Duration::from_secs(1)),
        }
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
    fn time_heals_an_authority_that_is_away_or_busy_and_nothing_else() {
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
