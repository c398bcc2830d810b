//! Tests of `proven_time`.

use proptest::prelude::*;

use super::*;

const START: i64 = 1_800_000_000;
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// A machine with a true time, a clock, and a proven time.
struct Machine {
    time: i64,
    ahead: i64,
    proven: ProvenTime,
}

impl Machine {
    fn new() -> Self {
        Self {
            time: START,
            ahead: 0,
            proven: ProvenTime::beginning(UnixTime(START)),
        }
    }

    fn run(&mut self, seconds: i64) {
        self.time += seconds;
        let ran = Duration::from_secs(u64::try_from(seconds).unwrap());
        self.proven = self.proven.after(ran, UnixTime(self.time + self.ahead));
    }

    /// How far the proven time is behind the true one.
    fn behind(&self) -> i64 {
        self.time - self.proven.at.0
    }
}

#[test]
fn a_clock_that_is_ahead_for_less_than_a_week_moves_nothing() {
    let mut machine = Machine::new();
    for (ahead, seconds) in [
        (2 * HOUR, 12),
        (3 * DAY, 7),
        (3 * DAY, 6 * DAY),
        (-DAY, HOUR),
        (0, HOUR),
    ] {
        machine.ahead = ahead;
        for _ in 0..10 {
            machine.run(seconds / 10);
        }
        machine.run(seconds % 10);
        machine.ahead = 0;
        machine.run(1);
        assert_eq!(
            (machine.behind(), machine.proven.claim),
            (0, None),
            "{ahead} {seconds}"
        );
    }
}

#[test]
fn a_pause_is_proven_after_a_week_of_running() {
    let mut machine = Machine::new();
    machine.time += 30 * DAY;
    machine.run(1);
    assert_eq!(machine.behind(), 30 * DAY);
    machine.run(7 * DAY - 1);
    assert_eq!(machine.behind(), 30 * DAY);
    machine.run(1);
    assert_eq!(machine.behind(), 0);
}

#[test]
fn a_machine_that_runs_an_hour_a_day_lags_by_two_weeks_of_running_at_most() {
    let mut machine = Machine::new();
    for _ in 0..2000 {
        machine.time += 23 * HOUR;
        machine.run(HOUR / 2);
        machine.run(HOUR / 2);
        assert!(
            machine.behind() <= 2 * 7 * 24 * DAY + DAY,
            "{}",
            machine.behind() / DAY
        );
    }
}

#[test]
fn a_clock_that_drifts_is_followed() {
    let mut machine = Machine::new();
    for _ in 0..60 {
        // The clock gains two seconds a day on the time that the machine counts.
        machine.run(DAY);
        machine.ahead += 2;
    }
    let lag = machine.behind() + machine.ahead;
    assert!((0..=80).contains(&lag), "{lag}");
}

proptest! {
    /// The proven time never exceeds the true time, unless the clock is wrong for a week.
    #[test]
    fn the_proven_time_is_never_ahead(
        steps in prop::collection::vec((0..20_i64 * DAY, 1..DAY, -10 * DAY..10 * DAY, 0..DAY), 1..50),
    ) {
        let mut machine = Machine::new();
        for (pause, right, ahead, wrong) in steps {
            machine.time += pause;
            machine.ahead = 0;
            machine.run(1);
            machine.run(right);
            machine.ahead = ahead;
            machine.run(wrong);
            prop_assert!(machine.behind() >= -120, "{}", machine.behind());
        }
    }
}
