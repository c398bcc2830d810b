//! `GET`, `POST` and `DELETE /api/v1/tokens`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue};
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

/// The most ids of one request. A head or a body of 64 KiB holds fewer UUIDs.
const MAX_IDS: usize = 2000;
/// How many tokens are read at once.
const PAGE: u32 = 50;
/// How many bytes of entries a list holds for its reader, who may be slow, and an entry more: each
/// may have all claims of a large JWT.
const HELD: usize = 64 * 1024;
/// The pause before each entry of a list but its first. A proxy such as nginx reads what has come
/// and sends it on as one chunk: with the pause it finds one entry.
const PAUSE: Duration = Duration::from_millis(1);
/// How many entries have a pause. So it takes a list no more than a second or two longer, and the
/// entries beyond depend on their lengths alone: see [`Spelling::write_entry`].
const PAUSES: usize = 1000;

/// Has nginx pass each entry on as it comes, instead of filling its buffers first.
const UNBUFFERED: (HeaderName, HeaderValue) = (
    HeaderName::from_static("x-accel-buffering"),
    HeaderValue::from_static("no"),
);

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
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return api.tokens.refuse_body(rejection.status(), &peer),
    };
    let request = TokenRequest::parse_protojson(&headers, &body);
    match api.tokens.issue(request, (&headers, &body), &peer).await {
        Ok(response) => message_answer(&headers, messages::created(&response)),
        Err(error) => issue_error_answer(error),
    }
}

/// `GET`: the caller's tokens, the oldest first, one JSON object a line; to an access token of ours
/// only itself.
async fn list(
    State(api): State<TokensApi>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let caller = match (api.callers)(headers.clone()).await {
        Ok(caller) => caller,
        Err(why) => return unknown_caller(why),
    };
    let query = match Query::parse(query.as_deref().unwrap_or_default()) {
        Ok(query) => query,
        Err(message) => return error_answer(Code::InvalidArgument, message),
    };
    let spelling = Spelling::accepted(&headers);
    let without_revoked = !query.include_blacklisted;
    let whose = match caller {
        Caller::Token { jti, is_revoked } => {
            let own = query.names(&jti);
            if is_revoked {
                return if own && query.include_blacklisted {
                    own_revoked_entry(&api, jti, spelling).await
                } else {
                    unknown_caller(UnknownCaller::Unauthenticated)
                };
            }
            // Its holder may be anyone whom it was sent to.
            own.then(|| TokenFilter {
                jtis: vec![jti],
                ..TokenFilter::default()
            })
        }
        Caller::Owner { owner, issuer } => query.may_name_some().then(|| TokenFilter {
            jtis: query.ids,
            ..api.tokens.issuer.of_owner(owner, issuer)
        }),
    };
    let Some(whose) = whose else {
        return ndjson(spelling, 0, Body::empty());
    };
    let filter = TokenFilter {
        without_revoked,
        limit: Some(PAGE),
        ..whose
    };
    // Before the answer begins: a store that does not answer is an error, not an empty list.
    match api.tokens.issuer.listed_tokens(&filter).await {
        Ok(first) => ndjson(
            spelling,
            first.len(),
            entries(api.tokens.issuer, filter, first, spelling),
        ),
        Err(error) => unavailable(&error),
    }
}

