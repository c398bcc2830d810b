//! Complaints of users of other proxies: rotations, storms, cached errors. The numbers are those of
//! our list of complaints; complaints that need real sockets are in `authorities::complaints`.

use super::*;

/// The sidecar, the issuer, and a state directory between them.
struct Scene {
    world: World,
    process: Process,
    _state_dir: tempfile::TempDir,
}

impl Scene {
    /// A sidecar that was just started, with an issuer in this condition that publishes the key
    /// `old` and signs with it.
    fn start(condition: Condition, max_age: u64) -> Self {
        let mut timeline = Timeline::random(1, Duration::ZERO);
        timeline.keys = vec![("old", "old"), ("new", "new"), ("newer", "newer")];
        let mut world = World::new(&timeline, SimClock::new());
        for event in [
            Event::Publish("old"),
            Event::SignWith("old"),
            Event::MaxAge(Some(max_age)),
            Event::Condition(condition),
        ] {
            world.apply(&event);
        }
        let state_dir = tempfile::tempdir().unwrap();
        let process = Process::start(&world.clock, &world.issuer, state_dir.path());
        Self {
            world,
            process,
            _state_dir: state_dir,
        }
    }

    /// The decision about a token now.
    async fn show(&mut self, token: Arc<Shown>) -> Result<(), Reason> {
        self.process.show(vec![token]).await;
        self.process.probes.pop().unwrap().decision
    }

    async fn show_fresh(&mut self) -> Result<(), Reason> {
        let fresh = self.world.by_signer("fresh");
        self.show(fresh).await
    }

    fn rotate(&mut self, from: &'static str, to: &'static str) {
        for event in [
            Event::Publish(to),
            Event::Withdraw(from),
            Event::SignWith(to),
        ] {
            self.world.apply(&event);
        }
    }

    fn fetches(&self) -> usize {
        lock(&self.process.attempts).len()
    }

    /// For how many seconds fresh tokens are refused, one shown each second.
    async fn refused_for(&mut self) -> u64 {
        for second in 0..100_000 {
            if self.show_fresh().await.is_ok() {
                return second;
            }
            seconds(1).await;
        }
        panic!("refused without end")
    }
}

async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// "After the issuer rotated its keys the proxy refuses all tokens until its cache of keys runs
/// out."
#[tokio::test(start_paused = true)]
async fn complaint_03_a_rotation_does_not_wait_for_the_end_of_the_sets_lifetime() {
    let mut scene = Scene::start(Condition::Good, 86_400);
    assert_eq!(scene.show_fresh().await, Ok(()));
    seconds(60).await;
    scene.rotate("old", "new");
    assert_eq!(
        scene.show_fresh().await,
        Ok(()),
        "the first token of the new key brings the key"
    );
    // Twice within the cool-down: the worst case.
    scene.rotate("new", "newer");
    assert!(scene.refused_for().await <= 10);
    assert_eq!(scene.fetches(), 3);
}

/// "Twenty minutes of 401 after each rotation, unless the issuer is asked every minute."
#[tokio::test(start_paused = true)]
async fn complaint_04_an_announced_rotation_refuses_nothing_and_any_other_for_ten_seconds() {
    let mut scene = Scene::start(Condition::Good, 600);
    assert_eq!(scene.show_fresh().await, Ok(()));
    scene.world.apply(&Event::Publish("new"));
    for minute in 0..30 {
        if minute == 10 {
            scene.world.apply(&Event::SignWith("new"));
        }
        assert_eq!(
            scene.show_fresh().await,
            Ok(()),
            "published long before it is used: minute {minute}"
        );
        seconds(60).await;
    }
    assert!(
        scene.fetches() <= 5,
        "and no request caused a fetch: {}",
        scene.fetches()
    );
    scene.rotate("new", "newer");
    assert!(scene.refused_for().await <= 10);
}

