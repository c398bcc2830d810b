//! `POST /exchange`: a token for another service in exchange for that of a caller.

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};

use super::parameters::Parameters;
use super::{Api, answer, no_such_credential, token_of, unavailable};
use crate::domain::secret::ExposeSecret;
use crate::endpoints::error_answer;
use crate::token_source::{NotExchanged, Subject, TokenSource};

/// `POST /api/v1/token` as NAIS Texas has it: the token of a credential.
pub(super) async fn token(State(api): State<Api>, headers: HeaderMap, body: Bytes) -> Response {
    let parameters = match Parameters::parse(&headers, &body) {
        Ok(parameters) => parameters,
        Err(text) => return error_answer(StatusCode::BAD_REQUEST, "invalid_request", text),
    };
    let found = parameters.identity_provider.as_ref();
    let Some(source) = found.and_then(|name| api.sources.get(name)) else {
        return no_such_credential().await;
    };
    if let Some(answer) = unknown_target(&parameters, source) {
        return answer;
    }
    token_of(source, parameters.skip_cache).await
}

/// `POST /exchange`, and `POST /api/v1/token/exchange` as NAIS Texas has it.
pub(super) async fn exchange(State(api): State<Api>, headers: HeaderMap, body: Bytes) -> Response {
    let parameters = match Parameters::parse(&headers, &body) {
        Ok(parameters) => parameters,
        Err(text) => return error_answer(StatusCode::BAD_REQUEST, "invalid_request", text),
    };
    let found = parameters.identity_provider.as_ref();
    let Some(source) = found.and_then(|name| api.exchanging.get(name)) else {
        return no_such_credential().await;
    };
    if let Some(answer) = unknown_target(&parameters, source) {
        return answer;
    }
    let Some(user_token) = &parameters.user_token else {
        let text = "`user_token` is missing: the token of the caller";
        return error_answer(StatusCode::BAD_REQUEST, "invalid_request", text);
    };
    match source
        .token_for(&Subject::new(user_token.expose_secret()))
        .await
    {
        Ok(token) => answer(&token, source.usable_for(&token)),
        Err(NotExchanged::Refused(error)) => {
            let code = error.refused_with().unwrap_or("invalid_request");
            error_answer(StatusCode::BAD_REQUEST, code, &error.to_string())
        }
        Err(NotExchanged::Unavailable(reason)) => unavailable(&reason),
    }
}

/// The error of a `target` that the credential does not request. Texas requests a token for the
/// target of each call; here the credential names its audiences.
fn unknown_target(parameters: &Parameters, source: &TokenSource) -> Option<Response> {
    let target = parameters.target.as_ref()?;
    let config = source.config();
    let mut known = config.audiences.iter().chain(&config.resources);
    if known.any(|known| known == target) {
        return None;
    }
    let text = "`target` is none of the `audiences` and `resource` of the credential: choose \
                another credential as `identity_provider`, or leave `target` out";
    Some(error_answer(
        StatusCode::BAD_REQUEST,
        "invalid_target",
        text,
    ))
}
