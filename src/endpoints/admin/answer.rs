//! Answers of the management API: JSON, and one form of errors.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value};

use super::wire::{ErrorBody, ErrorDetail};
use crate::domain::claims::{Claims, JsonFault};
use crate::endpoints::{JSON, line};
use crate::issuer::management::ManagementError;
use crate::issuer::registration::FieldProblem;

/// Why a request is refused.
#[derive(Debug)]
pub(super) enum Refusal {
    /// This sidecar issues no tokens.
    NoIssuer,
    /// The `Host` is a name that any DNS zone could point here.
    Host,
    /// A page of another site asks.
    CrossSite,
    /// There is no admin token, or a wrong one.
    Token,
    /// Too many wrong ones; after this time the next is looked at.
    TooManyWrongTokens(Duration),
    /// The body's media type is missing or not JSON.
    ContentType,
    /// The body is no JSON object.
    Body(JsonFault),
    /// The body is too large, or broke off.
    BodyUnread(StatusCode),
    /// A parameter of the query is wrong.
    Query(Vec<FieldProblem>),
    /// The change failed.
    Management(ManagementError),
}

impl From<ManagementError> for Refusal {
    fn from(error: ManagementError) -> Self {
        Self::Management(error)
    }
}

impl Refusal {
    /// Status, and the code in the body.
    pub(super) fn code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NoIssuer | Self::Management(ManagementError::NotFound(_)) => {
                (StatusCode::NOT_FOUND, "not_found")
            }
            Self::Host => (StatusCode::MISDIRECTED_REQUEST, "misdirected_request"),
            Self::CrossSite => (StatusCode::FORBIDDEN, "cross_site_request"),
            Self::Token => (StatusCode::UNAUTHORIZED, "invalid_token"),
            Self::TooManyWrongTokens(_) => (StatusCode::TOO_MANY_REQUESTS, "too_many_requests"),
            Self::ContentType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"),
            Self::BodyUnread(status) => (*status, "invalid_request"),
            Self::Body(_) | Self::Query(_) => (StatusCode::BAD_REQUEST, "invalid_request"),
            // RFC 7591 §3.2.2.
            Self::Management(ManagementError::Invalid(_)) => {
                (StatusCode::BAD_REQUEST, "invalid_client_metadata")
            }
            Self::Management(ManagementError::Conflict(_)) => (StatusCode::CONFLICT, "conflict"),
            Self::Management(ManagementError::Unavailable | ManagementError::Unwritable(_)) => {
                (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable")
            }
        }
    }

    /// Why, in one text for the audit log: with the names of the members that are wrong.
    pub(super) fn cause(&self) -> String {
        let mut cause = self.description();
        for (place, problem) in self.problems().iter().enumerate() {
            cause.push_str(if place == 0 { ": " } else { ", " });
            cause.push_str(&problem.field);
        }
        cause
    }

    fn problems(&self) -> &[FieldProblem] {
        match self {
            Self::Query(problems) | Self::Management(ManagementError::Invalid(problems)) => {
                problems
            }
            _ => &[],
        }
    }

    fn description(&self) -> String {
        let constant = match self {
            Self::NoIssuer => "this sidecar has no issuer: there are no clients to manage",
            Self::Host => {
                "the Host is not an IP address or localhost; other names stand in admin.hosts"
            }
            Self::CrossSite => "a page of another site may not ask",
            Self::Token => "the admin token is missing or wrong",
            Self::TooManyWrongTokens(_) => "too many wrong tokens came from this address",
            Self::ContentType => "the content type must be application/json",
            Self::Body(fault) => {
                return format!("the body must be a JSON object without repeated members: {fault}");
            }
            Self::BodyUnread(StatusCode::PAYLOAD_TOO_LARGE) => {
                "the request body is larger than 64 KiB"
            }
            Self::BodyUnread(_) => "the request body could not be read",
            Self::Query(_) => "the query is not valid",
            Self::Management(error) => return error.to_string(),
        };
        constant.to_owned()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, error) = self.code();
        let error_description = self.description();
        let detail = |it: &FieldProblem| ErrorDetail {
            field: it.field.clone(),
            problem: it.problem.clone(),
        };
        let details = self.problems().iter().map(detail).collect();
        let mut answer = json(
            status,
            &ErrorBody {
                error: error.to_owned(),
                error_description,
                details,
            },
        );
        let headers = answer.headers_mut();
        match &self {
            Self::Token => {
                let challenge = r#"Bearer realm="m2m-sidecar admin", error="invalid_token""#;
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            }
            Self::TooManyWrongTokens(wait) => {
                headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1));
            }
            Self::Management(ManagementError::Unavailable | ManagementError::Unwritable(_)) => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        answer
    }
}

/// An answer with a JSON body.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_string(body) {
        Ok(text) => (status, [JSON], line(text)).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// JSON that is text already.
pub(super) fn json_text(text: String) -> Response {
    ([JSON], line(text)).into_response()
}

/// A body that is a JSON object; none at all counts as an empty one.
pub(super) struct Object(pub Map<String, Value>);

impl<S: Send + Sync> FromRequest<S> for Object {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let body = Bytes::from_request(request, state).await;
        let body =
            body.map_err(|rejection: BytesRejection| Refusal::BodyUnread(rejection.status()))?;
        if body.is_empty() {
            return Ok(Self(Map::new()));
        }
        // A member that stands there twice would be read by others as its other value.
        Claims::parse_or_explain(&body)
            .map(|object| Self(object.as_map().clone()))
            .map_err(Refusal::Body)
    }
}
