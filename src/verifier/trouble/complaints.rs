//! What users of other proxies complained about: rotations, storms, caches of errors. The numbers
//! are those of our list of complaints; the others of them are in the integration tests, where real
//! sockets are what matters.

use super::*;

/// The sidecar, the issuer, and a state directory between them.
struct Scene {
    world: World,
    life: Life,
    _state_dir: tempfile::TempDir,
}

impl Scene {
    /// A sidecar that was just started, with an issuer in this mood that publishes the key `old`
    /// and signs with it.
    fn start(mood: Mood, max_age: u64) -> Self {
        let mut story = Story::random(1, Duration::ZERO);
        story.keys = vec![("old", "old"), ("new", "new"), ("newer", "newer")];
        let mut world = World::new(&story, SimClock::new());
        for event in [
            Event::Publish("old"),
            Event::SignWith("old"),
            Event::MaxAge(Some(max_age)),
            Event::Mood(mood),
        ] {
            world.happens(&event);
        }
        let state_dir = tempfile::tempdir().unwrap();
        let life = Life::start(&world.clock, &world.issuer, state_dir.path());
        Self {
            world,
            life,
            _state_dir: state_dir,
        }
    }

    /// What a token is answered now.
    async fn show(&mut self, token: Arc<Shown>) -> Result<(), Reason> {
        self.life.show(vec![token]).await;
        self.life.probes.pop().unwrap().decision
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
            self.world.happens(&event);
        }
    }

    fn fetches(&self) -> usize {
        lock(&self.life.attempts).len()
    }

    /// For how many seconds fresh tokens are refused, one shown each second.
    async fn refused_for(&mut self) -> u64 {
        for second in 0..100_000 {
            if self.show_fresh().await.is_ok() {
                return second;
            }
            seconds(1).await;
        }
        panic!("refused for ever")
    }
}

