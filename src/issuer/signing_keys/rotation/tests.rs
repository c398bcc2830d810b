//! Rotation by hand-written times, and by random days of two processes on one store.

use std::collections::{BTreeSet, HashMap};

use proptest::prelude::*;

use super::*;
use KeyState::{Active, Next, Retired};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
const START: i64 = 1_800_000_000;

fn hours(hours: u64) -> Duration {
    Duration::from_hours(hours)
}

fn policy(algorithm: &str, rotate_every: Option<Duration>) -> Policy {
    Policy {
        algorithms: vec![algorithm.to_owned()],
        rotate_every,
        running_since: UnixTime(START),
    }
}

fn moment(now: i64) -> Moment {
    Moment {
        now: UnixTime(now),
        proven: UnixTime(now),
        latest: UnixTime(now),
        longest_token: hours(1),
    }
}

fn apply(keys: &mut Vec<KeyRecord>, plan: Plan, first: usize, at: Moment) {
    keys.retain(|key| !plan.delete.contains(&key.kid));
    for changed in plan.update {
        let place = keys
            .iter_mut()
            .find(|key| key.kid == changed.kid)
            .expect("a key there is");
        *place = changed;
    }
    keys.extend(
        plan.make
            .into_iter()
            .enumerate()
            .map(|(i, make)| KeyRecord {
                kid: format!("k{}", first + i),
                algorithm: make.algorithm,
                created_at: at.now,
                state: make.state,
                signs_from: make.signs_from,
                retired_at: None,
                foreign_since: None,
                longest_token: at.longest_token,
            }),
    );
}

/// The keys of one process as it goes by the clock, each with its state.
struct Simple {
    policy: Policy,
    keys: Vec<KeyRecord>,
    made: usize,
}

impl Simple {
    fn new(rotate_every: Option<Duration>) -> Self {
        Self {
            policy: policy("A", rotate_every),
            keys: Vec::new(),
            made: 0,
        }
    }

    fn at(&mut self, now: i64) -> Vec<(&str, KeyState)> {
        let plan = self.policy.due(&self.keys, moment(now));
        self.follow(plan, now)
    }

    fn demand(&mut self, now: i64, how: RotateNow) -> Vec<(&str, KeyState)> {
        let plan = self.policy.on_demand(&self.keys, moment(now), how);
        self.follow(plan, now)
    }

    fn follow(&mut self, plan: Plan, now: i64) -> Vec<(&str, KeyState)> {
        let first = self.made + 1;
        self.made += plan.make.len();
        apply(&mut self.keys, plan, first, moment(now));
        self.keys
            .iter()
            .map(|key| (key.kid.as_str(), key.state))
            .collect()
    }
}

#[test]
fn a_key_is_published_signs_is_retired_and_goes_each_at_its_time() {
    let mut world = Simple::new(Some(Duration::from_hours(30 * 24)));
    let due = START + 30 * DAY;
    for (now, expected) in [
        (START, vec![("k1", Active)]),
        (due - HOUR - 1, vec![("k1", Active)]),
        (due - HOUR, vec![("k1", Active), ("k2", Next)]),
        (due - 1, vec![("k1", Active), ("k2", Next)]),
        (due, vec![("k1", Retired), ("k2", Active)]),
        // The longest token has a lifetime of an hour, and there is an hour to spare.
        (due + 2 * HOUR, vec![("k1", Retired), ("k2", Active)]),
        (due + 2 * HOUR + 1, vec![("k2", Active)]),
        (due + 30 * DAY - HOUR, vec![("k2", Active), ("k3", Next)]),
    ] {
        assert_eq!(world.at(now), expected, "{}", now - START);
        assert!(world.policy.due(&world.keys, moment(now)).is_empty());
    }
}

