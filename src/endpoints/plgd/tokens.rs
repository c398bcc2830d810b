//! `GET`, `POST` and `DELETE /api/v1/tokens`.

use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use super::caller::{Caller, UnknownCaller, VerifyCaller};
use super::list::{PAGE, entries};
use super::messages::{self, Spelling};
use super::query::{Query, named_for_end};
use super::status::{Code, error_answer, issue_error_answer};
use crate::endpoints::oauth::TokenEndpoint;
use crate::endpoints::{NO_CACHE, NO_STORE, Peer, line, shown};
use crate::issuer::TokenRequest;
use crate::store::StoreError;
use crate::store::tokens::{Ended, TokenFilter};

/// Makes nginx forward each entry at once, instead of filling its buffers first.
const UNBUFFERED: (HeaderName, HeaderValue) = (
    HeaderName::from_static("x-accel-buffering"),
    HeaderValue::from_static("no"),
);

/// The state of the tokens API.
#[derive(Clone)]
pub(in crate::endpoints) struct TokensApi {
    pub(in crate::endpoints) tokens: TokenEndpoint,
    pub(in crate::endpoints) callers: VerifyCaller,
}

/// The tokens API, to be mounted at its path.
pub(in crate::endpoints) fn tokens_api(api: TokensApi) -> MethodRouter {
    get(list)
        .post(create)
        .delete(end)
        .fallback(no_such_method)
        .with_state(api)
}

async fn no_such_method() -> Response {
    error_answer(
        Code::Unimplemented,
        "this endpoint does not have this method",
    )
}

/// `POST`: issues a token, as the token endpoint does.
async fn create(
    State(api): State<TokensApi>,
    peer: Peer,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return api.tokens.refuse_body(rejection.status(), &peer),
    };
    let claims = api.tokens.issuer.claim_parameters();
    let request = TokenRequest::parse_protojson(claims, &headers, &body);
    let at = (uri.path(), &peer);
    match api.tokens.issue(&request, &headers, &body, at).await {
        Ok(response) => message_answer(&headers, messages::created(&response)),
        Err(error) => issue_error_answer(error),
    }
}

/// `GET`: the caller's tokens, the oldest first, one JSON object per line. An access token of this
/// issuer sees only itself.
async fn list(
    State(api): State<TokensApi>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let caller = match (api.callers)(headers.clone()).await {
        Ok(caller) => caller,
        Err(unknown) => return unknown_caller(unknown),
    };
    let query = match Query::parse(query.as_deref().unwrap_or_default()) {
        Ok(query) => query,
        Err(message) => return error_answer(Code::InvalidArgument, message),
    };
    let spelling = Spelling::accepted(&headers);
    let without_revoked = !query.include_blacklisted;
    let filter = match caller {
        Caller::Token {
            jti,
            is_revoked: true,
        } => {
            return if query.names(&jti) && query.include_blacklisted {
                own_revoked_entry(&api, jti, spelling).await
            } else {
                unknown_caller(UnknownCaller::Unauthenticated)
            };
        }
        Caller::Token { jti, .. } => query.names(&jti).then(|| of_token(jti)),
        Caller::Owner { owner, issuer } => query.may_name_some().then(|| {
            let of_owner = api.tokens.issuer.registry().of_owner(owner, &issuer);
            TokenFilter {
                jtis: query.ids,
                ..of_owner
            }
        }),
    };
    let Some(filter) = filter else {
        return ndjson(spelling, 0, Body::empty());
    };
    let filter = TokenFilter {
        without_revoked,
        limit: Some(PAGE),
        ..filter
    };
    // Before the answer begins, so that an unavailable store is an error, not an empty list.
    match api.tokens.issuer.registry().list(&filter).await {
        Ok(first) => {
            let count = first.len();
            ndjson(
                spelling,
                count,
                entries(api.tokens.issuer, filter, first, spelling),
            )
        }
        Err(error) => unavailable(&error),
    }
}

fn of_token(jti: String) -> TokenFilter {
    TokenFilter {
        jtis: vec![jti],
        ..TokenFilter::default()
    }
}

