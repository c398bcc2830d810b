//! Tokens in Basic credentials, for git, pip and devices.

use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{World, outcome, world};
use crate::support::client::RawAnswer;
use crate::support::logs;
use crate::support::upstream::Answer;

const KEYS: &str = "    tokenLocations: [authorization, basic]";
const RULES: &str = "      - { paths: [\"/**\"], scopes: [read] }";

async fn with(world: &World, user: &str, password: &str) -> RawAnswer {
    let credentials = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
    logs::remember_secret(&credentials);
    world
        .send("GET", "/x", &[("Authorization", &credentials)])
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_basic_credentials_is_verified_like_any_other() {
    let world = world(KEYS, RULES).await;
    let token = |scope: &str| world.token().claim("scope", scope);
    let good = token("read").sign();
    for (user, password) in [
        (good.as_str(), ""),
        ("git", &good),
        (&good, "x-oauth-basic"),
    ] {
        assert_eq!(outcome(&with(&world, user, password).await), (200, "-"));
    }
    // The service gets the identity, and the credentials as they were sent.
    let received = world.upstream.received();
    for request in &received {
        assert_eq!(request.header("x-m2m-subject"), Some("tester"));
        assert!(
            request
                .header("authorization")
                .unwrap()
                .starts_with("Basic ")
        );
    }
    let answer = world.send_token("GET", "/x", token("read")).await;
    assert_eq!(outcome(&answer), (200, "-"));
    let mark = logs::mark();
    let expired = token("read").expires_in(-100).sign();
    for (user, password, expected) in [
        ("git", expired.as_str(), (401, "expired")),
        ("git", &token("other").sign(), (403, "scope")),
        ("git", "password", (401, "malformed_token")),
        ("", "", (401, "malformed_token")),
        (&good, &expired, (400, "malformed_authorization")),
        (
            "git",
            &token("read").claim("padding", "x".repeat(9000)).sign(),
            (401, "token_too_large"),
        ),
    ] {
        let answer = with(&world, user, password).await;
        assert_eq!(outcome(&answer), expected);
        let asks = answer
            .header_all("www-authenticate")
            .contains(&"Basic realm=\"api\", charset=\"UTF-8\"");
        assert_eq!(asks, expected.0 == 401);
    }
    // The log names the issuer of a refused token.
    let issuer = format!("iss=\"{}\"", world.authority.issuer());
    logs::wait_for_line(mark, &["access", "reason=\"expired\"", &issuer]).await;
    let answer = world.send("GET", "/x", &[]).await;
    assert_eq!(outcome(&answer), (401, "no_token"));
    assert_eq!(
        answer.header_all("www-authenticate"),
        [
            "Bearer realm=\"api\"",
            "Basic realm=\"api\", charset=\"UTF-8\""
        ]
    );
    let broken = [("Authorization", "Basic !!!")];
    let answer = world.send("GET", "/x", &broken).await;
    assert_eq!(outcome(&answer), (400, "malformed_authorization"));
}

#[tokio::test(flavor = "multi_thread")]
async fn basic_credentials_are_stripped_like_a_bearer_token() {
    let world = world(&format!("{KEYS}\n    authorization: strip"), RULES).await;
    let answer = with(&world, "git", &world.token().claim("scope", "read").sign()).await;
    assert_eq!(outcome(&answer), (200, "-"));
    let received = world.upstream.received();
    assert_eq!(received[0].header("authorization"), None);
    assert_eq!(received[0].header("x-m2m-subject"), Some("tester"));
}

#[tokio::test(flavor = "multi_thread")]
async fn basic_credentials_are_no_token_unless_the_listener_looks_there() {
    let world = world("", RULES).await;
    let answer = with(&world, "git", &world.token().claim("scope", "read").sign()).await;
    assert_eq!(outcome(&answer), (401, "no_token"));
    assert_eq!(
        answer.header_all("www-authenticate"),
        ["Bearer realm=\"api\""]
    );
    let world = self::world("    tokenLocations: [basic]", RULES).await;
    let token = || world.token().claim("scope", "read");
    assert_eq!(
        outcome(&with(&world, "git", &token().sign()).await),
        (200, "-")
    );
    let answer = world.send_token("GET", "/x", token()).await;
    assert_eq!(outcome(&answer), (401, "no_token"));
}

/// git sends its credentials only after a 401 that asks for them.
#[tokio::test(flavor = "multi_thread")]
async fn git_reads_a_repository_with_a_token_as_its_password() {
    if Command::new("git").arg("--version").output().is_err() {
        eprintln!("git is not installed");
        return;
    }
    let world = world(KEYS, RULES).await;
    let line = format!("{}\trefs/heads/main\n", "1".repeat(40));
    world
        .upstream
        .answer(move |request| match request.target.as_str() {
            "/x.git/HEAD" => Answer::status(200, "ref: refs/heads/main\n"),
            _ => Answer::status(200, &line),
        });
    let token = world.token().claim("scope", "read").sign();
    let address = world.sidecar.address("api");
    for (credentials, passes) in [
        (format!("git:{token}"), true),
        (token, true),
        ("git:password".to_owned(), false),
    ] {
        let url = format!("http://{credentials}@{address}/x.git");
        let mut git = Command::new("git");
        git.args(["-c", "credential.helper=", "ls-remote", &url]);
        git.envs([
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("no_proxy", "*"),
        ]);
        let ended = tokio::task::spawn_blocking(move || git.output());
        let output = ended.await.unwrap().unwrap();
        let listed = String::from_utf8_lossy(&output.stdout).contains("refs/heads/main");
        assert_eq!(listed, passes);
    }
}
