//! Queries without an answer: which requests fail, which refusals stand, and how many queries there
//! are.

use super::*;

const INTROSPECTION: &str = "kind: introspection, credential: introspector";

async fn introspecting(upstream: &Upstream, more: &str, limits: &str) -> (Authority, Sidecar) {
    let authority = Authority::start();
    authority.advertise("introspection_endpoint", "/introspect");
    authority.register_client("res:server", "a secret of 16 bytes: %+");
    let yaml = yaml_of(
        &authority,
        &format!("{{ {INTROSPECTION}{more} }}"),
        upstream,
    );
    let yaml = yaml.replace("audiences: any,", &format!("audiences: any, {limits}"));
    let builder =
        Sidecar::builder().secret_file("secret", "res:server", "a secret of 16 bytes: %+");
    let sidecar = builder.start(&yaml).await;
    authority.wait_for_fetches(Endpoint::Jwks, 1).await;
    (authority, sidecar)
}

fn token(authority: &Authority, jti: &str) -> String {
    authority.token().claim("jti", jti).sign()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_token_with_a_failed_query_is_refused() {
    let upstream = Upstream::start();
    let (authority, sidecar) = introspecting(&upstream, "", "").await;
    let large = authority
        .token()
        .claim("jti", "large")
        .claim("x", "x".repeat(4000))
        .sign();
    for n in 0..10 {
        for broken in [
            Behave::Reset,
            Behave::Truncated,
            Behave::Raw(b"nonsense".to_vec()),
            Behave::Status(431),
        ] {
            authority.behave(Endpoint::Introspection, broken);
            assert_eq!(
                outcome_of(&sidecar, &large).await,
                is(503, "revocation_unavailable")
            );
        }
        authority.behave(Endpoint::Introspection, Behave::Normal);
        assert_eq!(
            outcome_of(&sidecar, &token(&authority, &format!("good-{n}"))).await,
            is(200, "-"),
            "{n}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_cannot_be_reached_is_not_asked_about_each_token() {
    let upstream = Upstream::start();
    let (authority, sidecar) = introspecting(&upstream, "", "").await;
    assert_eq!(
        outcome_of(&sidecar, &token(&authority, "good")).await,
        is(200, "-")
    );
    authority.down().await;
    for n in 0..20 {
        let outcome = outcome_of(&sidecar, &token(&authority, &format!("{n}"))).await;
        assert_eq!(outcome, is(503, "revocation_unavailable"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_stands_when_the_authority_does_not_answer() {
    let upstream = Upstream::start();
    let more = ", maxAge: 1s, maxStale: 1s, onFailure: accept";
    let (authority, sidecar) = introspecting(&upstream, more, "").await;
    let (good, bad) = (token(&authority, "good"), token(&authority, "bad"));
    authority.revoke("bad");
    assert_eq!(outcome_of(&sidecar, &bad).await, is(401, "revoked"));
    assert_eq!(outcome_of(&sidecar, &good).await, is(200, "-"));
    let began = Instant::now();
    authority.down().await;
    until("both answers are too old", async || {
        began.elapsed() > Duration::from_secs(3)
    })
    .await;
    assert_eq!(
        outcome_of(&sidecar, &good).await,
        is(200, "-"),
        "it is accepted without an answer"
    );
    for _ in 0..3 {
        assert_eq!(outcome_of(&sidecar, &bad).await, is(401, "revoked"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_stands_however_old_the_list_is() {
    let upstream = Upstream::start();
    let authority = Authority::start();
    authority.advertise("revocation_list_uri", "/revocations");
    let revocation = "{ maxAge: 1s, maxStale: 1s, onFailure: accept }";
    let first = sidecar(&authority, revocation, &upstream).await;
    let (revoked, good) = revoked_and_good(&authority, &first).await;
    let began = Instant::now();
    until("the list is kept", async || {
        let files = std::fs::read_dir(first.path("state"))
            .into_iter()
            .flatten()
            .flatten();
        files
            .map(|file| file.path().display().to_string())
            .any(|file| file.contains("revocations-"))
    })
    .await;
    authority.down().await;
    until("the list is too old", async || {
        began.elapsed() > Duration::from_secs(3)
    })
    .await;
    assert_eq!(
        outcome_of(&first, &good).await,
        is(200, "-"),
        "it is accepted without a list"
    );
    assert_eq!(outcome_of(&first, &revoked).await, is(401, "revoked"));
    // The same after a restart, with the kept keys and list.
    let again = first
        .stop_keeping_state()
        .await
        .start(&yaml_of(&authority, revocation, &upstream))
        .await;
    assert_eq!(outcome_of(&again, &good).await, is(200, "-"));
    assert_eq!(outcome_of(&again, &revoked).await, is(401, "revoked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_before_the_query() {
    let upstream = Upstream::start();
    for per in ["client_id", "sub", "address", "listener"] {
        let limits = format!("limits: {{ requestsPerSecond: 5, burst: 5, per: {per} }},");
        let (authority, sidecar) = introspecting(&upstream, "", &limits).await;
        let began = Instant::now();
        let mut passed = 0;
        for n in 0..100 {
            // Revoked tokens are queried too.
            if n % 2 == 0 {
                authority.revoke(&format!("{n}"));
            }
            let bearer = authority
                .token()
                .claim("jti", format!("{n}"))
                .claim("client_id", "one")
                .sign();
            let answer = ask(&sidecar, &bearer).await;
            match answer.status {
                200 | 401 => passed += 1,
                _ => {
                    assert_eq!(outcome(&answer), is(429, "rate_limited"), "{per}");
                    assert_eq!(answer.header("retry-after"), Some("1"));
                }
            }
        }
        let allowed = 5 + 5 * (1 + usize::try_from(began.elapsed().as_secs()).unwrap());
        let questions = authority.fetches(Endpoint::Introspection);
        assert_eq!(
            questions, passed,
            "{per}: each request that was counted asked once"
        );
        assert!((5..=allowed).contains(&questions), "{per}: {questions}");
        let other = authority
            .token()
            .claim("jti", "other")
            .claim("client_id", "two")
            .claim("sub", "two")
            .sign();
        if ["client_id", "sub"].contains(&per) {
            assert_eq!(outcome_of(&sidecar, &other).await, is(200, "-"), "{per}");
        }
    }
}

/// A cached state needs no query. The request is counted once, and only if it passes.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_a_query_is_counted_once() {
    let upstream = Upstream::start();
    let limits = "limits: { requestsPerSecond: 1, burst: 4 },";
    let (authority, sidecar) = introspecting(&upstream, "", limits).await;
    let bearer = token(&authority, "good");
    let mut passed = 0;
    let began = Instant::now();
    while outcome_of(&sidecar, &bearer).await == is(200, "-") {
        passed += 1;
    }
    let earned = began.elapsed().as_secs() + 1;
    assert!((4..=4 + earned).contains(&passed), "{passed}");
}
