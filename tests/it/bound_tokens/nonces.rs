//! Nonces that the listener demands.

use std::time::Duration;

use super::{World, challenge, outcome};
use crate::support::client::RawAnswer;
use crate::support::clock::StandingClock;
use m2m_sidecar::for_tests::domain::clock::Clock;

fn nonce(answer: &RawAnswer) -> Option<String> {
    answer.header("dpop-nonce").map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nonce_is_demanded_given_and_renewed() {
    let clock = StandingClock::now();
    // The begin of a minute, so that a nonce ends when it is expected.
    let into_minute = clock.now().0.rem_euclid(60);
    clock.forward(Duration::from_secs(
        u64::try_from(60 - into_minute).expect("positive"),
    ));
    let world = World::with_clock("    dpop: { nonce: true }", clock.clone()).await;
    let token = world.draft().claim("exp", clock.now().0 + 3600).sign();
    let get = async |nonce: Option<&str>| {
        let proof = world.proof("/x", &token).claim("iat", clock.now().0);
        world
            .get("/x", &token, &[&proof.claim("nonce", nonce).sign()])
            .await
    };
    let answer = get(None).await;
    assert_eq!(outcome(&answer), (401, "proof_nonce"));
    assert!(challenge(&answer).starts_with("DPoP realm=\"api\", error=\"use_dpop_nonce\""));
    let first = nonce(&answer).expect("a nonce");
    let answer = get(Some(&first)).await;
    assert_eq!((outcome(&answer), nonce(&answer)), ((200, "-"), None));
    assert_eq!(outcome(&get(Some("x")).await), (401, "proof_nonce"));
    // The next minute it is accepted, and the answer has the next one.
    clock.forward(Duration::from_secs(60));
    let answer = get(Some(&first)).await;
    assert_eq!(outcome(&answer), (200, "-"));
    let second = nonce(&answer).expect("the next nonce");
    assert_ne!(first, second);
    clock.forward(Duration::from_secs(60));
    let answer = get(Some(&first)).await;
    assert_eq!(outcome(&answer), (401, "proof_nonce"));
    assert_eq!(outcome(&get(Some(&second)).await), (200, "-"));
    assert_eq!(world.upstream.received().len(), 3);
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_lasts_a_minute_and_no_longer() {
    let clock = StandingClock::now();
    let world = World::with_clock("", clock.clone()).await;
    let token = world.token();
    let proof = || world.proof("/x", &token).claim("iat", clock.now().0).sign();
    let (early, late, used) = (proof(), proof(), proof());
    assert_eq!(
        outcome(&world.get("/x", &token, &[&used]).await),
        (200, "-")
    );
    clock.forward(Duration::from_secs(60));
    assert_eq!(
        outcome(&world.get("/x", &token, &[&early]).await),
        (200, "-")
    );
    let replayed = world.get("/x", &token, &[&used]).await;
    assert_eq!(outcome(&replayed), (401, "proof_replayed"));
    clock.forward(Duration::from_secs(1));
    for proof in [&late, &used] {
        let answer = world.get("/x", &token, &[proof]).await;
        assert_eq!(outcome(&answer), (401, "proof_invalid"));
        assert!(answer.text().contains("`iat`"), "{}", answer.text());
    }
    world.sidecar.stop().await;
}
