//! Random bytes of a client and an upstream through the relay, for a minute.

use std::time::Duration;

use proptest::test_runner::{RngAlgorithm, TestRng};
use tokio::time::Instant;

use crate::relay::any_bytes::run_any;

/// As many seconds as `RELAY_SECONDS` says.
#[expect(clippy::disallowed_methods, reason = "only this test reads it")]
fn length() -> Duration {
    let seconds = std::env::var("RELAY_SECONDS").ok();
    let seconds = seconds.and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(60))
}

#[test]
#[ignore = "long: a minute; prints how many sequences ran"]
fn random_sequences_keep_both_sides_of_the_relay_in_form() {
    let (began, mut rounds) = (Instant::now(), 0);
    while began.elapsed() < length() {
        let seed: [u8; 32] = std::array::from_fn(|_| rand_byte());
        println!("round {rounds}, seed {seed:?}");
        run_any(TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
        rounds += 1;
    }
    println!("{} sequences", rounds * 4000);
}

fn rand_byte() -> u8 {
    uuid::Uuid::new_v4().into_bytes()[0]
}