/// "Keys are read once, at start; only a restart heals."
#[tokio::test(start_paused = true)]
async fn complaint_05_keys_are_refreshed_without_requests() {
    let mut scene = Scene::start(Condition::Good, 600);
    let old = scene.world.by_signer("old");
    assert_eq!(scene.show(scene.world.long[0].clone()).await, Ok(()));
    scene.rotate("old", "new");
    // The old key becomes invalid without a token of the new one.
    seconds(481).await;
    assert_eq!(
        scene.show(scene.world.long[0].clone()).await,
        Err(Reason::UnknownKid)
    );
    assert_eq!(scene.show(old).await, Err(Reason::UnknownKid));
    seconds(86_400).await;
    let day = scene.fetches();
    assert!((180..=210).contains(&day), "one every 420 to 480 s: {day}");
}

/// "A key that was refused once stays refused until the cache ends; all its tokens
/// fail."
#[tokio::test(start_paused = true)]
async fn complaint_06_a_refused_key_is_accepted_as_soon_as_it_is_published() {
    let mut scene = Scene::start(Condition::Good, 86_400);
    assert_eq!(scene.show_fresh().await, Ok(()));
    seconds(60).await;
    // Used before it is published: asked for, not found, and so not asked for again for a minute.
    scene.world.apply(&Event::SignWith("new"));
    let early = scene.world.by_signer("early");
    assert_eq!(scene.show(early.clone()).await, Err(Reason::UnknownKid));
    scene.world.apply(&Event::Publish("new"));
    seconds(15).await;
    assert_eq!(scene.show(early.clone()).await, Err(Reason::UnknownKid));
    // A fetch for any key brings this one too.
    assert_eq!(
        scene.show(scene.world.of_unknown_key()).await,
        Err(Reason::UnknownKid)
    );
    assert_eq!(scene.show(early).await, Ok(()));
    // At the latest the key is fetched again after that minute.
    scene.world.apply(&Event::SignWith("newer"));
    seconds(10).await;
    assert_eq!(scene.show_fresh().await, Err(Reason::UnknownKid));
    scene.world.apply(&Event::Publish("newer"));
    assert!(scene.refused_for().await <= 60);
}

/// "Tokens with made-up key ids make the proxy flood the issuer."
#[tokio::test(start_paused = true)]
async fn complaint_07_unknown_key_ids_do_not_flood_the_authority() {
    let mut scene = Scene::start(Condition::Good, 3600);
    assert_eq!(scene.show_fresh().await, Ok(()));
    let before = scene.fetches();
    for _ in 0..900 {
        let group = (0..10).map(|_| scene.world.of_unknown_key()).collect();
        scene.process.show(group).await;
        seconds(1).await;
    }
    // A key id that was fetched is unknown; one that was not may be a new key.
    let known = |probe: &Probe| {
        matches!(
            probe.decision,
            Err(Reason::UnknownKid | Reason::KeysUnavailable)
        )
    };
    assert!(scene.process.probes.drain(..).all(|probe| known(&probe)));
    let quarter = scene.fetches() - before;
    assert!(
        (60..=96).contains(&quarter),
        "five, and one in ten seconds: {quarter}"
    );
    seconds(60).await;
    assert_eq!(scene.show_fresh().await, Ok(()));
    // The same key causes one fetch a minute; so does the same token without `kid`.
    let same = scene.world.of_unknown_key();
    let nameless = scene
        .world
        .mint("nameless", &scene.world.unknown_key, None, 86_400);
    for (token, reason) in [(same, Reason::UnknownKid), (nameless, Reason::Signature)] {
        let before = scene.fetches();
        for _ in 0..3600 {
            assert_eq!(scene.show(token.clone()).await, Err(reason));
            seconds(1).await;
        }
        let hour = scene.fetches() - before;
        assert!(
            (55..=63).contains(&hour),
            "one a minute, and the set's own refreshes: {hour}"
        );
    }
}