#[test]
fn a_short_rotation_has_a_lead_of_a_quarter_and_none_at_all_never_rotates() {
    let mut world = Simple::new(Some(hours(1)));
    world.at(START);
    assert_eq!(world.at(START + 44 * 60), [("k1", Active)]);
    assert_eq!(world.at(START + 45 * 60), [("k1", Active), ("k2", Next)]);
    assert_eq!(world.at(START + HOUR), [("k1", Retired), ("k2", Active)]);
    let mut world = Simple::new(None);
    world.at(START);
    assert_eq!(world.at(START + 3650 * DAY), [("k1", Active)]);
    let demanded = world.demand(START + 3650 * DAY, RotateNow::default());
    assert_eq!(demanded, [("k1", Active), ("k2", Next)]);
    assert_eq!(
        world.at(START + 3650 * DAY + HOUR),
        [("k1", Retired), ("k2", Active)]
    );
}

#[test]
fn on_demand_a_key_waits_its_time_or_signs_at_once_or_is_the_only_one_left() {
    let now = RotateNow {
        now: true,
        withdraw: false,
    };
    let withdraw = RotateNow {
        now: true,
        withdraw: true,
    };
    let mut world = Simple::new(Some(hours(30 * 24)));
    world.at(START);
    assert_eq!(
        world.demand(START + 5, RotateNow::default()),
        [("k1", Active), ("k2", Next)]
    );
    assert_eq!(
        world.demand(START + 6, RotateNow::default()),
        [("k1", Active), ("k2", Next)],
        "it waits already"
    );
    assert_eq!(
        world.demand(START + 7, now),
        [("k1", Retired), ("k2", Active)]
    );
    assert_eq!(
        world.demand(START + 8, now),
        [("k1", Retired), ("k2", Retired), ("k3", Active)]
    );
    assert_eq!(world.demand(START + 9, RotateNow::default()).len(), 4);
    assert_eq!(world.demand(START + 10, withdraw), [("k5", Active)]);
    assert_eq!(
        world.demand(
            START + 11,
            RotateNow {
                now: false,
                withdraw: true
            }
        ),
        [("k6", Active)]
    );
}

#[test]
fn the_key_of_an_endless_token_is_never_deleted() {
    let mut world = Simple::new(Some(hours(30 * 24)));
    world.at(START);
    world.keys[0].longest_token = Duration::from_secs(i64::MAX.unsigned_abs());
    world.demand(
        START + 1,
        RotateNow {
            now: true,
            withdraw: false,
        },
    );
    assert_eq!(world.at(i64::MAX)[0], ("k1", Retired));
    assert_eq!(published_until(&world.keys[0]), Some(UnixTime::NEVER));
}

#[test]
fn keys_of_another_configuration_are_left_alone_for_a_day() {
    let mut world = Simple::new(Some(hours(30 * 24)));
    world.at(START);
    world.demand(START, RotateNow::default());
    world.policy.algorithms = vec!["B".to_owned()];
    assert_eq!(
        world.at(START),
        [("k1", Active), ("k2", Next), ("k3", Active)]
    );
    assert_eq!(world.at(START + DAY - 1).len(), 3);
    assert_eq!(world.at(START + DAY), [("k1", Retired), ("k3", Active)]);
    // A configured key signs: nothing is made, and what there is stays published.
    let mut world = Simple::new(Some(hours(30 * 24)));
    world.at(START);
    world.policy.algorithms.clear();
    assert_eq!(world.at(START), [("k1", Active)]);
    assert_eq!(world.at(START + DAY - 1), [("k1", Active)]);
    assert_eq!(world.at(START + DAY), [("k1", Retired)]);
    assert_eq!(world.at(START + DAY + 3 * HOUR), []);
}

#[test]
fn a_key_that_is_foreign_is_retired_after_a_day_however_often_the_process_restarts() {
    let mut world = Simple::new(Some(hours(30 * 24)));
    world.at(START);
    world.policy.algorithms.clear();
    for hour in 1..=24 {
        world.policy.running_since = UnixTime(START + hour * HOUR);
        assert_eq!(world.at(START + hour * HOUR), [("k1", Active)]);
    }
    assert_eq!(world.at(START + HOUR + DAY), [("k1", Retired)]);
}

