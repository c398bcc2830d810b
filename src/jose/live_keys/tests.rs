use std::borrow::Cow;
use std::sync::atomic::AtomicUsize;

use serde_json::json;

use super::*;
use crate::domain::clock::SystemClock;
use crate::jose::Algorithm;
use crate::jose::sign::SigningKey;
use crate::jose::source::Changed;

/// A scripted authority.
struct Script {
    fetches: AtomicUsize,
    up: AtomicBool,
    takes: Duration,
    max_age: Duration,
}

impl Script {
    fn new(takes: Duration) -> Arc<Self> {
        Self::living(takes, 60)
    }

    fn living(takes: Duration, max_age: u64) -> Arc<Self> {
        let (fetches, up) = (AtomicUsize::new(0), AtomicBool::new(true));
        Arc::new(Self {
            fetches,
            up,
            takes,
            max_age: Duration::from_secs(max_age),
        })
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }

    fn source(self: &Arc<Self>) -> Source {
        let changed: Changed = Arc::new(|| Box::pin(std::future::pending()));
        Source {
            fetch: self.fetch(),
            changed,
            kept_at: None,
        }
    }

    fn fetch(self: &Arc<Self>) -> Fetch {
        let script = self.clone();
        let document =
            json!({ "keys": [SigningKey::generate(Algorithm::ES256).unwrap().public_jwk()] })
                .to_string();
        Arc::new(move || {
            let (script, document) = (script.clone(), document.clone());
            Box::pin(async move {
                script.fetches.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(script.takes).await;
                if !script.up.load(Ordering::SeqCst) {
                    return Err(Cow::Borrowed("down"));
                }
                let keys = KeySet::parse(document.as_bytes()).unwrap();
                let max_age = Some(script.max_age);
                let document = document.into_bytes();
                Ok(Fetched {
                    document,
                    keys,
                    metadata: None,
                    max_age,
                    clock_skew: None,
                })
            })
        })
    }

    fn run(self: &Arc<Self>) -> Arc<LiveKeys> {
        let keys = LiveKeys::fetched(Arc::new(SystemClock), Duration::from_secs(86_400));
        tokio::spawn(keys.clone().run(self.source(), Arc::new(|_| ())));
        keys
    }
}

const MISSING: &[u8; 32] = &[7; 32];

