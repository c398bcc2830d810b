//! A token from a login endpoint that is not OAuth: the request is configured, and so is the place
//! of the token in the answer.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use super::access_token::{Grant, Moment};
use super::answer::{
    DEFAULT_LIFETIME, MAX_LIFETIME, is_attachable, parse_expires_in, retry_after,
    unverified_expiry, without_byte_order_mark,
};
use super::error::{Failure, FetchError};
use super::metadata::accept_json;
use super::skew::Skew;
use crate::domain::clock::{SharedClock, UnixTime};
use crate::domain::secret::{ExposeSecret, SecretString};
use crate::http_client::{HttpAnswer, HttpClient};

/// A request for a token that is not OAuth.
#[derive(Clone, Debug, PartialEq)]
pub struct Login {
    pub url: Url,
    pub method: Method,
    pub headers: Vec<(HeaderName, Field)>,
    pub body: LoginBody,
    /// Where the answer has the token.
    pub token: TokenPlace,
    /// The JSON Pointer (RFC 6901) of the token's lifetime in seconds, or of its end.
    pub expires_in: Option<String>,
    /// The lifetime of a token without another one.
    pub lifetime: Option<Duration>,
}

/// A value of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    Text(String),
    /// The content of a file.
    File(PathBuf),
}

/// The body of the request.
#[derive(Clone, Debug, PartialEq)]
pub enum LoginBody {
    None,
    /// A JSON text, and the pointers of the values that come from files.
    Json(Value, Vec<(String, PathBuf)>),
    Form(Vec<(String, Field)>),
}

/// Where the answer has the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenPlace {
    /// At this JSON Pointer of its body.
    Member(String),
    Header(HeaderName),
}

impl Login {
    /// The files of the request's values, in their order.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        let headers = self.headers.iter().filter_map(|(_, field)| field.file());
        let json = match &self.body {
            LoginBody::Json(_, files) => files.as_slice(),
            _ => &[],
        };
        let form = match &self.body {
            LoginBody::Form(fields) => fields.as_slice(),
            _ => &[],
        };
        headers
            .chain(json.iter().map(|(_, file)| file.as_path()))
            .chain(form.iter().filter_map(|(_, field)| field.file()))
    }
}

impl Field {
    fn file(&self) -> Option<&Path> {
        match self {
            Self::File(file) => Some(file),
            Self::Text(_) => None,
        }
    }

    /// Its text, with the next of the files' contents.
    fn text<'s>(
        &'s self,
        contents: &mut impl Iterator<Item = &'s SecretString>,
    ) -> Option<&'s str> {
        match self {
            Self::Text(text) => Some(text),
            Self::File(_) => contents.next().map(ExposeSecret::expose_secret),
        }
    }
}

/// A request with the contents of its files, in the order of [`Login::files`].
pub(super) struct Request<'a> {
    pub login: &'a Login,
    pub contents: &'a [SecretString],
    pub http: &'a HttpClient,
    pub clock: &'a SharedClock,
    pub skew: &'a Skew,
}

impl Request<'_> {
    /// Logs in once.
    pub async fn fetch(&self, identity: [u8; 32]) -> Result<Grant, Failure> {
        let requested = Moment {
            monotonic: Instant::now(),
            wall: self.clock.now(),
        };
        let answer = self.send().await?;
        self.skew
            .note(answer.clock_skew(requested.wall, self.clock.now()));
        let at = self.skew.theirs(requested.wall);
        // The answer may repeat the request, so an error shows nothing of it.
        let (token, lifetime) =
            parse(self.login, &answer, at).map_err(|failure| failure.at(&self.login.url))?;
        Ok(Grant {
            token,
            lifetime,
            requested,
            identity,
        })
    }

    async fn send(&self) -> Result<HttpAnswer, Failure> {
        let login = self.login;
        let mut contents = self.contents.iter();
        let headers = headers(login, &mut contents).ok_or(FetchError::Request)?;
        let sent = match &login.body {
            LoginBody::None => {
                let (method, url) = (login.method.clone(), &login.url);
                self.http.send_json(method, url, headers, None).await
            }
            LoginBody::Json(body, files) => {
                let mut body = body.clone();
                for (pointer, _) in files {
                    let content = contents.next().ok_or(FetchError::Request)?;
                    let place = body.pointer_mut(pointer).ok_or(FetchError::Request)?;
                    *place = Value::from(content.expose_secret());
                }
                let (method, url) = (login.method.clone(), &login.url);
                let body = Some(body.to_string());
                self.http.send_json(method, url, headers, body).await
            }
            LoginBody::Form(fields) => {
                let pairs = fields.iter().map(|(name, field)| {
                    let value = field.text(&mut contents)?;
                    Some((name.as_str(), value))
                });
                let pairs: Option<Vec<_>> = pairs.collect();
                let pairs = pairs.ok_or(FetchError::Request)?;
                self.http.post_form(&login.url, headers, &pairs).await
            }
        };
        sent.map_err(|failed| Failure::unanswered(FetchError::Http, &failed))
    }
}

