//! Fetches an authority's key set over HTTP: through its metadata, or from a configured URL.
//!
//! Every answer is checked: its issuer, its URLs and its lifetime.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::CACHE_CONTROL;
use http::{HeaderMap, StatusCode};
use url::Url;

use super::key_token::{self, KeyToken};
use crate::domain::claims::{Claims, DocumentFault};
use crate::domain::clock::SharedClock;
use crate::domain::issuer_name::IssuerName;
use crate::domain::issuer_url::metadata_urls;
use crate::domain::secret::ExposeSecret;
use crate::http_client::{Failed, HttpAnswer, place};
use crate::jose::bundle::refresh_hint;
use crate::jose::key_set::KeySet;
use crate::jose::live_keys::{FetchError, Fetched};

/// How much of a foreign text the log shows.
const SHOWN: usize = 100;

/// Sends a GET request with these header fields.
pub type Get = Arc<
    dyn Fn(Url, HeaderMap) -> Pin<Box<dyn Future<Output = Result<HttpAnswer, Failed>> + Send>>
        + Send
        + Sync,
>;

/// A remote key set.
pub(super) struct Remote {
    pub get: Get,
    pub clock: SharedClock,
    pub issuer: IssuerName,
    /// The tenant whose issuer it is.
    pub tenant: Option<String>,
    /// `None`: discovery.
    pub jwks_uri: Option<Url>,
    pub token: Option<Arc<KeyToken>>,
}

/// Why a document was not fetched.
enum Failure {
    /// No complete answer came.
    NoAnswer(Failed),
    /// Another status, with the error message.
    Status(StatusCode, String),
    /// An unusable document.
    Document(FetchError),
}

impl From<Failure> for FetchError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NoAnswer(failed) => failed.to_string().into(),
            Failure::Status(_, text) => text.into(),
            Failure::Document(text) => text,
        }
    }
}

impl Failure {
    fn status(url: &Url, answer: &HttpAnswer, sent: &[&str]) -> Self {
        let (status, place) = (answer.status, place(url));
        let number = status.as_u16();
        Self::Status(
            status,
            if status.is_redirection() {
                format!(
                    "{place}: the authority answered with a redirect ({number}), which is never \
                     followed"
                )
            } else {
                let more = answer
                    .hint(url)
                    .map(str::to_owned)
                    .or_else(|| answer.said(url, sent));
                let more = more.map_or(String::new(), |more| format!(": {more}"));
                format!("{place}: the authority answered with status {number}{more}")
            },
        )
    }

    /// Adds the URL of the document.
    fn at(self, url: &Url) -> Self {
        match self {
            Self::Document(text) => Self::Document(format!("{}: {text}", place(url)).into()),
            failure => failure,
        }
    }
}

