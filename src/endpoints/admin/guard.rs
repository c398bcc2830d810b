//! Access to the management API: only with the admin token, and never for a web page.
//!
//! Every path requires the token. Requests that a web page can cause are refused before: names that
//! foreign DNS points here, requests of other sites, and forms.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST, ORIGIN, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Method};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::time::Instant;

use super::answer::Refusal;
use super::audit;
use crate::domain::hash::sha256_parts;
use crate::domain::host::{host_name, is_beyond_dns, is_cross_site};
use crate::domain::secret::{self, ExposeSecret, SecretString};
use crate::endpoints::{FromSocketFile, PeerAddress};
use crate::issuer::client_secret::is_beyond_guessing;
use crate::limits::guesses::{Allowance, BucketKey, Buckets, neighbourhood, network};

/// Wrong tokens of a network. Beyond it a token is compared only if it cannot be guessed, or was
/// right from this network before.
const OF_NETWORK: Allowance = Allowance {
    burst: 10,
    every: Duration::from_secs(1),
};
/// Wrong tokens of all networks next to each other.
const OF_NEIGHBOURHOOD: Allowance = Allowance {
    burst: 100,
    every: Duration::from_millis(200),
};
/// Beyond that, wrong tokens that are compared with those that were right from this network before:
/// a guesser may share the network.
const RECALLED: Allowance = Allowance {
    burst: 200,
    every: Duration::from_secs(10),
};
/// Requests without a token, which are no guesses.
const WITHOUT: Allowance = Allowance {
    burst: 10,
    every: Duration::from_millis(100),
};

/// The most buckets that are kept.
const MOST_BUCKETS: u64 = 20_000;
/// The most kept pairs of a right token and its network.
const MOST_PROVEN: u64 = 1000;

/// The most tokens that are valid at a time.
const MOST_TOKENS: usize = 10;

/// The valid tokens: that of the file, and for a while the earlier ones.
pub struct AdminTokens(ArcSwap<Vec<AdminToken>>);

#[derive(Clone)]
struct AdminToken {
    token: SecretString,
    /// When it becomes invalid.
    ends_at: Option<Instant>,
}

impl AdminTokens {
    fn new(token: Option<SecretString>) -> Self {
        let ends_at = None;
        let token = token.map(|token| AdminToken { token, ends_at });
        Self(ArcSwap::from_pointee(Vec::from_iter(token)))
    }

    /// Makes another token valid; the present ones stay valid for `grace`. Returns whether that is
    /// a change.
    pub fn replace(&self, token: SecretString, grace: Duration) -> bool {
        let known = self.0.load();
        if known
            .first()
            .is_some_and(|first| secret::matches(&first.token, &token))
        {
            return false;
        }
        let (now, end) = (Instant::now(), Instant::now() + grace);
        let old = known
            .iter()
            .filter(|old| old.counts(now) && !secret::matches(&old.token, &token));
        let old = old.map(|old| AdminToken {
            ends_at: Some(old.ends_at.map_or(end, |earlier| earlier.min(end))),
            ..old.clone()
        });
        let tokens = std::iter::once(AdminToken {
            token: token.clone(),
            ends_at: None,
        });
        self.0
            .store(Arc::new(tokens.chain(old).take(MOST_TOKENS).collect()));
        true
    }

    fn contain(&self, presented: &SecretString) -> bool {
        let now = Instant::now();
        // All are compared, so that the time does not reveal which one matches.
        let known = self.0.load();
        let counting = known.iter().filter(|known| known.counts(now));
        counting.fold(false, |found, known| {
            found | secret::matches(&known.token, presented)
        })
    }
}

impl AdminToken {
    fn counts(&self, now: Instant) -> bool {
        self.ends_at.is_none_or(|end| now < end)
    }
}

/// The conditions on a request.
pub struct Guard {
    tokens: Arc<AdminTokens>,
    hosts: Vec<String>,
    guesses: Guesses,
}

/// The wrong and the right tokens, by their origin.
struct Guesses {
    wrong: Buckets,
    proven: Cache<BucketKey, ()>,
    began: Instant,
}

/// Where a request comes from.
struct Place {
    network: String,
    neighbourhood: String,
}

impl Place {
    fn of(request: &Request) -> Self {
        let peer = request
            .extensions()
            .get::<PeerAddress>()
            .map(|peer| peer.0.ip());
        let peer = peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        Self {
            network: network(peer).to_string(),
            neighbourhood: neighbourhood(peer).to_string(),
        }
    }

    /// Its buckets of wrong tokens.
    fn wrong(&self) -> [(BucketKey, Allowance); 2] {
        let of = |what: &[u8], place: &str| sha256_parts(&[what, place.as_bytes()]);
        [
            (of(b"network", &self.network), OF_NETWORK),
            (of(b"neighbourhood", &self.neighbourhood), OF_NEIGHBOURHOOD),
        ]
    }

    fn bucket(&self, what: &[u8]) -> BucketKey {
        sha256_parts(&[what, self.network.as_bytes()])
    }

    fn with(&self, token: &SecretString) -> BucketKey {
        sha256_parts(&[
            b"token",
            token.expose_secret().as_bytes(),
            self.network.as_bytes(),
        ])
    }
}

impl Guesses {
    fn new() -> Self {
        let proven = Cache::builder()
            .max_capacity(MOST_PROVEN)
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Self {
            wrong: Buckets::new(MOST_BUCKETS),
            proven,
            began: Instant::now(),
        }
    }

    /// How long no further guess of an origin is compared.
    fn delay(&self, place: &Place) -> Duration {
        let now = self.began.elapsed();
        place
            .wrong()
            .iter()
            .map(|(key, of)| self.wrong.wait(key, *of, now))
            .max()
            .unwrap_or_default()
    }

