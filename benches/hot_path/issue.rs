//! A token request: parameters read, client authenticated, token signed, and written down where it
//! has a name. Beside it the bare signature, which is the least it can cost, and how long a refusal
//! takes.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use criterion::Criterion;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use m2m_sidecar::for_tests::domain::clock::{SystemClock, UnixTime};
use m2m_sidecar::for_tests::domain::hash::sha256;
use m2m_sidecar::for_tests::domain::oauth::GrantType;
use m2m_sidecar::for_tests::domain::scope::ScopeSet;
use m2m_sidecar::for_tests::issuer::client::{Authentication, Secret};
use m2m_sidecar::for_tests::issuer::token_format::{ByAudience, ScopeClaim, TokenType};
use m2m_sidecar::for_tests::issuer::{Client, Config, Issuer, Profile, SecretFiles, TokenRequest};
use m2m_sidecar::for_tests::jose::Algorithm;
use m2m_sidecar::for_tests::jose::sign::SigningKey;
use m2m_sidecar::for_tests::store::{self, StoredClient, StoredSecret};
use serde_json::{Map, json};
use tokio::runtime::Runtime;
use tokio::time::Instant;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn body(client_id: &str, secret: &str, more: &str) -> String {
    format!(
        "grant_type=client_credentials&client_id={client_id}&client_secret={secret}\
         &scope=orders:read{more}"
    )
}

fn configured() -> Client {
    Client {
        id: "configured".to_owned(),
        name: None,
        authentication: Authentication::Secret,
        secrets: vec![Secret::configured("bench-secret".into())],
        owner: Some("1".to_owned()),
        owner_issuer: None,
        allowed_choices: Default::default(),
        access_token_lifetime: None,
        allowed_grant_types: vec![GrantType::ClientCredentials],
        allowed_audiences: vec!["https://orders.example".to_owned()],
        audience_settings: ByAudience::new(),
        allowed_scopes: ScopeSet::parse("orders:read orders:write").expect("scopes"),
        insert_token_claims: Map::new(),
        allow_introspection: false,
        exchange: None,
        bound_access_tokens: Default::default(),
        allowed_networks: Vec::new(),
        assertion_audiences: Default::default(),
        disabled: false,
        expires_at: None,
    }
}

fn stored() -> StoredClient {
    let digest: String = sha256(b"bench-secret")
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let now = UnixTime(1);
    StoredClient {
        client_id: "stored".to_owned(),
        document: json!({
            "grant_types": ["client_credentials"], "scope": "orders:read orders:write",
            "audience": ["https://orders.example"], "owner": "1",
        }),
        version: 1,
        created_at: now,
        updated_at: now,
        secrets: vec![StoredSecret {
            secret_id: "1".to_owned(),
            hash: format!("sha256:{digest}").into(),
            last_four: Some("cret".to_owned()),
            created_at: now,
            expires_at: None,
            last_used_at: None,
        }],
    }
}

fn config(algorithm: Algorithm) -> Config {
    Config {
        url: "http://issuer.test".parse().unwrap(),
        root_paths: false,
        profile: Profile::Standard,
        owner_claim: "owner".to_owned(),
        device_id_claim: String::new(),
        access_token_lifetime: Duration::from_secs(900),
        token_type: TokenType::AccessToken,
        scope_claims: vec![ScopeClaim::Scope],
        audiences: ByAudience::new(),
        algorithm,
        private_key: None,
        clients: vec![configured()],
        secret_files: SecretFiles::default(),
        client_jwks_hosts: Vec::new(),
        client_jwks_ca: None,
        egress: m2m_sidecar::for_tests::http_client::Egress::default(),
        max_assertion_lifetime: Duration::from_secs(3600),
        user_issuers: Vec::new(),
        respelt_issuers: Vec::new(),
        listed_clients: m2m_sidecar::for_tests::issuer::ListedClients::default(),
        max_token_size: 8 * 1024,
        rotate_every: Some(Duration::from_secs(30 * 86_400)),
        encryption_key: None,
        former_encryption_key: None,
    }
}

async fn issuer(algorithm: Algorithm, store: &store::Config) -> Arc<Issuer> {
    let store = store::open(store).await.expect("a store");
    store.insert_client(&stored()).await.expect("a client");
    Issuer::open(config(algorithm), store, Arc::new(SystemClock))
        .await
        .expect("an issuer")
}

async fn ask(issuer: &Issuer, headers: &HeaderMap, body: &str, from: IpAddr) -> bool {
    let request =
        TokenRequest::parse(black_box(headers), black_box(body.as_bytes())).expect("a request");
    issuer.issue(&request, Some(from)).await.is_ok()
}