#[test]
fn a_configuration_that_is_changed_back_and_again_restarts_the_day() {
    let configure = |world: &mut Simple, algorithm: &str, now: i64| {
        world.policy.algorithms = vec![algorithm.to_owned()];
        world.policy.running_since = UnixTime(now);
        world.at(now).len()
    };
    // Back within minutes, and after hours.
    for back in [60, 5 * HOUR] {
        let mut world = Simple::new(None);
        world.at(START);
        configure(&mut world, "B", START + 1);
        configure(&mut world, "A", START + back);
        world.at(START + 2 * DAY);
        let changed = START + 30 * DAY;
        configure(&mut world, "B", changed);
        assert_eq!(world.at(changed + DAY - 1)[0], ("k1", Active));
        assert_eq!(world.at(changed + DAY)[0], ("k1", Retired));
    }
}

#[test]
fn two_processes_of_different_configurations_change_nothing_without_end() {
    let mut world = Simple::new(None);
    world.at(START);
    let mut other = Policy {
        algorithms: vec!["B".to_owned()],
        ..world.policy.clone()
    };
    // Its clock is behind.
    other.running_since = UnixTime(START + HOUR);
    world.policy.running_since = UnixTime(START + HOUR + 300);
    let mut made = 100;
    let mut changes = 0;
    for second in 0..100 {
        for (policy, now) in [
            (&other, START + HOUR + second),
            (&world.policy.clone(), START + HOUR + 300 + second),
        ] {
            let plan = policy.due(&world.keys, moment(now));
            changes += usize::from(!plan.is_empty());
            apply(&mut world.keys, plan, made, moment(now));
            made += 100;
        }
    }
    assert!(changes <= 2, "{changes}");
}

#[test]
fn each_algorithm_in_use_has_keys_of_its_own_that_rotate_together() {
    let mut world = Simple::new(Some(hours(30 * 24)));
    world.policy.algorithms.push("B".to_owned());
    let algorithms = |world: &Simple| -> Vec<(String, KeyState)> {
        world
            .keys
            .iter()
            .map(|key| (key.algorithm.clone(), key.state))
            .collect()
    };
    let key = |algorithm: &str, state| (algorithm.to_owned(), state);
    world.at(START);
    assert_eq!(algorithms(&world), [key("A", Active), key("B", Active)]);
    let due = START + 30 * DAY;
    world.at(due - HOUR);
    let expected = [
        key("A", Active),
        key("B", Active),
        key("A", Next),
        key("B", Next),
    ];
    assert_eq!(algorithms(&world), expected);
    world.at(due);
    let expected = [
        key("A", Retired),
        key("B", Retired),
        key("A", Active),
        key("B", Active),
    ];
    assert_eq!(algorithms(&world), expected);
    world.demand(
        due + 1,
        RotateNow {
            withdraw: true,
            now: true,
        },
    );
    assert_eq!(algorithms(&world), [key("A", Active), key("B", Active)]);
    world.demand(
        due + 2,
        RotateNow {
            now: true,
            withdraw: false,
        },
    );
    let expected = [
        key("A", Retired),
        key("B", Retired),
        key("A", Active),
        key("B", Active),
    ];
    assert_eq!(algorithms(&world), expected);
}

#[test]
fn a_further_algorithm_gets_its_key_at_once_and_changes_no_other_key() {
    let mut world = Simple::new(Some(hours(30 * 24)));
    world.at(START);
    world.policy = world.policy.with("B");
    assert_eq!(world.at(START + HOUR), [("k1", Active), ("k2", Active)]);
    assert_eq!(world.keys[1].algorithm, "B");
    assert_eq!(world.policy.with("B").algorithms, ["A", "B"]);
}

