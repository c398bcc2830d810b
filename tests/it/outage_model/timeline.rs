//! The events of a day.

use std::time::Duration;

use super::world::Condition;

/// An event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Condition(Condition),
    Publish(&'static str),
    Withdraw(&'static str),
    SignWith(&'static str),
    MaxAge(Option<u64>),
    /// The issuer's clock is so many seconds ahead.
    Ahead(i64),
    /// Of the sidecar.
    Restart,
}

/// Events in the order of their times.
pub struct Timeline {
    pub length: Duration,
    /// Names of keys and their `kid`s.
    pub keys: Vec<(&'static str, &'static str)>,
    pub events: Vec<(Duration, Event)>,
}

/// Names for the keys of random days.
const NAMES: [&str; 40] = [
    "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
    "r15", "r16", "r17", "r18", "r19", "r20", "r21", "r22", "r23", "r24", "r25", "r26", "r27",
    "r28", "r29", "r30", "r31", "r32", "r33", "r34", "r35", "r36", "r37", "r38", "r39",
];

impl Timeline {
    /// A day with every kind of event that users of other proxies complained about.
    pub fn day() -> Self {
        use Condition::*;
        use Event::{Ahead, MaxAge, Publish, Restart, SignWith, Withdraw};
        let condition = Event::Condition;
        let mut events = vec![
            (at(0, 0, 0), vec![Publish("k1"), SignWith("k1")]),
            // A short outage.
            (at(0, 30, 0), vec![condition(Refused)]),
            (at(1, 0, 0), vec![condition(Good)]),
            // A rotation as it should be: published, then used, then the old one withdrawn.
            (at(1, 30, 0), vec![Publish("k2")]),
            (at(1, 45, 0), vec![SignWith("k2")]),
            (at(3, 0, 0), vec![Withdraw("k1")]),
            // Its clock goes wrong, first within what is forgiven, then beyond.
            (at(2, 0, 0), vec![Ahead(45)]),
            (at(2, 20, 0), vec![Ahead(90)]),
            (at(2, 40, 0), vec![Ahead(0)]),
            // It hangs.
            (at(3, 10, 0), vec![condition(Hang)]),
            (at(3, 25, 0), vec![condition(Good)]),
            (at(3, 30, 0), vec![condition(HangLater)]),
            (at(3, 40, 0), vec![condition(Good)]),
            // An emergency rotation: everything in one moment.
            (
                at(4, 0, 0),
                vec![Withdraw("k2"), Publish("k3"), SignWith("k3")],
            ),
            // A key that is used before it is published.
            (at(4, 30, 0), vec![SignWith("k4")]),
            (at(4, 30, 40), vec![Publish("k4"), Withdraw("k3")]),
            // All kinds of nonsense.
            (at(5, 0, 0), vec![condition(Garbage)]),
            (at(5, 10, 0), vec![condition(EmptySet)]),
            (at(5, 20, 0), vec![condition(UselessSet)]),
            (at(5, 30, 0), vec![condition(Redirect)]),
            (at(5, 40, 0), vec![condition(WrongIssuer)]),
            (at(5, 50, 0), vec![condition(Reset)]),
            (at(6, 0, 0), vec![condition(TooLarge)]),
            (at(6, 10, 0), vec![condition(Unavailable)]),
            (at(6, 30, 0), vec![condition(Good)]),
            // A rotation during an outage.
            (at(7, 0, 0), vec![condition(Unavailable)]),
            (
                at(7, 10, 0),
                vec![Publish("k5"), SignWith("k5"), Withdraw("k4")],
            ),
            (at(7, 40, 0), vec![condition(Good)]),
            // An outage longer than the keys may serve, with restarts of the sidecar.
            (at(8, 0, 0), vec![condition(Refused)]),
            (at(9, 0, 0), vec![Restart]),
            (at(12, 30, 0), vec![Restart]),
            (at(13, 0, 0), vec![condition(Good)]),
            // Another key under the same name.
            (
                at(14, 0, 0),
                vec![Withdraw("k5"), Publish("k5-again"), SignWith("k5-again")],
            ),
            // So slow that no request waits for it.
            (at(15, 0, 0), vec![condition(Slow)]),
            (
                at(15, 10, 0),
                vec![Withdraw("k5-again"), Publish("k6"), SignWith("k6")],
            ),
            (at(15, 40, 0), vec![condition(Good)]),
            // Other lifetimes.
            (at(16, 0, 0), vec![MaxAge(None)]),
            (at(17, 0, 0), vec![MaxAge(Some(86_400))]),
            (
                at(17, 30, 0),
                vec![Withdraw("k6"), Publish("k7"), SignWith("k7")],
            ),
            (at(18, 30, 0), vec![MaxAge(Some(1))]),
            (at(19, 0, 0), vec![MaxAge(Some(600)), Ahead(-70)]),
            (at(19, 40, 0), vec![Ahead(0)]),
            (
                at(21, 0, 0),
                vec![Publish("k8"), SignWith("k8"), Withdraw("k7")],
            ),
        ];
        // It comes and goes.
        for minute in (0..180).step_by(2) {
            let conditions = [Good, Refused, Hang, Good, Unavailable];
            events.push((
                at(20, minute, 0),
                vec![condition(
                    conditions[usize::try_from(minute / 2).unwrap() % 5],
                )],
            ));
        }
        events.push((at(23, 0, 0), vec![condition(Good)]));
        let kids = ["k1", "k2", "k3", "k4", "k5", "k6", "k7", "k8"];
        let mut keys: Vec<_> = kids.into_iter().map(|kid| (kid, kid)).collect();
        keys.push(("k5-again", "k5"));
        Self::new(at(24, 0, 0), keys, events)
    }

    fn new(
        length: Duration,
        keys: Vec<(&'static str, &'static str)>,
        events: Vec<(Duration, Vec<Event>)>,
    ) -> Self {
        let mut events: Vec<_> = events
            .into_iter()
            .flat_map(|(at, events)| events.into_iter().map(move |it| (at, it)))
            .collect();
        events.sort_by_key(|(at, _)| *at);
        Self {
            length,
            keys,
            events,
        }
    }

    /// Random conditions, rotations, clocks and restarts.
    pub fn random(seed: u64, length: Duration) -> Self {
        use Event::{Ahead, MaxAge, Publish, Restart, SignWith, Withdraw};
        let mut random = fastrand::Rng::with_seed(seed);
        let mut events = vec![(Duration::ZERO, vec![Publish(NAMES[0]), SignWith(NAMES[0])])];
        let (mut signer, mut now) = (0, 0);
        while now < length.as_secs() {
            now += random.u64(20..900);
            let seconds = |more: u64| Duration::from_secs(now + more);
            match random.u8(..20) {
                0..=6 => events.push((seconds(0), vec![Event::Condition(Condition::Good)])),
                7 => events.push((seconds(0), vec![Event::Condition(Condition::Slow)])),
                8..=12 => {
                    let condition = random.choice(Condition::BAD).unwrap_or(Condition::Hang);
                    events.push((seconds(0), vec![Event::Condition(condition)]));
                }
                13..=16 if signer + 1 < NAMES.len() => {
                    let (old, new) = (NAMES[signer], NAMES[signer + 1]);
                    signer += 1;
                    events.push((seconds(random.u64(..120)), vec![Publish(new)]));
                    events.push((seconds(random.u64(..120)), vec![SignWith(new)]));
                    events.push((seconds(random.u64(..900)), vec![Withdraw(old)]));
                }
                17 => {
                    let ages = [None, Some(0), Some(120), Some(600), Some(86_400)];
                    events.push((seconds(0), vec![MaxAge(random.choice(ages).flatten())]));
                }
                18 => events.push((seconds(0), vec![Ahead(random.i64(-100..=100))])),
                _ => events.push((seconds(0), vec![Restart])),
            }
        }
        // Some keys share their names.
        let kids = NAMES
            .iter()
            .enumerate()
            .map(|(n, name)| (*name, if n % 9 == 8 { NAMES[n - 1] } else { name }));
        Self::new(length, kids.collect(), events)
    }
}

fn at(hours: u64, minutes: u64, seconds: u64) -> Duration {
    Duration::from_secs(hours * 3600 + minutes * 60 + seconds)
}
