//! Tests of `limits`.

use proptest::prelude::*;

use super::*;

fn limits(rate: Option<(u32, u32)>, concurrent: Option<u32>) -> Arc<Limits> {
    let rate = rate.map(|(per_second, burst)| Rate { per_second, burst });
    Arc::new(Limits::new(Config {
        rate,
        concurrent,
        per: Per::Client,
    }))
}

fn client(id: &str) -> Key {
    Key::Client(0, id.into())
}

fn admitted(limits: &Limits, id: &str, tries: usize) -> usize {
    (0..tries)
        .filter(|_| limits.admit(client(id)).is_ok())
        .count()
}

fn kept(limits: &Limits) -> usize {
    limits
        .shards
        .iter()
        .map(|shard| lock(shard).counters.len())
        .sum()
}

#[tokio::test(start_paused = true)]
async fn the_burst_passes_at_once_and_then_the_rate_exactly() {
    let limits = limits(Some((10, 5)), None);
    assert_eq!(admitted(&limits, "a", 100), 5);
    assert_eq!(
        limits.admit(client("a")).err(),
        Some(Exceeded::Rate(Duration::from_millis(100)))
    );
    tokio::time::advance(Duration::from_millis(99)).await;
    assert_eq!(
        limits.admit(client("a")).err(),
        Some(Exceeded::Rate(Duration::from_millis(1)))
    );
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(admitted(&limits, "a", 100), 1);
    tokio::time::advance(Duration::from_millis(250)).await;
    assert_eq!(admitted(&limits, "a", 100), 2);
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert_eq!(
        admitted(&limits, "a", 100),
        5,
        "a long pause earns a burst, not more"
    );
}

#[tokio::test(start_paused = true)]
async fn each_key_has_a_budget_of_its_own() {
    let limits = limits(Some((1, 2)), None);
    assert_eq!(admitted(&limits, "a", 10), 2);
    assert_eq!(admitted(&limits, "b", 10), 2);
    for other in [
        Key::Client(1, "a".into()),
        Key::Subject(0, "a".into()),
        Key::Everyone,
    ] {
        assert!(limits.admit(other.clone()).is_ok(), "{other:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn as_many_as_may_be_are_under_way_and_an_end_makes_room() {
    let limits = limits(Some((1, 3)), Some(2));
    let first = limits.admit(client("a")).ok().unwrap();
    let _second = limits.admit(client("a")).ok().unwrap();
    for _ in 0..10 {
        assert_eq!(limits.admit(client("a")).err(), Some(Exceeded::Concurrency));
    }
    assert!(limits.admit(client("b")).is_ok());
    drop(first);
    assert!(
        limits.admit(client("a")).is_ok(),
        "refused ones did not use up the rate"
    );
    assert_eq!(
        limits.admit(client("a")).err(),
        Some(Exceeded::Rate(Duration::from_secs(1)))
    );
}

#[tokio::test(start_paused = true)]
async fn unused_counters_are_dropped_and_active_ones_kept() {
    let limits = limits(Some((1, 60)), Some(9));
    tokio::spawn(limits.clone().run());
    (0..500).for_each(|n| drop(limits.admit(client(&format!("{n}")))));
    assert_eq!(admitted(&limits, "busy", 100), 60);
    let under_way = limits.admit(client("0")).ok().unwrap();
    tokio::time::sleep(Duration::from_secs(25)).await;
    assert_eq!(kept(&limits), 2);
    assert_eq!(admitted(&limits, "busy", 100), 25);
    drop(under_way);
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(kept(&limits), 0);
}

#[tokio::test(start_paused = true)]
async fn countless_clients_share_a_budget_and_fill_no_memory() {
    let limits = limits(Some((1, 1)), None);
    assert!(limits.admit(client("regular")).is_ok());
    let admitted = (0..2 * MAX_KEYS)
        .filter(|n| limits.admit(client(&format!("client-{n}"))).is_ok())
        .count();
    assert!(kept(&limits) <= MAX_KEYS);
    assert!(admitted < MAX_KEYS + SHARDS, "{admitted}");
    assert!(
        limits.admit(client("regular")).is_err(),
        "it still has its own"
    );
    tokio::time::advance(Duration::from_secs(2)).await;
    assert!(limits.admit(client("regular")).is_ok());
    assert!(
        limits.admit(client("late-comer")).is_ok(),
        "old counters make room without waiting for the task"
    );
}

#[test]
fn an_ipv6_network_is_one_peer() {
    let key = |text: &str| Key::address(text.parse().unwrap());
    assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:2:3:4"));
    assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
    assert_eq!(key("::ffff:10.0.0.1"), key("10.0.0.1"));
    assert_ne!(key("10.0.0.1"), key("10.0.0.2"));
}

proptest! {
    /// For random requests: no time span has more than the burst and the rate permit, and
    /// requests within the rate are never refused.
    #[test]
    fn no_span_of_time_has_more_than_burst_and_rate(
        per_second in 1_u32..20, burst in 1_u32..10, pauses in proptest::collection::vec(0_u64..400, 1..80),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let passed: Vec<u64> = runtime.block_on(async {
            let limits = limits(Some((per_second, burst)), None);
            let (mut now, mut passed) = (0, Vec::new());
            for pause in &pauses {
                tokio::time::advance(Duration::from_millis(*pause)).await;
                now += pause;
                if limits.admit(client("a")).is_ok() {
                    passed.push(now);
                }
            }
            passed
        });
        for (i, first) in passed.iter().enumerate() {
            for (j, last) in passed.iter().enumerate().skip(i) {
                let allowed = u64::from(burst) + (last - first) * u64::from(per_second) / 1000;
                prop_assert!((j - i + 1) as u64 <= allowed, "{passed:?}");
            }
        }
        if pauses.iter().all(|pause| pause * u64::from(per_second) >= 1000) {
            prop_assert_eq!(passed.len(), pauses.len());
        }
    }
}
