//! The mode of a single rule, and rules that verify a token only if there is one.

use super::{outcome, world};
use crate::support::client::request;
use crate::support::keys::{Alg, TestKey};
use crate::support::logs;

const TRIED: &str = r#"
      - { paths: ["/new/**"], scopes: [new], mode: shadow }
      - { paths: ["/old/**"], scopes: [old], mode: enforce }
      - { paths: ["/other/**"], scopes: [other] }"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_in_shadow_mode_refuses_nothing_while_the_others_do() {
    let mark = logs::mark();
    let world = world("    maxBody: 10B", TRIED).await;
    logs::wait_for_line(mark, &["WARN", "shadow mode", "api", "rules=\"1\""]).await;
    let answer = world
        .send("GET", "/new/x", &[("x-m2m-subject", "root")])
        .await;
    assert_eq!(outcome(&answer), (200, "-"));
    world.wait_for_count("shadow", "no_token", 1).await;
    let answer = world.send_token("GET", "/new/x", world.token()).await;
    assert_eq!(outcome(&answer), (200, "-"));
    world.wait_for_count("shadow", "scope", 1).await;
    let received = world.upstream.received();
    assert_eq!(received[0].header("x-m2m-subject"), None);
    assert_eq!(received[1].header("x-m2m-subject"), Some("tester"));
    for path in ["/old/x", "/other/x"] {
        assert_eq!(
            outcome(&world.send("GET", path, &[]).await),
            (401, "no_token")
        );
        let answer = world.send_token("GET", path, world.token()).await;
        assert_eq!(outcome(&answer), (403, "scope"));
    }
    let answer = world.send_token("GET", "/nowhere", world.token()).await;
    assert_eq!(outcome(&answer), (403, "no_rule"));
    // The later checks follow the mode of the rule.
    let address = world.sidecar.address("api");
    let answer = request("POST", address, "/new/x", &[], b"more than ten bytes").await;
    assert_eq!(outcome(&answer), (200, "-"));
    let bearer = format!("Bearer {}", world.token().claim("scope", "old").sign());
    let headers = [("Authorization", bearer.as_str())];
    let answer = request("POST", address, "/old/x", &headers, b"more than ten bytes").await;
    assert_eq!(outcome(&answer), (413, "body_too_large"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_enforces_refuses_on_a_listener_in_shadow_mode() {
    let rules = format!("{TRIED}\n      - {{ paths: [\"/**\"], scopes: [all] }}");
    let world = world("    mode: shadow", &rules).await;
    for (path, expected) in [
        ("/new/x", (200, "-")),
        ("/other/x", (200, "-")),
        ("/nowhere", (200, "-")),
        ("/old/x", (401, "no_token")),
        // Ambiguous, and one of the rules refuses requests.
        ("/OLD/x", (400, "ambiguous_path")),
        ("/NEW/x", (400, "ambiguous_path")),
    ] {
        assert_eq!(
            outcome(&world.send("GET", path, &[]).await),
            expected,
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_optional_token_is_verified_if_it_is_there() {
    let rules = "      - { paths: [\"/feed/**\"], access: optional }";
    let world = world("", rules).await;
    let forged = [("x-m2m-subject", "root"), ("X_M2M_Scope", "admin")];
    let answer = world.send("GET", "/feed/1", &forged).await;
    assert_eq!(outcome(&answer), (200, "-"));
    world.wait_for_count("allow", "anonymous", 1).await;
    let answer = world.send_token("GET", "/feed/1", world.token()).await;
    assert_eq!(outcome(&answer), (200, "-"));
    world.wait_for_count("allow", "permitted", 1).await;
    let received = world.upstream.received();
    assert!(
        !String::from_utf8_lossy(&received[0].head)
            .to_lowercase()
            .contains("m2m-s")
    );
    assert_eq!(received[1].header("x-m2m-subject"), Some("tester"));
    let impostor = TestKey::generate("impostor", Alg::ES256);
    for (token, expected) in [
        (world.token().expires_in(-100), (401, "expired")),
        (world.token().claim("aud", "elsewhere"), (401, "audience")),
        (world.token().signed_by(&impostor), (401, "unknown_kid")),
    ] {
        assert_eq!(
            outcome(&world.send_token("GET", "/feed/1", token).await),
            expected
        );
    }
    for (value, expected) in [
        ("Bearer", (400, "malformed_authorization")),
        ("Bearer x", (401, "malformed_token")),
        // Credentials of another scheme are no bearer token.
        ("Basic dXNlcjpwYXNz", (200, "-")),
    ] {
        let answer = world
            .send("GET", "/feed/1", &[("Authorization", value)])
            .await;
        assert_eq!(outcome(&answer), expected, "{value}");
    }
    let two = [("Authorization", "Bearer a"), ("Authorization", "Bearer b")];
    assert_eq!(
        outcome(&world.send("GET", "/feed/1", &two).await),
        (400, "two_authorizations")
    );
    assert_eq!(world.upstream.received().len(), 3);
}
