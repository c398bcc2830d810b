//! `private_key_jwt`: which assertions let a client in.

use super::*;
use crate::support::keys::{Alg, TestKey, base64url};

/// `robot` and `other` with keys of their own, `off` and `over` with robot's, `legacy` with a
/// secret.
async fn sidecar(robot: &Authority, other: &Authority) -> Sidecar {
    start(builder(robot, other)).await
}

fn builder(robot: &Authority, other: &Authority) -> SidecarBuilder {
    Sidecar::builder()
        .file("robot.json", robot.jwks().to_string())
        .file("other.json", other.jwks().to_string())
        .secret_file("legacy", "legacy", "sixteen bytes or more")
}

async fn start(builder: SidecarBuilder) -> Sidecar {
    let clients = "  clients:\n    - { id: robot, jwksFile: \"@DIR@/robot.json\" }\n    - { id: \
    other, jwksFile: \
                   \"@DIR@/other.json\" }\n    - { id: off, jwksFile: \"@DIR@/robot.json\", \
                   disabled: true }\n    - { id: \
                   over, jwksFile: \"@DIR@/robot.json\", expiresAt: 2020-01-01T00:00:00Z }\n    - \
                   { id: legacy, \
                   secretFile: \"@DIR@/legacy\" }\n    - { id: older, jwksFile: \
                   \"@DIR@/robot.json\", assertionAudiences: legacy }\n";
    builder.start(&yaml(clients)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_of_the_clients_own_key_gets_a_token() {
    let (robot, other) = (Authority::start(), Authority::start());
    for alg in [Alg::RS256, Alg::PS256, Alg::ES384, Alg::EdDSA] {
        robot.add_key(&format!("a key for {alg:?}"), alg);
    }
    let sidecar = sidecar(&robot, &other).await;
    let good = || assertion(&robot, "robot");
    for jwt in [
        good(),
        good().claim("aud", json!([ISSUER])),
        good().without("iat"),
        good().without_header("typ"),
        good().header("typ", "client-authentication+jwt"),
        good().claim("iat", now() + 30).claim("nbf", now() + 30),
        good().claim("exp", now() - 30),
        good().claim("exp", now() + 3600),
        good().alg(Alg::RS256),
        good().alg(Alg::PS256),
        good().alg(Alg::ES384),
        good().alg(Alg::ES256),
    ] {
        let claims = claims(&present(&sidecar, &jwt.sign()).await);
        assert_eq!(
            (&claims["sub"], &claims["client_id"]),
            (&json!("robot"), &json!("robot"))
        );
    }
    // An id beside it only identifies.
    let none = basic("robot", "");
    for (fields, headers) in [
        (vec![("client_id", "robot")], vec![]),
        (vec![], vec![("Authorization", none.as_str())]),
        (
            vec![("client_id", "robot")],
            vec![("Authorization", none.as_str())],
        ),
        (vec![], vec![("Authorization", "Bearer of.a.user")]),
    ] {
        let jwt = good().sign();
        let fields: Vec<_> = [TYPE, ("client_assertion", &jwt)]
            .into_iter()
            .chain(fields)
            .collect();
        claims(&ask(&sidecar, &fields, &headers).await);
    }
    // So it does at the other endpoints for clients.
    let (jwt, token) = (good().sign(), good().sign());
    let fields = [
        TYPE,
        ("client_assertion", jwt.as_str()),
        ("token", token.as_str()),
    ];
    assert_eq!(
        post_form(sidecar.address("issuer"), "/oauth/revoke", &fields, &[])
            .await
            .status,
        200
    );
    assert_eq!(
        post_form(sidecar.address("issuer"), "/oauth/revoke", &fields, &[])
            .await
            .status,
        401
    );
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_client_that_is_registered_so_may_name_the_token_endpoint() {
    let (robot, other) = (Authority::start(), Authority::start());
    let sidecar = sidecar(&robot, &other).await;
    let good = || assertion(&robot, "older");
    let token_endpoint = format!("{ISSUER}/oauth/token");
    for audience in [
        json!(ISSUER),
        json!(token_endpoint),
        json!([token_endpoint]),
        json!([ISSUER, token_endpoint]),
    ] {
        let jwt = good().claim("aud", audience).sign();
        assert_eq!(claims(&present(&sidecar, &jwt).await)["client_id"], "older");
    }
    for audience in [
        json!("https://other.example"),
        json!([ISSUER, "https://other.example"]),
        json!([]),
    ] {
        let mark = logs::mark();
        let jwt = good().claim("aud", audience).sign();
        assert_eq!(present(&sidecar, &jwt).await.status, 401);
        logs::wait_for_line(mark, &["audit", "the assertion's aud is not this issuer"]).await;
    }
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_assertion_is_refused_for_its_reason_and_the_client_is_not_told_which() {
    let (robot, other) = (Authority::start(), Authority::start());
    let sidecar = sidecar(&robot, &other).await;
    let good = || assertion(&robot, "robot");
    let text = |text: &str| text.to_owned();
    let signed = good().sign();
    let (head, signature) = signed.rsplit_once('.').expect("three parts");
    let own_jwk = other.jwks()["keys"][0].clone();
    let public_pem = robot.jwks().to_string();
    let repeated = format!(
        r#"{{"iss":"robot","iss":"robot","sub":"robot","aud":"{ISSUER}","jti":"1","exp":{}}}"#,
        now() + 60
    );
    let alien = TestKey::generate("es256-1", Alg::ES256);

    const NO_JWT: &str = "the assertion is no signed JWT";
    const ALGORITHM: &str = "the assertion's algorithm is not supported";
    const CRITICAL: &str = "the assertion has a critical header";
    const TYP: &str = "typ is that of another kind of token";
    const ISS: &str = "the assertion's iss is not the client";
    const UNKNOWN: &str = "no client has this id";
    const SUB: &str = "the assertion's sub is not the client";
    const AUD: &str = "the assertion's aud is not this issuer alone: it must be `issuer.url`";
    const CLAIMS: &str = "a claim of the assertion has a wrong type";
    const JTI: &str = "the assertion has no usable jti";
    const KEY: &str = "the assertion's key is none of the client's";
    const SIGNATURE: &str = "the assertion's signature is wrong";
    let bad: Vec<(String, &str)> = vec![
        (text("x"), NO_JWT),
        (text("a.b"), NO_JWT),
        (text("a.b.c"), NO_JWT),
        (text("a.b.c.d.e"), NO_JWT),
        (format!("{head}."), NO_JWT),
        (format!("{signed}="), NO_JWT),
        (format!("{signed}.x"), NO_JWT),
        (
            robot.sign_raw(r#"{"alg":"ES256","kid":"es256-1"}"#, &repeated),
            NO_JWT,
        ),
        (
            robot.sign_raw(r#"{"alg":"ES256","alg":"ES256"}"#, "{}"),
            NO_JWT,
        ),
        (good().sign_payload(&json!(["robot"])), NO_JWT),
        (good().unsigned().sign() + "c2lnbg", ALGORITHM),
        (good().hmac(public_pem.as_bytes()).sign(), ALGORITHM),
        (good().header("alg", "ES256K").sign(), ALGORITHM),
        (good().header("alg", "none").sign(), ALGORITHM),
        (good().header("crit", json!(["exp"])).sign(), CRITICAL),
        (good().header("b64", false).sign(), CRITICAL),
        (good().header("typ", "at+jwt").sign(), TYP),
        (good().header("typ", "m2m-revocations+jwt").sign(), TYP),
        (good().header("typ", 5).sign(), TYP),
        (good().without("iss").sign(), UNKNOWN),
        (good().claim("iss", json!(["robot"])).sign(), UNKNOWN),
        (good().claim("iss", "unknown").sign(), UNKNOWN),
        (good().claim("iss", "Robot").sign(), UNKNOWN),
        (
            good().claim("iss", "legacy").sign(),
            "the client does not use assertions",
        ),
        (
            good().claim("iss", "off").sign(),
            "the client is disabled or has expired",
        ),
        (
            good().claim("iss", "over").sign(),
            "the client is disabled or has expired",
        ),
        (good().claim("sub", "other").sign(), SUB),
        (good().without("sub").sign(), SUB),
        (good().claim("sub", 1).sign(), CLAIMS),
        (good().claim("aud", "https://other.example").sign(), AUD),
        (good().claim("aud", format!("{ISSUER}/")).sign(), AUD),
        // RFC 7523bis: not even beside the issuer.
        (
            good().claim("aud", format!("{ISSUER}/oauth/token")).sign(),
            AUD,
        ),
        (
            good()
                .claim("aud", json!([ISSUER, format!("{ISSUER}/oauth/token")]))
                .sign(),
            AUD,
        ),
        (good().claim("aud", json!([ISSUER, ISSUER])).sign(), AUD),
        (
            good().claim("aud", format!("{ISSUER}/oauth/revoke")).sign(),
            AUD,
        ),
        (
            good()
                .claim("aud", json!([ISSUER, "https://other.example"]))
                .sign(),
            AUD,
        ),
        (good().claim("aud", json!([])).sign(), AUD),
        (good().without("aud").sign(), AUD),
        (good().claim("aud", 5).sign(), CLAIMS),
        (good().claim("aud", json!([ISSUER, 5])).sign(), CLAIMS),
        (good().without("exp").sign(), "the assertion has no exp"),
        (
            good().claim("exp", now() - 61).sign(),
            "the assertion has expired",
        ),
        (good().claim("exp", 0).sign(), "the assertion has expired"),
        (good().claim("exp", "9999999999").sign(), CLAIMS),
        (good().claim("exp", Value::Null).sign(), CLAIMS),
        (
            good().claim("exp", now() + 3600 + 120).sign(),
            "the assertion expires too late",
        ),
        (good().claim("exp", 1e300).sign(), CLAIMS),
        (
            good().claim("nbf", now() + 120).sign(),
            "the assertion is not valid yet",
        ),
        (good().claim("nbf", "now").sign(), CLAIMS),
        (
            good().claim("iat", now() + 120).sign(),
            "the assertion was issued in the future",
        ),
        (good().without("jti").sign(), JTI),
        (good().claim("jti", "").sign(), JTI),
        (good().claim("jti", "j".repeat(257)).sign(), JTI),
        (good().claim("jti", 1).sign(), CLAIMS),
        (good().header("kid", "unknown").sign(), KEY),
        (
            good()
                .header("kid", "unknown")
                .header("jwk", own_jwk)
                .sign(),
            KEY,
        ),
        (
            good().header("alg", "ES384").sign(),
            "the client's key does not allow the assertion's algorithm",
        ),
        (good().signed_by(&alien).sign(), SIGNATURE),
        (
            good().signed_by(&alien).without_header("kid").sign(),
            SIGNATURE,
        ),
        (good().signed_by(&other.key("es256-1")).sign(), SIGNATURE),
        (format!("{head}.{}", base64url([7; 64])), SIGNATURE),
        (
            format!(
                "{}.{}.{signature}",
                head.split('.').next().expect("a header"),
                base64url("{\"iss\":\"robot\"}")
            ),
            SIGNATURE,
        ),
    ];
    assert!(bad.len() >= 40);
    for (jwt, reason) in bad {
        let mark = logs::mark();
        let answer = present(&sidecar, &jwt).await;
        assert_eq!(
            error(&answer),
            (401, "invalid_client".to_owned()),
            "{reason}: {jwt}"
        );
        assert_eq!(
            answer.json()["error_description"],
            "client authentication failed",
            "{reason}"
        );
        let line = logs::wait_for_line(mark, &["token request", "invalid_client", reason]).await;
        assert!(!line.contains(&jwt) || jwt.len() < 20, "{line}");
    }
    // An id beside the assertion that is not the assertion's.
    for (client_id, reason) in [
        ("other", ISS),
        ("legacy", "the client does not use assertions"),
        ("unknown", UNKNOWN),
    ] {
        let (mark, jwt) = (logs::mark(), good().sign());
        let answer = ask(
            &sidecar,
            &[TYPE, ("client_assertion", &jwt), ("client_id", client_id)],
            &[],
        )
        .await;
        assert_eq!(
            error(&answer),
            (401, "invalid_client".to_owned()),
            "{client_id}"
        );
        logs::wait_for_line(mark, &["token request", reason]).await;
    }
    // Requests that are malformed for every client.
    let jwt = good().sign();
    let with_secret = basic("robot", "a secret");
    for (fields, headers) in [
        (vec![("client_assertion", jwt.as_str())], vec![]),
        (vec![TYPE], vec![]),
        (
            vec![
                ("client_assertion_type", "urn:x"),
                ("client_assertion", &jwt),
            ],
            vec![],
        ),
        (
            vec![TYPE, ("client_assertion", &jwt), ("client_assertion", &jwt)],
            vec![],
        ),
        (
            vec![
                TYPE,
                ("client_assertion", &jwt),
                ("client_id", "robot"),
                ("client_secret", "x"),
            ],
            vec![],
        ),
        (
            vec![TYPE, ("client_assertion", &jwt)],
            vec![("Authorization", with_secret.as_str())],
        ),
    ] {
        let answer = ask(&sidecar, &fields, &headers).await;
        assert_eq!(
            error(&answer),
            (400, "invalid_request".to_owned()),
            "{fields:?}"
        );
    }
    // None of all that has used it up.
    claims(&present(&sidecar, &jwt).await);
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_shows_assertions_is_let_in_by_nothing_else() {
    let (robot, other) = (Authority::start(), Authority::start());
    let builder = builder(&robot, &other);
    let (generated, stored) = client_secret::generate(UnixTime(now()), None);
    let document = may(json!({"jwks": robot.jwks()}));
    store_client(&builder, "stored", document, vec![stored]).await;
    let sidecar = start(builder).await;
    claims(&present(&sidecar, &assertion(&robot, "stored").sign()).await);
    for id in ["robot", "stored"] {
        for secret in ["", "x", generated.expose_secret()] {
            assert_eq!(
                error(&by_secret(&sidecar, id, secret).await),
                (401, "invalid_client".to_owned())
            );
            let post = ask(
                &sidecar,
                &[("client_id", id), ("client_secret", secret)],
                &[],
            )
            .await;
            assert_eq!(
                error(&post),
                (401, "invalid_client".to_owned()),
                "{id} {secret}"
            );
        }
        assert_eq!(ask(&sidecar, &[("client_id", id)], &[]).await.status, 401);
    }
    assert_eq!(ask(&sidecar, &[], &[]).await.status, 401);
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_is_good_once_also_after_a_restart_and_beside_a_second_sidecar() {
    let (robot, other) = (Authority::start(), Authority::start());
    let first = sidecar(&robot, &other).await;
    let jwt = assertion(&robot, "robot").claim("jti", "only-once").sign();
    claims(&present(&first, &jwt).await);
    let mark = logs::mark();
    assert_eq!(present(&first, &jwt).await.status, 401);
    logs::wait_for_line(mark, &["token request", "the assertion was used before"]).await;
    // The same jti in another assertion is the same; of another client it is not.
    assert_eq!(
        present(
            &first,
            &assertion(&robot, "robot").claim("jti", "only-once").sign()
        )
        .await
        .status,
        401
    );
    claims(
        &present(
            &first,
            &assertion(&other, "other").claim("jti", "only-once").sign(),
        )
        .await,
    );
    let beside = builder(&robot, &other);
    let same_store = yaml("  clients: [{ id: robot, jwksFile: \"@DIR@/robot.json\" }]\n")
        .replace("sqlite:@DIR@", &format!("sqlite:{}", first.dir().display()));
    let second = beside.start(&same_store).await;
    assert_eq!(present(&second, &jwt).await.status, 401);
    let jwt_of_both = assertion(&robot, "robot").sign();
    claims(&present(&second, &jwt_of_both).await);
    assert_eq!(present(&first, &jwt_of_both).await.status, 401);
    second.stop().await;
    let restarted = start(first.stop_keeping_state().await).await;
    assert_eq!(present(&restarted, &jwt).await.status, 401);
    assert_eq!(present(&restarted, &jwt_of_both).await.status, 401);
    claims(&present(&restarted, &assertion(&robot, "robot").sign()).await);
    restarted.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_use_an_assertion_once() {
    let (robot, other) = (Authority::start(), Authority::start());
    let sidecar = sidecar(&robot, &other).await;
    let jwt = assertion(&robot, "robot").sign();
    let all = futures_util::future::join_all((0..30).map(|_| present(&sidecar, &jwt))).await;
    assert_eq!(all.iter().filter(|answer| answer.status == 200).count(), 1);
    assert_eq!(all.iter().filter(|answer| answer.status == 401).count(), 29);
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_rotates_its_keys_in_its_file() {
    let (robot, other) = (Authority::start(), Authority::start());
    let sidecar = sidecar(&robot, &other).await;
    claims(&present(&sidecar, &assertion(&robot, "robot").sign()).await);
    let new = robot.rotate();
    let old = |robot: &Authority| assertion(robot, "robot").kid("es256-1").sign();
    std::fs::write(sidecar.path("robot.json"), robot.jwks().to_string())
        .expect("a writable directory");
    // The file is looked at again when a key is missing, once a second.
    crate::support::until("the new key is found", async || {
        present(&sidecar, &assertion(&robot, "robot").kid(&new).sign())
            .await
            .status
            == 200
    })
    .await;
    assert_eq!(present(&sidecar, &old(&robot)).await.status, 401);
    sidecar.stop().await;
}