/// A revoked token gets its own entry if that says that it is revoked, and 401 otherwise: plgd's
/// services take any other entry as a sign that the token is valid.
async fn own_revoked_entry(api: &TokensApi, jti: String, spelling: Spelling) -> Response {
    match api.tokens.issuer.registry().list(&of_token(jti)).await {
        Ok(found) => match found.first().filter(|token| token.revoked_at.is_some()) {
            Some(token) => ndjson(
                spelling,
                1,
                Body::from(spelling.write_entry(messages::token(token))),
            ),
            None => unknown_caller(UnknownCaller::Unauthenticated),
        },
        Err(error) => unavailable(&error),
    }
}

/// `DELETE`: revokes those of the caller's tokens that the request names, at least one. An access
/// token of this issuer revokes only itself.
async fn end(
    State(api): State<TokensApi>,
    peer: Peer,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let caller = match (api.callers)(headers.clone()).await {
        Ok(Caller::Token {
            is_revoked: true, ..
        }) => {
            return unknown_caller(UnknownCaller::Unauthenticated);
        }
        Ok(caller) => caller,
        Err(unknown) => return unknown_caller(unknown),
    };
    let jtis = match named_for_end(query.as_deref().unwrap_or_default(), body) {
        Ok(jtis) => jtis,
        Err(message) => return error_answer(Code::InvalidArgument, message),
    };
    let registry = api.tokens.issuer.registry();
    let (filter, owner) = match caller {
        Caller::Owner { owner, issuer } => (
            registry.of_owner(owner.clone(), &issuer),
            Some((owner, issuer)),
        ),
        Caller::Token { jti, .. } if jtis.iter().all(|named| *named == jti) => {
            (TokenFilter::default(), None)
        }
        Caller::Token { .. } => {
            let message = "an M2M token may revoke no token but itself";
            return error_answer(Code::PermissionDenied, message);
        }
    };
    let filter = TokenFilter { jtis, ..filter };
    let result = registry.end(&filter).await;
    record_end(owner.as_ref(), &result, &peer);
    match result {
        Ok(ended) => message_answer(&headers, messages::deleted(&ended)),
        Err(error) => unavailable(&error),
    }
}

/// Writes an audit line for each revoked token, or for the failure.
fn record_end(owner: Option<&(String, String)>, result: &Result<Ended, StoreError>, peer: &Peer) {
    let message = if owner.is_some() {
        "tokens of an owner"
    } else {
        "token by itself"
    };
    let (owner, owner_issuer) = owner.map(|(owner, issuer)| (&**owner, &**issuer)).unzip();
    let Ok(ended) = result else {
        let outcome = "temporarily_unavailable";
        let peer = shown(peer);
        tracing::info!(target: "audit", owner, owner_issuer, outcome, peer, "{message}");
        return;
    };
    for token in &ended.revoked {
        tracing::info!(
            target: "audit",
            owner,
            owner_issuer,
            client_id = token.client_id,
            outcome = "revoked",
            jti = token.jti,
            peer = shown(peer),
            "{message}"
        );
    }
}

fn unknown_caller(unknown: UnknownCaller) -> Response {
    match unknown {
        UnknownCaller::Unauthenticated => error_answer(
            Code::Unauthenticated,
            "a valid bearer token with an owner is needed",
        ),
        UnknownCaller::Unavailable => {
            error_answer(Code::Unavailable, "the bearer token cannot be verified now")
        }
    }
}

fn unavailable(error: &StoreError) -> Response {
    tracing::warn!(%error, "the tokens API cannot answer");
    error_answer(Code::Unavailable, "the store is not available")
}

fn message_answer(headers: &HeaderMap, message: serde_json::Value) -> Response {
    let spelling = Spelling::accepted(headers);
    let body = line(spelling.write(message));
    ([spelling.content_type(), NO_STORE, NO_CACHE], body).into_response()
}

/// A list that begins with so many entries. Without entries it is an empty body without a type, as
/// plgd's server sends it.
fn ndjson(spelling: Spelling, entries: usize, body: Body) -> Response {
    let common = [NO_STORE, NO_CACHE];
    match entries {
        0 => (common, ()).into_response(),
        1 => (common, [spelling.content_type()], body).into_response(),
        _ => (common, [spelling.content_type(), UNBUFFERED], body).into_response(),
    }
}
