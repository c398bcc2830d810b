//! Exchanges that are refused.

use serde_json::json;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_request_never_widens_what_is_allowed() {
    let world = World::start().await;
    let all = world.token_of("caller", &[("audience", "gateway")]).await;
    let narrow = [("audience", "gateway"), ("scope", "read")];
    let narrow = world.token_of("caller", &narrow).await;
    // `bank` is the client's, but not for exchanges.
    for audience in ["bank", "elsewhere", "gateway"] {
        let answer = world
            .exchange("gateway", &all, &[("audience", audience)])
            .await;
        assert_refused(&answer, "invalid_target", audience);
    }
    let bank = [("audience", "orders"), ("resource", "https://bank.example")];
    let answer = world.exchange("gateway", &all, &bank).await;
    assert_refused(&answer, "invalid_target", "bank.example");
    let answer = world.exchange("gateway", &all, &[]).await;
    assert_refused(&answer, "invalid_target", "audience is missing");
    let form = [("audience", "orders"), ("scope", "admin")];
    let answer = world.exchange("gateway", &all, &form).await;
    assert_refused(&answer, "invalid_scope", "not allowed to this client");
    let form = [("audience", "orders"), ("scope", "read write")];
    let answer = world.exchange("gateway", &narrow, &form).await;
    assert_refused(
        &answer,
        "invalid_scope",
        "`write` is not one of the subject token",
    );
    let answer = world.exchange("gateway", &narrow, &form[..1]).await;
    assert_eq!(claims(&answer)["scope"], "read audit");
    let form = [("audience", "orders"), ("expiration", "99999999999")];
    let answer = world.exchange("gateway", &all, &form).await;
    assert_refused(&answer, "invalid_request", "expiration");
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_another_service_is_refused() {
    let world = World::start().await;
    let form = [("audience", "orders")];
    let subject = world.token_of("caller", &[("audience", "elsewhere")]).await;
    let answer = world.exchange("gateway", &subject, &form).await;
    assert_refused(&answer, "invalid_request", "its aud names neither");
    let subject = world.token_of("caller", &[("audience", "gateway")]).await;
    // A service that gets the token of another one cannot use it.
    let answer = world.exchange("orders", &subject, &[]).await;
    assert_refused(&answer, "invalid_request", "its aud names neither");
    // A client that may exchange what `orders` gets, but no exchanged token.
    let exchanged = world.exchange("gateway", &subject, &form).await;
    let exchanged = text(&exchanged, "access_token");
    let answer = world.exchange("shallow", &exchanged, &[]).await;
    assert_refused(&answer, "invalid_request", "as many actors");
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_client_with_the_grant_exchanges() {
    let world = World::start().await;
    let subject = world.token_of("caller", &[("audience", "gateway")]).await;
    let answer = world.exchange("caller", &subject, &[]).await;
    assert_refused(
        &answer,
        "unauthorized_client",
        "may not use this grant type",
    );
    let fields = [
        ("grant_type", GRANT),
        ("subject_token", subject.as_str()),
        ("subject_token_type", ACCESS_TOKEN),
        ("client_id", "gateway"),
    ];
    let issuer = world.sidecar.address("issuer");
    let answer = post_form(issuer, "/oauth/token", &fields, &[]).await;
    assert_eq!(answer.status, 401, "{}", answer.text());
    // A client that only exchanges gets no token of its own.
    let form = [("grant_type", "client_credentials")];
    let answer = world.ask("orders", &form).await;
    assert_refused(&answer, "unauthorized_client", "grant type");
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_token_that_is_not_valid_is_refused_with_its_reason() {
    let world = World::start().await;
    let user = || {
        let token = world.users.token().claim("sub", "u-1").claim("aud", "app");
        token.claim("tenant", "acme")
    };
    let alg = crate::support::keys::Alg::ES256;
    let alien = crate::support::keys::TestKey::generate("es256-1", alg);
    let own = world.token_of("caller", &[("audience", "gateway")]).await;
    let refresh = "m2mr_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    for (jwt, reason) in [
        (user().expires_in(-120).sign(), "failed: expired"),
        (user().expires_in(-5).sign(), "it has expired"),
        (user().without("exp").sign(), "failed: no_expiry"),
        (user().signed_by(&alien).sign(), "failed: signature"),
        (
            user().header("typ", "secevent+jwt").sign(),
            "failed: token_type",
        ),
        (
            user().claim("cnf", json!({"jkt": "x"})).sign(),
            "failed: sender_constrained",
        ),
        (
            user().claim("aud", "another").sign(),
            "its aud names neither",
        ),
        (
            user().claim("sub", "v-1").sign(),
            "does not accept its sub or its claims",
        ),
        (user().without("sub").sign(), "it has no sub"),
        (
            user().claim("tenant", "other").sign(),
            "does not accept its sub or its claims",
        ),
        (
            user().without("tenant").sign(),
            "does not accept its sub or its claims",
        ),
        (user().claim("nonce", "n").sign(), "it is an ID token"),
        (
            user().claim("act", "robot").sign(),
            "a claim of it has a wrong type",
        ),
        (
            user().claim("act", json!({})).sign(),
            "a claim of it has a wrong type",
        ),
        (
            world.foreign.token().claim("aud", "app").sign(),
            "no authority of the client's",
        ),
        (own, "no authority of the client's"),
        ("a.b.c".to_owned(), "it is no signed JWT"),
        (refresh.to_owned(), "it is no signed JWT"),
    ] {
        let answer = world.exchange("portal", &jwt, &[]).await;
        assert_refused(&answer, "invalid_request", reason);
    }
    // An ID token where the policy accepts none of that subject.
    let id_token = user().header("typ", "JWT").sign();
    let form = [("subject_token_type", ID_TOKEN)];
    let answer = world.exchange("portal", &id_token, &form).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    let keycloak = user().claim("sub", "u-2").claim("typ", "ID").sign();
    assert_eq!(world.exchange("portal", &keycloak, &[]).await.status, 400);
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_and_one_that_is_not_for_this_issuer_are_refused() {
    let world = World::start().await;
    let subject = world.token_of("caller", &[("audience", "gateway")]).await;
    let form = [("audience", "orders")];
    let derived = text(
        &world.exchange("gateway", &subject, &form).await,
        "access_token",
    );
    let basic = format!("Basic {}", STANDARD.encode(format!("caller:{SECRET}")));
    let headers = [("Authorization", basic.as_str())];
    let issuer = world.sidecar.address("issuer");
    let answer = post_form(issuer, "/oauth/revoke", &[("token", &subject)], &headers).await;
    assert_eq!(answer.status, 200);
    let answer = world.exchange("gateway", &subject, &form).await;
    assert_refused(&answer, "invalid_request", "was revoked");
    // The derived token is another client's; it stays valid until its end.
    let basic = format!("Basic {}", STANDARD.encode(format!("gateway:{SECRET}")));
    let headers = [("Authorization", basic.as_str())];
    let answer = post_form(
        issuer,
        "/oauth/introspect",
        &[("token", &derived)],
        &headers,
    )
    .await;
    assert_eq!(answer.json()["active"], true);
    assert_eq!(answer.json()["act"]["sub"], "gateway");
    world.sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_are_refused() {
    let world = World::start().await;
    let subject = world.token_of("caller", &[("audience", "gateway")]).await;
    let (grant, token) = (("grant_type", GRANT), ("subject_token", subject.as_str()));
    let (kind, to) = (("subject_token_type", ACCESS_TOKEN), ("audience", "orders"));
    let refresh_token = "urn:ietf:params:oauth:token-type:refresh_token";
    let saml = "urn:ietf:params:oauth:token-type:saml2";
    for (form, said) in [
        (vec![grant, kind, to], "subject_token is missing"),
        (vec![grant, token, to], "subject_token_type must be"),
        (
            vec![grant, token, ("subject_token_type", refresh_token)],
            "subject_token_type must be",
        ),
        (
            vec![grant, token, ("subject_token_type", saml)],
            "subject_token_type must be",
        ),
        (
            vec![grant, token, kind, ("requested_token_type", refresh_token)],
            "requested_token_type",
        ),
        (
            vec![grant, token, kind, ("requested_token_type", ID_TOKEN)],
            "requested_token_type",
        ),
        (
            vec![grant, token, kind, ("actor_token_type", JWT)],
            "actor_token is missing",
        ),
        (
            vec![grant, token, kind, ("actor_token", "a.b.c")],
            "actor_token_type must be",
        ),
        (
            vec![grant, token, token, kind, to],
            "`subject_token` is repeated",
        ),
        (
            vec![grant, token, kind, kind, to],
            "`subject_token_type` is repeated",
        ),
        (
            vec![grant, grant, token, kind, to],
            "`grant_type` is repeated",
        ),
        (vec![grant, token, kind, to, ("subjectToken", "x")], ""),
        (vec![grant, token, kind, ("subject_tokens", "x"), to], ""),
    ] {
        let answer = world.ask("gateway", &form).await;
        if said.is_empty() {
            // A name beside the right one is ignored (RFC 6749 §3.2).
            assert_eq!(answer.status, 200, "{form:?}: {}", answer.text());
        } else {
            assert_refused(&answer, "invalid_request", said);
        }
    }
    // An actor token of a client whose policy accepts none.
    let actor = [
        ("actor_token", subject.as_str()),
        ("actor_token_type", JWT),
        to,
    ];
    let answer = world.exchange("gateway", &subject, &actor).await;
    assert_refused(&answer, "invalid_request", "accepts no actor token");
    // An actor that acts for another one.
    let user = |sub: &str| world.users.token().claim("sub", sub).claim("aud", "app");
    let actor = user("robot").claim("act", json!({"sub": "x"})).sign();
    let actor = [("actor_token", actor.as_str()), ("actor_token_type", JWT)];
    let answer = world.exchange("portal", &user("ann").sign(), &actor).await;
    assert_refused(&answer, "invalid_request", "it has actors of its own");
    let actor = user("ann").sign();
    let actor = [("actor_token", actor.as_str()), ("actor_token_type", JWT)];
    let answer = world.exchange("portal", &user("ann").sign(), &actor).await;
    assert_refused(
        &answer,
        "invalid_request",
        "the actor token is not accepted",
    );
    world.sidecar.stop().await;
}
