//! `GET`, `POST` and `DELETE /api/v1/tokens`.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use futures_util::stream;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::json;

use super::messages::{self, Spelling};
use super::status::{Code, error_answer, issue_error_answer, status};
use super::{Caller, TokensApi, UnknownCaller};
use crate::endpoints::oauth::why_no_body;
use crate::endpoints::{NO_CACHE, NO_STORE, Peer, line, shown};
use crate::issuer::{Issuer, TokenRequest};
use crate::store::StoreError;
use crate::store::tokens::{TokenFilter, TokenRecord};

/// The most ids of one request. plgd's web page sends 50.
const MAX_IDS: usize = 500;
/// How many tokens are read at once.
const PAGE: u32 = 500;

/// The tokens API, to be mounted at its path.
pub(in crate::endpoints) fn tokens_api(api: TokensApi) -> MethodRouter {
    get(list).post(create).delete(end).fallback(no_such_method).with_state(api)
}

async fn no_such_method() -> Response {
    error_answer(Code::Unimplemented, "this endpoint does not have this method")
}

/// `POST`: issues a token, as the token endpoint does.
async fn create(
    State(api): State<TokensApi>,
    peer: Peer,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) => {
            api.tokens.refuse_body(rejection.status(), &peer);
            return error_answer(Code::InvalidArgument, why_no_body(rejection.status()));
        }
    };
    let request = TokenRequest::parse_protojson(&headers, &body);
    match api.tokens.issue(request, (&headers, &body), &peer).await {
        Ok(response) => message_answer(&headers, messages::created(&response)),
        Err(error) => issue_error_answer(error),
    }
}

/// `GET`: the caller's tokens, one JSON object a line; to an access token of ours only itself.
async fn list(State(api): State<TokensApi>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let caller = match (api.callers)(headers.clone()).await {
        Ok(caller) => caller,
        Err(why) => return unknown_caller(why),
    };
    let query = match Query::parse(query.as_deref().unwrap_or_default()) {
        Ok(query) => query,
        Err(message) => return error_answer(Code::InvalidArgument, message),
    };
    let whose = match caller {
        Caller::Owner { owner, issuer } => {
            TokenFilter { jtis: query.ids, ..api.tokens.issuer.of_owner(owner, issuer) }
        }
        // Its holder may be anyone whom it was sent to.
        Caller::Token(jti) if query.ids.is_empty() || query.ids.contains(&jti) => {
            TokenFilter { jtis: vec![jti], ..TokenFilter::default() }
        }
        Caller::Token(_) => return ndjson(Spelling::accepted(&headers), Body::empty()),
    };
    let filter = TokenFilter { without_revoked: !query.include_blacklisted, limit: Some(PAGE), ..whose };
    let spelling = Spelling::accepted(&headers);
    // Before the answer begins: a store that does not answer is an error, not an empty list.
    match api.tokens.issuer.kept_tokens(&filter).await {
        Ok(first) => ndjson(spelling, lines(api.tokens.issuer, filter, first, spelling)),
        Err(error) => unavailable(&error),
    }
}

/// The first page, and those after it as they are read.
fn lines(issuer: Arc<Issuer>, filter: TokenFilter, first: Vec<TokenRecord>, spelling: Spelling) -> Body {
    let state = Some((filter, Some(first)));
    Body::from_stream(stream::unfold(state, move |state| {
        let issuer = issuer.clone();
        async move {
            let (mut filter, page) = state?;
            let page = match page {
                Some(page) => Ok(page),
                None => issuer.kept_tokens(&filter).await,
            };
            let Ok(page) = page else {
                let error = json!({ "error": status(Code::Unavailable, "the store is not available") });
                return Some((Ok::<_, std::convert::Infallible>(format!("{error}\n")), None));
            };
            let last = page.last()?;
            filter.after = Some((last.issued_at, last.jti.clone()));
            let next = (page.len() >= PAGE as usize).then_some((filter, None));
            let line = |record| spelling.write(json!({ "result": messages::token(record) })) + "\n";
            Some((Ok(page.iter().map(line).collect::<String>()), next))
        }
    }))
}