async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// "After the issuer rotated its keys the proxy refuses all tokens until its cache of keys runs
/// out."
#[tokio::test(start_paused = true)]
async fn complaint_03_a_rotation_does_not_wait_until_the_set_has_lived_its_time() {
    let mut scene = Scene::start(Mood::Good, 86_400);
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
async fn complaint_04_a_rotation_as_it_should_be_refuses_nothing_and_any_other_ten_seconds() {
    let mut scene = Scene::start(Mood::Good, 600);
    assert_eq!(scene.show_fresh().await, Ok(()));
    scene.world.happens(&Event::Publish("new"));
    for minute in 0..30 {
        if minute == 10 {
            scene.world.happens(&Event::SignWith("new"));
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
        "and nobody had to ask: {}",
        scene.fetches()
    );
    scene.rotate("new", "newer");
    assert!(scene.refused_for().await <= 10);
}

/// "Keys are read once, at start; only a restart heals."
#[tokio::test(start_paused = true)]
async fn complaint_05_keys_are_read_again_and_again_without_a_reason() {
    let mut scene = Scene::start(Mood::Good, 600);
    let old = scene.world.by_signer("old");
    assert_eq!(scene.show(scene.world.long[0].clone()).await, Ok(()));
    scene.rotate("old", "new");
    // Nobody shows a token of the new key: all the same the old one is no longer believed.
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

/// "A key that was refused once stays refused until the cache ends; everybody with a token of it is
/// down."
#[tokio::test(start_paused = true)]
async fn complaint_06_a_refused_key_is_accepted_as_soon_as_it_is_published() {
    let mut scene = Scene::start(Mood::Good, 86_400);
    assert_eq!(scene.show_fresh().await, Ok(()));
    seconds(60).await;
    // Used before it is published: asked for, not found, and so not asked for again for a minute.
    scene.world.happens(&Event::SignWith("new"));
    let early = scene.world.by_signer("early");
    assert_eq!(scene.show(early.clone()).await, Err(Reason::UnknownKid));
    scene.world.happens(&Event::Publish("new"));
    seconds(15).await;
    assert_eq!(scene.show(early.clone()).await, Err(Reason::UnknownKid));
    // Whatever brings the key brings it for everyone: here the question for another one.
    assert_eq!(
        scene.show(scene.world.of_stranger()).await,
        Err(Reason::UnknownKid)
    );
    assert_eq!(scene.show(early).await, Ok(()));
    // And by itself at the latest after that minute.
    scene.world.happens(&Event::SignWith("newer"));
    seconds(10).await;
    assert_eq!(scene.show_fresh().await, Err(Reason::UnknownKid));
    scene.world.happens(&Event::Publish("newer"));
    assert!(scene.refused_for().await <= 60);
}

/// "Whoever sends tokens with made-up key ids makes the proxy hammer the issuer."
#[tokio::test(start_paused = true)]
async fn complaint_07_an_attacker_chosen_kid_makes_nobody_hammer_the_authority() {
    let mut scene = Scene::start(Mood::Good, 3600);
    assert_eq!(scene.show_fresh().await, Ok(()));
    let before = scene.fetches();
    for _ in 0..900 {
        let group = (0..10).map(|_| scene.world.of_stranger()).collect();
        scene.life.show(group).await;
        seconds(1).await;
    }
    // What the issuer was asked for it does not know; what it was not asked for may be a key that
    // is new.
    let known = |probe: &Probe| {
        matches!(
            probe.decision,
            Err(Reason::UnknownKid | Reason::KeysUnavailable)
        )
    };
    assert!(scene.life.probes.drain(..).all(|probe| known(&probe)));
    let quarter = scene.fetches() - before;
    assert!(
        (60..=96).contains(&quarter),
        "five, and one in ten seconds: {quarter}"
    );
    seconds(60).await;
    assert_eq!(scene.show_fresh().await, Ok(()));
    // The same one again and again is worth a question a minute; so is the same token without a
    // `kid`.
    let same = scene.world.of_stranger();
    let nameless = scene
        .world
        .mint("nameless", &scene.world.stranger, None, 86_400);
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
async fn complaint_09_no_empty_or_broken_set_takes_the_place_of_a_good_one() {
    for mood in Mood::BAD {
        let mut scene = Scene::start(Mood::Good, 60);
        assert_eq!(scene.show_fresh().await, Ok(()));
        scene.world.happens(&Event::Mood(mood));
        for _ in 0..60 {
            seconds(60).await;
            assert_eq!(scene.show_fresh().await, Ok(()), "{mood:?}");
        }
        assert!(scene.fetches() > 50, "{mood:?}: it went on trying");
        scene.world.happens(&Event::Mood(Mood::Good));
        scene.rotate("old", "new");
        assert!(
            scene.refused_for().await <= 30,
            "{mood:?}: the next try heals"
        );
    }
}

/// "An error is remembered and handed out for minutes, and every request adds another try."
#[tokio::test(start_paused = true)]
async fn complaint_10_an_error_is_neither_kept_nor_multiplied() {
    let mut scene = Scene::start(Mood::Unavailable, 600);
    for _ in 0..300 {
        let group = (0..20).map(|_| scene.world.by_signer("fresh")).collect();
        scene.life.show(group).await;
        seconds(1).await;
    }
    assert!(
        scene
            .life
            .probes
            .drain(..)
            .all(|probe| probe.decision == Err(Reason::KeysUnavailable))
    );
    // 1, 2, 4, 8, 16, then every 30 s, or the cool-down when a request asks: 6,000 of them did.
    assert!((12..=38).contains(&scene.fetches()), "{}", scene.fetches());
    scene.world.happens(&Event::Mood(Mood::Good));
    assert!(
        scene.refused_for().await <= 10,
        "and nobody waits for the end of the pause"
    );
}

/// "The issuer is a sidecar that starts at the same time; the first failure ends everything."
#[tokio::test(start_paused = true)]
async fn complaint_12_an_issuer_that_starts_a_little_later_is_waited_for() {
    for late in [1, 3, 20, 600] {
        let mut scene = Scene::start(Mood::Refused, 600);
        seconds(late).await;
        scene.world.happens(&Event::Mood(Mood::Good));
        // Without a single request: by the retries alone.
        seconds((2 * late + 2).min(31)).await;
        let before = scene.fetches();
        assert_eq!(scene.show_fresh().await, Ok(()), "{late} s late");
        assert_eq!(scene.fetches(), before);
    }
}

/// "When the keys cannot be fetched the answer is 401, and callers throw good tokens away."
#[tokio::test(start_paused = true)]
async fn complaint_14_without_keys_nobody_is_called_unauthorized() {
    for mood in Mood::BAD {
        let mut scene = Scene::start(mood, 600);
        for _ in 0..20 {
            assert_eq!(
                scene.show_fresh().await,
                Err(Reason::KeysUnavailable),
                "{mood:?}"
            );
            assert_eq!(
                scene.show(scene.world.of_stranger()).await,
                Err(Reason::KeysUnavailable)
            );
            seconds(3).await;
        }
        // With keys: whose key is known and forged is 401 in any weather, whose is not is 503 while
        // nobody can be asked.
        scene.world.happens(&Event::Mood(Mood::Good));
        assert!(scene.refused_for().await <= 30);
        assert_eq!(
            scene.show(scene.world.of_stranger()).await,
            Err(Reason::UnknownKid)
        );
        scene.world.happens(&Event::Mood(mood));
        seconds(600).await;
        let forged = scene
            .world
            .mint("forged", &scene.world.stranger, Some("old"), LIFETIME);
        assert_eq!(scene.show(forged).await, Err(Reason::Signature));
        assert_eq!(
            scene.show(scene.world.of_stranger()).await,
            Err(Reason::KeysUnavailable),
            "{mood:?}"
        );
    }
}
