//! The attack list, sent to a listener one after the other with good tokens in between.
//!
//! Each attack is a valid token with one defect. The defects are in the files beside this one.

use super::{World, claims, headers, signatures, structure};
use crate::support::authority::{Authority, Endpoint};

/// A name, the token, and the reason of its refusal.
pub type Attack = (String, String, &'static str);

/// The attack list has at least so many.
const AT_LEAST: usize = 150;
/// So many attacks between two good tokens.
const BETWEEN: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn every_attack_is_refused_for_its_reason_and_good_tokens_pass() {
    let (world, evil) = (World::start().await, Authority::start());
    let before = world.upstream.received().len();
    let attacks: Vec<Attack> = [
        headers::algorithms(&world),
        headers::keys(&world, &evil),
        headers::types_and_extensions(&world),
        structure::attacks(&world),
        claims::times(&world),
        claims::audiences_and_issuers(&world),
        claims::identities_and_scopes(&world),
        claims::json(&world),
        signatures::attacks(&world),
    ]
    .concat();
    assert!(attacks.len() >= AT_LEAST, "only {} attacks", attacks.len());
    let mut wrong = Vec::new();
    let mut passed = 0;
    for (number, (name, token, reason)) in attacks.iter().enumerate() {
        let outcome = world.outcome_of(token).await;
        // The authority is asked for a few of the keys that are made up; it may have those that it
        // was not asked for.
        let is_not_asked =
            *reason == "unknown_kid" && outcome == (503, "keys_unavailable".to_owned());
        if outcome != (401, (*reason).to_owned()) && !is_not_asked {
            wrong.push(format!("{name}: {outcome:?}, expected {reason}"));
        }
        if number % BETWEEN == 0 {
            assert_eq!(
                world.outcome_of(&world.good().sign()).await.0,
                200,
                "after {name}"
            );
            passed += 1;
        }
    }
    println!(
        "{} attacks refused, {passed} good tokens passed between them",
        attacks.len() - wrong.len()
    );
    assert!(
        wrong.is_empty(),
        "{} of {} decided wrong:\n{}",
        wrong.len(),
        attacks.len(),
        wrong.join("\n")
    );
    assert_eq!(
        world.upstream.received().len(),
        before + passed,
        "the upstream saw the good ones and nothing else"
    );
    for endpoint in [Endpoint::Jwks, Endpoint::OpenidConfiguration] {
        assert_eq!(
            evil.fetches(endpoint),
            0,
            "what a token's header names was fetched"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn harmless_requests_that_resemble_attacks_pass() {
    let world = World::start().await;
    for (name, token) in headers::unusual(&world)
        .into_iter()
        .chain(claims::unusual(&world))
    {
        assert_eq!(
            world.outcome_of(&token).await,
            (200, "-".to_owned()),
            "{name}"
        );
    }
}
