//! The phases together: from a request to a signed token, or to an error.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use serde_json::{Map, json};

use super::*;
use crate::domain::clock::Clock;
use crate::domain::oauth::GrantType;
use crate::domain::revoked::{EndMark, Issued, TokenId};
use crate::domain::scope::ScopeSet;
use crate::domain::secret::{ExposeSecret, SecretString};
use crate::issuer::excerpt::Excerpt;
use crate::issuer::metadata::RequestedCertificates;
use crate::issuer::token_format::{ByAudience, ScopeClaim, TokenType};
use crate::jose::Algorithm;
use crate::jose::sign::SigningKey;
use crate::store::{self, KeyChange, KeyRecord, KeyState, StoredKey};

mod claims;
mod clients;
mod open;

pub(crate) const NOW: i64 = 1_800_000_000;
pub(crate) const URL: &str = "https://issuer.example/m2m";
const DEVICES: &str = "https://devices.example";

pub(crate) struct TestClock(pub(crate) AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> UnixTime {
        UnixTime(self.0.load(Ordering::Relaxed))
    }
}

pub(crate) fn client(id: &str, secret: &str) -> Client {
    Client {
        id: id.to_owned(),
        name: None,
        authentication: client::Authentication::Secret,
        secrets: vec![client::Secret::configured(SecretString::from(secret))],
        owner: None,
        owner_issuer: None,
        allowed_choices: client::AllowedChoices::default(),
        access_token_lifetime: None,
        allowed_grant_types: vec![GrantType::ClientCredentials],
        allowed_audiences: Vec::new(),
        audience_settings: ByAudience::new(),
        allowed_scopes: ScopeSet::default(),
        insert_token_claims: Map::new(),
        allow_introspection: false,
        exchange: None,
        bound_access_tokens: client::BoundAccessTokens::default(),
        allowed_networks: Vec::new(),
        assertion_audiences: client::AssertionAudiences::default(),
        disabled: false,
        expires_at: None,
    }
}

/// A client with two scopes, two audiences and a token lifetime of 15 minutes.
fn legacy() -> Client {
    Client {
        access_token_lifetime: Some(Duration::from_secs(900)),
        allowed_audiences: vec![DEVICES.to_owned(), "urn:hub".to_owned()],
        allowed_scopes: ScopeSet::parse("devices:read devices:write").unwrap(),
        ..client("legacy", "s3cret")
    }
}

pub(crate) fn config(clients: Vec<Client>) -> Config {
    Config {
        root_paths: true,
        url: URL.parse().unwrap(),
        profile: Profile::Standard,
        owner_claim: "owner".to_owned(),
        device_id_claim: String::new(),
        access_token_lifetime: Duration::from_secs(3600),
        token_type: TokenType::AccessToken,
        scope_claims: vec![ScopeClaim::Scope],
        audiences: ByAudience::new(),
        algorithm: Algorithm::ES256,
        private_key: None,
        rotate_every: Some(Duration::from_secs(30 * 86_400)),
        encryption_key: None,
        former_encryption_key: None,
        clients,
        secret_files: crate::issuer::SecretFiles::default(),
        client_jwks_hosts: Vec::new(),
        client_jwks_ca: None,
        egress: crate::http_client::Egress::default(),
        max_assertion_lifetime: Duration::from_secs(3600),
        user_issuers: Vec::new(),
        respelt_issuers: Vec::new(),
        listed_clients: ListedClients::default(),
        max_token_size: crate::domain::oauth::DEFAULT_TOKEN_SIZE,
    }
}

pub(crate) async fn open(config: Config) -> Result<Arc<Issuer>, OpenError> {
    let store = store::open(&store::Config::SqliteMemory).await.unwrap();
    Issuer::open(config, store.clone(), clock()).await
}

fn clock() -> SharedClock {
    Arc::new(TestClock(AtomicI64::new(NOW)))
}

async fn issuer() -> Arc<Issuer> {
    open(config(vec![legacy(), client("bare", "b4re")]))
        .await
        .unwrap()
}

fn request(basic: &str, body: &str) -> TokenRequest {
    let mut headers = HeaderMap::new();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-www-form-urlencoded"),
    );
    let basic = format!("Basic {}", STANDARD.encode(basic));
    headers.insert(AUTHORIZATION, HeaderValue::from_str(&basic).unwrap());
    TokenRequest::parse(
        &headers,
        format!("grant_type=client_credentials{body}").as_bytes(),
    )
    .unwrap()
}

/// The token's claims, after its signature was verified with the key that `jwks.json` publishes for
/// its `kid`.
fn verified_claims(issuer: &Issuer, token: &str) -> Value {
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    let (input, signature) = token.rsplit_once('.').unwrap();
    let (header, claims) = input.split_once('.').unwrap();
    let header: Value = serde_json::from_slice(&decode(header)).unwrap();
    assert_eq!(header["typ"], "at+jwt");
    let jwks: Value = serde_json::from_str(&issuer.public_keys()).unwrap();
    let jwk = jwks["keys"]
        .as_array()
        .unwrap()
        .iter()
        .find(|jwk| jwk["kid"] == header["kid"])
        .unwrap();
    assert_eq!((&jwk["alg"], &jwk["use"]), (&header["alg"], &json!("sig")));
    let coordinate = |name: &str| decode(jwk[name].as_str().unwrap());
    let point = [vec![4], coordinate("x"), coordinate("y")].concat();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
        .verify(input.as_bytes(), &decode(signature))
        .unwrap();
    serde_json::from_slice(&decode(claims)).unwrap()
}

async fn issue(issuer: &Issuer, basic: &str, body: &str) -> Value {
    let response = issuer.issue(&request(basic, body), None).await.unwrap();
    let claims = verified_claims(issuer, response.access_token.expose_secret());
    assert_eq!(claims["jti"], response.jti.as_str());
    assert_eq!(
        claims["exp"],
        NOW + i64::try_from(response.expires_in.unwrap().as_secs()).unwrap()
    );
    assert_eq!(
        claims["scope"].as_str().unwrap_or_default(),
        response.scope.to_string()
    );
    claims
}

async fn refusal(issuer: &Issuer, basic: &str, body: &str) -> TokenError {
    issuer.issue(&request(basic, body), None).await.unwrap_err()
}
