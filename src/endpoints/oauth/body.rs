//! The bodies of requests to the issuer's endpoints.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::response::Response;
use http::StatusCode;

use crate::domain::oauth::ErrorCode;
use crate::endpoints::plain_error_answer;

/// The largest body, in bytes.
pub(super) const MAX_BODY: usize = 64 * 1024;

/// A complete body. An incomplete or oversized one is answered with an error.
pub(super) struct WholeBody(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for WholeBody {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        Bytes::from_request(request, state)
            .await
            .map(Self)
            .map_err(|rejection| {
                let status = rejection.status();
                plain_error_answer(
                    status,
                    ErrorCode::InvalidRequest.as_str(),
                    body_error(status),
                )
            })
    }
}

/// The description of a body that was rejected with a status.
pub(in crate::endpoints) fn body_error(status: StatusCode) -> &'static str {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => "the request body is larger than 64 KiB",
        _ => "the request body could not be read",
    }
}