/// What a revoked token reads about itself: its entry where that says that it is revoked, and 401
/// otherwise. plgd's services take any other entry for a sign that the token is good.
async fn own_revoked_entry(api: &TokensApi, jti: String, spelling: Spelling) -> Response {
    let filter = TokenFilter {
        jtis: vec![jti],
        ..TokenFilter::default()
    };
    match api.tokens.issuer.listed_tokens(&filter).await {
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

/// What is left of a list.
struct Rest {
    issuer: Arc<Issuer>,
    spelling: Spelling,
    /// The entries that were read and not sent yet.
    read: std::vec::IntoIter<String>,
    /// What finds the tokens behind those; none when there are no more.
    next: Option<TokenFilter>,
    /// How many entries were sent.
    sent: usize,
}

impl Rest {
    /// Takes over a page; `filter` is what has found it.
    fn take(&mut self, page: Vec<TokenRecord>, filter: TokenFilter) {
        let (entries, next) = held(page, filter, self.spelling);
        (self.read, self.next) = (entries.into_iter(), next);
    }

    /// The next entry as it is sent, or the error that ends the list.
    async fn entry(&mut self) -> Option<String> {
        if self.read.len() == 0 {
            let filter = self.next.take()?;
            match self.issuer.listed_tokens(&filter).await {
                Ok(page) => self.take(page, filter),
                Err(error) => {
                    tracing::warn!(%error, "a list of the tokens API ends before its end");
                    let error = status(Code::Unavailable, "the store is not available");
                    return Some(line(json!({ "error": error }).to_string()));
                }
            }
        }
        let entry = self.read.next()?;
        if (1..=PAUSES).contains(&self.sent) {
            tokio::time::sleep(PAUSE).await;
        }
        self.sent += 1;
        Some(entry)
    }
}

/// The first entries of a page that `filter` has found, as many as a list holds, and what finds
/// those behind them; none when there are no more.
fn held(
    page: Vec<TokenRecord>,
    mut filter: TokenFilter,
    spelling: Spelling,
) -> (Vec<String>, Option<TokenFilter>) {
    let found = page.len();
    let may_be_more = filter.limit.is_some_and(|limit| found >= limit as usize);
    let (mut entries, mut bytes) = (Vec::new(), 0);
    for token in page {
        let entry = spelling.write_entry(messages::token(&token));
        bytes += entry.len();
        filter.after = Some((token.issued_at, token.jti));
        entries.push(entry);
        if bytes > HELD {
            break;
        }
    }
    // Large entries come in smaller pages, so that few are read without being sent.
    let next = u32::try_from(2 * entries.len())
        .unwrap_or(PAGE)
        .clamp(1, PAGE);
    let filter = TokenFilter {
        limit: Some(next),
        ..filter
    };
    let is_cut = entries.len() < found;
    (entries, (may_be_more || is_cut).then_some(filter))
}

/// The entries of a list, each a frame of the body: it becomes a chunk and a write of its own.
fn entries(
    issuer: Arc<Issuer>,
    filter: TokenFilter,
    first: Vec<TokenRecord>,
    spelling: Spelling,
) -> Body {
    let mut rest = Rest {
        issuer,
        spelling,
        read: Vec::new().into_iter(),
        next: None,
        sent: 0,
    };
    rest.take(first, filter);
    Body::from_stream(stream::unfold(rest, async |mut rest| {
        rest.entry()
            .await
            .map(|entry| (Ok::<_, std::convert::Infallible>(entry), rest))
    }))
}

/// `DELETE`: revokes those of the caller's tokens that are named; an access token of ours revokes
/// itself only. Naming none is an error, not "all".
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
        }) => return unknown_caller(UnknownCaller::Unauthenticated),
        Ok(caller) => caller,
        Err(why) => return unknown_caller(why),
    };
    let jtis = match named_for_end(query.as_deref().unwrap_or_default(), body) {
        Ok(jtis) => jtis,
        Err(message) => return error_answer(Code::InvalidArgument, message),
    };
    let (filter, owner, owner_issuer) = match caller {
        Caller::Owner { owner, issuer } => {
            let filter = api.tokens.issuer.of_owner(owner.clone(), issuer.clone());
            (TokenFilter { jtis, ..filter }, Some(owner), Some(issuer))
        }
        Caller::Token { jti, .. } if jtis.iter().all(|named| *named == jti) => (
            TokenFilter {
                jtis,
                ..TokenFilter::default()
            },
            None,
            None,
        ),
        Caller::Token { .. } => {
            return error_answer(
                Code::PermissionDenied,
                "an M2M token may revoke no token but itself",
            );
        }
    };
    let subject = if owner.is_some() {
        "tokens of an owner"
    } else {
        "token by itself"
    };
    let (owner, owner_issuer) = (owner.as_deref(), owner_issuer.as_deref());
    match api.tokens.issuer.end_tokens(&filter).await {
        Ok(ended) => {
            for token in &ended.revoked {
                let (client_id, jti) = (&token.client_id, &token.jti);
                tracing::info!(target: "audit", owner, owner_issuer, client_id, outcome = "revoked", jti, peer = shown(&peer), "{subject}");
            }
            message_answer(&headers, messages::deleted(&ended))
        }
        Err(error) => {
            tracing::info!(target: "audit", owner, owner_issuer, outcome = "temporarily_unavailable", peer = shown(&peer), "{subject}");
            unavailable(&error)
        }
    }
}

