//! Token verification: any bytes as a token, and any header and payload signed by a trusted key, so
//! that the code behind the signature check runs too.
//!
//! [`recheck`] checks every accepted token again, with simple implementations of base64, JSON and
//! Ed25519. The first byte gives the kind of the rest:
//!
//! - `A`, `B`: a header, a line feed, a payload; signed by the key of that authority
//! - `a`, `b`: three bytes (place, place, change), then as above: the signed text is changed in one
//!   place, so it must be refused
//! - anything else: the token as it is

#![no_main]

mod json;
mod recheck;

use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};

use ed25519_dalek::{Signer, SigningKey};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use m2m_sidecar::for_tests::domain::clock::{Clock, SharedClock, UnixTime};
use m2m_sidecar::for_tests::domain::revoked::RevokedNow;
use m2m_sidecar::for_tests::jose::key_set::KeySet;
use m2m_sidecar::for_tests::jose::live_keys::LiveKeys;
use m2m_sidecar::for_tests::verifier::{
    Audiences, Authority, AuthorityConfig, BearerToken, IntrospectionClients, KeySource, OwnIssuer,
    Profile, RevocationConfig, RevocationKind, TokenPolicy, TokenVerifier,
};

use recheck::{AUDIENCE, FORWARDED, ISSUERS, NOW, base64url, recheck};

/// The clock stands still.
struct Standing;

impl Clock for Standing {
    fn now(&self) -> UnixTime {
        UnixTime(NOW)
    }
}

/// The keys of the authorities, in their order.
static KEYS: LazyLock<[SigningKey; 2]> =
    LazyLock::new(|| [7, 8].map(|seed| SigningKey::from_bytes(&[seed; 32])));

static VERIFIER: LazyLock<TokenVerifier> = LazyLock::new(|| {
    let clock: SharedClock = Arc::new(Standing);
    let authorities = [0, 1].map(|n| {
        let x = base64url(KEYS[n].verifying_key().as_bytes());
        let jwks = format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"key","x":"{x}"}}]}}"#);
        let keys = KeySet::parse(jwks.as_bytes()).expect("a key set");
        let config = AuthorityConfig {
            require_expiry: n == 0,
            profile: [Profile::Standard, Profile::Plgd][n],
            max_token_size: [8, 32][n] * 1024,
            revocation: RevocationConfig {
                kind: [RevocationKind::None, RevocationKind::Auto][n],
                ..RevocationConfig::default()
            },
            ..AuthorityConfig::new(&n.to_string(), ISSUERS[n], KeySource::OwnIssuer)
        };
        let keys = LiveKeys::in_process(keys, clock.clone());
        Authority::new(
            config,
            clock.clone(),
            Some(OwnIssuer {
                keys,
                revoked: RevokedNow::default(),
            }),
            IntrospectionClients::default(),
        )
    });
    let policy = TokenPolicy {
        audiences: Audiences::OneOf(vec![AUDIENCE.to_owned()]),
        forwarded_claims: FORWARDED.map(str::to_owned).to_vec(),
        rule_claims: Vec::new(),
        cache_size: 100,
        introspects: false,
    };
    TokenVerifier::new(policy, authorities.to_vec(), clock)
});

fuzz_target!(|data: &[u8]| {
    let (mode, rest) = data
        .split_first()
        .map_or((0, data), |(mode, rest)| (*mode, rest));
    match mode {
        b'A' | b'B' => check(&sign(rest, &KEYS[usize::from(mode - b'A')])),
        b'a' | b'b' => {
            let Some((&[high, low, change], rest)) = rest.split_first_chunk() else {
                return;
            };
            let signed = sign(rest, &KEYS[usize::from(mode - b'a')]);
            let mut changed = signed.clone().into_bytes();
            let place = usize::from(u16::from_be_bytes([high, low])) % changed.len();
            changed[place] = change;
            if changed != signed.as_bytes() {
                check(&signed);
                assert!(
                    !std::str::from_utf8(&changed).is_ok_and(is_accepted),
                    "accepted though it was changed"
                );
            }
        }
        _ => {
            if let Ok(text) = std::str::from_utf8(data) {
                check(text);
            }
        }
    }
});

/// Header and payload as a token with a right signature.
fn sign(parts: &[u8], key: &SigningKey) -> String {
    let line_feed = parts
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(parts.len());
    let payload = parts.get(line_feed + 1..).unwrap_or_default();
    let message = format!("{}.{}", base64url(&parts[..line_feed]), base64url(payload));
    format!(
        "{message}.{}",
        base64url(&key.sign(message.as_bytes()).to_bytes())
    )
}

/// An accepted token must pass the recheck, and be accepted again from the cache.
fn check(token: &str) {
    if is_accepted(token) {
        let bad = recheck(token, &KEYS.each_ref().map(SigningKey::verifying_key)).err();
        assert_eq!(bad, None, "accepted: {token}");
        assert!(is_accepted(token), "accepted once only: {token}");
    }
}

/// The result of a future that waits for nothing but its turn on this thread.
fn finished<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    for _ in 0..3 {
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return done;
        }
    }
    panic!("keys of this process are not waited for")
}

fn is_accepted(token: &str) -> bool {
    let mut headers = HeaderMap::new();
    let Ok(value) = HeaderValue::from_str(&format!("Bearer {token}")) else {
        return false;
    };
    headers.insert(AUTHORIZATION, value);
    let Ok(bearer) = BearerToken::extract(&headers) else {
        return false;
    };
    let verified = finished(VERIFIER.verify(&bearer));
    verified.is_ok_and(|token| {
        for text in token.forwarded().flatten() {
            let value = HeaderValue::from_bytes(text).expect("it can stand in a header");
            assert_eq!(
                value.as_bytes().trim_ascii(),
                text,
                "an upstream would read something else"
            );
        }
        true
    })
}