#[tokio::test(start_paused = true)]
async fn a_set_is_refreshed_in_the_background_before_its_life_is_over() {
    let script = Script::new(Duration::from_millis(10));
    let keys = script.run();
    assert_eq!(keys.renew(MISSING).await, Renewal::Current);
    assert!(keys.is_usable());
    // A life of 60 s: refreshed after 42 to 48 s, so 12 to 14 times in ten minutes.
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(
        (12..=15).contains(&script.fetches()),
        "{}",
        script.fetches()
    );
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_retries_slow_down_and_the_last_good_set_stays() {
    let script = Script::new(Duration::from_millis(10));
    let keys = script.run();
    keys.renew(MISSING).await;
    script.up.store(false, Ordering::SeqCst);
    // The refresh falls into the first 48 s; then one second, doubling to thirty.
    tokio::time::sleep(Duration::from_secs(48 + 60)).await;
    let during = script.fetches();
    assert!((6..=9).contains(&during), "{during}");
    assert!(keys.is_usable());
    assert_eq!(keys.last_error().as_deref(), Some("down"));
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let hour = script.fetches() - during;
    assert!(
        (118..=152).contains(&hour),
        "one try per 24 to 30 s: {hour}"
    );
    script.up.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(keys.last_error(), None);
}

#[tokio::test(start_paused = true)]
async fn many_requests_cause_a_burst_of_fetches_then_one_in_ten_seconds() {
    let script = Script::living(Duration::from_millis(300), 3600);
    let keys = script.run();
    keys.renew(MISSING).await;
    let mut number = 0_u32;
    let mut next = || {
        number += 1;
        let mut missing = [0; 32];
        missing[..4].copy_from_slice(&number.to_be_bytes());
        missing
    };
    for round in 1..=5 {
        let (before, began) = (script.fetches(), Instant::now());
        let missing = next();
        let asked = futures_util::future::join_all((0..1000).map(|_| keys.renew(&missing))).await;
        assert!(asked.iter().all(|renewal| *renewal == Renewal::Current));
        assert_eq!(
            began.elapsed(),
            Duration::from_millis(300),
            "all of them waited for the one fetch"
        );
        assert_eq!(script.fetches(), before + 1, "round {round}");
        // The same key is not fetched again.
        assert_eq!(keys.renew(&missing).await, Renewal::Current);
    }
    for _ in 0..3 {
        // Keys that were never fetched are unknown, and are not fetched now.
        let before = script.fetches();
        for _ in 0..100 {
            assert_eq!(keys.renew(&next()).await, Renewal::Failed);
        }
        assert_eq!(script.fetches(), before);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(keys.renew(&next()).await, Renewal::Current);
        assert_eq!(script.fetches(), before + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_key_every_ten_seconds_does_not_delay_a_rotation() {
    let script = Script::living(Duration::from_millis(10), 3600);
    let keys = script.run();
    keys.renew(MISSING).await;
    for n in 0..30 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(keys.renew(&[n + 100; 32]).await, Renewal::Current);
        // The first token of a new key, right after an unknown one.
        let before = script.fetches();
        if n % 10 == 5 {
            assert_eq!(keys.renew(&[n; 32]).await, Renewal::Current);
            assert_eq!(script.fetches(), before + 1, "it is fetched at once");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_key_is_fetched_once_a_minute_and_another_after_the_cool_down() {
    let script = Script::living(Duration::from_millis(10), 3600);
    let keys = script.run();
    keys.renew(MISSING).await;
    assert_eq!(script.fetches(), 1);
    for _ in 0..580 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(keys.renew(MISSING).await, Renewal::Current);
    }
    assert_eq!(script.fetches(), 11);
    let before = script.fetches();
    keys.renew(MISSING).await;
    assert_eq!(script.fetches(), before);
    keys.renew(&[8; 32]).await;
    assert_eq!(script.fetches(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn a_changed_source_is_fetched_at_once() {
    let script = Script::living(Duration::from_millis(10), 3600);
    let keys = LiveKeys::fetched(Arc::new(SystemClock), Duration::from_secs(86_400));
    let changed: Changed = Arc::new(|| Box::pin(tokio::time::sleep(Duration::from_secs(7))));
    let source = Source {
        changed,
        ..script.source()
    };
    tokio::spawn(keys.clone().run(source, Arc::new(|_| ())));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(script.fetches(), 9);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_fetch_is_ended_and_tried_again() {
    let script = Script::new(Duration::MAX);
    let keys = script.run();
    tokio::time::sleep(LONGEST_FETCH * 3).await;
    assert!(script.fetches() >= 3, "{}", script.fetches());
    assert_eq!(
        keys.last_error().as_deref(),
        Some("the fetch did not end in time")
    );
}

#[tokio::test(start_paused = true)]
async fn a_set_is_renewed_before_max_stale_ends() {
    let script = Script::living(Duration::from_millis(10), 3600);
    let keys = LiveKeys::fetched(Arc::new(SystemClock), Duration::from_secs(100));
    tokio::spawn(keys.clone().run(script.source(), Arc::new(|_| ())));
    tokio::time::sleep(Duration::from_secs(799)).await;
    assert!(
        (10..=12).contains(&script.fetches()),
        "{}",
        script.fetches()
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_for_a_second_at_most() {
    let script = Script::new(Duration::from_secs(15));
    let keys = script.run();
    let began = Instant::now();
    assert_eq!(keys.renew(MISSING).await, Renewal::Failed);
    assert!(began.elapsed() <= Duration::from_millis(1010));
    assert!(!keys.is_usable());
    tokio::time::sleep(Duration::from_secs(16)).await;
    assert!(keys.is_usable());
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_authority_differs_from_one_without_the_key() {
    let script = Script::new(Duration::from_millis(10));
    script.up.store(false, Ordering::SeqCst);
    let keys = script.run();
    assert_eq!(keys.renew(MISSING).await, Renewal::Failed);
    assert_eq!(keys.renew(MISSING).await, Renewal::Failed);
}
