//! A token request: parameters read, client authenticated, token signed.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::Criterion;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use m2m_sidecar::domain::clock::SystemClock;
use m2m_sidecar::domain::oauth::GrantType;
use m2m_sidecar::domain::scope::ScopeSet;
use m2m_sidecar::issuer::client::Secret;
use m2m_sidecar::issuer::{Client, Config, Issuer, TokenRequest};
use m2m_sidecar::jose::Algorithm;
use m2m_sidecar::store;
use serde_json::Map;

const BODY: &[u8] =
    b"grant_type=client_credentials&client_id=bench&client_secret=bench-secret&scope=orders:read";

fn config() -> Config {
    let client = Client {
        id: "bench".to_owned(),
        name: None,
        secrets: vec![Secret::configured("bench-secret".into())],
        owner: Some("1".to_owned()),
        access_token_lifetime: None,
        allowed_grant_types: vec![GrantType::ClientCredentials],
        allowed_audiences: vec!["https://orders.example".to_owned()],
        allowed_scopes: ScopeSet::parse("orders:read orders:write").expect("scopes"),
        insert_token_claims: Map::new(),
        allow_introspection: false,
        disabled: false,
        expires_at: None,
    };
    Config {
        url: "http://issuer.test".to_owned(),
        root_paths: false,
        owner_claim: "owner".to_owned(),
        access_token_lifetime: Duration::from_secs(900),
        algorithm: Algorithm::ES256,
        private_key: None,
        rotate_every: Some(Duration::from_secs(30 * 86_400)),
        encryption_key: None,
        clients: vec![client],
    }
}

pub fn bench(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let issuer = runtime.block_on(async {
        let store = store::open(&store::Config::SqliteMemory).await.expect("a store");
        Issuer::open(config(), store.clone(), Arc::new(SystemClock)).await.expect("an issuer")
    });
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    let issue = || {
        let request = TokenRequest::parse(black_box(&headers), black_box(BODY)).expect("a token request");
        runtime.block_on(issuer.issue(&request))
    };
    assert!(issue().is_ok());
    let mut group = criterion.benchmark_group("issue");
    group.bench_function("client credentials, ES256", |b| b.iter(|| issue().is_ok()));
    group.finish();
}
