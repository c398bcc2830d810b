//! Verified tokens are remembered: only they, and nothing that may change.

use std::time::Duration;

use serde_json::json;

use super::World;
use super::draft::{Draft, written};
use crate::support::AUDIENCE;
use crate::support::authority::{Authority, Endpoint};
use crate::support::client::{RawAnswer, get};
use crate::support::clock::MovableClock;
use crate::support::sidecar::Sidecar;
use crate::support::upstream::Upstream;

#[tokio::test(flavor = "multi_thread")]
async fn a_remembered_token_lends_its_memory_to_no_other() {
    let world = World::start().await;
    let good = world.good();
    let (message, signature) = good.signed();
    let token = written(&message, &signature);
    assert_eq!(world.outcome_of(&token).await.0, 200);
    let [header, payload, end] = token.split('.').collect::<Vec<_>>()[..] else {
        unreachable!("a token")
    };
    let other = world.good().claim("sub", "\"root\"").message();
    let impostor = world.good().claim("sub", "\"other\"").sign();
    let mut flipped = signature.clone();
    flipped[40] ^= 1;
    let variants = [
        (
            "another signature",
            written(&message, &flipped),
            "signature",
        ),
        (
            "another token's signature",
            format!(
                "{message}.{}",
                impostor.rsplit('.').next().expect("three parts")
            ),
            "signature",
        ),
        ("another payload", written(&other, &signature), "signature"),
        ("bytes after it", format!("{token}AAAA"), "signature"),
        ("a part after it", format!("{token}."), "malformed_token"),
        ("padding", format!("{token}=="), "malformed_token"),
        (
            "without its signature",
            format!("{message}."),
            "malformed_token",
        ),
        (
            "its beginning",
            token[..token.len() - 1].to_owned(),
            "malformed_token",
        ),
        ("its end", token[1..].to_owned(), "malformed_token"),
        (
            "a spare bit",
            format!("{header}.{payload}.{}", next_letter(end)),
            "malformed_token",
        ),
        ("in capitals", token.to_uppercase(), "malformed_token"),
        (
            "signed again for others",
            good.clone().claim("aud", "\"x\"").sign(),
            "audience",
        ),
        (
            "signed again, expired",
            good.clone().claim("exp", "1").sign(),
            "expired",
        ),
    ];
    for _ in 0..2 {
        for (name, variant, reason) in &variants {
            assert_eq!(
                world.outcome_of(variant).await,
                (401, (*reason).to_owned()),
                "{name}"
            );
            assert_eq!(world.outcome_of(&token).await.0, 200, "after {name}");
        }
    }
    // A refusal is not cached.
    assert_eq!(world.outcome_of(&impostor).await.0, 200);
}

/// The last letter's successor: the same bytes to a careless decoder.
fn next_letter(text: &str) -> String {
    let last = char::from(text.as_bytes()[text.len() - 1] + 1);
    format!("{}{last}", &text[..text.len() - 1])
}

/// Listeners that differ in what they ask for, and metrics.
async fn listeners(
    authority: &Authority,
    options: &str,
    clock: &std::sync::Arc<MovableClock>,
) -> (Upstream, Sidecar) {
    let upstream = Upstream::start();
    let listener = |name: &str, authorities: &str, audience: &str, rule: &str| {
        format!(
            "  - {{ name: {name}, listen: 127.0.0.1:0, upstream: \"{}\", authorities: \
             [{authorities}], audiences: \
             [\"{audience}\"], rules: [{{ paths: [/open] }}, {rule}] }}\n",
            upstream.url()
        )
    };
    let yaml = format!(
        "stateDir: \"@DIR@\"\nprobes: {{ listen: 127.0.0.1:0 }}\nauthorities:\n  users: {{ issuer: \
         \"{}\"{options} }}\n  \
         none: {{ issuer: \"http://127.0.0.1:9\" }}\ninbound:\n{}{}{}",
        authority.issuer(),
        listener(
            "api",
            "users",
            AUDIENCE,
            "{ paths: [/write], scopes: [\"devices:write\"] }"
        ),
        listener("impostor", "none", AUDIENCE, "{ paths: [/x] }"),
        listener("other", "users", "https://other.example", "{ paths: [/x] }"),
    );
    let sidecar = Sidecar::builder().clock(clock.clone()).start(&yaml).await;
    authority.wait_for_fetches(Endpoint::Jwks, 1).await;
    (upstream, sidecar)
}