/// The ids that a request to revoke names, in its query and its body. There is one at least.
fn named_for_end(
    query: &str,
    body: Result<Bytes, BytesRejection>,
) -> Result<Vec<String>, &'static str> {
    let ids = form_urlencoded::parse(query.as_bytes())
        .filter(|(name, id)| is_id_filter(name) && !id.is_empty());
    let mut ids: Vec<String> = ids.map(|(_, id)| id.into_owned()).collect();
    let of_body = body
        .map_err(|rejection| why_no_body(rejection.status()))
        .and_then(|it| ids_of_body(&it));
    match of_body {
        Ok(of_body) => ids.extend(of_body),
        // Content of a DELETE has no meaning of its own (RFC 9110 §9.3.5).
        Err(_) if !ids.is_empty() => {}
        Err(message) => return Err(message),
    }
    match bounded(ids)? {
        ids if ids.is_empty() => Err("idFilter must name the tokens to revoke"),
        ids => Ok(ids),
    }
}

/// Protobuf's names are in either case.
fn is_id_filter(name: &str) -> bool {
    matches!(name, "idFilter" | "id_filter")
}

/// What the query of a request for a list asks for.
#[derive(Debug, Default, PartialEq)]
struct Query {
    /// The ids that it names; empty values are none.
    ids: Vec<String>,
    /// Whether it has an `idFilter`, be it an empty one.
    is_filtered: bool,
    include_blacklisted: bool,
}

impl Query {
    /// Unknown names are ignored, as by plgd's server.
    fn parse(text: &str) -> Result<Self, &'static str> {
        let mut query = Self::default();
        let mut include_blacklisted = None;
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            if is_id_filter(&name) {
                query.is_filtered = true;
                query.ids.push(value.into_owned());
            } else if matches!(&*name, "includeBlacklisted" | "include_blacklisted") {
                let value = parse_bool(&value)
                    .ok_or("includeBlacklisted must be true or false (also 1, t, T, TRUE, True, 0, f, F, FALSE, False)")?;
                if include_blacklisted.replace(value).is_some() {
                    return Err("includeBlacklisted is repeated");
                }
            }
        }
        query.include_blacklisted = include_blacklisted.unwrap_or_default();
        query.ids = bounded(query.ids)?;
        Ok(query)
    }

    /// Whether any token fits: a filter of empty values fits none.
    fn may_name_some(&self) -> bool {
        !self.is_filtered || !self.ids.is_empty()
    }

    /// Whether a token fits.
    fn names(&self, jti: &str) -> bool {
        !self.is_filtered || self.ids.iter().any(|id| id == jti)
    }
}

/// A boolean as Go's `strconv.ParseBool` takes it.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
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
    let request: Request =
        serde_json::from_slice(body).map_err(|_| "the request body is malformed")?;
    Ok(request.id_filter)
}

/// The ids, each once and without empty ones.
fn bounded(mut ids: Vec<String>) -> Result<Vec<String>, &'static str> {
    ids.retain(|id| !id.is_empty());
    ids.sort_unstable();
    ids.dedup();
    if ids.len() <= MAX_IDS {
        Ok(ids)
    } else {
        Err("idFilter names more than 2000 tokens")
    }
}

