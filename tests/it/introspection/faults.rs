//! An authority that cannot be asked: 503, with the reason.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_unusable_answer_is_503_and_says_why() {
    let world = world("cache: 20s").await;
    for (number, (behave, reason)) in [
        (Behave::Status(500), "introspection_answer"),
        (Behave::Status(302), "introspection_answer"),
        (Behave::Status(401), "introspection_credentials"),
        (Behave::Status(403), "introspection_credentials"),
        (Behave::InvalidJson, "introspection_answer"),
        (Behave::EmptyBody, "introspection_answer"),
        (Behave::HugeBody(200_000), "introspection_answer"),
        (Behave::Body("[]".to_owned()), "introspection_answer"),
        (
            Behave::Body(r#"{"active":"true"}"#.to_owned()),
            "introspection_answer",
        ),
        (Behave::Reset, "introspection_unavailable"),
        (Behave::Truncated, "introspection_unavailable"),
        (Behave::Hang, "introspection_unavailable"),
    ]
    .into_iter()
    .enumerate()
    {
        let token = format!("opaque-of-a-fault-{number}");
        world.authority.opaque(&token, json!({}));
        // Only this one question, so that no outage is assumed for the next case.
        let name = format!("{behave:?}");
        world
            .authority
            .behave_next(Endpoint::Introspection, [behave.clone(), behave]);
        let answer = ask(&world.sidecar, "/", &token).await;
        assert_eq!(outcome(&answer), is(503, reason), "{name}");
        assert!(answer.header("retry-after").is_some(), "{name}");
        until(&format!("{name} is over"), async || {
            world.outcome("/", &token).await == is(200, "-")
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_503_for_every_token_once_its_answer_is_too_old() {
    let world = world("cache: 20s").await;
    world.authority.opaque(TOKEN, json!({}));
    assert_eq!(world.outcome("/", TOKEN).await, is(200, "-"));
    world.authority.down().await;
    let unavailable = is(503, "introspection_unavailable");
    assert_eq!(world.outcome("/", "opaque-and-new").await, unavailable);
    assert_eq!(
        world.outcome("/", TOKEN).await,
        is(200, "-"),
        "its answer serves"
    );
    world.clock.forward(Duration::from_secs(21));
    assert_eq!(world.outcome("/", TOKEN).await, unavailable);
    world.authority.up();
    until("the authority is asked again", async || {
        world.outcome("/", TOKEN).await == is(200, "-")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_authority_is_asked_over_its_ca() {
    let (authority, upstream) = (Authority::start_tls(), Upstream::start());
    authority.register_client(CLIENT, SECRET);
    authority.opaque(TOKEN, json!({}));
    let yaml = yaml(&authority, &upstream.url(), OWN_CLIENT);
    let trusting = yaml.replace(
        "    introspection:",
        "    caFile: \"@DIR@/ca.pem\"\n    introspection:",
    );
    let sidecar = builder()
        .file("ca.pem", authority.ca_pem())
        .start(&trusting)
        .await;
    assert_eq!(outcome(&ask(&sidecar, "/", TOKEN).await), is(200, "-"));
    let other = builder().start(&yaml).await;
    let answer = ask(&other, "/", TOKEN).await;
    assert_eq!(outcome(&answer), is(503, "introspection_unavailable"));
}
