//! The errors of the issuer's endpoints (RFC 6749 §5.2).

use axum::response::Response;
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};

use crate::domain::oauth::ErrorCode;
use crate::endpoints::error_answer;
use crate::issuer::TokenError;

pub(super) fn token_error_answer(error: TokenError) -> Response {
    let code = error.code();
    let mut answer = error_answer(status(code), code.as_str(), &error.to_string());
    if code == ErrorCode::TemporarilyUnavailable {
        answer
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if let TokenError::TooManyFailures { retry_after } | TokenError::TooManyTokens { retry_after } =
        error
    {
        // RFC 6585 §4. RFC 6749 has no code for it; the nearest one is `temporarily_unavailable`.
        *answer.status_mut() = StatusCode::TOO_MANY_REQUESTS;
        answer.headers_mut().insert(RETRY_AFTER, retry_after.into());
    }
    if error.needs_challenge() {
        let challenge = HeaderValue::from_static(r#"Basic realm="m2m-sidecar""#);
        answer.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    answer
}

fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::InvalidClient => StatusCode::UNAUTHORIZED,
        ErrorCode::TemporarilyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::ServerError => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorCode::InvalidRequest
        | ErrorCode::InvalidGrant
        | ErrorCode::UnauthorizedClient
        | ErrorCode::UnsupportedGrantType
        | ErrorCode::InvalidScope
        | ErrorCode::InvalidTarget
        | ErrorCode::InvalidDpopProof
        | ErrorCode::UseDpopNonce => StatusCode::BAD_REQUEST,
    }
}