#[test]
fn after_the_clock_was_set_back_keys_rotate_by_the_new_time() {
    let ahead = START + 3650 * DAY;
    let mut world = Simple::new(Some(hours(30 * 24)));
    world.at(ahead);
    world.demand(ahead, RotateNow::default());
    assert_eq!(world.at(START), [("k1", Active), ("k2", Next)]);
    assert_eq!(world.at(START + HOUR - 1), [("k1", Active), ("k2", Next)]);
    assert_eq!(world.at(START + HOUR), [("k1", Retired), ("k2", Active)]);
    let mut world = Simple::new(Some(hours(30 * 24)));
    world.at(ahead);
    world.at(START);
    assert_eq!(
        world.at(START + 30 * DAY - HOUR),
        [("k1", Active), ("k2", Next)]
    );
}

#[test]
fn a_clock_that_is_ahead_takes_no_key_away_whose_tokens_live() {
    let policy = policy("A", Some(hours(30 * 24)));
    let mut keys = Vec::new();
    let mut at = |now: i64, proven: i64, how: Option<RotateNow>| {
        let at = Moment {
            proven: UnixTime(proven),
            ..moment(now)
        };
        let plan = match how {
            Some(how) => policy.on_demand(&keys, at, how),
            None => policy.due(&keys, at),
        };
        let first = keys.len() + 1;
        apply(&mut keys, plan, first, at);
        keys.iter().map(|key| key.state).collect::<Vec<_>>()
    };
    at(START, START, None);
    at(
        START,
        START,
        Some(RotateNow {
            now: true,
            withdraw: false,
        }),
    );
    assert_eq!(
        at(START + 3 * DAY, START + 60, None),
        [Retired, Active],
        "three days ahead for a minute"
    );
    assert_eq!(
        at(START + 3 * HOUR, START + 3 * HOUR, None),
        [Active],
        "when its tokens are dead"
    );
}

/// Something that happens to two processes on one store.
#[derive(Clone, Debug)]
enum Event {
    Wait(i64),
    SetBack(i64),
    Sign(usize, u64),
    Demand(usize, RotateNow),
    /// A process starts again, with another algorithm or the same.
    Restart(usize, bool),
}

fn event() -> impl Strategy<Value = Event> {
    let life = prop_oneof![
        1..2 * 3600_u64,
        1..366 * 86_400_u64,
        Just(i64::MAX.unsigned_abs())
    ];
    let how = (any::<bool>(), prop::bool::weighted(0.2))
        .prop_map(|(now, withdraw)| RotateNow { now, withdraw });
    prop_oneof![
        8 => prop_oneof![0..60_i64, 0..3 * HOUR, 0..40 * DAY].prop_map(Event::Wait),
        1 => prop_oneof![0..60_i64, 0..3 * HOUR, 0..40 * DAY].prop_map(Event::SetBack),
        8 => (0..2_usize, life).prop_map(|(process, life)| Event::Sign(process, life)),
        1 => (0..2_usize, how).prop_map(|(process, how)| Event::Demand(process, how)),
        1 => (0..2_usize, prop::bool::weighted(0.3)).prop_map(|(process, other)| Event::Restart(process, other)),
    ]
}

struct Process {
    policy: Policy,
    latest: i64,
    longest: u64,
    /// The keys as it has read them.
    ring: Vec<KeyRecord>,
}

struct World {
    keys: Vec<KeyRecord>,
    made: usize,
    now: i64,
    /// Goes on whatever the clock does.
    elapsed: i64,
    published: HashMap<String, i64>,
    tokens: Vec<(String, i64)>,
    processes: [Process; 2],
}

impl World {
    fn new(rotate_every: Option<Duration>) -> Self {
        let process = || Process {
            policy: policy("A", rotate_every),
            latest: START,
            longest: 60,
            ring: Vec::new(),
        };
        Self {
            keys: Vec::new(),
            made: 0,
            now: START,
            elapsed: 0,
            published: HashMap::new(),
            tokens: Vec::new(),
            processes: [process(), process()],
        }
    }

