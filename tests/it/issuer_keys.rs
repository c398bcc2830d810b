//! Signing keys over real sockets: rotation under load, restarts, two sidecars on one store,
//! encryption at rest.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::support::client::{get, post_form};
use crate::support::clock::MovableClock;
use crate::support::sidecar::{Sidecar, SidecarBuilder};
use crate::support::upstream::Upstream;
use crate::support::{logs, until};

const SECRET: &str = "a secret of the legacy program";
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// An issuer whose keys sign for an hour each, and a listener that trusts it in process. `tokens`
/// live so long.
fn yaml(upstream: &Upstream, store: &str, signing: &str, tokens: &str) -> String {
    format!(
        r#"
stateDir: "@DIR@/state"
store: {store}
issuer:
  url: http://issuer.test
  listen: 127.0.0.1:0
  accessTokenLifetime: {tokens}
  signing: {signing}
  clients: [{{ id: legacy, secretFile: "@DIR@/legacy" }}]
authorities: {{ self: {{ issuer: http://issuer.test }} }}
inbound:
  - {{ name: api, listen: 127.0.0.1:0, upstream: "{}", authorities: [self], audiences: any, rules: [{{ paths: ["/**"] }}] }}
"#,
        upstream.url()
    )
}

const STORE: &str = r#"{ url: "sqlite:@DIR@/db/m2m.db" }"#;
const HOURLY: &str = "{ rotateEvery: 1h }";

fn with_secret(builder: SidecarBuilder) -> SidecarBuilder {
    builder.secret_file("legacy", "legacy", SECRET)
}

async fn issue(issuer: &Sidecar) -> String {
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", "legacy"),
        ("client_secret", SECRET),
    ];
    let answer = post_form(issuer.address("issuer"), "/oauth/token", &fields, &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let token = answer.json()["access_token"]
        .as_str()
        .expect("a token")
        .to_owned();
    logs::remember_secret(&token);
    token
}

fn header(token: &str) -> Value {
    let header = token.split('.').next().expect("a header");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).expect("base64url")).expect("JSON")
}

fn kid(token: &str) -> String {
    header(token)["kid"].as_str().expect("a kid").to_owned()
}

/// Shows a token: status, and the reason when it is refused.
async fn show(sidecar: &Sidecar, token: &str) -> (u16, Option<String>) {
    let answer = get(
        sidecar.address("api"),
        "/",
        &[("Authorization", &format!("Bearer {token}"))],
    )
    .await;
    (
        answer.status,
        answer.header("x-m2m-reason").map(str::to_owned),
    )
}

async fn jwks(issuer: &Sidecar) -> Value {
    get(issuer.address("issuer"), "/.well-known/jwks.json", &[])
        .await
        .json()
}

async fn published(issuer: &Sidecar) -> Vec<String> {
    let jwks = jwks(issuer).await;
    let keys = jwks["keys"].as_array().expect("keys").iter();
    keys.map(|key| key["kid"].as_str().expect("a kid").to_owned())
        .collect()
}

/// A sidecar that fetches the issuer's key set, as one on another machine does.
async fn far(issuer: &Sidecar, upstream: &Upstream, clock: &Arc<MovableClock>) -> Sidecar {
    let jwks_uri = format!("http://{}/.well-known/jwks.json", issuer.address("issuer"));
    let yaml = format!(
        r#"
stateDir: "@DIR@/state"
probes: {{ listen: 127.0.0.1:0 }}
readiness: [listeners, authorities]
authorities: {{ self: {{ issuer: http://issuer.test, jwksUri: "{jwks_uri}", revocation: none }} }}
inbound:
  - {{ name: api, listen: 127.0.0.1:0, upstream: "{}", authorities: [self], audiences: any, rules: [{{ paths: ["/**"] }}] }}
"#,
        upstream.url()
    );
    let far = Sidecar::builder().clock(clock.clone()).start(&yaml).await;
    until("it has fetched the keys", async || {
        get(far.address("probes"), "/readyz", &[]).await.status == 200
    })
    .await;
    far
}

async fn fetches(far: &Sidecar) -> u64 {
    let metrics = get(far.address("probes"), "/metrics", &[]).await.text();
    let line = "m2m_jwks_fetch_total{authority=\"self\",result=\"ok\"} ";
    let count = metrics
        .lines()
        .find_map(|text| text.strip_prefix(line))
        .expect("the metric");
    count.parse().expect("a number")
}

/// Makes a remote verifier fetch again before its copy is old: by tokens of unknown keys.
async fn refreshes(far: &Sidecar) {
    let before = fetches(far).await;
    until("it fetches again", async || {
        let header =
            json!({ "alg": "ES256", "typ": "at+jwt", "kid": uuid::Uuid::new_v4().to_string() });
        let claims = json!({ "iss": "http://issuer.test" });
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let token = [part(header), part(claims), URL_SAFE_NO_PAD.encode([1; 64])].join(".");
        show(far, &token).await;
        fetches(far).await > before
    })
    .await;
}

/// Clients that ask for tokens and show each at once to everyone, until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicUsize>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(issuer: &Arc<Sidecar>, far: &Arc<Sidecar>) -> Self {
        let (stop, rounds) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let client = || {
            let (issuer, far, stop, rounds) =
                (issuer.clone(), far.clone(), stop.clone(), rounds.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let token = issue(&issuer).await;
                    assert_eq!(
                        show(&issuer, &token).await,
                        (200, None),
                        "in process: {}",
                        header(&token)
                    );
                    assert_eq!(
                        show(&far, &token).await,
                        (200, None),
                        "elsewhere: {}",
                        header(&token)
                    );
                    rounds.fetch_add(1, Ordering::SeqCst);
                    // Leaves something of the machine to the tests beside it.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            })
        };
        let clients = (0..4).map(|_| client()).collect();
        Self {
            stop,
            rounds,
            clients,
        }
    }

    /// Until so much more was asked.
    async fn goes_on(&self, rounds: usize) {
        let wanted = self.rounds.load(Ordering::SeqCst) + rounds;
        until("the load goes on", async || {
            self.rounds.load(Ordering::SeqCst) >= wanted
                || self.clients.iter().any(|it| it.is_finished())
        })
        .await;
    }

    async fn end(self) {
        self.stop.store(true, Ordering::SeqCst);
        for client in self.clients {
            client.await.expect("no request of it failed");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_keys_rotate_no_request_fails_and_no_verifier_refuses_a_token() {
    let (upstream, clock) = (Upstream::start(), MovableClock::now());
    let builder = with_secret(Sidecar::builder()).clock(clock.clone());
    let issuer = Arc::new(builder.start(&yaml(&upstream, STORE, HOURLY, "24h")).await);
    let far = Arc::new(far(&issuer, &upstream, &clock).await);
    let first = issue(&issuer).await;
    let load = Load::start(&issuer, &far);
    let mut signing = kid(&first);
    for rotation in 1..=2 {
        load.goes_on(20).await;
        // The next key is published a quarter of an hour before it signs.
        clock.forward(MINUTE * 46);
        until("a further key is published", async || {
            published(&issuer).await.len() == rotation + 1
        })
        .await;
        assert_eq!(kid(&issue(&issuer).await), signing, "it does not sign yet");
        refreshes(&far).await;
        load.goes_on(20).await;
        clock.forward(MINUTE * 16);
        until("it signs", async || kid(&issue(&issuer).await) != signing).await;
        signing = kid(&issue(&issuer).await);
        load.goes_on(20).await;
    }
    load.end().await;
    assert!(
        published(&issuer).await.contains(&kid(&first)),
        "a token of it may be alive"
    );
    clock.forward(HOUR * 26);
    until("the first key is gone", async || {
        !published(&issuer).await.contains(&kid(&first))
    })
    .await;
    assert!(published(&issuer).await.contains(&signing));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_any_state_of_a_rotation_refuses_no_living_token() {
    let (upstream, clock) = (Upstream::start(), MovableClock::now());
    let yaml = yaml(&upstream, STORE, HOURLY, "24h");
    let mut sidecar = with_secret(Sidecar::builder())
        .clock(clock.clone())
        .start(&yaml)
        .await;
    let first = issue(&sidecar).await;
    // Published; in use; the first one stays for its tokens; another was due while no process ran.
    for (forward, keys, rotated) in [
        (MINUTE * 46, 2, false),
        (MINUTE * 16, 2, true),
        (MINUTE, 2, true),
        (HOUR * 5, 3, true),
    ] {
        let builder = sidecar.stop_keeping_state().await;
        clock.forward(forward);
        sidecar = with_secret(builder).clock(clock.clone()).start(&yaml).await;
        assert_eq!(published(&sidecar).await.len(), keys);
        let token = issue(&sidecar).await;
        assert_eq!(kid(&token) != kid(&first), rotated);
        assert_eq!(show(&sidecar, &token).await, (200, None));
        assert_eq!(show(&sidecar, &first).await, (200, None));
    }
    let builder = sidecar.stop_keeping_state().await;
    clock.forward(HOUR * 30);
    let sidecar = with_secret(builder).clock(clock.clone()).start(&yaml).await;
    assert!(!published(&sidecar).await.contains(&kid(&first)));
    assert_eq!(show(&sidecar, &issue(&sidecar).await).await, (200, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sidecars_on_one_store_rotate_once_and_accept_each_others_tokens() {
    let (upstream, clock) = (Upstream::start(), MovableClock::now());
    let yaml = |store: &str| yaml(&upstream, store, HOURLY, "1h");
    let one = with_secret(Sidecar::builder())
        .clock(clock.clone())
        .start(&yaml(STORE))
        .await;
    let shared = format!("{{ url: \"sqlite:{}\" }}", one.path("db/m2m.db").display());
    let two = with_secret(Sidecar::builder())
        .clock(clock.clone())
        .start(&yaml(&shared))
        .await;
    let before = issue(&one).await;
    assert_eq!(kid(&issue(&two).await), kid(&before));
    clock.forward(MINUTE * 46);
    until("both publish the same next key", async || {
        let (one, two) = (published(&one).await, published(&two).await);
        one.len() == 2 && one == two
    })
    .await;
    clock.forward(MINUTE * 16);
    until("both sign with it", async || {
        let (one, two) = (kid(&issue(&one).await), kid(&issue(&two).await));
        one == two && one != kid(&before)
    })
    .await;
    assert_eq!(published(&one).await, published(&two).await);
    assert_eq!(published(&one).await.len(), 2, "rotated once");
    let (of_one, of_two) = (issue(&one).await, issue(&two).await);
    for sidecar in [&one, &two] {
        for token in [&before, &of_one, &of_two] {
            // The hour of the first one is over, except for the tolerance of clocks.
            let expected = if token == &before {
                (401, Some("expired".to_owned()))
            } else {
                (200, None)
            };
            assert_eq!(show(sidecar, token).await, expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_algorithm_is_told_by_metadata_and_ends_no_token() {
    let upstream = Upstream::start();
    let yaml = |signing: &str| yaml(&upstream, STORE, signing, "1h");
    let mut sidecar = with_secret(Sidecar::builder())
        .start(&yaml("{ algorithm: ES256 }"))
        .await;
    let mut tokens = vec![issue(&sidecar).await];
    for (algorithm, earlier) in [("EdDSA", vec!["ES256"]), ("PS256", vec!["ES256", "EdDSA"])] {
        let builder = sidecar.stop_keeping_state().await;
        sidecar = with_secret(builder)
            .start(&yaml(&format!("{{ algorithm: {algorithm} }}")))
            .await;
        tokens.push(issue(&sidecar).await);
        assert_eq!(header(&tokens[tokens.len() - 1])["alg"], algorithm);
        for token in &tokens {
            assert_eq!(show(&sidecar, token).await, (200, None));
        }
        let metadata = get(
            sidecar.address("issuer"),
            "/.well-known/openid-configuration",
            &[],
        )
        .await
        .json();
        let listed = &metadata["id_token_signing_alg_values_supported"];
        let listed: Vec<_> = listed
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        assert_eq!(listed[0], algorithm);
        let mut others = listed[1..].to_vec();
        others.sort_unstable();
        assert_eq!(others, earlier);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encryption_key_keeps_private_keys_out_of_the_files_and_is_required_then() {
    let upstream = Upstream::start();
    let yaml = |store: &str| yaml(&upstream, store, "{}", "1h");
    let plain = yaml(STORE);
    let sealed = yaml(r#"{ url: "sqlite:@DIR@/db/m2m.db", encryptionKeyFile: "@DIR@/store-key" }"#);
    let key = |first: u8| STANDARD.encode((first..first + 32).collect::<Vec<_>>());
    logs::remember_secret(&key(1));
    logs::remember_secret(&key(2));

    let sidecar = with_secret(Sidecar::builder()).start(&plain).await;
    let token = issue(&sidecar).await;
    let keys = jwks(&sidecar).await;
    let builder = sidecar.stop_keeping_state().await;
    let pem = stored_pem(&builder.path("db"));
    logs::remember_private_key(&pem);
    let line = pem.lines().nth(1).expect("a line of the key").to_owned();
    assert!(contains(&builder.path("db"), &line));

    let sidecar = with_secret(builder)
        .file("store-key", key(1))
        .start(&sealed)
        .await;
    assert_eq!(jwks(&sidecar).await, keys);
    assert_eq!(show(&sidecar, &token).await, (200, None));
    for text in ["PRIVATE KEY", line.as_str()] {
        assert!(!contains(&sidecar.path("db"), text), "while it runs");
    }
    let builder = sidecar.stop_keeping_state().await;
    for text in ["PRIVATE KEY", line.as_str()] {
        assert!(!contains(&builder.path("db"), text), "after its end");
    }

    // A copy of the database for each try: a sidecar that does not start takes its directory along.
    let database = std::fs::read(builder.path("db/m2m.db")).expect("the database");
    let copy = || {
        let builder = with_secret(Sidecar::builder());
        std::fs::create_dir(builder.path("db")).expect("a directory");
        builder.file("db/m2m.db", &database)
    };
    let why = copy()
        .try_start(&plain)
        .await
        .err()
        .expect("without the key it does not start");
    assert!(
        why.contains("is encrypted: `store.encryptionKeyFile` must name"),
        "{why}"
    );
    let why = copy()
        .file("store-key", key(2))
        .try_start(&sealed)
        .await
        .err()
        .expect("another key does not fit");
    assert!(
        why.contains("cannot be decrypted: `store.encryptionKeyFile` holds another key"),
        "{why}"
    );
    let again = copy().file("store-key", key(1)).start(&sealed).await;
    assert_eq!(jwks(&again).await, keys);
}

fn bytes(directory: &Path) -> Vec<u8> {
    let files = std::fs::read_dir(directory).expect("a directory");
    files
        .flat_map(|file| std::fs::read(file.expect("a file").path()).expect("readable"))
        .collect()
}

fn contains(directory: &Path, text: &str) -> bool {
    bytes(directory)
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

/// The private key that lies in a database in plain text.
fn stored_pem(directory: &Path) -> String {
    let bytes = String::from_utf8_lossy(&bytes(directory)).into_owned();
    let begin = bytes.find("-----BEGIN PRIVATE KEY-----").expect("a key");
    let end = begin + bytes[begin..].find("-----END").expect("its end");
    bytes[begin..end].to_owned()
}