/// `DELETE`: revokes those of the caller's tokens that are named. Naming none is an error, not "all".
async fn end(
    State(api): State<TokensApi>,
    peer: Peer,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let (owner, owner_issuer) = match (api.callers)(headers.clone()).await {
        Ok(Caller::Owner { owner, issuer }) => (owner, issuer),
        Ok(Caller::Token(_)) => {
            return error_answer(Code::PermissionDenied, "an M2M token may not revoke tokens");
        }
        Err(why) => return unknown_caller(why),
    };
    let named = Query::parse(query.as_deref().unwrap_or_default()).and_then(|query| {
        let body = body.map_err(|rejection| why_no_body(rejection.status()))?;
        bounded([query.ids, ids_of_body(&body)?].concat())
    });
    let jtis = match named {
        Ok(ids) if ids.is_empty() => {
            return error_answer(Code::InvalidArgument, "idFilter must name the tokens to revoke");
        }
        Ok(ids) => ids,
        Err(message) => return error_answer(Code::InvalidArgument, message),
    };
    let filter = TokenFilter { jtis, ..api.tokens.issuer.of_owner(owner.clone(), owner_issuer.clone()) };
    match api.tokens.issuer.end_tokens(&filter).await {
        Ok(ended) => {
            for token in &ended.revoked {
                let (client_id, jti) = (&token.client_id, &token.jti);
                tracing::info!(target: "audit", owner, owner_issuer, client_id, outcome = "revoked", jti, peer = shown(&peer), "token of an owner");
            }
            message_answer(&headers, messages::deleted(&ended))
        }
        Err(error) => {
            tracing::info!(target: "audit", owner, owner_issuer, outcome = "temporarily_unavailable", peer = shown(&peer), "tokens of an owner");
            unavailable(&error)
        }
    }
}

/// What the query of a request asks for.
#[derive(Debug, Default, PartialEq)]
struct Query {
    ids: Vec<String>,
    include_blacklisted: bool,
}

impl Query {
    /// Protobuf's names are in either case; unknown ones are ignored, as there.
    fn parse(text: &str) -> Result<Self, &'static str> {
        let mut query = Self::default();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            match &*name {
                "idFilter" | "id_filter" if !value.is_empty() => query.ids.push(value.into_owned()),
                "includeBlacklisted" | "include_blacklisted" => {
                    query.include_blacklisted = match &*value {
                        "true" | "1" => true,
                        "false" | "0" => false,
                        _ => return Err("includeBlacklisted must be true or false"),
                    };
                }
                _ => {}
            }
        }
        query.ids = bounded(query.ids)?;
        Ok(query)
    }
}

/// plgd's web page repeats the ids in the body.
fn ids_of_body(body: &[u8]) -> Result<Vec<String>, &'static str> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Request {
        #[serde(alias = "id_filter", rename = "idFilter")]
        id_filter: Vec<String>,
    }
    if body.is_empty() {
        return Ok(Vec::new());
    }
    let request: Request = serde_json::from_slice(body).map_err(|_| "the request body is malformed")?;
    Ok(request.id_filter.into_iter().filter(|id| !id.is_empty()).collect())
}

fn bounded(mut ids: Vec<String>) -> Result<Vec<String>, &'static str> {
    ids.sort_unstable();
    ids.dedup();
    if ids.len() <= MAX_IDS { Ok(ids) } else { Err("idFilter names too many tokens") }
}

fn unknown_caller(why: UnknownCaller) -> Response {
    match why {
        UnknownCaller::Unauthenticated => {
            error_answer(Code::Unauthenticated, "a valid bearer token with an owner is needed")
        }
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
    ([spelling.content_type(), NO_STORE, NO_CACHE], line(spelling.write(message))).into_response()
}

fn ndjson(spelling: Spelling, body: Body) -> Response {
    ([spelling.content_type(), NO_STORE, NO_CACHE], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_in_both_cases_and_what_it_does_not_know_is_ignored() {
        let query =
            Query::parse("idFilter=b&id_filter=a&idFilter=b&idFilter=&x=1&includeBlacklisted=true").unwrap();
        assert_eq!(query, Query { ids: vec!["a".into(), "b".into()], include_blacklisted: true });
        assert_eq!(Query::parse("").unwrap(), Query::default());
        assert!(Query::parse("includeBlacklisted=maybe").is_err());
        let many: String = (0..=MAX_IDS).map(|n| format!("idFilter={n}&")).collect();
        assert!(Query::parse(&many).is_err());
    }

    #[test]
    fn a_body_may_name_ids_too() {
        assert_eq!(ids_of_body(br#"{"idFilter":["a",""],"x":1}"#).unwrap(), ["a"]);
        assert_eq!(ids_of_body(br#"{"id_filter":["a"]}"#).unwrap(), ["a"]);
        assert!(ids_of_body(b"").unwrap().is_empty());
        for bad in [&b"{"[..], b"[]x", br#"{"idFilter":"a"}"#] {
            assert!(ids_of_body(bad).is_err());
        }
    }
}