    fn tick(&mut self, process: usize, demand: Option<RotateNow>) {
        let each = &mut self.processes[process];
        each.latest = each.latest.max(self.now);
        let at = Moment {
            now: UnixTime(self.now),
            proven: UnixTime(self.now.min(START + self.elapsed)),
            latest: UnixTime(each.latest),
            longest_token: Duration::from_secs(each.longest),
        };
        if let Some(how) = demand {
            let plan = each.policy.on_demand(&self.keys, at, how);
            let first = self.made + 1;
            self.made += plan.make.len();
            apply(&mut self.keys, plan, first, at);
        }
        let had_one = each
            .policy
            .signing(&self.keys, &each.policy.algorithms[0])
            .is_some();
        let before = self.keys.clone();
        let plan = each.policy.due(&self.keys, at);
        let first = self.made + 1;
        self.made += plan.make.len();
        apply(&mut self.keys, plan, first, at);
        assert!(
            each.policy.due(&self.keys, at).is_empty(),
            "it is done at once: {:?}",
            self.keys
        );
        let signing = each
            .policy
            .of_state(&self.keys, &each.policy.algorithms[0], Active)
            .count();
        assert_eq!(signing, 1, "exactly one key signs: {:?}", self.keys);
        for key in &self.keys {
            let published = *self
                .published
                .entry(key.kid.clone())
                .or_insert(self.elapsed);
            let was = before
                .iter()
                .find(|old| old.kid == key.kid)
                .map(|old| old.state);
            if key.state == Active && was == Some(Next) && had_one {
                let lead = i64::try_from(each.policy.lead().as_secs()).unwrap();
                assert!(
                    self.elapsed - published >= lead,
                    "{} was published too shortly",
                    key.kid
                );
            }
        }
        each.ring.clone_from(&self.keys);
    }

    fn happens(&mut self, event: Event) {
        match event {
            // Each process looks at the store within half an hour of what it signs.
            Event::Wait(seconds) => {
                let (mut left, mut step) = (seconds, HOUR / 2);
                while left > 0 {
                    step = step.min(left);
                    (self.now, self.elapsed, left) =
                        (self.now + step, self.elapsed + step, left - step);
                    (0..2).for_each(|process| self.tick(process, None));
                    step = DAY;
                }
            }
            Event::SetBack(seconds) => self.now -= seconds,
            Event::Sign(process, life) => {
                let process = &mut self.processes[process];
                process.longest = process.longest.max(life);
                let kid = process
                    .policy
                    .signing(&process.ring, &process.policy.algorithms[0])
                    .unwrap()
                    .kid
                    .clone();
                self.tokens
                    .push((kid, self.now.saturating_add(i64::try_from(life).unwrap())));
            }
            Event::Demand(process, how) => {
                self.tick(process, Some(how));
                if how.withdraw {
                    self.tokens.clear();
                }
                self.tick(1 - process, None);
            }
            Event::Restart(process, other) => {
                // As `SigningKeys::open` does, without the latest time seen: the clock is right
                // while the process is down.
                let policy = &mut self.processes[process].policy;
                policy.algorithms = vec![if other { "B" } else { "A" }.to_owned()];
                policy.running_since = UnixTime(self.now);
                self.tick(process, None);
            }
        }
        let published: BTreeSet<&str> = self.keys.iter().map(|key| key.kid.as_str()).collect();
        // An expired key stays expired, whatever the clock is later.
        self.tokens
            .retain(|(_, expires)| expires.saturating_add(600) >= self.now);
        for (kid, _) in &self.tokens {
            assert!(
                published.contains(kid.as_str()),
                "{kid} vanished before its token"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_one_key_signs_known_to_all_and_none_vanishes_before_its_tokens(
        rotate_every in prop_oneof![Just(None), (1..24 * 60_u64).prop_map(|h| Some(hours(h)))],
        events in prop::collection::vec(event(), 1..60),
    ) {
        let mut world = World::new(rotate_every);
        (0..2).for_each(|process| world.tick(process, None));
        for event in events {
            world.happens(event);
        }
    }
}
