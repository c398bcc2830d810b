use proptest::prelude::*;

use super::*;
use crate::http_client::HttpError;
use crate::token_source::error::FetchError;

const BUSY: FetchError = FetchError::Status(503);

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[test]
fn a_token_is_refreshed_at_its_share_of_life() {
    assert_eq!(refresh_after(ms(2_000), 0.75, 0.5), ms(1_500));
    assert_eq!(refresh_after(ms(2_000), 0.75, 0.0), ms(1_400));
    assert_eq!(refresh_after(ms(2_000), 0.95, 0.5), ms(1_600));
    assert_eq!(refresh_after(ms(1_000), 0.1, 0.5), ms(500));
    assert_eq!(refresh_after(ms(3_600_000), 0.95, 0.99), ms(3_590_000));
    assert_eq!(usable_for(ms(2_000)), ms(1_800));
    assert_eq!(usable_for(ms(3_600_000)), ms(3_595_000));
}

/// Simulates successive failures, each detected after `takes`. Returns the start of each try, in
/// milliseconds.
fn begun(failures: usize, failure: Failure, takes: Duration, situation: Situation) -> Vec<u128> {
    let (start, mut pace, mut began) = (Instant::now(), Pace::new(ms(15_000)), Vec::new());
    let mut now = start;
    for _ in 0..failures {
        pace.began(now, 0.0);
        began.push((now - start).as_millis());
        let ended = now + takes;
        pace.failed(&failure, ended, situation.held, 0.0);
        now = pace.next(&situation).unwrap().max(ended);
    }
    began
}

fn situation(wanted: bool) -> Situation {
    Situation {
        held: None,
        in_flight: false,
        wanted,
        refused: false,
    }
}

#[test]
fn three_tries_then_pauses_or_one_try_a_second_with_callers() {
    let busy = Failure::from(BUSY);
    let alone = begun(7, busy.clone(), ms(10), situation(false));
    assert_eq!(alone, [0, 1_000, 2_000, 4_010, 8_020, 16_030, 32_040]);
    let asked = begun(6, busy, ms(10), situation(true));
    assert_eq!(asked, [0, 1_000, 2_000, 3_000, 4_000, 5_000]);
    // A final failure is not repeated quickly, however many callers ask: an authority
    // may lock out a client with a wrong secret, and an unusable answer stays unusable.
    let wrong = [
        FetchError::Status(401),
        FetchError::ErrorAnswer(200),
        FetchError::Malformed,
    ];
    for error in wrong.into_iter().chain([
        FetchError::TokenType("mac"),
        FetchError::Http(HttpError::Tls),
    ]) {
        assert_eq!(
            begun(4, error.into(), ms(10), situation(true)),
            [0, 2_010, 6_020, 14_030],
            "{error}"
        );
    }
    let wished = Failure {
        retry_after: Some(ms(30_000)),
        ..BUSY.into()
    };
    assert_eq!(begun(2, wished, ms(10), situation(true)), [0, 30_010]);
    let mistyped = Failure {
        retry_after: Some(Duration::MAX),
        ..BUSY.into()
    };
    assert_eq!(begun(2, mistyped, ms(10), situation(true)), [0, 300_010]);
}

#[test]
fn as_its_token_nears_its_end_a_credential_asks_more_often() {
    let now = Instant::now();
    let held = Held {
        usable: true,
        refresh_due: now,
        usable_until: now + ms(20_000),
    };
    let mut pace = Pace::new(ms(15_000));
    for _ in 0..9 {
        pace.failed(&BUSY.into(), now, None, 0.0);
    }
    pace.began(now, 0.0);
    let with = |pace: &mut Pace, held| {
        pace.failed(&BUSY.into(), now, Some(held), 0.0);
        pace.next(&Situation {
            held: Some(held),
            ..situation(false)
        })
        .unwrap()
            - now
    };
    assert_eq!(with(&mut pace, held), ms(10_000));
    assert_eq!(
        with(
            &mut pace,
            Held {
                usable_until: now + ms(1_200),
                ..held
            }
        ),
        ms(1_000)
    );
    assert_eq!(
        with(
            &mut pace,
            Held {
                usable: false,
                ..held
            }
        ),
        ms(60_000)
    );
    // A permanent failure is not retried sooner in this case either.
    pace.failed(&FetchError::Malformed.into(), now, Some(held), 0.0);
    assert_eq!(
        pace.next(&Situation {
            held: Some(held),
            ..situation(false)
        })
        .unwrap()
            - now,
        ms(60_000)
    );
}