fn unknown_caller(why: UnknownCaller) -> Response {
    match why {
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
    (
        [spelling.content_type(), NO_STORE, NO_CACHE],
        line(spelling.write(message)),
    )
        .into_response()
}

/// A list that begins with so many entries. One without entries is an empty body of no type, as
/// plgd's server sends it.
fn ndjson(spelling: Spelling, entries: usize, body: Body) -> Response {
    let common = [NO_STORE, NO_CACHE];
    match entries {
        0 => (common, ()).into_response(),
        1 => (common, [spelling.content_type()], body).into_response(),
        _ => (common, [spelling.content_type(), UNBUFFERED], body).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock::UnixTime;

    fn query(ids: &[&str], is_filtered: bool, include_blacklisted: bool) -> Query {
        Query {
            ids: ids.iter().map(ToString::to_string).collect(),
            is_filtered,
            include_blacklisted,
        }
    }

    /// A token with so many bytes of claims.
    fn token(jti: usize, bytes: usize) -> TokenRecord {
        TokenRecord {
            jti: jti.to_string(),
            client_id: "c".to_owned(),
            owner: None,
            owner_issuer: None,
            subject: "c".to_owned(),
            name: None,
            scope: Vec::new(),
            audience: Vec::new(),
            issued_at: UnixTime(10),
            expires_at: None,
            revoked_at: None,
            original_claims: json!({ "x": "x".repeat(bytes) }).as_object().cloned(),
            after_end: None,
        }
    }

    #[test]
    fn a_list_holds_a_page_of_small_entries_or_a_few_large_ones_and_leaves_none_out() {
        for (bytes, most) in [(10, PAGE as usize), (20_000, 3), (100_000, 1)] {
            let tokens: Vec<_> = (0..120).map(|jti| token(jti, bytes)).collect();
            let mut next = Some(TokenFilter {
                limit: Some(PAGE),
                ..TokenFilter::default()
            });
            let (mut sent, mut read) = (0, 0);
            while let Some(filter) = next {
                let after = filter
                    .after
                    .as_ref()
                    .map_or(0, |(_, jti)| jti.parse::<usize>().unwrap() + 1);
                assert_eq!(after, sent, "the entry behind the last one comes next");
                let page: Vec<_> = tokens
                    .iter()
                    .skip(after)
                    .take(filter.limit.unwrap() as usize)
                    .cloned()
                    .collect();
                read += page.len();
                let (entries, behind) = held(page, filter, Spelling::Short);
                assert!(
                    entries.len() <= most,
                    "{} entries of {bytes} bytes",
                    entries.len()
                );
                sent += entries.len();
                next = behind;
            }
            assert_eq!(sent, tokens.len(), "{bytes}");
            assert!(read <= 3 * tokens.len(), "{read} read for {sent}");
        }
    }

    #[test]
    fn a_query_is_read_in_both_cases_and_what_it_does_not_know_is_ignored() {
        let text = "idFilter=b&id_filter=a&idFilter=b&idFilter=&x=1&includeBlacklisted=true";
        assert_eq!(Query::parse(text).unwrap(), query(&["a", "b"], true, true));
        assert_eq!(Query::parse("").unwrap(), Query::default());
        assert_eq!(
            Query::parse("include_blacklisted=f&idFilter=").unwrap(),
            query(&[], true, false)
        );
        let ids = |most: usize| {
            (0..most)
                .map(|n| format!("idFilter={n}&"))
                .collect::<String>()
        };
        assert!(Query::parse(&ids(MAX_IDS)).is_ok());
        assert!(Query::parse(&ids(MAX_IDS + 1)).is_err());
    }

    #[test]
    fn booleans_are_those_of_gos_parse_bool() {
        let parsed = |value: &str| {
            Query::parse(&format!("includeBlacklisted={value}"))
                .map(|query| query.include_blacklisted)
        };
        for value in ["1", "t", "T", "TRUE", "true", "True"] {
            assert_eq!(parsed(value), Ok(true), "{value}");
        }
        for value in ["0", "f", "F", "FALSE", "false", "False"] {
            assert_eq!(parsed(value), Ok(false), "{value}");
        }
        for value in [
            "", "tRUE", "yes", "no", "on", "2", "01", "+true", "true+", "null", "maybe",
        ] {
            assert!(parsed(value).is_err(), "{value}");
        }
        assert!(
            Query::parse("includeBlacklisted").is_err(),
            "a name alone has an empty value"
        );
        assert!(Query::parse("includeBlacklisted=true&include_blacklisted=true").is_err());
    }

    #[test]
    fn a_filter_of_empty_values_names_no_token() {
        let [all, none, some] = ["", "idFilter=&id_filter=", "idFilter=&idFilter=a"]
            .map(|text| Query::parse(text).unwrap());
        assert!(all.names("a") && all.may_name_some());
        assert!(!none.names("a") && !none.may_name_some());
        assert!(some.names("a") && !some.names("b") && some.may_name_some());
    }

    #[test]
    fn ids_to_revoke_are_named_in_the_query_or_the_body() {
        let named =
            |query: &str, body: &'static [u8]| named_for_end(query, Ok(Bytes::from_static(body)));
        assert_eq!(named("", br#"{"idFilter":["a",""],"x":1}"#).unwrap(), ["a"]);
        assert_eq!(
            named("idFilter=b", br#"{"id_filter":["a","b"]}"#).unwrap(),
            ["a", "b"]
        );
        assert_eq!(
            named("id_filter=b&includeBlacklisted=maybe", b"").unwrap(),
            ["b"]
        );
        for nothing in ["", "idFilter=", "includeBlacklisted=true"] {
            assert!(named(nothing, b"{}").is_err(), "{nothing}");
        }
        for bad in [&b"{"[..], b"[]x", br#"{"idFilter":"a"}"#] {
            assert!(named("", bad).is_err());
            assert_eq!(named("idFilter=b", bad).unwrap(), ["b"]);
        }
    }
}
