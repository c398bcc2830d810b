//! Complaints of users of other proxies that need real sockets. The numbers are those of our list
//! of complaints; 3 to 7, 9, 10, 12 and 14 are also played in paused time, in
//! `outage_model::complaints`, and 13 is in `state`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use m2m_sidecar::for_tests::domain::clock::SystemClock;
use m2m_sidecar::for_tests::jose::key_set::KeySet;
use m2m_sidecar::for_tests::jose::live_keys::{Fetch, Fetched, LiveKeys, Renewal, Source};

use super::{ask, metrics, outcome, sidecar};
use crate::support::authority::{Authority, Endpoint};
use crate::support::behave::Behave;
use crate::support::client::{get, post_form, request};
use crate::support::sidecar::Sidecar;
use crate::support::until;
use crate::support::upstream::Upstream;

// "A fetch on an unknown key id was built, and taken out again for races and dangling references."
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn complaint_02_a_restart_of_the_task_harms_no_concurrent_request() {
    let keys = LiveKeys::fetched(Arc::new(SystemClock), Duration::from_secs(3600));
    let document = Authority::start().jwks().to_string().into_bytes();
    let fetches = Arc::new(AtomicUsize::new(0));
    let counted = fetches.clone();
    let fetch: Fetch = Arc::new(move || {
        let (document, number) = (document.clone(), counted.fetch_add(1, Ordering::SeqCst));
        Box::pin(async move {
            tokio::task::yield_now().await;
            match number % 3 {
                0 => panic!("a fetch that panics, on purpose"),
                1 => Err("a fetch that fails, on purpose".into()),
                _ => Ok(Fetched {
                    keys: KeySet::parse(&document).expect("keys"),
                    document,
                    metadata: None,
                    max_age: None,
                    clock_skew: None,
                }),
            }
        })
    });
    let changed = Arc::new(|| Box::pin(tokio::task::yield_now()) as _);
    let source = Source {
        fetch,
        changed,
        kept_at: None,
    };
    let askers: Vec<_> = (0..8_u8)
        .map(|asker| {
            let keys = keys.clone();
            tokio::spawn(async move {
                for number in 0..5 {
                    keys.renew(&[asker * 5 + number; 32]).await;
                    for _ in 0..10_000 {
                        std::hint::black_box(keys.is_usable());
                    }
                }
            })
        })
        .collect();
    let enough = || fetches.load(Ordering::SeqCst) > 10 && keys.is_usable();
    while askers.iter().any(|asker| !asker.is_finished()) || !enough() {
        let run = tokio::spawn(keys.clone().run(source.clone(), Arc::new(|_| ())));
        tokio::time::sleep(Duration::from_millis(3)).await;
        run.abort();
        assert!(run.await.is_err(), "it ends by its panic, or by ours");
    }
    for asker in askers {
        asker.await.expect("no request is harmed");
    }
    // Whatever it was left in, a task that stays serves again.
    let steady = Source {
        changed: Arc::new(|| Box::pin(std::future::pending())),
        ..source
    };
    fetches.store(2, Ordering::SeqCst);
    let run = tokio::spawn(keys.clone().run(steady, Arc::new(|_| ())));
    assert_eq!(keys.renew(&[200; 32]).await, Renewal::Current);
    run.abort();
}

// "The key set is fetched per request and per endpoint: 69 endpoints, 69 fetches at start."
#[tokio::test(flavor = "multi_thread")]
async fn complaint_08_listeners_rules_and_requests_share_one_fetch() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    let rules: String = (0..30)
        .map(|n| format!("{{ paths: [\"/api/{n}/**\"] }}, "))
        .collect();
    let listener = |n: usize| {
        let upstream = upstream.url();
        format!(
            "  - {{ name: api-{n}, listen: 127.0.0.1:0, upstream: \"{upstream}\", authorities: \
             [users], audiences: any, \
             rules: [{rules}] }}\n"
        )
    };
    let listeners: String = (0..5).map(listener).collect();
    let start = format!(
        "stateDir: \"@DIR@\"\nauthorities: {{ users: {{ issuer: \"{}\" }} \
         }}\ninbound:\n{listeners}",
        authority.issuer()
    );
    let sidecar = Sidecar::start(&start).await;
    // On a busy machine the first fetch may take longer than a request waits for it.
    until("every listener has the keys", async || {
        let requests = (0..150).map(|n| {
            let (address, target) = (
                sidecar.address(&format!("api-{}", n % 5)),
                format!("/api/{}/x", n % 30),
            );
            let bearer = format!("Bearer {}", authority.token().sign());
            async move {
                get(address, &target, &[("Authorization", &bearer)])
                    .await
                    .status
            }
        });
        let statuses = futures_util::future::join_all(requests).await;
        let expected = |status: &u16| matches!(status, 200 | 503);
        assert!(statuses.iter().all(expected), "{statuses:?}");
        statuses.iter().all(|status| *status == 200)
    })
    .await;
    assert_eq!(
        (
            authority.fetches(Endpoint::OpenidConfiguration),
            authority.fetches(Endpoint::Jwks)
        ),
        (1, 1)
    );
}