/// "Suddenly there are no keys; only clearing the cache helps." "Errors are cached, and so a hiccup
/// becomes an outage."
#[tokio::test(start_paused = true)]
async fn complaint_09_an_empty_or_broken_set_never_replaces_a_good_one() {
    for condition in Condition::BAD {
        let mut scene = Scene::start(Condition::Good, 60);
        assert_eq!(scene.show_fresh().await, Ok(()));
        scene.world.apply(&Event::Condition(condition));
        for _ in 0..60 {
            seconds(60).await;
            assert_eq!(scene.show_fresh().await, Ok(()), "{condition:?}");
        }
        assert!(scene.fetches() > 50, "{condition:?}: it went on trying");
        scene.world.apply(&Event::Condition(Condition::Good));
        scene.rotate("old", "new");
        assert!(
            scene.refused_for().await <= 30,
            "{condition:?}: the next try heals"
        );
    }
}

/// "An error is cached and handed out for minutes, and every request adds another try."
#[tokio::test(start_paused = true)]
async fn complaint_10_an_error_is_neither_cached_nor_multiplied() {
    let mut scene = Scene::start(Condition::Unavailable, 600);
    for _ in 0..300 {
        let group = (0..20).map(|_| scene.world.by_signer("fresh")).collect();
        scene.process.show(group).await;
        seconds(1).await;
    }
    assert!(
        scene
            .process
            .probes
            .drain(..)
            .all(|probe| probe.decision == Err(Reason::KeysUnavailable))
    );
    // 1, 2, 4, 8, 16, then every 30 s, or the cool-down when a request asks: 6,000 of them did.
    assert!((12..=38).contains(&scene.fetches()), "{}", scene.fetches());
    scene.world.apply(&Event::Condition(Condition::Good));
    assert!(
        scene.refused_for().await <= 10,
        "and the pause is cut short"
    );
}

/// "The issuer is a sidecar that starts at the same time; the first failure ends everything."
#[tokio::test(start_paused = true)]
async fn complaint_12_an_issuer_that_starts_later_is_retried() {
    for late in [1, 3, 20, 600] {
        let mut scene = Scene::start(Condition::Refused, 600);
        seconds(late).await;
        scene.world.apply(&Event::Condition(Condition::Good));
        // Without a single request: by the retries alone.
        seconds((2 * late + 2).min(31)).await;
        let before = scene.fetches();
        assert_eq!(scene.show_fresh().await, Ok(()), "{late} s late");
        assert_eq!(scene.fetches(), before);
    }
}

/// "When the keys cannot be fetched the answer is 401, and callers throw good tokens away."
#[tokio::test(start_paused = true)]
async fn complaint_14_without_keys_the_answer_is_not_401() {
    for condition in Condition::BAD {
        let mut scene = Scene::start(condition, 600);
        for _ in 0..20 {
            assert_eq!(
                scene.show_fresh().await,
                Err(Reason::KeysUnavailable),
                "{condition:?}"
            );
            assert_eq!(
                scene.show(scene.world.of_unknown_key()).await,
                Err(Reason::KeysUnavailable)
            );
            seconds(3).await;
        }
        // With keys: a forged token of a known key is always 401; one of an unknown key is 503
        // while no fetch succeeds.
        scene.world.apply(&Event::Condition(Condition::Good));
        assert!(scene.refused_for().await <= 30);
        assert_eq!(
            scene.show(scene.world.of_unknown_key()).await,
            Err(Reason::UnknownKid)
        );
        scene.world.apply(&Event::Condition(condition));
        seconds(600).await;
        let forged = scene
            .world
            .mint("forged", &scene.world.unknown_key, Some("old"), LIFETIME);
        assert_eq!(scene.show(forged).await, Err(Reason::Signature));
        assert_eq!(
            scene.show(scene.world.of_unknown_key()).await,
            Err(Reason::KeysUnavailable),
            "{condition:?}"
        );
    }
}
