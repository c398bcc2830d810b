//! One query about one token: to plgd's tokens endpoint, or by introspection (RFC 7662).

use std::borrow::Cow;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::Value;
use tokio::time::timeout;
use url::Url;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{Method, Revocation, TokenFacts};
use crate::domain::claims::Claims;
use crate::domain::oauth::basic_authorization;
use crate::domain::reason::Reason;
use crate::domain::secret::{ExposeSecret, SecretString};
use crate::http_client::{Failed, HttpAnswer, HttpClient, HttpError};
use crate::verifier::bearer::BearerToken;

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

/// Why a query has no usable answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// No complete answer came in time.
    NoAnswer(Failed),
    /// The answer gives no state of this token.
    Answer(Cow<'static, str>),
}

impl Failure {
    /// An unusable answer, with its status and its error message.
    fn answer(why: &'static str, answer: &HttpAnswer, said: Option<String>) -> Self {
        let said = said.map_or(String::new(), |said| format!(": {said}"));
        Self::Answer(match answer.status {
            StatusCode::OK => format!("{why}{said}").into(),
            status => format!("{why} ({}){said}", status.as_u16()).into(),
        })
    }

    pub fn text(&self) -> Cow<'static, str> {
        match self {
            Self::NoAnswer(failed) => failed.to_string().into(),
            Self::Answer(text) => text.clone(),
        }
    }
}

impl From<&'static str> for Failure {
    fn from(text: &'static str) -> Self {
        Self::Answer(text.into())
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

/// RFC 7662 §2.
async fn introspect(
    of: &Revocation,
    http: &HttpClient,
    url: &Url,
    query: &Query,
) -> Result<State, Failure> {
    let client = of
        .client
        .as_ref()
        .ok_or("there is no credential for introspection")?;
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let client_secret = client.client_secret.get();
    let mut form = vec![
        ("token", query.token.expose_secret()),
        ("token_type_hint", "access_token"),
    ];
    match client.basic {
        Some(encoding) => {
            let basic = basic_authorization(&client.client_id, &client_secret, encoding);
            headers.insert(AUTHORIZATION, basic.ok_or("the credential cannot be sent")?);
        }
        None => {
            form.push(("client_id", &client.client_id));
            form.push(("client_secret", client_secret.expose_secret()));
        }
    }
    let answer = http
        .ask_form(url, headers, &form)
        .await
        .map_err(Failure::NoAnswer)?;
    read_introspection(&answer).map_err(|why| {
        let said = answer.said(
            url,
            &[query.token.expose_secret(), client_secret.expose_secret()],
        );
        Failure::answer(why, &answer, said)
    })
}

/// RFC 7662 §2.2. Only `active` decides.
fn read_introspection(answer: &HttpAnswer) -> Result<State, &'static str> {
    if answer.status != StatusCode::OK {
        return Err("the introspection endpoint answered with an error status");
    }
    let claims =
        Claims::parse(&answer.body).map_err(|_| "the introspection answer is not a JSON object")?;
    match claims.get("active") {
        Some(Value::Bool(true)) => Ok(State::Active),
        Some(Value::Bool(false)) => Ok(State::Refused),
        _ => Err("the introspection answer does not say whether the token is active"),
    }
}

#[cfg(test)]
mod tests;
