//! Floods of distinct bad tokens: what they cost the authority, and whether good traffic goes on
//! beside them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;

use super::{sidecar, yaml};
use crate::support::authority::{Authority, Endpoint};
use crate::support::client::{Connection, request_bytes};
use crate::support::keys::base64url;
use crate::support::upstream::Upstream;
use crate::support::{AUDIENCE, now};

/// The defect of the tokens of a flood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// Each names another key that does not exist.
    UnknownKid,
    /// Each names the authority's key, and has another signature that is not that key's.
    Signature,
    /// The same without a name of a key.
    Nameless,
    /// No token at all.
    Garbage,
}

impl Bad {
    /// All kinds.
    pub const ALL: [Self; 4] = [
        Self::UnknownKid,
        Self::Signature,
        Self::Nameless,
        Self::Garbage,
    ];

    /// The `n`th token. Not from the token builder, which has every token it makes looked for in
    /// the logs.
    pub fn token(self, issuer: &str, n: usize) -> String {
        let header = match self {
            Self::UnknownKid => {
                json!({"alg": "ES256", "typ": "at+jwt", "kid": format!("flood-{n}")})
            }
            Self::Signature => json!({"alg": "ES256", "typ": "at+jwt", "kid": "es256-1"}),
            Self::Nameless => json!({"alg": "ES256", "typ": "at+jwt"}),
            Self::Garbage => return base64url(n.to_string().repeat(50)),
        };
        let claims = json!({
            "iss": issuer, "sub": "flood", "aud": AUDIENCE, "iat": now() - 10, "exp": now() + 3600, "jti": n.to_string(),
        });
        let signature: Vec<u8> = (0..64)
            .map(|byte| u8::try_from((n >> (byte % 4 * 8)) & 0x7f).unwrap_or(1) | 1)
            .collect();
        format!(
            "{}.{}.{}",
            base64url(header.to_string()),
            base64url(claims.to_string()),
            base64url(signature)
        )
    }
}

/// Sends a GET with a token on a kept connection; the status.
pub async fn ask_on(connection: &mut Connection, address: SocketAddr, token: &str) -> u16 {
    let bearer = format!("Bearer {token}");
    connection
        .send(request_bytes(
            "GET",
            address,
            "/",
            &[("Authorization", &bearer)],
            b"",
        ))
        .await;
    connection.answer().await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_bad_tokens_causes_few_fetches_and_stops_no_good_traffic() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    let sidecar = sidecar(&authority, &upstream).await;
    let (address, issuer, good) = (
        sidecar.address("api"),
        authority.issuer(),
        authority.token().sign(),
    );
    let began = tokio::time::Instant::now();
    let (next, over, refused) = (
        AtomicUsize::new(0),
        AtomicBool::new(false),
        AtomicUsize::new(0),
    );
    let flood = async |connection: usize| {
        let mut open = Connection::open(address).await;
        let mut sent = 0;
        while sent < 200 || !over.load(Ordering::Relaxed) {
            sent += 1;
            let bad = Bad::ALL[connection % 4];
            let token = bad.token(&issuer, next.fetch_add(1, Ordering::Relaxed));
            let status = ask_on(&mut open, address, &token).await;
            // The authority is not asked for so many keys: what it was not asked for it may have.
            let is_not_asked = status == 503 && bad == Bad::UnknownKid;
            assert!(status == 401 || is_not_asked, "{bad:?} {status}");
            refused.fetch_add(1, Ordering::Relaxed);
        }
    };
    // The flood does not end before the good requests have been answered, however they are
    // scheduled.
    let good_traffic = async {
        let mut open = Connection::open(address).await;
        for _ in 0..100 {
            assert_eq!(ask_on(&mut open, address, &good).await, 200);
        }
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(
        futures_util::future::join_all((0..12).map(flood)),
        good_traffic
    );
    assert!(refused.load(Ordering::Relaxed) >= 2400);
    // The first fetch is everyone's; then five, and one in ten seconds.
    let allowed = 7 + began.elapsed().as_secs() / 10;
    assert!(
        authority.fetches(Endpoint::Jwks) as u64 <= allowed,
        "{}",
        authority.fetches(Endpoint::Jwks)
    );
    assert_eq!(
        upstream.received().len(),
        100,
        "not one bad request reached the service"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_during_an_outage_causes_few_fetches() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    authority.behave(Endpoint::Jwks, crate::support::behave::Behave::Status(500));
    let start = yaml(
        &format!("{{ issuer: \"{}\" }}", authority.issuer()),
        &upstream,
    );
    let sidecar = crate::support::sidecar::Sidecar::start(&start).await;
    let (address, issuer) = (sidecar.address("api"), authority.issuer());
    let began = tokio::time::Instant::now();
    let flood = async |connection: usize| {
        let mut open = Connection::open(address).await;
        for n in 0..100 {
            let token = Bad::UnknownKid.token(&issuer, connection * 1000 + n);
            assert_eq!(ask_on(&mut open, address, &token).await, 503);
        }
    };
    futures_util::future::join_all((0..8).map(flood)).await;
    // After 1, 3, 7, 15, 31 s, and each time up to a fifth earlier: by the pauses alone, none by
    // the 800 requests.
    let seconds = began.elapsed().as_secs_f64() * 1.25 + 2.0;
    let allowed = 2.0 + f64::log2(seconds + 1.0) + seconds / 10.0;
    let fetches = authority.fetches(Endpoint::Jwks);
    assert!((fetches as f64) <= allowed, "{fetches} of {allowed:.1}");
}