/// The headers of the request; `None`: a file has a character that no header can have.
fn headers<'s>(
    login: &'s Login,
    contents: &mut impl Iterator<Item = &'s SecretString>,
) -> Option<HeaderMap> {
    let mut headers = accept_json();
    for (name, field) in &login.headers {
        let mut value = HeaderValue::from_str(field.text(contents)?).ok()?;
        value.set_sensitive(true);
        headers.insert(name.clone(), value);
    }
    Some(headers)
}

/// The token of an answer, and its lifetime. `requested_at` is when the request was sent, by the
/// clock of the endpoint.
fn parse(
    login: &Login,
    answer: &HttpAnswer,
    requested_at: UnixTime,
) -> Result<(SecretString, Duration), Failure> {
    if !answer.status.is_success() {
        return Err(Failure {
            retry_after: retry_after(&answer.headers),
            ..FetchError::Status(answer.status.as_u16()).into()
        });
    }
    let body: Option<Value> = serde_json::from_slice(without_byte_order_mark(&answer.body)).ok();
    let token = match &login.token {
        TokenPlace::Header(name) => answer.headers.get(name).and_then(|it| it.to_str().ok()),
        TokenPlace::Member(pointer) => {
            let body = body.as_ref().ok_or(FetchError::Malformed)?;
            body.pointer(pointer).and_then(Value::as_str)
        }
    };
    let token = token.map(|token| without_scheme(token.trim_ascii()));
    let token = token.filter(|token| is_attachable(token));
    let token = token.ok_or(FetchError::LoginToken)?;
    let lifetime = lifetime(login, body.as_ref(), token, requested_at)?;
    Ok((SecretString::from(token), lifetime.min(MAX_LIFETIME)))
}

/// A token without the scheme of its header.
fn without_scheme(token: &str) -> &str {
    let scheme = token.get(..7);
    match scheme.filter(|scheme| scheme.eq_ignore_ascii_case("bearer ")) {
        Some(scheme) => token[scheme.len()..].trim_ascii_start(),
        None => token,
    }
}

/// The lifetime by `expiresIn`, by the token's own `exp`, or as configured.
fn lifetime(
    login: &Login,
    body: Option<&Value>,
    token: &str,
    requested_at: UnixTime,
) -> Result<Duration, FetchError> {
    let said = match &login.expires_in {
        None => None,
        Some(pointer) => {
            let value = body.and_then(|body| body.pointer(pointer));
            let value = value.ok_or(FetchError::LoginExpiry)?;
            Some(expiry(value, requested_at).ok_or(FetchError::LoginExpiry)?)
        }
    };
    let by_claims = || Some(requested_at.until(unverified_expiry(token)?));
    let lifetime = said.or_else(by_claims).or(login.lifetime);
    let lifetime = lifetime.unwrap_or(DEFAULT_LIFETIME);
    if lifetime.is_zero() {
        Err(FetchError::Expired)
    } else {
        Ok(lifetime)
    }
}

/// A number of seconds, or a time (RFC 3339).
fn expiry(value: &Value, requested_at: UnixTime) -> Option<Duration> {
    let by_time = || Some(requested_at.until(UnixTime::from_rfc3339(value.as_str()?)?));
    parse_expires_in(value).or_else(by_time)
}

#[cfg(test)]
mod tests;