fn is_trouble(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

impl Remote {
    /// Fetches the key set. Discovery reads the metadata each time, so a moved key set is found.
    pub(super) async fn fetch(&self) -> Result<Fetched, FetchError> {
        Ok(match &self.jwks_uri {
            Some(url) => self
                .key_set(url.clone(), None)
                .await
                .map_err(|failure| failure.at(url))?,
            None => {
                let (url, metadata) = self.discover().await?;
                self.key_set(url.clone(), Some(metadata))
                    .await
                    .map_err(|failure| failure.at(&url))?
            }
        })
    }

    /// Tries OpenID Connect Discovery 1.0 §4, then RFC 8414 §3. The document must name this issuer;
    /// otherwise control over one path would be enough to replace the keys (RFC 8414 §3.3).
    async fn discover(&self) -> Result<(Url, Claims), Failure> {
        let mut reported = Failure::Document("the issuer is no URL".into());
        let mut read_one = false;
        let issuer = Url::parse(self.issuer.written()).ok();
        for url in issuer.iter().flat_map(metadata_urls) {
            match self
                .read_metadata(url.clone())
                .await
                .map_err(|failure| failure.at(&url))
            {
                // The second URL would probably fail too, after seconds. And a temporary failure is
                // no reason to use the other document, which may name less.
                Err(failure @ Failure::NoAnswer(_)) => return Err(failure),
                Err(Failure::Status(status, text)) if is_trouble(status) => {
                    return Err(Failure::Status(status, text));
                }
                Err(failure) => {
                    // A faulty document explains more than a 404 of the other URL.
                    if !read_one {
                        read_one = matches!(failure, Failure::Document(_));
                        reported = failure;
                    }
                }
                found => return found,
            }
        }
        Err(reported)
    }

    async fn read_metadata(&self, url: Url) -> Result<(Url, Claims), Failure> {
        let wrong = |why: &'static str| Failure::Document(why.into());
        let secure = url.scheme() == "https";
        let answer = self.get(url).await?;
        let metadata = Claims::parse(&answer.body).map_err(|_| {
            let fault =
                DocumentFault::of(&answer.body).map_or(String::new(), |fault| format!(": {fault}"));
            Failure::Document(format!("the authority's metadata cannot be read{fault}").into())
        })?;
        let text = |name| metadata.get(name).and_then(serde_json::Value::as_str);
        let is_issuer = |found| self.issuer.is_in(found, self.tenant.as_deref());
        if !text("issuer").is_some_and(is_issuer) {
            return Err(Failure::Document(self.other_issuer(text("issuer")).into()));
        }
        let jwks_uri = text("jwks_uri").ok_or_else(|| wrong("the metadata has no jwks_uri"))?;
        let jwks_uri = Url::parse(jwks_uri).map_err(|error| {
            let what = match error {
                url::ParseError::RelativeUrlWithoutBase => {
                    "is relative, and must be an absolute URL (RFC 8414 §2)"
                }
                _ => "is no URL",
            };
            Failure::Document(
                format!("the metadata's jwks_uri `{}` {what}", shown(jwks_uri)).into(),
            )
        })?;
        if jwks_uri.scheme() != "https" && (secure || jwks_uri.scheme() != "http") {
            return Err(wrong("the metadata's jwks_uri is not https"));
        }
        Ok((jwks_uri, metadata))
    }

    /// The error for metadata of another issuer.
    fn other_issuer(&self, found: Option<&str>) -> String {
        let expected = shown(self.issuer.written());
        let is_nearly = found.is_some_and(|found| self.issuer.is_nearly(found));
        let found = found.map_or("none".to_owned(), |found| format!("`{}`", shown(found)));
        let hint = if is_nearly {
            "; they differ by slashes only: write `issuer` as the metadata has it, or \
             `profile: plgd`, for which slashes at the end do not count"
        } else {
            ""
        };
        format!(
            "the metadata is of another issuer: {found} instead of `{expected}`, which is compared \
             exactly{hint}"
        )
    }

    async fn key_set(&self, url: Url, metadata: Option<Claims>) -> Result<Fetched, Failure> {
        let asked = self.clock.now();
        let answer = self.get(url).await?;
        let keys = KeySet::parse(&answer.body).map_err(|error| {
            Failure::Document(format!("the authority's key set is not usable: {error}").into())
        })?;
        Ok(Fetched {
            max_age: max_age(&answer.headers).or_else(|| refresh_hint(&answer.body)),
            clock_skew: answer.clock_skew(asked, self.clock.now()),
            keys,
            metadata,
            document: answer.body.to_vec(),
        })
    }

    async fn get(&self, url: Url) -> Result<HttpAnswer, Failure> {
        let token = match &self.token {
            Some(token) => token.token_for(&url).await.map_err(Failure::Document)?,
            None => None,
        };
        let fields = key_token::fields(token.as_ref()).map_err(Failure::Document)?;
        let answer = (self.get)(url.clone(), fields).await;
        let answer = answer.map_err(Failure::NoAnswer)?;
        if answer.status == StatusCode::OK {
            return Ok(answer);
        }
        let sent: Vec<&str> = token.iter().map(ExposeSecret::expose_secret).collect();
        Err(Failure::status(&url, &answer, &sent))
    }
}

/// The beginning of a foreign text for the log, with everything but printable ASCII escaped.
fn shown(text: &str) -> String {
    let beginning: String = text.chars().take(SHOWN).collect();
    let more = if beginning.len() < text.len() {
        "…"
    } else {
        ""
    };
    format!("{}{more}", beginning.escape_default())
}

/// RFC 9111 §5.2.2: `max-age`, unless the answer is not to be stored.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let directives = headers
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','));
    let mut age = None;
    for directive in directives {
        let directive = directive.trim().to_ascii_lowercase();
        if directive == "no-store" || directive == "no-cache" {
            return None;
        }
        if let Some(seconds) = directive.strip_prefix("max-age=") {
            age = seconds
                .trim_matches('"')
                .parse()
                .ok()
                .map(Duration::from_secs);
        }
    }
    age
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_control_gives_the_lifetime_unless_it_forbids_storing() {
        let age = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CACHE_CONTROL, value.parse().unwrap());
            max_age(&headers)
        };
        assert_eq!(age("public, max-age=300"), Some(Duration::from_secs(300)));
        assert_eq!(age("Max-Age=\"60\""), Some(Duration::from_secs(60)));
        assert_eq!(age("no-store, max-age=300"), None);
        assert_eq!(age("max-age=x"), None);
        assert_eq!(age("public"), None);
    }

    #[test]
    fn a_foreign_text_is_escaped_and_cut() {
        assert_eq!(shown("https://idp.example/a"), "https://idp.example/a");
        assert_eq!(
            shown("a\nb\u{202e}\u{1b}[31m\"`"),
            "a\\nb\\u{202e}\\u{1b}[31m\\\"`"
        );
        let long = shown(&"ä".repeat(1_000_000));
        assert!(long.ends_with('…') && long.len() < 1000, "{}", long.len());
    }
}
