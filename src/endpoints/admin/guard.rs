//! Who may use the management API: whoever has the token, and no web page.
//!
//! The token is asked for on every path. What a browser can be led to send is refused before: names that a stranger's
//! DNS points here, requests of other sites, and forms.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST, ORIGIN, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Method};

use tokio::time::Instant;

use super::answer::Refusal;
use super::audit;
use crate::domain::host::{host_name, is_beyond_dns, is_cross_site};
use crate::domain::secret::{self, ExposeSecret, SecretString};
use crate::endpoints::PeerAddress;
use crate::limits::{self, Exceeded, Key, Limits, Per, Rate};

/// So many wrong tokens of an address are answered in a second; beyond it they are not even looked at as such.
const WRONG_TOKENS: Rate = Rate { per_second: 10, burst: 10 };

/// So many tokens count at most.
const MOST_TOKENS: usize = 10;

/// The tokens that let in: that of the file, and for a while those that stood there before.
pub struct AdminTokens(ArcSwap<Vec<AdminToken>>);

#[derive(Clone)]
struct AdminToken {
    token: SecretString,
    /// When it ceases to count.
    ends_at: Option<Instant>,
}

impl AdminTokens {
    fn new(token: SecretString) -> Self {
        Self(ArcSwap::from_pointee(vec![AdminToken { token, ends_at: None }]))
    }

    /// Lets in with another token; those that let in so far count on for `grace`. Gives whether that is a change.
    pub fn replace(&self, token: SecretString, grace: Duration) -> bool {
        let known = self.0.load();
        if known.first().is_some_and(|first| secret::matches(&first.token, &token)) {
            return false;
        }
        let (now, end) = (Instant::now(), Instant::now() + grace);
        let old = known.iter().filter(|old| old.counts(now) && !secret::matches(&old.token, &token));
        let old = old.map(|old| AdminToken {
            ends_at: Some(old.ends_at.map_or(end, |earlier| earlier.min(end))),
            ..old.clone()
        });
        let tokens = std::iter::once(AdminToken { token: token.clone(), ends_at: None });
        self.0.store(Arc::new(tokens.chain(old).take(MOST_TOKENS).collect()));
        true
    }

    fn contain(&self, presented: &SecretString) -> bool {
        let now = Instant::now();
        // All are compared, so that the time tells nothing of which one it was.
        let known = self.0.load();
        let counting = known.iter().filter(|known| known.counts(now));
        counting.fold(false, |found, known| found | secret::matches(&known.token, presented))
    }
}

impl AdminToken {
    fn counts(&self, now: Instant) -> bool {
        self.ends_at.is_none_or(|end| now < end)
    }
}

/// What a request must have.
pub struct Guard {
    tokens: Arc<AdminTokens>,
    hosts: Vec<String>,
    wrong: Arc<Limits>,
}

impl Guard {
    /// Lets in who has this token and calls this listener by an IP address, `localhost` or one of `hosts`.
    #[must_use]
    pub fn new(token: SecretString, hosts: Vec<String>) -> Self {
        let wrong = limits::Config { rate: Some(WRONG_TOKENS), concurrent: None, per: Per::Address };
        let tokens = Arc::new(AdminTokens::new(token));
        Self { tokens, hosts, wrong: Arc::new(Limits::new(wrong)) }
    }

    /// The counters of wrong tokens, whose [`Limits::run`] is to be run.
    #[must_use]
    pub fn counters(&self) -> Arc<Limits> {
        self.wrong.clone()
    }

    /// The tokens, which may change.
    #[must_use]
    pub fn tokens(&self) -> Arc<AdminTokens> {
        self.tokens.clone()
    }

    fn judge(&self, request: &Request) -> Result<(), Refusal> {
        let headers = request.headers();
        self.judge_host(headers)?;
        judge_site(headers)?;
        self.judge_token(request)?;
        judge_content_type(request.method(), headers)
    }