#[test]
fn beside_a_try_under_way_there_is_never_another() {
    let now = Instant::now();
    for failure in [None, Some(BUSY), Some(FetchError::Http(HttpError::Timeout))] {
        let mut pace = Pace::new(ms(15_000));
        pace.began(now, 0.0);
        if let Some(error) = failure {
            pace.failed(&error.into(), now + ms(5_000), None, 0.0);
        }
        let held = Held {
            usable: false,
            refresh_due: now,
            usable_until: now,
        };
        for held in [None, Some(held)] {
            let under_way = Situation {
                held,
                in_flight: true,
                wanted: true,
                refused: true,
            };
            assert_eq!(pace.next(&under_way), None);
            assert!(
                pace.next(&Situation {
                    in_flight: false,
                    ..under_way
                })
                .is_some()
            );
        }
    }
}

#[test]
fn an_authoritys_wish_outlasts_the_failures_after_it() {
    let now = Instant::now();
    let mut pace = Pace::new(ms(15_000));
    pace.began(now, 0.0);
    let wish = Failure {
        retry_after: Some(ms(60_000)),
        ..FetchError::Status(429).into()
    };
    pace.failed(&wish, now + ms(10), None, 0.0);
    // A changed file may cause a request earlier.
    pace.began(now + ms(1_000), 0.0);
    pace.failed(&BUSY.into(), now + ms(1_010), None, 0.0);
    assert_eq!(pace.next(&situation(true)).unwrap() - now, ms(60_010));
}

#[test]
fn a_failure_is_remembered_as_long_as_it_took_and_until_the_next_try() {
    let now = Instant::now();
    let told = |failure: Failure, took: u64| {
        let mut pace = Pace::new(ms(5_000));
        let tell = |pace: &mut Pace| {
            pace.began(now, 0.0);
            pace.failed(&failure, now + ms(took), None, 0.0)
                .map(|until| until - (now + ms(took)))
        };
        [tell(&mut pace), tell(&mut pace), tell(&mut pace)]
    };
    assert_eq!(told(BUSY.into(), 10), [None, None, Some(ms(990))]);
    assert_eq!(told(BUSY.into(), 4_000), [None, None, Some(ms(4_000))]);
    assert_eq!(told(BUSY.into(), 5_000), [Some(ms(5_000)); 3]);
    assert_eq!(
        told(FetchError::Status(401).into(), 10),
        [Some(ms(2_000)), Some(ms(4_000)), Some(ms(8_000))]
    );
    let wished = Failure {
        retry_after: Some(ms(7_000)),
        ..BUSY.into()
    };
    assert_eq!(told(wished, 10)[0], Some(ms(7_000)));
}

proptest! {
    #[test]
    fn every_delay_keeps_its_bounds(
        life in 1_000_u64..86_400_000, at in 0.1_f64..0.95, random in 0.0_f64..1.0, failures in any::<u32>(),
    ) {
        let life = ms(life);
        let after = refresh_after(life, at, random);
        prop_assert!(after >= MIN_REFRESH.min(life / 2));
        prop_assert!(after < usable_for(life) && usable_for(life) < life);
        let wait = BACKOFF.pause(failures, random);
        prop_assert!(wait > ms(1_000) && wait <= BACKOFF.longest);
    }

    #[test]
    fn a_sick_authority_is_asked_once_a_second_at_most_whatever_happens(
        steps in proptest::collection::vec((any::<bool>(), any::<bool>(), 0_u64..5_000, 0_u8..4, 0.0_f64..1.0), 1..60),
    ) {
        let (mut pace, mut now) = (Pace::new(ms(15_000)), Instant::now());
        let mut before: Option<Instant> = None;
        for (wanted, refused, takes, kind, random) in steps {
            let at = pace.next(&Situation { wanted, refused, ..situation(wanted) }).map_or(now, |at| at.max(now));
            if let Some(before) = before {
                prop_assert!(at - before >= GAP, "{:?}", at - before);
            }
            before = Some(at);
            pace.began(at, random);
            let error = [BUSY, FetchError::Status(401), FetchError::Malformed, FetchError::Http(HttpError::Timeout)][usize::from(kind)];
            now = at + ms(takes);
            pace.failed(&error.into(), now, None, random);
        }
    }
}
