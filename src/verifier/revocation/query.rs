//! One query about one token: to plgd's tokens endpoint, or by introspection (RFC 7662).

use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::Value;
use tokio::time::timeout;
use url::Url;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{Method, Revocation, TokenFacts};
use crate::domain::reason::Reason;
use crate::domain::secret::{ExposeSecret, SecretString};
use crate::http_client::{Failed, HttpAnswer, HttpClient, HttpError};
use crate::verifier::bearer::BearerToken;
use crate::verifier::introspection::{self, Failure, Verdict};

/// The limit of one query: a request waits for it.
const LONGEST_QUERY: Duration = Duration::from_secs(2);

/// A query about one token.
pub(super) struct Query {
    token: SecretString,
    /// Only for plgd.
    jti: Option<Uuid>,
}

impl Query {
    pub fn introspection(bearer: &BearerToken<'_>) -> Self {
        Self {
            token: SecretString::from(bearer.text()),
            jti: None,
        }
    }

    /// `None` if the token's `jti` is not a UUID: plgd's services do not accept such a token.
    pub fn plgd(facts: &TokenFacts, bearer: &BearerToken<'_>) -> Option<Self> {
        let claims = facts.claims(bearer)?;
        let jti = Uuid::parse_str(claims.get("jti")?.as_str()?).ok()?;
        Some(Self {
            jti: Some(jti),
            ..Self::introspection(bearer)
        })
    }
}

/// The state of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Active,
    /// Revoked, which is final.
    Revoked,
    /// Not active now; this may change.
    Refused,
    Unavailable,
}

impl State {
    pub fn result(self) -> Result<(), Reason> {
        match self {
            Self::Active => Ok(()),
            Self::Revoked | Self::Refused => Err(Reason::Revoked),
            Self::Unavailable => Err(Reason::RevocationUnavailable),
        }
    }
}

/// Sends a query to the authority.
pub(super) async fn send(
    of: &Revocation,
    http: &HttpClient,
    query: &Query,
) -> Result<State, Failure> {
    let (url, state) = match of.method() {
        Method::Plgd(url) => (
            url.clone(),
            timeout(LONGEST_QUERY, query_plgd(http, url, query)).await,
        ),
        Method::Introspection(url) => {
            let answer = timeout(LONGEST_QUERY, introspect(of, http, &url, query)).await;
            (url, answer)
        }
        _ => return Err("the authority's metadata has changed".into()),
    };
    state.unwrap_or_else(|_| Err(Failure::NoAnswer(Failed::of(HttpError::Timeout, &url))))
}

/// Queries the token's entry, authenticated by the token itself, as plgd's own services do.
async fn query_plgd(http: &HttpClient, mut url: Url, query: &Query) -> Result<State, Failure> {
    let Some(jti) = query.jti else {
        return Err("the token has no id".into());
    };
    let endpoint = url.clone();
    url.query_pairs_mut()
        .append_pair("idFilter", &jti.to_string())
        .append_pair("includeBlacklisted", "true");
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/protojson"));
    let value = Zeroizing::new(["bearer ", query.token.expose_secret()].concat());
    let mut value = HeaderValue::from_str(&value).map_err(|_| "the token cannot be sent")?;
    value.set_sensitive(true);
    headers.insert(AUTHORIZATION, value);
    let answer = http.get(&url, headers).await.map_err(Failure::NoAnswer)?;
    let said = || answer.said(&endpoint, &[query.token.expose_secret()]);
    if matches!(
        answer.status,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
    ) {
        tracing::debug!(
            status = answer.status.as_u16(),
            said = said(),
            "the tokens endpoint refuses the token"
        );
    }
    read_plgd(&answer, jti).map_err(|why| Failure::answer(why, &answer, said()))
}

/// The first JSON value is the token's entry, bare or as `result`. Without an entry the token is
/// unknown to the issuer.
fn read_plgd(answer: &HttpAnswer, jti: Uuid) -> Result<State, &'static str> {
    const MALFORMED: &str = "the tokens endpoint's answer is malformed";
    match answer.status {
        StatusCode::OK => {}
        // A blacklisted token may not read its own entry.
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Ok(State::Refused),
        _ => return Err("the authority answered with an error status"),
    }
    let first = serde_json::Deserializer::from_slice(&answer.body)
        .into_iter::<Value>()
        .next();
    let entry = match first {
        None => return Ok(State::Refused),
        Some(Ok(Value::Object(members))) => members,
        Some(_) => return Err(MALFORMED),
    };
    if entry.contains_key("error") {
        return Err("the tokens endpoint answered with an error");
    }
    let entry = match entry.get("result") {
        None => &entry,
        Some(Value::Object(entry)) => entry,
        Some(_) => return Err(MALFORMED),
    };
    match entry.get("id").and_then(Value::as_str).map(Uuid::parse_str) {
        Some(Ok(id)) if id == jti => {}
        _ => return Err("the tokens endpoint answered about another token"),
    }
    match entry.get("blacklisted") {
        None | Some(Value::Null) => Ok(State::Active),
        Some(Value::Object(blacklisted)) => match blacklisted.get("flag") {
            None | Some(Value::Bool(false)) => Ok(State::Active),
            Some(Value::Bool(true)) => Ok(State::Revoked),
            Some(_) => Err(MALFORMED),
        },
        Some(_) => Err(MALFORMED),
    }
}

/// RFC 7662 §2. Only `active` decides.
async fn introspect(
    of: &Revocation,
    http: &HttpClient,
    url: &Url,
    query: &Query,
) -> Result<State, Failure> {
    let client = of.client.as_ref();
    let client = client.ok_or("there is no credential for introspection")?;
    let asked = introspection::ask(http, url, Some(client), &query.token).await?;
    Ok(match asked {
        Verdict::Active(_) => State::Active,
        Verdict::Inactive => State::Refused,
    })
}

#[cfg(test)]
mod tests;