    fn judge_host(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        // Without `Host` comes only HTTP/1.0, which no browser speaks: no name can have been rebound.
        let Some(host) = headers.get(HOST) else { return Ok(()) };
        let host = host.to_str().map_err(|_| Refusal::Host)?;
        let name = host_name(host);
        let is_listed =
            |listed: &String| host.eq_ignore_ascii_case(listed) || name.eq_ignore_ascii_case(listed);
        if is_beyond_dns(name) || self.hosts.iter().any(is_listed) { Ok(()) } else { Err(Refusal::Host) }
    }

    /// A right token is always let in: whoever shares an address with somebody that guesses is not shut out.
    fn judge_token(&self, request: &Request) -> Result<(), Refusal> {
        if bearer(request.headers()).is_some_and(|token| self.tokens.contain(&token)) {
            return Ok(());
        }
        let peer = request.extensions().get::<PeerAddress>().map(|peer| peer.0.ip());
        let counted = peer.map_or(Ok(()), |peer| self.wrong.admit(Key::address(peer)).map(drop));
        match counted {
            Ok(()) => Err(Refusal::Token),
            Err(Exceeded::Rate(wait)) => Err(Refusal::TooManyWrongTokens(wait)),
            Err(Exceeded::Concurrency) => Err(Refusal::TooManyWrongTokens(Duration::from_secs(1))),
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<SecretString> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| SecretString::from(token.trim_matches(' ')))
}

fn judge_site(headers: &HeaderMap) -> Result<(), Refusal> {
    let host = headers.get(HOST).map(HeaderValue::as_bytes);
    let is_own = |origin: &HeaderValue| {
        let origin = origin.as_bytes();
        let authority = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
        authority.is_some() && authority == host
    };
    if is_cross_site(headers) || !headers.get_all(ORIGIN).iter().all(is_own) {
        return Err(Refusal::CrossSite);
    }
    Ok(())
}

/// A shorter token can be guessed, and whoever has it can make clients.
pub const MIN_ADMIN_TOKEN: usize = 16;

/// Whether a text can be an admin token: long enough, and nothing that an `Authorization` header cannot carry.
#[must_use]
pub fn is_admin_token(token: &SecretString) -> bool {
    let token = token.expose_secret();
    token.len() >= MIN_ADMIN_TOKEN && token.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A form cannot have this type, so no page can send one without asking first (CORS), which nobody answers here.
fn judge_content_type(method: &Method, headers: &HeaderMap) -> Result<(), Refusal> {
    let has_body = headers.get(http::header::CONTENT_LENGTH).is_some_and(|length| length != "0")
        || headers.contains_key(http::header::TRANSFER_ENCODING);
    let needs_type = match *method {
        Method::GET | Method::HEAD | Method::OPTIONS => false,
        Method::POST | Method::PATCH => true,
        _ => has_body,
    };
    let essence = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = essence.split(';').next().unwrap_or_default().trim();
    let is_json = essence.eq_ignore_ascii_case("application/json")
        || *method == Method::PATCH && essence.eq_ignore_ascii_case("application/merge-patch+json");
    if needs_type && !is_json { Err(Refusal::ContentType) } else { Ok(()) }
}

/// The layer before every handler.
pub(super) async fn check(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let mut answer = match guard.judge(&request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => {
            audit::refused(&refusal, &request);
            refusal.into_response()
        }
    };
    let headers = answer.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn judged(method: &str, pairs: &[(&'static str, &'static str)]) -> Result<(), String> {
        let guard =
            Guard::new(SecretString::from("right-token"), vec!["admin.example".to_owned(), "a:1".to_owned()]);
        let mut request = Request::new(Body::empty());
        *request.method_mut() = method.parse().unwrap();
        for (name, value) in pairs {
            request.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        guard.judge(&request).map_err(|refusal| format!("{refusal:?}"))
    }

    const TOKEN: (&str, &str) = ("authorization", "Bearer right-token");
    const HERE: (&str, &str) = ("host", "127.0.0.1:9901");

    #[test]
    fn hosts_that_dns_can_point_here_are_refused_unless_listed() {
        for host in [
            "127.0.0.1:9901",
            "127.0.0.1",
            "[::1]:9901",
            "localhost",
            "LOCALHOST:1",
            "admin.example",
            "Admin.Example:8",
            "a:1",
        ] {
            assert_eq!(judged("GET", &[("host", host), TOKEN]), Ok(()), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "a:2", "a", "127.0.0.1.evil.example", ""] {
            assert_eq!(judged("GET", &[("host", host), TOKEN]), Err("Host".to_owned()), "{host}");
        }
        assert_eq!(judged("GET", &[TOKEN]), Ok(()), "HTTP/1.0");
    }

    #[test]
    fn other_sites_are_refused_whatever_token_they_have() {
        for (name, value) in [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("origin", "null"),
            ("origin", "http://evil.example"),
            ("origin", "http://127.0.0.1:9999"),
        ] {
            assert_eq!(judged("GET", &[HERE, TOKEN, (name, value)]), Err("CrossSite".to_owned()), "{value}");
        }
        for (name, value) in [
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-site", "none"),
            ("origin", "http://127.0.0.1:9901"),
        ] {
            assert_eq!(judged("GET", &[HERE, TOKEN, (name, value)]), Ok(()), "{value}");
        }
    }

    #[test]
    fn only_the_token_lets_in() {
        for value in ["Bearer right-token", "bearer  right-token"] {
            assert_eq!(judged("GET", &[HERE, ("authorization", value)]), Ok(()), "{value}");
        }
        for value in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer right-toke",
            "Bearer right-token2",
            "Basic right-token",
            "right-token",
        ] {
            assert_eq!(judged("GET", &[HERE, ("authorization", value)]), Err("Token".to_owned()), "{value}");
        }
        assert_eq!(judged("GET", &[HERE, TOKEN, TOKEN]), Err("Token".to_owned()));
        assert_eq!(judged("GET", &[HERE]), Err("Token".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_replaced_token_counts_for_the_grace_period_only() {
        let tokens = AdminTokens::new("first".into());
        let good = |tokens: &AdminTokens| {
            ["first", "second", "third"].map(|token| tokens.contain(&SecretString::from(token)))
        };
        assert!(!tokens.replace("first".into(), Duration::from_secs(60)), "no change");
        assert!(tokens.replace("second".into(), Duration::from_secs(60)));
        assert_eq!(good(&tokens), [true, true, false]);
        tokio::time::advance(Duration::from_secs(30)).await;
        assert!(tokens.replace("third".into(), Duration::from_secs(60)));
        assert_eq!(good(&tokens), [true, true, true]);
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(good(&tokens), [false, true, true], "a second change lengthens no grace");
        // Put back: it is the one that counts.
        assert!(tokens.replace("second".into(), Duration::from_secs(60)));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(good(&tokens), [false, true, false]);
    }

    #[test]
    fn writes_are_json() {
        let json = ("content-type", "application/json; charset=utf-8");
        let patch = ("content-type", "application/merge-patch+json");
        let text = ("content-type", "text/plain");
        let body = ("content-length", "2");
        let refused = Err("ContentType".to_owned());
        assert_eq!(judged("POST", &[HERE, TOKEN, json]), Ok(()));
        assert_eq!(judged("POST", &[HERE, TOKEN]), refused);
        assert_eq!(judged("POST", &[HERE, TOKEN, text]), refused);
        assert_eq!(judged("POST", &[HERE, TOKEN, patch]), refused);
        assert_eq!(judged("PATCH", &[HERE, TOKEN, patch]), Ok(()));
        assert_eq!(judged("DELETE", &[HERE, TOKEN]), Ok(()));
        assert_eq!(judged("DELETE", &[HERE, TOKEN, text, body]), refused);
        assert_eq!(judged("GET", &[HERE, TOKEN]), Ok(()));
    }
}
