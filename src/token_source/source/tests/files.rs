//! Changed files, unusable files, and secrets from a rotation.

use super::*;

#[tokio::test(start_paused = true)]
async fn the_token_in_hand_serves_until_changed_files_have_proven_themselves() {
    let world = World::new(|_| {});
    let refused = FetchError::Refused {
        code: ErrorCode::InvalidClient,
        status: 401,
    };
    let start = world.start;
    // The authority accepts the new secret after ten seconds.
    let _task = world.run(move |n| match n {
        0 => (10, Ok(3_600_000)),
        _ if start.elapsed() < ms(11_000) => failing(refused),
        _ => (10, Ok(3_600_000)),
    });
    assert_eq!(world.token().await.unwrap(), "t0k3n0");
    tokio::time::sleep(ms(990)).await;
    world.changed.notify_one();
    while start.elapsed() < ms(11_000) {
        assert_eq!(world.token().await.unwrap(), "t0k3n0");
        tokio::time::sleep(ms(100)).await;
    }
    // At once, after 2 s and after 4 s more. The next try is accepted.
    assert_eq!(world.asked().len(), 1 + 3, "{:?}", world.asked());
    tokio::time::sleep(ms(5_000)).await;
    assert_eq!(world.token().await.unwrap(), "t0k3n4");
    assert_eq!(world.asked().len(), 5);
    // The next refresh is an hour away.
    tokio::time::sleep(ms(600_000)).await;
    assert_eq!(world.asked().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_new_secret_that_never_works_ends_with_the_token_and_not_before() {
    let world = World::new(|_| {});
    let refused = FetchError::Refused {
        code: ErrorCode::InvalidClient,
        status: 401,
    };
    let _task = world.run(move |n| {
        if n == 0 {
            (0, Ok(100_000))
        } else {
            failing(refused)
        }
    });
    assert_eq!(world.token().await.unwrap(), "t0k3n0");
    world.changed.notify_one();
    while world.start.elapsed() < ms(95_000) {
        assert_eq!(world.token().await.unwrap(), "t0k3n0");
        tokio::time::sleep(ms(100)).await;
    }
    assert_eq!(world.error().await, refused);
    assert!(world.asked().len() < 15, "{:?}", world.asked());
}

#[tokio::test(start_paused = true)]
async fn changed_files_end_what_is_under_way_and_every_pause() {
    let world = World::new(|_| {});
    let refused = FetchError::Refused {
        code: ErrorCode::InvalidClient,
        status: 401,
    };
    let _task = world.run(move |n| match n {
        // With the wrong secret of the first file.
        0..=2 => failing(refused),
        3 => (4_000, Ok(60_000)),
        _ => (10, Ok(60_000)),
    });
    assert_eq!(world.error().await, refused);
    tokio::time::sleep(ms(9_000)).await;
    assert_eq!(world.asked().len(), 3, "in no hurry");
    // The correct secret now: it is used at once, whatever the pause; then another correct one
    // arrives during the try.
    world.changed.notify_one();
    tokio::time::sleep(ms(100)).await;
    assert_eq!(world.asked().len(), 4);
    world.changed.notify_one();
    assert_eq!(world.token().await.unwrap(), "t0k3n4");
    tokio::time::sleep(ms(10_000)).await;
    assert_eq!(
        world.token().await.unwrap(),
        "t0k3n4",
        "the answer to the one before it was dropped"
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_that_a_rotation_brings_serves_at_once_and_nothing_is_asked_for_it() {
    let world = World::new(|_| {});
    let (source, clock) = (world.source.clone(), world.clock.clone());
    let asked = world.asked.clone();
    let task = tokio::spawn(async move {
        let grant = |token: &str| {
            let requested = Moment {
                monotonic: Instant::now(),
                wall: clock.now(),
            };
            Grant {
                token: token.into(),
                lifetime: ms(3_600_000),
                requested,
                identity: source.identity(),
            }
        };
        let fetch = || async {
            asked.lock().unwrap().push(Instant::now());
            if asked.lock().unwrap().len() > 1 {
                // The response to the old secret arrives too late.
                tokio::time::sleep(ms(10_000)).await;
            }
            Ok(grant("old"))
        };
        let changes = || async {
            tokio::time::sleep(ms(6_000)).await;
            source.set_identity([source.identity()[0] + 1; 32]);
            Change::Proven(grant("rotated"))
        };
        source.drive(std::future::pending(), fetch, changes).await;
    });
    let old = world.source.token().await.unwrap();
    tokio::time::sleep(ms(5_500)).await;
    let refused = world.source.replacement(&old).await.unwrap();
    assert_eq!(
        refused.secret().expose_secret(),
        "rotated",
        "who waits for another token gets it"
    );
    assert_eq!(world.asked().len(), 2);
    tokio::time::sleep(ms(5_000)).await;
    assert_eq!(world.source.current().unwrap().serial(), refused.serial());
    task.abort();
}

#[tokio::test]
async fn files_that_cannot_be_used_are_told_of_and_read_again() {
    let authority = Authority::start().await;
    authority.script([testing::token("t1", 3_600)]);
    let dir = tempfile::tempdir().unwrap();
    let secret_file = dir.path().join("secret");
    let config = Config {
        authentication: testing::secret_basic(secret_file.clone()),
        ..testing::config(&authority)
    };
    let source = TokenSource::new(config, Arc::new(SystemClock), Arc::new(|_| {}));
    let task = tokio::spawn(source.clone().run(std::future::pending()));
    assert_eq!(source.token().await.unwrap_err().error, FetchError::Files);
    assert!(authority.requests().is_empty());
    std::fs::write(&secret_file, "hunter2").unwrap();
    let token = async {
        loop {
            if let Ok(token) = source.token().await {
                return token;
            }
            tokio::time::sleep(ms(20)).await;
        }
    };
    assert_eq!(
        timeout(ms(30_000), token)
            .await
            .unwrap()
            .secret()
            .expose_secret(),
        "t1"
    );
    task.abort();
}
