//! `grant: tokenExchange`: each caller's token is replaced by one that the authority gives for it.

use serde_json::json;

use super::*;
use crate::support::clock::MovableClock;
use crate::support::now;

const GRANT: &str = "    grant: tokenExchange\n";

async fn exchanging() -> World {
    world(GRANT, "").await
}

/// A caller's token; each one is another text.
fn token(world: &World) -> String {
    world.authority.token().claim("sub", "caller").sign()
}

async fn call(world: &World, token: &str) -> RawAnswer {
    let value = format!("Bearer {token}");
    get(
        world.sidecar.address("hub"),
        "/",
        &[("Authorization", &value)],
    )
    .await
}

fn reason(answer: &RawAnswer) -> (u16, Option<&str>) {
    (answer.status, answer.header("x-m2m-reason"))
}

/// An answer of the token endpoint with this error.
fn refusal(error: &str) -> Behave {
    answer(
        400,
        &json!({"error": error, "error_description": "on purpose"}).to_string(),
    )
}

fn answer(status: u16, body: &str) -> Behave {
    let head =
        format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nConnection: close");
    Behave::Raw(format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_caller_gets_a_token_of_its_own_that_is_kept() {
    let world = exchanging().await;
    let (ann, bob) = (token(&world), token(&world));
    for caller in [&ann, &ann, &bob, &ann, &bob] {
        let answer = call(&world, caller).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let asked = world.authority.token_requests();
    assert_eq!(asked.len(), 2);
    assert_eq!(
        asked[0].all("grant_type"),
        ["urn:ietf:params:oauth:grant-type:token-exchange"]
    );
    assert_eq!(asked[0].all("subject_token"), [ann.as_str()]);
    assert_eq!(
        asked[0].all("subject_token_type"),
        ["urn:ietf:params:oauth:token-type:access_token"]
    );
    assert_eq!(asked[0].all("scope"), ["devices:read devices:write"]);
    assert_eq!(asked[0].all("audience"), ["https://devices.example"]);
    assert_eq!(asked[1].all("subject_token"), [bob.as_str()]);
    let issued = world.authority.issued();
    let seen = world.upstream.received();
    let seen: Vec<_> = seen.iter().map(|seen| seen.bearer()).collect();
    let [of_ann, of_bob] = [0, 1].map(|place| Some(issued[place].as_str()));
    assert_eq!(seen, [of_ann, of_ann, of_bob, of_ann, of_bob]);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_requests_of_one_caller_share_an_exchange() {
    let world = exchanging().await;
    let gate = Gate::closed();
    world
        .authority
        .behave(Endpoint::Token, Behave::Hold(gate.clone()));
    let (ann, bob) = (token(&world), token(&world));
    let calls = (0..20).map(|place| call(&world, if place % 2 == 0 { &ann } else { &bob }));
    let calls = futures_util::future::join_all(calls);
    let open = async {
        world.authority.wait_for_fetches(Endpoint::Token, 2).await;
        gate.open();
    };
    let (answers, ()) = tokio::join!(calls, open);
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(world.authority.fetches(Endpoint::Token), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_token_is_refused_without_an_exchange() {
    let world = exchanging().await;
    let hub = world.sidecar.address("hub");
    assert_eq!(reason(&world.get("/").await), (401, Some("no_token")));
    for (headers, expected) in [
        (
            vec![("Authorization", "Basic YTpi")],
            (401, Some("no_token")),
        ),
        (vec![("Authorization", "DPoP abc")], (401, Some("no_token"))),
        (
            vec![("Authorization", "Bearer ")],
            (400, Some("malformed_authorization")),
        ),
        (
            vec![("Authorization", "Bearer a"), ("Authorization", "Bearer b")],
            (400, Some("two_authorizations")),
        ),
    ] {
        assert_eq!(
            reason(&get(hub, "/", &headers).await),
            expected,
            "{headers:?}"
        );
    }
    assert_eq!(world.authority.fetches(Endpoint::Token), 0);
    assert!(world.upstream.received().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_caller_gets_401_and_hinders_no_other_one() {
    let world = exchanging().await;
    for error in [
        "invalid_request",
        "invalid_grant",
        "invalid_target",
        "invalid_scope",
    ] {
        let (bad, good) = (token(&world), token(&world));
        let before = world.authority.fetches(Endpoint::Token);
        world
            .authority
            .behave_next(Endpoint::Token, [refusal(error)]);
        let mark = logs::mark();
        let answer = call(&world, &bad).await;
        assert_eq!(reason(&answer), (401, Some("exchange_refused")), "{error}");
        assert!(answer.header("www-authenticate").is_some());
        logs::wait_for_line(mark, &["not exchanged", error]).await;
        logs::wait_for_line(mark, &["reason=\"exchange_refused\"", error]).await;
        // The answer is remembered for a moment.
        assert_eq!(call(&world, &bad).await.status, 401);
        assert_eq!(call(&world, &good).await.status, 200);
        assert_eq!(world.authority.fetches(Endpoint::Token), before + 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_fails_is_503_for_callers_without_a_token() {
    let world = exchanging().await;
    let known = token(&world);
    assert_eq!(call(&world, &known).await.status, 200);
    for behave in [
        Behave::Status(500),
        Behave::Reset,
        refusal("invalid_client"),
    ] {
        world.authority.behave(Endpoint::Token, behave);
        let answer = call(&world, &token(&world)).await;
        assert_eq!(reason(&answer), (503, Some("token_unavailable")));
        assert!(answer.header("retry-after").is_some());
        assert_eq!(call(&world, &known).await.status, 200);
    }
    assert_eq!(world.upstream.received().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_ends_with_that_of_its_caller() {
    let clock = MovableClock::now();
    let world = world_at(clock.clone(), GRANT, "").await;
    let caller = world.authority.token().claim("exp", now() + 60).sign();
    assert_eq!(call(&world, &caller).await.status, 200);
    assert_eq!(call(&world, &caller).await.status, 200);
    assert_eq!(world.authority.fetches(Endpoint::Token), 1);
    clock.forward(Duration::from_secs(61));
    // The authority decides about the ended token; this one does not verify it.
    world
        .authority
        .behave(Endpoint::Token, refusal("invalid_request"));
    assert_eq!(
        reason(&call(&world, &caller).await),
        (401, Some("exchange_refused"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_the_upstream_refuses_is_exchanged_again_for_its_caller_only() {
    let clock = MovableClock::now();
    let world = world_at(clock.clone(), GRANT, "").await;
    let (ann, bob) = (token(&world), token(&world));
    assert_eq!(call(&world, &ann).await.status, 200);
    assert_eq!(call(&world, &bob).await.status, 200);
    let old = world.authority.issued()[0].clone();
    world.upstream.answer(move |seen| match seen.bearer() {
        Some(bearer) if bearer == old => Answer::status(401, "revoked"),
        _ => Answer::Echo,
    });
    // A young token is not replaced.
    assert_eq!(call(&world, &ann).await.status, 401);
    clock.forward(Duration::from_secs(6));
    assert_eq!(call(&world, &ann).await.status, 200);
    assert_eq!(call(&world, &bob).await.status, 200);
    let asked = world.authority.token_requests();
    let asked: Vec<_> = asked.iter().map(|it| it.all("subject_token")[0]).collect();
    assert_eq!(asked, [ann.as_str(), bob.as_str(), ann.as_str()]);
    // A refusal that stands is passed on.
    world.upstream.answer(|_| Answer::status(401, "no"));
    clock.forward(Duration::from_secs(6));
    assert_eq!(call(&world, &bob).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_not_replaced_stays_in_use() {
    let clock = MovableClock::now();
    let world = world_at(clock.clone(), GRANT, "").await;
    let ann = token(&world);
    assert_eq!(call(&world, &ann).await.status, 200);
    clock.forward(Duration::from_secs(6));
    world.authority.behave(Endpoint::Token, Behave::Status(500));
    world
        .upstream
        .next(Answer::status(401, "for another reason"));
    assert_eq!(call(&world, &ann).await.status, 401);
    assert_eq!(call(&world, &ann).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_refusals_of_a_token_hinder_no_other_caller_either() {
    let world = exchanging().await;
    for refused in [
        answer(403, r#"{"error":"access_denied"}"#),
        answer(400, r#"{"error":"invalid_token"}"#),
        answer(413, ""),
        answer(431, "<html></html>"),
    ] {
        world.authority.behave_next(Endpoint::Token, [refused]);
        assert_eq!(
            reason(&call(&world, &token(&world)).await),
            (401, Some("exchange_refused"))
        );
        assert_eq!(call(&world, &token(&world)).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_has_just_ended_concerns_its_caller_only() {
    let world = exchanging().await;
    // Within its leeway, this authority accepts the token.
    let ended = world.authority.token().claim("exp", now() - 1).sign();
    assert_eq!(
        reason(&call(&world, &ended).await),
        (401, Some("exchange_refused"))
    );
    assert_eq!(call(&world, &token(&world)).await.status, 200);
}