fn many(authorities: &[&Authority], upstream: &Upstream) -> String {
    let names: Vec<_> = (0..authorities.len()).map(|n| format!("a{n}")).collect();
    let declared: String = names
        .iter()
        .zip(authorities)
        .map(|(name, authority)| format!("  {name}: {{ issuer: \"{}\" }}\n", authority.issuer()))
        .collect();
    format!(
        "stateDir: \"@DIR@\"\nprobes: {{ listen: 127.0.0.1:0 \
         }}\nauthorities:\n{declared}inbound:\n  - {{ name: api, listen: \
         127.0.0.1:0, upstream: \"{}\", authorities: [{}], audiences: any, rules: [{{ paths: \
         [\"/**\"] }}] }}\n",
        upstream.url(),
        names.join(", ")
    )
}

// "Twenty-one dead addresses of key sets keep every proxy from getting ready." "One fails the whole
// configuration."
#[tokio::test(flavor = "multi_thread")]
async fn complaint_11_twenty_one_dead_authorities_do_not_affect_another() {
    let (good, upstream) = (Authority::start(), Upstream::start());
    let dead: Vec<_> = (0..21).map(|_| Authority::start()).collect();
    for authority in &dead {
        authority.down().await;
    }
    let all: Vec<_> = dead.iter().chain([&good]).collect();
    let sidecar = Sidecar::start(&many(&all, &upstream)).await;
    assert_eq!(
        get(sidecar.address("probes"), "/readyz", &[]).await.status,
        200
    );
    assert_eq!(ask(&sidecar, &good.token().sign()).await.status, 200);
    for authority in &dead {
        assert_eq!(
            outcome(&ask(&sidecar, &authority.token().sign()).await),
            (503, "keys_unavailable")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn four_hanging_authorities_delay_neither_the_start_nor_the_fifth() {
    let (good, upstream) = (Authority::start(), Upstream::start());
    let hanging: Vec<_> = (0..4).map(|_| Authority::start()).collect();
    for authority in &hanging {
        authority.behave(Endpoint::OpenidConfiguration, Behave::Hang);
    }
    let all: Vec<_> = hanging.iter().chain([&good]).collect();
    let sidecar = Sidecar::start(&many(&all, &upstream)).await;
    // Requests that do wait for them are under way all the while.
    let bearers: Vec<_> = hanging
        .iter()
        .flat_map(|authority| vec![authority.token().sign(); 10])
        .collect();
    let waiting = futures_util::future::join_all(bearers.iter().map(|token| ask(&sidecar, token)));
    let good_ones = async {
        for _ in 0..20 {
            assert_eq!(ask(&sidecar, &good.token().sign()).await.status, 200);
        }
        // All were answered before a single one of the hanging fetches had come to its end.
        let metrics = metrics(&sidecar).await;
        assert!(
            metrics.contains("m2m_jwks_fetch_total{authority=\"a4\",result=\"ok\"} 1"),
            "{metrics}"
        );
        assert!(!metrics.contains("result=\"error\""), "{metrics}");
    };
    let (refused, ()) = tokio::join!(waiting, good_ones);
    assert!(
        refused
            .iter()
            .all(|answer| outcome(answer) == (503, "keys_unavailable"))
    );
}

// "When the keys cannot be fetched the answer is 401, where 503 would tell callers to come again."
#[tokio::test(flavor = "multi_thread")]
async fn complaint_14_no_keys_is_503_with_retry_after_and_a_bad_token_is_401() {
    let (down, up, upstream) = (Authority::start(), Authority::start(), Upstream::start());
    down.down().await;
    let sidecar = Sidecar::start(&many(&[&down, &up], &upstream)).await;
    let unknown = ask(&sidecar, &down.token().sign()).await;
    assert_eq!(outcome(&unknown), (503, "keys_unavailable"));
    assert!(
        unknown.header("retry-after").is_some() && unknown.header("www-authenticate").is_none()
    );
    let mut key = down.key("es256-1");
    key.kid = "another".to_owned();
    for (bad, reason) in [
        (
            up.token().signed_by(&down.key("es256-1")).sign(),
            "signature",
        ),
        (up.token().signed_by(&key).sign(), "unknown_kid"),
        (up.token().expires_in(-100).sign(), "expired"),
    ] {
        let refused = ask(&sidecar, &bad).await;
        assert_eq!(outcome(&refused), (401, reason));
        assert!(
            refused
                .header("www-authenticate")
                .is_some_and(|it| it.contains("invalid_token"))
        );
    }
}

// "A fetch at start fails when the keys are served by a listener of the same process."
#[tokio::test(flavor = "multi_thread")]
async fn complaint_15_the_keys_of_the_sidecars_own_issuer_need_no_connection() {
    let upstream = Upstream::start();
    // The issuer's name does not resolve, and nothing listens at its address.
    let start = format!(
        r#"
stateDir: "@DIR@"
store: {{ url: "sqlite::memory:" }}
probes: {{ listen: 127.0.0.1:0 }}
readiness: [listeners, store, authorities]
issuer:
  url: https://issuer.invalid/m2m
  clients:
    - {{ id: legacy, secretFile: "@DIR@/secret", allowedGrantTypes: [client_credentials] }}
authorities: {{ self: {{ issuer: https://issuer.invalid/m2m }} }}
inbound:
  - {{ name: api, listen: 127.0.0.1:0, issuer: true, upstream: "{}", authorities: [self], audiences: any, rules: [{{ paths: ["/**"] }}] }}
"#,
        upstream.url()
    );
    let secret = "of the complaint about listeners";
    let sidecar = Sidecar::builder()
        .secret_file("secret", "legacy", secret)
        .start(&start)
        .await;
    assert_eq!(
        get(sidecar.address("probes"), "/readyz", &[]).await.text(),
        "ready\n"
    );
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "legacy"),
        ("client_secret", secret),
    ];
    let issued = post_form(sidecar.address("api"), "/m2m/oauth/token", &form, &[])
        .await
        .json();
    let token = issued["access_token"].as_str().expect("a token").to_owned();
    crate::support::logs::remember_secret(&token);
    assert_eq!(ask(&sidecar, &token).await.status, 200);
}

// "The proxy crashes when a fetch fails and a request carries several tokens."
#[tokio::test(flavor = "multi_thread")]
async fn complaint_16_several_tokens_during_failed_fetches_crash_nothing() {
    let (one, two, upstream) = (Authority::start(), Authority::start(), Upstream::start());
    one.behave(Endpoint::OpenidConfiguration, Behave::Reset);
    two.behave(Endpoint::Jwks, Behave::Status(500));
    let sidecar = Sidecar::start(&many(&[&one, &two], &upstream)).await;
    let (first, second) = (
        format!("Bearer {}", one.token().sign()),
        format!("Bearer {}", two.token().sign()),
    );
    let several: [Vec<(&str, &str)>; 3] = [
        vec![("Authorization", &first), ("Authorization", &second)],
        vec![
            ("Authorization", &first),
            ("authorization", &first),
            ("AUTHORIZATION", &second),
        ],
        vec![("Authorization", &first)],
    ];
    let requests =
        (0..90).map(|n| request("GET", sidecar.address("api"), "/", &several[n % 3], b""));
    for (n, answer) in futures_util::future::join_all(requests)
        .await
        .iter()
        .enumerate()
    {
        let expected = if n % 3 == 2 {
            (503, "keys_unavailable")
        } else {
            (400, "two_authorizations")
        };
        assert_eq!(outcome(answer), expected);
    }
    one.behave(Endpoint::OpenidConfiguration, Behave::Normal);
    until("it works as soon as the authority does", async || {
        ask(&sidecar, &one.token().sign()).await.status == 200
    })
    .await;
    // That nothing panicked anywhere is asserted at the sidecar's end.
    sidecar.stop().await;
}

// "There is no fetch when a token names a key that is not in the set."
#[tokio::test(flavor = "multi_thread")]
async fn complaint_01_a_token_of_a_new_key_brings_the_key() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    let long_lived = vec![("Cache-Control".to_owned(), "max-age=86400".to_owned())];
    authority.behave(Endpoint::Jwks, Behave::WithHeaders(long_lived));
    let sidecar = sidecar(&authority, &upstream).await;
    let kid = "published-later";
    authority.add_key(kid, crate::support::keys::Alg::ES256);
    until("the key is fetched after the cool-down", async || {
        let token = authority.token().kid(kid).sign();
        ask(&sidecar, &token).await.status == 200
    })
    .await;
    assert_eq!(authority.fetches(Endpoint::Jwks), 2);
}
