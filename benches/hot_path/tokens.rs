//! Tokens of an authority whose keys are in this process, and a verifier that trusts them.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use m2m_sidecar::for_tests::domain::clock::{Clock, SharedClock, SystemClock, UnixTime};
use m2m_sidecar::for_tests::domain::revoked::RevokedNow;
use m2m_sidecar::for_tests::domain::secret::ExposeSecret;
use m2m_sidecar::for_tests::jose::Algorithm;
use m2m_sidecar::for_tests::jose::key_set::KeySet;
use m2m_sidecar::for_tests::jose::live_keys::LiveKeys;
use m2m_sidecar::for_tests::jose::sign::SigningKey;
use m2m_sidecar::for_tests::verifier::{
    Audiences, Authority, AuthorityConfig, IntrospectionClients, KeySource, OwnIssuer, TokenPolicy,
    TokenVerifier,
};
use serde_json::json;

const ISSUER: &str = "http://issuer.test";

/// An authority with one key.
pub struct Issuing(SigningKey);

impl Issuing {
    /// One that signs with a fresh key for `algorithm`.
    pub fn new(algorithm: Algorithm) -> Self {
        Self(SigningKey::generate(algorithm).expect("a key"))
    }

    /// The `serial`-th token; about as long as those of real authorities.
    pub fn token(&self, serial: usize) -> String {
        let UnixTime(now) = SystemClock.now();
        let claims = json!({
            "iss": ISSUER, "sub": format!("svc-{serial:06}"), "aud": "bench",
            "client_id": format!("client-{serial:06}"),
            "exp": now + 86_400, "iat": now, "nbf": now - 60, "jti": format!("{serial:032x}"),
            "scope": "orders:read orders:write inventory:read billing:read reports:read",
            "tenant": "acme-production-eu-west-1", "roles": ["svc-reader", "svc-writer"],
        });
        self.0
            .sign("at+jwt", &claims)
            .expect("a token")
            .expose_secret()
            .to_owned()
    }

    /// A verifier of its tokens that caches `cache_size` of them.
    pub fn verifier(&self, cache_size: u64) -> TokenVerifier {
        let clock: SharedClock = Arc::new(SystemClock);
        let keys = json!({ "keys": [self.0.public_jwk()] }).to_string();
        let keys = LiveKeys::in_process(
            KeySet::parse(keys.as_bytes()).expect("a key set"),
            clock.clone(),
        );
        let authority = AuthorityConfig {
            algorithms: vec![self.0.algorithm()],
            ..AuthorityConfig::new("bench", ISSUER, KeySource::OwnIssuer)
        };
        let policy = TokenPolicy {
            forwarded_claims: ["sub", "client_id", "scope"].map(str::to_owned).to_vec(),
            audiences: Audiences::OneOf(vec!["bench".to_owned()]),
            rule_claims: Vec::new(),
            cache_size,
            introspects: false,
        };
        let own = OwnIssuer {
            keys,
            revoked: RevokedNow::default(),
        };
        let authority = Authority::new(
            authority,
            clock.clone(),
            Some(own),
            IntrospectionClients::default(),
        );
        TokenVerifier::new(policy, vec![authority], clock)
    }
}

/// The headers of a request with a token.
pub fn headers(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(
        AUTHORIZATION,
        HeaderValue::from_str(&format!("Bearer {token}")).expect("a header"),
    );
    headers
}