async fn ask(sidecar: &Sidecar, listener: &str, path: &str, token: &str) -> RawAnswer {
    get(
        sidecar.address(listener),
        path,
        &[("Authorization", &format!("Bearer {token}"))],
    )
    .await
}

async fn hits(sidecar: &Sidecar) -> u64 {
    let metrics = get(sidecar.address("probes"), "/metrics", &[]).await.text();
    let line = metrics.lines().find(|line| {
        line.starts_with("m2m_verified_token_cache_total") && line.contains("\"hit\"")
    });
    line.map_or(0, |line| {
        line.rsplit(' ')
            .next()
            .expect("a number")
            .parse()
            .expect("a number")
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn time_listener_and_rule_are_checked_for_a_cached_token_too() {
    let (authority, clock) = (Authority::start(), MovableClock::now());
    let (_upstream, sidecar) = listeners(&authority, "", &clock).await;
    let token = Draft::new(&authority.issuer(), &authority.key("es256-1")).sign();
    for _ in 0..3 {
        for (listener, path, status, reason) in [
            ("api", "/open", 200, None),
            ("api", "/write", 403, Some("scope")),
            ("api", "/nowhere", 403, Some("no_rule")),
            ("impostor", "/open", 401, Some("unknown_issuer")),
            ("other", "/open", 401, Some("audience")),
        ] {
            let answer = ask(&sidecar, listener, path, &token).await;
            assert_eq!(
                (answer.status, answer.header("x-m2m-reason")),
                (status, reason),
                "{listener}{path}"
            );
        }
    }
    assert!(hits(&sidecar).await >= 8, "it was remembered");
    clock.forward(Duration::from_secs(3600 + 61));
    let answer = ask(&sidecar, "api", "/open", &token).await;
    assert_eq!(
        (answer.status, answer.header("x-m2m-reason")),
        (401, Some("expired"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_exp_is_verified_again_after_30_seconds() {
    let (authority, clock) = (Authority::start(), MovableClock::now());
    authority.advertise("plgd_tokens_endpoint", "/api/v1/tokens");
    let (_upstream, sidecar) =
        listeners(&authority, ", requireExpiry: false, profile: plgd", &clock).await;
    let draft = Draft::new(&authority.issuer(), &authority.key("es256-1")).no_claim("exp");
    let joined = json!([format!("https://x.example {AUDIENCE}")]).to_string();
    let token = draft.clone().claim("aud", &joined).sign();
    let status = async || ask(&sidecar, "api", "/open", &token).await.status;
    while status().await != 200 {
        tokio::task::yield_now().await;
    }
    let before = hits(&sidecar).await;
    assert_eq!(status().await, 200);
    assert_eq!(hits(&sidecar).await, before + 1);
    for _ in 0..3 {
        clock.forward(Duration::from_secs(32));
        let before = hits(&sidecar).await;
        assert_eq!(status().await, 200);
        assert_eq!(hits(&sidecar).await, before, "verified again");
        assert_eq!(status().await, 200);
        assert_eq!(hits(&sidecar).await, before + 1, "and remembered");
    }
    clock.forward(Duration::from_secs(20 * 3600));
    assert_eq!(status().await, 200, "it never expires");
    // An `exp` counts if there is one, and must be a time.
    for (exp, reason) in [
        ("1", "expired"),
        ("null", "malformed_claims"),
        ("\"\"", "malformed_claims"),
        ("false", "malformed_claims"),
    ] {
        let token = draft.clone().and_claim("exp", exp).sign();
        let answer = ask(&sidecar, "api", "/open", &token).await;
        assert_eq!(
            (answer.status, answer.header("x-m2m-reason")),
            (401, Some(reason)),
            "{exp}"
        );
    }
}
