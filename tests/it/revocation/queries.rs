//! Queries at plgd's tokens endpoint and by introspection.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn plgds_tokens_endpoint_is_queried_as_plgds_services_do() {
    let upstream = Upstream::start();
    let (authority, sidecar) = with_plgd(&upstream).await;
    let token = authority.token().claim("jti", UUIDS[0]).sign();
    for _ in 0..3 {
        assert_eq!(outcome_of(&sidecar, &token).await, is(200, "-"));
    }
    // Once: an active state is cached for 30 s.
    let questions = authority.revocation_questions();
    assert_eq!(questions.len(), 1);
    let expected = format!(
        "GET /api/v1/tokens?idFilter={}&includeBlacklisted=true HTTP/1.1",
        UUIDS[0]
    );
    assert_eq!(questions[0].start_line, expected);
    let header = |name: &str| {
        questions[0]
            .headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .unwrap()
            .1
            .clone()
    };
    assert_eq!(header("accept"), "application/protojson");
    assert_eq!(header("authorization"), format!("bearer {token}"));
    // A token without a UUID is refused without a query.
    for jti in [json!("one"), json!("")] {
        let unnamed = authority.token().claim("jti", jti).sign();
        assert_eq!(
            outcome_of(&sidecar, &unnamed).await,
            is(401, "malformed_claims")
        );
    }
    assert_eq!(
        outcome_of(&sidecar, &authority.token().without("jti").sign()).await,
        is(401, "malformed_claims")
    );
    assert_eq!(authority.fetches(Endpoint::PlgdTokens), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blacklisted_token_stays_refused_without_another_query() {
    let upstream = Upstream::start();
    let (authority, sidecar) = with_plgd(&upstream).await;
    authority.revoke(UUIDS[0]);
    let token = authority.token().claim("jti", UUIDS[0]).sign();
    let good = authority.token().claim("jti", UUIDS[1]).sign();
    for _ in 0..3 {
        assert_eq!(outcome_of(&sidecar, &token).await, is(401, "revoked"));
        assert_eq!(outcome_of(&sidecar, &good).await, is(200, "-"));
    }
    assert_eq!(authority.fetches(Endpoint::PlgdTokens), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_active_state_is_queried_again_when_it_is_too_old() {
    let upstream = Upstream::start();
    let authority = Authority::start();
    authority.advertise("plgd_tokens_endpoint", "/api/v1/tokens");
    let sidecar = sidecar(&authority, "{ maxAge: 1s, maxStale: 1s }", &upstream).await;
    let token = authority.token().claim("jti", UUIDS[0]).sign();
    assert_eq!(outcome_of(&sidecar, &token).await, is(200, "-"));
    authority.revoke(UUIDS[0]);
    becomes(&sidecar, &token, is(401, "revoked")).await;
    assert_eq!(authority.fetches(Endpoint::PlgdTokens), 2);
    // A removed endpoint gives no state.
    let other = authority.token().claim("jti", UUIDS[1]).sign();
    assert_eq!(outcome_of(&sidecar, &other).await, is(200, "-"));
    authority.down().await;
    becomes(&sidecar, &other, is(503, "revocation_unavailable")).await;
    assert_eq!(outcome_of(&sidecar, &token).await, is(401, "revoked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_active_state_is_used_while_the_endpoint_is_down() {
    let upstream = Upstream::start();
    let authority = Authority::start();
    authority.advertise("plgd_tokens_endpoint", "/api/v1/tokens");
    let sidecar = sidecar(&authority, "{ maxAge: 1s, maxStale: 4s }", &upstream).await;
    let token = authority.token().claim("jti", UUIDS[0]).sign();
    let unknown = authority.token().claim("jti", UUIDS[1]).sign();
    let began = Instant::now();
    assert_eq!(outcome_of(&sidecar, &token).await, is(200, "-"));
    authority.down().await;
    until("the answer is older than maxAge", async || {
        began.elapsed() > Duration::from_secs(2)
    })
    .await;
    assert_eq!(outcome_of(&sidecar, &token).await, is(200, "-"));
    assert_eq!(
        outcome_of(&sidecar, &unknown).await,
        is(503, "revocation_unavailable")
    );
    becomes(&sidecar, &token, is(503, "revocation_unavailable")).await;
    assert!(began.elapsed() >= Duration::from_secs(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_with_one_token_share_one_query() {
    let upstream = Upstream::start();
    let (authority, sidecar) = with_plgd(&upstream).await;
    let gate = Gate::closed();
    authority.behave(Endpoint::PlgdTokens, Behave::Hold(gate.clone()));
    for (jti, expected) in [(UUIDS[0], is(200, "-")), (UUIDS[1], is(401, "revoked"))] {
        if expected.0 == 401 {
            authority.revoke(jti);
        }
        let token = authority.token().claim("jti", jti).sign();
        let before = authority.fetches(Endpoint::PlgdTokens);
        let asked = futures_util::future::join_all((0..50).map(|_| outcome_of(&sidecar, &token)));
        let (answers, ()) = tokio::join!(asked, async {
            authority
                .wait_for_fetches(Endpoint::PlgdTokens, before + 1)
                .await;
            gate.open();
        });
        assert!(
            answers.iter().all(|answer| *answer == expected),
            "{answers:?}"
        );
        assert_eq!(authority.fetches(Endpoint::PlgdTokens), before + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_tokens_endpoint_is_503_and_is_not_flooded() {
    let upstream = Upstream::start();
    let (authority, sidecar) = with_plgd(&upstream).await;
    authority.behave(Endpoint::PlgdTokens, Behave::Status(500));
    let token = authority.token().claim("jti", UUIDS[0]).sign();
    let began = Instant::now();
    let answers =
        futures_util::future::join_all((0..100).map(|_| outcome_of(&sidecar, &token))).await;
    assert!(
        answers
            .iter()
            .all(|answer| *answer == is(503, "revocation_unavailable")),
        "{answers:?}"
    );
    // One query a second and token.
    let allowed = 1 + usize::try_from(began.elapsed().as_secs()).unwrap();
    assert!(authority.fetches(Endpoint::PlgdTokens) <= allowed);
    authority.behave(Endpoint::PlgdTokens, Behave::Normal);
    becomes(&sidecar, &token, is(200, "-")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_endpoint_is_waited_for_a_few_times_only() {
    let upstream = Upstream::start();
    for revocation in ["auto", "{ onFailure: accept }"] {
        let authority = Authority::start();
        authority.advertise("plgd_tokens_endpoint", "/api/v1/tokens");
        let sidecar = sidecar(&authority, revocation, &upstream).await;
        authority.behave(Endpoint::PlgdTokens, Behave::Hang);
        let token = authority.token().claim("jti", UUIDS[0]).sign();
        let began = Instant::now();
        let answers =
            futures_util::future::join_all((0..16).map(|_| outcome_of(&sidecar, &token))).await;
        let expected = if revocation == "auto" {
            is(503, "revocation_unavailable")
        } else {
            is(200, "-")
        };
        assert!(
            answers.iter().all(|answer| *answer == expected),
            "{answers:?}"
        );
        // Failures of several tokens are an outage, which counts for other tokens too.
        for n in 0..8 {
            let other = format!("3c9d8a3e-52bc-4a39-8a1c-00000000000{n}");
            let other = authority.token().claim("jti", other).sign();
            assert_eq!(outcome_of(&sidecar, &other).await, expected);
        }
        // A query ends after two seconds and the outage counts for one: one query in three seconds
        // after the first three. With a query per token it would be one in two.
        let allowed =
            3 + usize::try_from((began.elapsed().as_secs() + 2).saturating_sub(6) / 3).unwrap();
        let fetches = authority.fetches(Endpoint::PlgdTokens);
        assert!(fetches <= allowed, "{fetches}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_token_causes_no_query() {
    let upstream = Upstream::start();
    let (authority, sidecar) = with_plgd(&upstream).await;
    let impostor = Authority::start();
    for bad in [
        authority
            .token()
            .claim("jti", UUIDS[0])
            .expires_in(-100)
            .sign(),
        authority
            .token()
            .claim("jti", UUIDS[0])
            .signed_by(&impostor.key("es256-1"))
            .sign(),
        impostor.token().claim("jti", UUIDS[0]).sign(),
    ] {
        assert_eq!(outcome_of(&sidecar, &bad).await.0, 401);
    }
    assert_eq!(authority.fetches(Endpoint::PlgdTokens), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn introspection_authenticates_and_counts_only_active() {
    let upstream = Upstream::start();
    let authority = Authority::start();
    authority.advertise("introspection_endpoint", "/introspect");
    authority.register_client("res:server", "a secret of 16 bytes: %+");
    let sidecar = sidecar(
        &authority,
        "{ kind: introspection, credential: introspector }",
        &upstream,
    )
    .await;
    let (good, bad) = (
        authority.token().claim("jti", "good").sign(),
        authority.token().claim("jti", "bad").sign(),
    );
    authority.revoke("bad");
    for _ in 0..2 {
        assert_eq!(outcome_of(&sidecar, &good).await, is(200, "-"));
    }
    assert_eq!(outcome_of(&sidecar, &bad).await, is(401, "revoked"));
    let questions = authority.revocation_questions();
    assert_eq!(
        questions[0].form,
        [
            ("token".to_owned(), good.clone()),
            ("token_type_hint".to_owned(), "access_token".to_owned())
        ]
    );
    assert_eq!(
        questions
            .iter()
            .filter(|question| question.form[0].1 == good)
            .count(),
        1
    );
    // A server that rejects our credentials gives no state.
    authority.register_client("res:server", "another secret of 16 bytes");
    let unknown = authority.token().claim("jti", "unknown").sign();
    assert_eq!(
        outcome_of(&sidecar, &unknown).await,
        is(503, "revocation_unavailable")
    );
    authority.behave(
        Endpoint::Introspection,
        Behave::Body(r#"{"active":"true"}"#.to_owned()),
    );
    let text = authority.token().claim("jti", "text").sign();
    assert_eq!(
        outcome_of(&sidecar, &text).await,
        is(503, "revocation_unavailable")
    );
}