pub fn bench(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let directory = tempfile::tempdir().expect("a directory");
    let mut headers = HeaderMap::new();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-www-form-urlencoded"),
    );
    for algorithm in [Algorithm::ES256, Algorithm::RS256] {
        let name = format!("{algorithm:?}");
        let file = store::Config::SqliteFile(directory.path().join(format!("{name}.db")));
        let issuer = runtime.block_on(issuer(algorithm, &file));
        let key = SigningKey::generate(algorithm).expect("a key");
        let claims = json!({
            "iss": "http://issuer.test", "sub": "configured", "aud": ["https://orders.example"],
            "exp": 1_900_000_000, "iat": 1_800_000_000, "jti": uuid::Uuid::nil().to_string(),
            "client_id": "configured", "scope": "orders:read", "owner": "1",
        });
        let mut group = criterion.benchmark_group(format!("issue {name}"));
        group.bench_function("the bare signature", |b| {
            b.iter(|| key.sign("at+jwt", black_box(&claims)).is_ok())
        });
        for (case, client, more) in [
            ("client of the configuration", "configured", ""),
            ("client of the store", "stored", ""),
            ("named, so written down", "stored", "&token_name=bench"),
        ] {
            let body = body(client, "bench-secret", more);
            assert!(
                runtime.block_on(ask(&issuer, &headers, &body, HERE)),
                "{case}"
            );
            group.bench_function(case, |b| {
                b.iter(|| runtime.block_on(ask(&issuer, &headers, &body, HERE)))
            });
        }
        group.finish();
        println!("{name}:");
        together(&runtime, &issuer, &headers, &|| {
            key.sign("at+jwt", black_box(&claims)).is_ok()
        });
        if algorithm == Algorithm::ES256 {
            refusals(&runtime, &issuer, &headers);
        }
    }
}

/// How many tokens a second, and how much of a processor each takes, on all threads together; asked
/// for one by one, and by many at once, who share commits.
fn together(runtime: &Runtime, issuer: &Issuer, headers: &HeaderMap, signature: &dyn Fn() -> bool) {
    const TOKENS: u32 = 2000;
    let measured = |what: &str, work: &dyn Fn()| {
        let (began, cpu) = (Instant::now(), cpu_time());
        work();
        let (took, cpu) = (began.elapsed(), cpu_time().saturating_sub(cpu));
        let rate = f64::from(TOKENS) / took.as_secs_f64();
        println!(
            "{what}: {rate:.0} a second, {:.0} us of CPU each",
            (cpu / TOKENS).as_secs_f64() * 1e6
        );
    };
    measured("the bare signature", &|| {
        for _ in 0..TOKENS {
            assert!(signature());
        }
    });
    for (what, client, more) in [
        ("client of the configuration", "configured", ""),
        ("client of the store", "stored", ""),
        (
            "client of the store, named token",
            "stored",
            "&token_name=bench",
        ),
    ] {
        let body = body(client, "bench-secret", more);
        for at_once in [1, 50] {
            measured(&format!("{what}, {at_once} at a time"), &|| {
                runtime.block_on(async {
                    let each = async || {
                        for _ in 0..TOKENS / at_once {
                            assert!(ask(issuer, headers, &body, HERE).await);
                        }
                    };
                    futures_util::future::join_all((0..at_once).map(|_| each())).await;
                });
            });
        }
    }
}

/// The processor time of this process, in steps of 10 ms (proc_pid_stat(5), fields 14 and 15).
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(11)
        .take(2);
    Duration::from_millis(
        fields
            .map(|ticks| ticks.parse::<u64>().expect("a number") * 10)
            .sum(),
    )
}

/// Two distributions that must be equal: an unknown client, and a wrong secret.
fn refusals(runtime: &Runtime, issuer: &Issuer, headers: &HeaderMap) {
    let mut times = [Vec::new(), Vec::new()];
    // In turns, so that other work of the machine affects both.
    for round in 0..4000 {
        for (times, client) in times.iter_mut().zip(["unknown", "stored"]) {
            // Each from another client address: repeated failures from one are not checked.
            let from = IpAddr::from((u32::from(Ipv4Addr::new(10, 0, 0, 0)) + round).to_be_bytes());
            let body = body(client, &format!("wrong-secret-{round}"), "");
            let began = Instant::now();
            assert!(!runtime.block_on(ask(issuer, headers, &body, from)));
            times.push(began.elapsed());
        }
    }
    for (mut times, what) in times.into_iter().zip(["unknown client", "wrong secret  "]) {
        times.sort_unstable();
        let at = |share: usize| times[(times.len() - 1) * share / 1000];
        println!(
            "{what}: p5 {:?}, p50 {:?}, p95 {:?}, p99.9 {:?}",
            at(50),
            at(500),
            at(950),
            at(999)
        );
    }
}