    fn note_wrong(&self, place: &Place) {
        let now = self.began.elapsed();
        place
            .wrong()
            .into_iter()
            .for_each(|(key, of)| self.wrong.count(key, of, now));
    }

    /// Whether a token was right from this origin before.
    fn was_right(&self, token: &SecretString, place: &Place) -> bool {
        let bucket = place.bucket(b"recalled");
        if !self.wrong.take(bucket, RECALLED, self.began.elapsed()) {
            return false;
        }
        let was_right = self.proven.contains_key(&place.with(token));
        if was_right {
            self.wrong.give_back(bucket, RECALLED);
        }
        was_right
    }

    fn note_right(&self, token: &SecretString, place: &Place) {
        self.proven.insert(place.with(token), ());
    }

    /// How long further requests without a token are answered with 429.
    fn note_without(&self, place: &Place) -> Duration {
        let (bucket, now) = (place.bucket(b"without"), self.began.elapsed());
        let wait = self.wrong.wait(&bucket, WITHOUT, now);
        self.wrong.count(bucket, WITHOUT, now);
        wait
    }
}

impl Guard {
    /// Accepts requests with this token, or from a socket in the file system, whose `Host` is an IP
    /// address, `localhost` or one of `hosts`.
    #[must_use]
    pub fn new(token: impl Into<Option<SecretString>>, hosts: Vec<String>) -> Self {
        Self {
            tokens: Arc::new(AdminTokens::new(token.into())),
            hosts,
            guesses: Guesses::new(),
        }
    }

    /// The tokens, which may change.
    #[must_use]
    pub fn tokens(&self) -> Arc<AdminTokens> {
        self.tokens.clone()
    }

    fn admit(&self, request: &Request) -> Result<(), Refusal> {
        let headers = request.headers();
        self.check_host(headers)?;
        check_site(headers)?;
        if request.extensions().get::<FromSocketFile>().is_none() {
            self.check_token(request)?;
        }
        check_content_type(request.method(), headers)
    }

    fn check_host(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        // Only HTTP/1.0 has no `Host`, and no browser uses it: DNS rebinding is impossible.
        let Some(host) = headers.get(HOST) else {
            return Ok(());
        };
        let host = host.to_str().map_err(|_| Refusal::Host)?;
        let name = host_name(host);
        let is_listed = |listed: &String| {
            host.eq_ignore_ascii_case(listed) || name.eq_ignore_ascii_case(listed)
        };
        if is_beyond_dns(name) || self.hosts.iter().any(is_listed) {
            Ok(())
        } else {
            Err(Refusal::Host)
        }
    }

    /// Accepts a right token. From an origin that guesses, only one that cannot be guessed or was
    /// right from there before.
    fn check_token(&self, request: &Request) -> Result<(), Refusal> {
        let place = Place::of(request);
        let Some(token) = bearer(request.headers()) else {
            let wait = self.guesses.note_without(&place);
            return Err(if wait.is_zero() {
                Refusal::Token
            } else {
                Refusal::TooManyWrongTokens(wait)
            });
        };
        let delay = self.guesses.delay(&place);
        let is_compared =
            delay.is_zero() || is_beyond_guessing(&token) || self.guesses.was_right(&token, &place);
        if !is_compared {
            return Err(Refusal::TooManyWrongTokens(delay));
        }
        if self.tokens.contain(&token) {
            self.guesses.note_right(&token, &place);
            return Ok(());
        }
        self.guesses.note_wrong(&place);
        Err(if delay.is_zero() {
            Refusal::Token
        } else {
            Refusal::TooManyWrongTokens(delay)
        })
    }
}

fn bearer(headers: &HeaderMap) -> Option<SecretString> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("Bearer")
        .then(|| SecretString::from(token.trim_matches(' ')))
}

fn check_site(headers: &HeaderMap) -> Result<(), Refusal> {
    let host = headers.get(HOST).map(HeaderValue::as_bytes);
    let is_own = |origin: &HeaderValue| {
        let origin = origin.as_bytes();
        let authority = origin
            .strip_prefix(b"http://")
            .or_else(|| origin.strip_prefix(b"https://"));
        authority.is_some() && authority == host
    };
    if is_cross_site(headers) || !headers.get_all(ORIGIN).iter().all(is_own) {
        return Err(Refusal::CrossSite);
    }
    Ok(())
}

/// A shorter token can be guessed, and it allows to make clients.
pub const MIN_ADMIN_TOKEN: usize = 16;

/// Whether a text can be an admin token: long enough, and allowed in an `Authorization` header.
#[must_use]
pub fn is_admin_token(token: &SecretString) -> bool {
    let token = token.expose_secret();
    token.len() >= MIN_ADMIN_TOKEN && token.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A form cannot have this type, so a page must send a CORS preflight first, which is never granted
/// here.
fn check_content_type(method: &Method, headers: &HeaderMap) -> Result<(), Refusal> {
    let has_body = headers
        .get(http::header::CONTENT_LENGTH)
        .is_some_and(|length| length != "0")
        || headers.contains_key(http::header::TRANSFER_ENCODING);
    let needs_type = match *method {
        Method::GET | Method::HEAD | Method::OPTIONS => false,
        Method::POST | Method::PATCH => true,
        _ => has_body,
    };
    let essence = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = essence.split(';').next().unwrap_or_default().trim();
    let is_json = essence.eq_ignore_ascii_case("application/json")
        || *method == Method::PATCH && essence.eq_ignore_ascii_case("application/merge-patch+json");
    if needs_type && !is_json {
        Err(Refusal::ContentType)
    } else {
        Ok(())
    }
}

/// The layer before every handler.
pub(super) async fn check(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    let mut answer = match guard.admit(&request) {
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
mod tests;
