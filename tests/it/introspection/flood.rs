//! A flood of random tokens reaches neither the memory nor the authority without a bound.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_random_tokens_is_limited_and_disturbs_no_active_one() {
    let world = world("cache: 20s").await;
    world.authority.opaque(TOKEN, json!({}));
    assert_eq!(world.outcome("/", TOKEN).await, is(200, "-"));
    let (mut inactive, mut limited) = (0, 0);
    for round in 0..30 {
        let tokens = (0..100).map(|n| format!("opaque-random-{round}-{n}"));
        let asked = tokens.map(|token| {
            let world = &world;
            async move { world.outcome("/", &token).await }
        });
        for outcome in futures_util::future::join_all(asked).await {
            match (outcome.0, outcome.1.as_str()) {
                (401, "inactive") => inactive += 1,
                (503, "introspection_limited") => limited += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(inactive >= 1000 && limited > 0, "{inactive} {limited}");
    assert_eq!(world.questions(), inactive + 1);
    // The active token is asked about again, although the budget is spent.
    world.clock.forward(Duration::from_secs(21));
    assert_eq!(world.outcome("/", TOKEN).await, is(200, "-"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_is_not_asked_about_again_at_once() {
    let world = world("cache: 20s").await;
    for _ in 0..20 {
        assert_eq!(
            world.outcome("/", "opaque-unknown").await,
            is(401, "inactive")
        );
    }
    assert!(world.questions() <= 2, "{}", world.questions());
}
