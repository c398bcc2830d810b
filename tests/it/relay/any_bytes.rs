//! A short run of the recorder, as the fuzz target `relay` runs it for long: every seed, and random
//! sequences of requests, answers and faults, cut anywhere.

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::recorder::{Step, encoded, run, steps};

/// Parts of a client's bytes.
const REQUESTS: &[&str] = &[
    "GET /public/a HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /admin/a HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /public/../admin HTTP/1.1\r\nHost: a\r\n\r\n",
    "HEAD /public/b HTTP/1.1\r\nHost: a\r\nx-m2m-subject: forged\r\n\r\n",
    "GET /public/c HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "GET /public/d HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n",
    "GET /public/e HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "GET http://b/public/f HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST /public/g HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n",
    "PUT /public/h HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    "PUT /public/i HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    "POST /admin/j HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n",
    "DELETE /public/k HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n",
    "GET /public/l HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n",
    "GET /public/m HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "hello",
    "5\r\nhello\r\n",
    "5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
    "0\r\n\r\n",
    "\r\n",
    "zz\r\n",
];

/// Parts of an upstream's bytes.
const ANSWERS: &[&str] = &[
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.1 200 OK\r\n\r\nrest",
    "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: foo\r\nConnection: upgrade\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    "HTTP/1.1 413 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nx-m2m-reason: forged\r\nTrailer: x\r\nContent-Length: 0\r\n\r\n",
    "2\r\nok\r\n",
    "2\r\nok\r\n0\r\nx-sum: 1\r\nContent-Length: 5\r\nx-m2m-subject: forged\r\n\r\n",
    "0\r\n\r\n",
    "ok",
    "\r\n",
];

fn any_script() -> impl Strategy<Value = Vec<Step>> {
    let client = (0..REQUESTS.len()).prop_map(|at| Step::Client(REQUESTS[at].into()));
    let upstream = (0..ANSWERS.len()).prop_map(|at| Step::Upstream(ANSWERS[at].into()));
    let fault = prop_oneof![
        Just(Step::ClientEnds),
        Just(Step::ClientResets),
        any::<bool>().prop_map(Step::ClientStalls),
        Just(Step::UpstreamEnds),
        Just(Step::UpstreamResets),
        any::<bool>().prop_map(Step::UpstreamStalls),
        Just(Step::Refuse),
        (1_u64..60).prop_map(|seconds| Step::Time(Duration::from_secs(seconds))),
        Just(Step::Silence),
    ];
    let step = prop_oneof![5 => client, 5 => upstream, 1 => fault];
    // A cut is a place in a thousandth of each piece.
    let cuts = prop::collection::vec(prop::option::of(0_usize..1000), 16);
    (prop::collection::vec(step, 1..16), cuts).prop_map(|(script, cuts)| {
        let cut = script.into_iter().zip(cuts);
        cut.flat_map(|(step, at)| in_two(step, at)).collect()
    })
}

/// A step, its bytes cut in two at this thousandth.
fn in_two(step: Step, at: Option<usize>) -> Vec<Step> {
    let cut = |bytes: &[u8]| at.map(|at| bytes.len() * at / 1000);
    match &step {
        Step::Client(bytes) => match cut(bytes).map(|at| bytes.split_at(at)) {
            Some((a, b)) => vec![Step::Client(a.to_vec()), Step::Client(b.to_vec())],
            None => vec![step],
        },
        Step::Upstream(bytes) => match cut(bytes).map(|at| bytes.split_at(at)) {
            Some((a, b)) => vec![Step::Upstream(a.to_vec()), Step::Upstream(b.to_vec())],
            None => vec![step],
        },
        _ => vec![step],
    }
}

#[test]
fn every_seed_of_the_fuzz_target_keeps_both_sides_in_form() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/relay");
    let mut count = 0;
    for entry in std::fs::read_dir(dir).expect("the seeds") {
        let path = entry.expect("an entry").path();
        let seed = std::fs::read(&path).expect("a seed");
        let ran = std::panic::catch_unwind(|| run(&seed));
        assert!(ran.is_ok(), "{}", path.display());
        count += 1;
    }
    assert!(count > 100, "{count} seeds");
}

#[test]
fn every_sequence_of_requests_answers_and_faults_keeps_both_sides_in_form() {
    run_any(TestRng::deterministic_rng(RngAlgorithm::ChaCha));
}

/// Runs thousands of random scripts.
pub fn run_any(random: TestRng) {
    let config = Config {
        cases: 4000,
        failure_persistence: None,
        ..Config::default()
    };
    let ran = TestRunner::new_with_rng(config, random).run(&any_script(), |script| {
        run(&encoded(&script));
        Ok(())
    });
    ran.unwrap_or_else(|failed| panic!("{failed}"));
}

#[test]
fn a_script_is_read_as_it_was_written() {
    let script = vec![
        Step::Client(b"a\xFFb".to_vec()),
        Step::ClientStalls(true),
        Step::Upstream(b"\r\n".to_vec()),
        Step::Time(Duration::from_secs(30)),
        Step::Silence,
    ];
    assert_eq!(steps(&encoded(&script)), script);
    let twice = steps(b"\xFFUab\xFFR");
    let all = Step::Upstream(b"ab".repeat(16));
    assert_eq!(twice, [Step::Upstream(b"ab".to_vec()), all]);
}
