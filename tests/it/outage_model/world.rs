//! The simulated world: a clock tied to tokio's paused one, and an issuer with keys.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::CACHE_CONTROL;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;

use m2m_sidecar::for_tests::domain::clock::{Clock, UnixTime};
use m2m_sidecar::for_tests::http_client::{Failed, HttpAnswer, HttpError};

pub const ISSUER: &str = "https://idp.example/realms/iot";
/// How long each answer takes.
const LATENCY: Duration = Duration::from_millis(10);
/// Longer than a request waits, shorter than a fetch may take.
const SLOW: Duration = Duration::from_secs(3);
/// When the HTTP client gives up.
const GIVEN_UP: Duration = Duration::from_secs(5);

/// The wall clock, which goes with tokio's.
pub struct SimClock(Instant);

impl SimClock {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(Instant::now()))
    }

    pub fn at(&self, instant: Instant) -> i64 {
        let since = instant.duration_since(self.0).as_secs();
        1_800_000_000 + i64::try_from(since).unwrap()
    }
}

impl Clock for SimClock {
    fn now(&self) -> UnixTime {
        UnixTime(self.at(Instant::now()))
    }
}

/// How the issuer answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Good,
    /// Correct, but too slow for a request to wait.
    Slow,
    Refused,
    Reset,
    Hang,
    /// The metadata come, the keys do not.
    HangLater,
    Unavailable,
    Redirect,
    WrongIssuer,
    Garbage,
    EmptySet,
    /// Only keys that verify nothing.
    UselessSet,
    TooLarge,
}

impl Condition {
    pub const BAD: [Self; 11] = [
        Self::Refused,
        Self::Reset,
        Self::Hang,
        Self::HangLater,
        Self::Unavailable,
        Self::Redirect,
        Self::WrongIssuer,
        Self::Garbage,
        Self::EmptySet,
        Self::UselessSet,
        Self::TooLarge,
    ];
}

/// A key pair; two may have the same name.
pub struct Key {
    pub kid: String,
    pair: EcdsaKeyPair,
}

impl Key {
    pub fn new(kid: &str) -> Arc<Self> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Arc::new(Self {
            kid: kid.to_owned(),
            pair,
        })
    }

    fn jwk(&self) -> Value {
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        json!({
            "kty": "EC", "crv": "P-256", "kid": self.kid, "alg": "ES256",
            "x": encode(x), "y": encode(y),
        })
    }

    pub fn sign(&self, kid: Option<&str>, claims: &Value) -> String {
        let mut header = json!({ "alg": "ES256", "typ": "at+jwt" });
        if let Some(kid) = kid {
            header["kid"] = kid.into();
        }
        let message = format!(
            "{}.{}",
            encode(header.to_string()),
            encode(claims.to_string())
        );
        let signature = self
            .pair
            .sign(&SystemRandom::new(), message.as_bytes())
            .unwrap();
        format!("{message}.{}", encode(signature.as_ref()))
    }
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The issuer.
pub struct Issuer {
    pub condition: Condition,
    pub published: Vec<Arc<Key>>,
    /// Its `Cache-Control: max-age`.
    pub max_age: Option<u64>,
    /// Whether the metadata that were given out last name this issuer: keys found through others do
    /// not count.
    pub named_right: bool,
    /// Set when the keys are given out, taken when the fetch has ended.
    pub given: Option<Given>,
}

/// The keys as they were given out, and for how long they may be kept.
#[derive(Clone)]
pub struct Given {
    pub keys: Vec<Arc<Key>>,
    pub max_age: Option<u64>,
}

pub type SharedIssuer = Arc<Mutex<Issuer>>;

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The issuer's answer to a GET.
pub async fn answer(issuer: SharedIssuer, url: Url) -> Result<HttpAnswer, Failed> {
    let condition = lock(&issuer).condition;
    let keys_wanted = url.path().ends_with("/jwks.json");
    let hangs = condition == Condition::Hang || (condition == Condition::HangLater && keys_wanted);
    tokio::time::sleep(if hangs { GIVEN_UP } else { LATENCY }).await;
    match condition {
        Condition::Refused => return Err(Failed::of(HttpError::Connect, &url)),
        Condition::Reset => return Err(Failed::of(HttpError::Broken, &url)),
        Condition::TooLarge => return Err(Failed::of(HttpError::TooLarge, &url)),
        _ if hangs => return Err(Failed::of(HttpError::Timeout, &url)),
        Condition::Unavailable => return Ok(reply(503, "{\"error\":\"down\"}", None)),
        Condition::Redirect => return Ok(reply(302, "", None)),
        _ => {}
    }
    if !keys_wanted {
        let right = condition != Condition::WrongIssuer;
        let named = if right {
            ISSUER
        } else {
            "https://other.example"
        };
        lock(&issuer).named_right = right;
        let metadata = json!({ "issuer": named, "jwks_uri": format!("{ISSUER}/jwks.json") });
        return Ok(reply(200, &metadata.to_string(), None));
    }
    if condition == Condition::Slow {
        tokio::time::sleep(SLOW).await;
    }
    let mut issuer = lock(&issuer);
    Ok(match condition {
        Condition::Garbage => reply(200, "<html>please log in</html>", Some(3600)),
        Condition::EmptySet => reply(200, "{\"keys\":[]}", Some(3600)),
        Condition::UselessSet => reply(
            200,
            r#"{"keys":[{"kty":"oct","k":"AAAA","kid":"k1"}]}"#,
            Some(3600),
        ),
        _ => {
            let given = Given {
                keys: issuer.published.clone(),
                max_age: issuer.max_age,
            };
            let document =
                json!({ "keys": given.keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() });
            let reply = reply(200, &document.to_string(), given.max_age);
            // An empty set does not count, also if a rotation publishes no key for a while.
            issuer.given = (issuer.named_right && !given.keys.is_empty()).then_some(given);
            reply
        }
    })
}

fn reply(status: u16, body: &str, max_age: Option<u64>) -> HttpAnswer {
    let mut headers = HeaderMap::new();
    if let Some(max_age) = max_age {
        headers.insert(CACHE_CONTROL, format!("max-age={max_age}").parse().unwrap());
    }
    let status = StatusCode::from_u16(status).unwrap();
    HttpAnswer {
        status,
        headers,
        body: body.to_owned().into(),
    }
}
