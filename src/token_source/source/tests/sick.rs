//! Slow, failing or refusing authorities: the times of requests, and the results of callers.

use super::*;

#[tokio::test(start_paused = true)]
async fn an_outage_shorter_than_the_token_has_no_effect() {
    let world = World::new(|_| {});
    // Down from 30 s on: the refresh at about 45 s and its retries fail; up again before 60 s.
    let start = world.start;
    let _task = world.run(move |_| match start.elapsed().as_secs() {
        30..=50 => failing(BUSY),
        _ => (10, Ok(60_000)),
    });
    world.token().await.unwrap();
    for _ in 0..200 {
        tokio::time::sleep(ms(1_000)).await;
        assert!(world.source.current().is_some());
    }
    assert_eq!(world.source.status().last_error, Some(BUSY));
}

#[tokio::test(start_paused = true)]
async fn three_tries_a_second_apart_end_with_the_failure_for_all_waiting_callers() {
    let world = World::new(|_| {});
    let _task = world.run(|_| failing(BUSY));
    let unavailable = world.source.token().await.unwrap_err();
    assert_eq!(unavailable.error, BUSY);
    // Until the next try may begin: 1 to 1.2 s after the last one began, which took 10 ms.
    let wait = unavailable.retry_after.as_millis();
    assert!((1_000..=1_190).contains(&wait), "{wait}");
    let asked = world.asked();
    assert_eq!(asked.len(), 3);
    for pair in asked.windows(2) {
        assert!((1_000..=1_202).contains(&(pair[1] - pair[0])), "{asked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn callers_of_a_sick_authority_get_the_remembered_failure_and_cause_one_try_a_second() {
    let world = World::new(|_| {});
    let _task = world.run(|_| failing(BUSY));
    world.error().await;
    for _ in 0..30_000 {
        let before = Instant::now();
        assert_eq!(world.error().await, BUSY);
        // The caller that causes a try, and concurrent callers, wait for its result.
        assert!(before.elapsed() <= ms(12), "{:?}", before.elapsed());
        tokio::time::sleep(ms(10)).await;
    }
    let asked = world.asked();
    assert!(
        asked.windows(2).all(|pair| pair[1] - pair[0] >= 1_000),
        "{asked:?}"
    );
    assert!(asked.len() > 200, "{}", asked.len());
}

#[tokio::test(start_paused = true)]
async fn without_callers_a_sick_authority_is_asked_less_and_less() {
    let world = World::new(|config| config.prefetch = true);
    let _task = world.run(|_| failing(BUSY));
    tokio::time::sleep(ms(300_000)).await;
    // 3 in quick succession, then after 2 + 4 + 8 + 16 + 32 + 4 × 60 s, each up to a tenth shorter.
    let asked = world.asked().len();
    assert!((3 + 8..=3 + 10).contains(&asked), "{asked}");
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_comes_back_is_found_again_within_two_seconds_however_it_was_sick() {
    let hangs: Reaction = (3_600_000, Ok(60_000));
    for sick in [
        failing(BUSY),
        failing(FetchError::Http(HttpError::Connect)),
        hangs,
    ] {
        for outage in [1_000, 7_000, 61_000, 600_000] {
            let world = World::new(|_| {});
            let start = world.start;
            let reaction = sick.clone();
            let _task = world.run(move |_| {
                if start.elapsed() < ms(outage) {
                    reaction.clone()
                } else {
                    (10, Ok(60_000))
                }
            });
            while start.elapsed() < ms(outage) {
                let source = world.source.clone();
                tokio::spawn(async move { source.token().await });
                tokio::time::sleep(ms(50)).await;
            }
            while world.source.current().is_none() {
                let source = world.source.clone();
                tokio::spawn(async move { source.token().await });
                tokio::time::sleep(ms(50)).await;
                // A hanging try has to end first: there is never a second one.
                let hangs = if sick.0 > 1_000 {
                    TIMEOUTS.total
                } else {
                    ms(0)
                };
                assert!(
                    start.elapsed() < ms(outage + 2_000) + hangs,
                    "{sick:?} {outage}"
                );
            }
            let asked = world.asked();
            assert!(
                asked.windows(2).all(|pair| pair[1] - pair[0] >= 1_000),
                "{sick:?}: {asked:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_definite_refusal_is_not_repeated_in_a_hurry() {
    let world = World::new(|_| {});
    let refused = FetchError::Refused {
        code: ErrorCode::InvalidClient,
        status: 401,
    };
    let _task = world.run(move |n| {
        if n < 2 {
            failing(refused)
        } else {
            (10, Ok(60_000))
        }
    });
    assert_eq!(world.error().await, refused);
    assert_eq!(world.asked(), [0]);
    // The secret is corrected: the task finds out without a caller.
    tokio::time::sleep(ms(6_100)).await;
    assert_eq!(world.asked().len(), 3);
    assert_eq!(world.token().await.unwrap(), "t0k3n2");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_can_never_work_is_not_asked_for_in_a_hurry_however_many_callers_ask() {
    let refused = FetchError::Refused {
        code: ErrorCode::InvalidScope,
        status: 200,
    };
    for error in [
        refused,
        FetchError::ErrorAnswer(200),
        FetchError::Malformed,
        FetchError::TokenType("DPoP"),
    ] {
        let world = World::new(|_| {});
        let _task = world.run(move |_| failing(error));
        while world.start.elapsed() < ms(20_000) {
            let before = Instant::now();
            assert_eq!(world.error().await, error);
            assert!(before.elapsed() <= ms(12), "{:?}", before.elapsed());
            tokio::time::sleep(ms(50)).await;
        }
        // After 2, 4 and 8 s, each up to a tenth less.
        assert_eq!(world.asked().len(), 4, "{error}: {:?}", world.asked());
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured() {
    let world = World::new(|_| {});
    let wait = Failure {
        retry_after: Some(Duration::from_secs(30)),
        ..FetchError::Status(429).into()
    };
    let _task = world.run(move |n| {
        if n == 0 {
            (0, Err(wait.clone()))
        } else {
            (0, Ok(60_000))
        }
    });
    assert_eq!(
        world.source.token().await.unwrap_err().retry_after_secs(),
        30
    );
    tokio::time::sleep(ms(29_900)).await;
    assert_eq!(world.asked().len(), 1);
    tokio::time::sleep(ms(200)).await;
    assert_eq!(world.asked().len(), 2);
    world.token().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_hangs_keeps_a_caller_for_the_total_time_and_others_not_at_all() {
    let world = World::new(|_| {});
    let _task = world.run(|_| (3_600_000, Ok(60_000)));
    assert_eq!(world.error().await, FetchError::Http(HttpError::Timeout));
    assert!((15_000..15_100).contains(&world.start.elapsed().as_millis()));
    let before = Instant::now();
    assert_eq!(world.error().await, FetchError::Http(HttpError::Timeout));
    assert_eq!(before.elapsed(), ms(0), "the failure is remembered");
    tokio::time::sleep(ms(45_000)).await;
    assert!(
        world
            .asked()
            .windows(2)
            .all(|pair| pair[1] - pair[0] >= 15_000),
        "{:?}",
        world.asked()
    );
}

#[tokio::test(start_paused = true)]
async fn a_slow_authority_gives_every_waiting_caller_the_answer_of_the_one_fetch() {
    for (total, takes) in [(15_000, 14_500), (30_000, 29_000), (2_000, 1_900)] {
        let world = World::new(|config| config.timeouts.total = ms(total));
        let _task = world.run(move |_| (takes, Ok(3_600_000)));
        let callers = (0..100).map(|n| {
            let source = world.source.clone();
            async move {
                tokio::time::sleep(ms(takes * n / 100)).await;
                source.token().await.map(|token| token.serial())
            }
        });
        let serials = futures_util::future::join_all(callers).await;
        assert!(
            serials
                .iter()
                .all(|serial| serial.is_ok() && *serial == serials[0]),
            "{serials:?}"
        );
        assert_eq!(world.asked(), [0]);
    }
}

#[tokio::test(start_paused = true)]
async fn there_is_never_more_than_one_fetch_under_way_whatever_happens() {
    let world = World::new(|_| {});
    let (most, now) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(0)));
    let (seen, under_way) = (most.clone(), now.clone());
    let source = world.source.clone();
    let clock = world.clock.clone();
    let task = tokio::spawn(async move {
        let fetch = || {
            let (seen, under_way, clock) = (seen.clone(), under_way.clone(), clock.clone());
            async move {
                // Dropped with the future, also on cancellation.
                let _counted = Counted::new(under_way, &seen);
                tokio::time::sleep(ms(fastrand::u64(0..20_000))).await;
                let requested = Moment {
                    monotonic: Instant::now(),
                    wall: clock.now(),
                };
                if fastrand::bool() {
                    return Err(Failure::from(BUSY));
                }
                Ok(Grant {
                    token: "t".into(),
                    lifetime: ms(3_000),
                    requested,
                    identity: [0; 32],
                })
            }
        };
        let changes = || async {
            tokio::time::sleep(ms(7_777)).await;
            Change::Identity
        };
        source.drive(std::future::pending(), fetch, changes).await;
    });
    for _ in 0..2_000 {
        let source = world.source.clone();
        tokio::spawn(async move {
            if let Ok(token) = source.token().await {
                source.replacement(&token).await;
            }
        });
        tokio::time::sleep(ms(100)).await;
    }
    assert_eq!(*most.lock().unwrap(), 1);
    task.abort();
}

/// One fetch under way, until it is dropped.
struct Counted(Arc<Mutex<u32>>);

impl Counted {
    fn new(under_way: Arc<Mutex<u32>>, most: &Mutex<u32>) -> Self {
        let mut count = under_way.lock().unwrap();
        *count += 1;
        let mut most = most.lock().unwrap();
        *most = count.max(*most);
        drop(count);
        Self(under_way)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        *self.0.lock().unwrap() -= 1;
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_expired_on_its_way_is_a_failure_with_backoff() {
    let world = World::new(|_| {});
    let _task = world.run(|_| (1_500, Ok(1_000)));
    assert_eq!(world.error().await, FetchError::Late);
    tokio::time::sleep(ms(30_000)).await;
    assert!(world.asked().len() <= 3 + 4, "{:?}", world.asked());
}

#[tokio::test(start_paused = true)]
async fn a_pause_never_outlasts_a_token_whose_authority_is_back() {
    for back in [41_000, 45_000, 50_000, 52_000] {
        let world = World::new(|_| {});
        let start = world.start;
        // Down from 5 s on: after many failures the pauses are long when the token nears its end at
        // 55 s.
        let _task = world.run(move |n| {
            let down = (5_000..back).contains(&start.elapsed().as_millis());
            if n > 0 && down {
                failing(BUSY)
            } else {
                (10, Ok(if n == 0 { 60_000 } else { 3_600_000 }))
            }
        });
        world.token().await.unwrap();
        while start.elapsed() < ms(100_000) {
            assert!(world.source.current().is_some(), "back after {back} ms");
            tokio::time::sleep(ms(100)).await;
        }
    }
}
