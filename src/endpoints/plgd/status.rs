//! Errors as google.rpc.Status, the form that plgd's services read.

use axum::response::{IntoResponse, Response};
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

use crate::domain::oauth::ErrorCode;
use crate::endpoints::{JSON, NO_CACHE, NO_SNIFF, NO_STORE, line};
use crate::issuer::TokenError;

/// A 401 needs a challenge (RFC 9110 §15.5.2).
const BASIC: &str = r#"Basic realm="m2m-sidecar""#;

/// A code of google.rpc.Code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    InvalidArgument = 3,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

impl Code {
    fn http(self) -> StatusCode {
        match self {
            Self::InvalidArgument => StatusCode::BAD_REQUEST,
            Self::PermissionDenied => StatusCode::FORBIDDEN,
            Self::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Self::Unimplemented => StatusCode::METHOD_NOT_ALLOWED,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
        }
    }

    fn of(error: TokenError) -> Self {
        match error {
            // As plgd's server answers, and its tests require.
            TokenError::Expiration => Self::Unauthenticated,
            TokenError::TooManyFailures { .. } | TokenError::TooManyTokens { .. } => {
                Self::ResourceExhausted
            }
            other => match other.code() {
                ErrorCode::InvalidClient => Self::Unauthenticated,
                ErrorCode::TemporarilyUnavailable => Self::Unavailable,
                ErrorCode::ServerError => Self::Internal,
                _ => Self::InvalidArgument,
            },
        }
    }
}

/// The members of a google.rpc.Status.
pub(super) fn status(code: Code, message: &str) -> Value {
    json!({ "code": code as u8, "message": message, "details": [] })
}

/// An error of the tokens API: a Status only, because plgd's services accept no other member.
pub(super) fn error_answer(code: Code, message: &str) -> Response {
    answer(code, &status(code, message), Some("Bearer"))
}

/// An error of the tokens API when it issues a token.
pub(super) fn issue_error_answer(error: TokenError) -> Response {
    let code = Code::of(error);
    retried_later(
        answer(code, &status(code, &error.to_string()), Some(BASIC)),
        error,
    )
}

/// An error of the token endpoint: the members of RFC 6749 §5.2 and of a Status.
pub(in crate::endpoints) fn token_error_answer(error: TokenError) -> Response {
    let code = Code::of(error);
    let mut body = status(code, &error.to_string());
    body["error"] = error.code().as_str().into();
    body["error_description"] = error.to_string().into();
    retried_later(answer(code, &body, challenge(error)), error)
}

fn retried_later(mut answer: Response, error: TokenError) -> Response {
    if let TokenError::TooManyFailures { retry_after } | TokenError::TooManyTokens { retry_after } =
        error
    {
        answer
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(retry_after));
    }
    answer
}

fn challenge(error: TokenError) -> Option<&'static str> {
    error.needs_challenge().then_some(BASIC)
}

fn answer(code: Code, body: &Value, challenge: Option<&'static str>) -> Response {
    let mut answer = (
        code.http(),
        [JSON, NO_STORE, NO_CACHE, NO_SNIFF],
        line(body.to_string()),
    )
        .into_response();
    if let Some(challenge) = challenge.filter(|_| code == Code::Unauthenticated) {
        answer
            .headers_mut()
            .insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    if code == Code::Unavailable {
        answer
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    answer
}
