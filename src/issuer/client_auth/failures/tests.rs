//! Delays after failures.

use super::*;

const NOW: UnixTime = UnixTime(1_800_000_000);

fn attempt(client_id: &str, from: Option<&str>) -> Attempt {
    super::attempt(
        std::iter::once(client_id),
        from.map(|from| from.parse().unwrap()),
    )
}

fn wait(failures: &Failures, caller: &Attempt, now: UnixTime) -> u16 {
    match failures.check(caller, now) {
        Ok(()) => 0,
        Err(TokenError::TooManyFailures { retry_after }) => retry_after,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn after_five_failures_each_further_one_doubles_the_wait_up_to_a_minute() {
    let (failures, caller) = (Failures::new(), attempt("a", None));
    let mut now = NOW;
    for _ in 0..4 {
        failures.note(&caller, now);
        assert_eq!(wait(&failures, &caller, now), 0);
    }
    for expected in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
        failures.note(&caller, now);
        assert_eq!(wait(&failures, &caller, now), expected);
        now = now.plus(Duration::from_secs(u64::from(expected) - 1));
        assert_eq!(wait(&failures, &caller, now), 1);
        now = now.plus(Duration::from_secs(1));
        assert_eq!(wait(&failures, &caller, now), 0);
    }
    for _ in 0..100 {
        failures.note(&caller, now);
    }
    assert_eq!(wait(&failures, &caller, now), 60);
    assert_eq!(
        wait(&failures, &caller, now.minus(Duration::from_secs(1))),
        0,
        "the clock was set back"
    );
    let later = now.plus(COUNTED_FOR);
    failures.note(&caller, later);
    assert_eq!(wait(&failures, &caller, later), 0);
}

#[test]
fn a_success_ends_the_row_and_others_are_not_concerned() {
    let failures = Failures::new();
    let mine = attempt("a", Some("192.0.2.1"));
    for _ in 0..9 {
        failures.note(&mine, NOW);
    }
    for other in [
        attempt("b", Some("192.0.2.1")),
        attempt("a", Some("192.0.2.2")),
        attempt("a", None),
    ] {
        assert_eq!(wait(&failures, &other, NOW), 0);
    }
    failures.reset(&mine);
    assert_eq!(wait(&failures, &mine, NOW), 0);
}

#[test]
fn a_secret_that_was_not_hashed_counts_too_but_later() {
    let (failures, caller) = (Failures::new(), attempt("a", None));
    let mut now = NOW;
    for _ in 0..49 {
        failures.note_unhashed(&caller, now);
        assert_eq!(wait(&failures, &caller, now), 0);
        now = now.plus(Duration::from_secs(1));
    }
    failures.note_unhashed(&caller, now);
    assert_eq!(wait(&failures, &caller, now), 1);
    assert_eq!(wait(&failures, &attempt("b", None), now), 0);
}

#[test]
fn a_network_with_failures_of_many_clients_waits_even_after_one_success() {
    let (failures, from) = (Failures::new(), Some("192.0.2.1"));
    let caller = |number: u32| attempt(&format!("client-{number}"), from);
    for number in 0..OF_NETWORK.burst {
        assert_eq!(wait(&failures, &caller(number), NOW), 0);
        failures.note(&caller(number), NOW);
    }
    failures.reset(&caller(1));
    assert_eq!(
        (
            wait(&failures, &caller(1), NOW),
            wait(&failures, &caller(1000), NOW)
        ),
        (1, 1)
    );
    assert_eq!(
        wait(&failures, &attempt("client-1", Some("192.0.2.2")), NOW),
        0
    );
    let later = NOW.plus(Duration::from_secs(1));
    assert_eq!(
        wait(&failures, &caller(1000), later),
        0,
        "one per second is compared"
    );
    failures.note(&caller(1000), later);
    assert_eq!(wait(&failures, &caller(1001), later), 1);
}

#[test]
fn a_neighbourhood_that_fails_from_many_addresses_waits_with_each_of_them() {
    for (of_number, next, elsewhere) in [
        (
            (|n: u32| format!("198.51.100.{n}")) as fn(u32) -> String,
            "198.51.100.200",
            "198.51.101.1",
        ),
        (
            |n: u32| format!("2001:db8:1:{n:x}00::1"),
            "2001:db8:1:ff00::1",
            "2001:db8:2::1",
        ),
    ] {
        let failures = Failures::new();
        for number in 0..OF_NEIGHBOURHOOD.burst {
            let from = of_number(number % 100);
            failures.note(&attempt(&format!("client-{number}"), Some(&from)), NOW);
        }
        assert_eq!(wait(&failures, &attempt("a", Some(next)), NOW), 1);
        assert_eq!(wait(&failures, &attempt("a", Some(elsewhere)), NOW), 0);
    }
}

#[test]
fn a_56_of_ipv6_is_one_network() {
    let of = |text: &str| attempt("a", Some(text)).pairs.remove(0).wrong;
    assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1:2:3"));
    assert_eq!(of("2001:db8::1"), of("2001:db8:0:ff::1"));
    assert_ne!(of("2001:db8::1"), of("2001:db8:0:100::1"));
    assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
}

#[test]
fn during_a_delay_wrong_secrets_are_recalled_so_often_and_right_ones_without_end() {
    let (failures, caller) = (Failures::new(), attempt("a", None));
    for _ in 0..1000 {
        assert!(failures.may_recall(&caller, NOW));
        failures.recalled(&caller);
    }
    let recalled = (0..1000)
        .filter(|_| failures.may_recall(&caller, NOW))
        .count();
    assert_eq!(recalled, 200);
    assert!(
        failures.may_recall(&attempt("b", None), NOW),
        "another client's"
    );
    let later = NOW.plus(Duration::from_secs(10));
    assert_eq!(
        (0..1000)
            .filter(|_| failures.may_recall(&caller, later))
            .count(),
        1
    );
}
