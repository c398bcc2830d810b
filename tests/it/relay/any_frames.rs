//! A short run of the recorder with a client of HTTP/2, as the fuzz target `relay_http2` runs it
//! for long: every seed, and random sequences of frames, answers and faults.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::recorder::http2::run;

#[test]
fn every_seed_of_the_fuzz_target_keeps_both_sides_in_form() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/relay_http2");
    let mut count = 0;
    for entry in std::fs::read_dir(dir).expect("the seeds") {
        let path = entry.expect("an entry").path();
        let seed = std::fs::read(&path).expect("a seed");
        let ran = std::panic::catch_unwind(|| run(&seed));
        assert!(ran.is_ok(), "{}", path.display());
        count += 1;
    }
    assert!(count > 20, "{count} seeds");
}

#[test]
fn every_sequence_of_frames_answers_and_faults_keeps_both_sides_in_form() {
    run_any(TestRng::deterministic_rng(RngAlgorithm::ChaCha));
}

/// Runs thousands of random scripts. An ordinary request is as frequent as everything else, and its
/// parameters are small more often than not.
pub fn run_any(random: TestRng) {
    let config = Config {
        cases: 4000,
        failure_persistence: None,
        ..Config::default()
    };
    let byte = prop_oneof![2 => 0_u8..8, 1 => any::<u8>()];
    let operation = prop_oneof![1 => Just(0_u8), 1 => 0_u8..32];
    let part = (operation, prop::collection::vec(byte, 0..6));
    let script = prop::collection::vec(part, 1..40);
    let ran = TestRunner::new_with_rng(config, random).run(&script, |parts| {
        let bytes = |(operation, parameters)| [vec![operation], parameters].concat();
        run(&parts.into_iter().flat_map(bytes).collect::<Vec<_>>());
        Ok(())
    });
    ran.unwrap_or_else(|failed| panic!("{failed}"));
}
