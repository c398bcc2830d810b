//! A sick authority, in every way, at the first fetch and at a refresh: what the caller gets, and
//! that it is found again.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::{SECRET, World, world, yaml};
use crate::support::authority::{Authority, Endpoint, ExpiresIn, TokenAnswer};
use crate::support::behave::Behave;
use crate::support::client::{RawAnswer, get};
use crate::support::logs;
use crate::support::sidecar::Sidecar;
use crate::support::until;
use crate::support::upstream::Upstream;

/// How the authority is sick.
enum Sick {
    /// Its token endpoint behaves so.
    Behaves(Behave),
    /// It answers, but with this.
    Answers(fn(&mut TokenAnswer)),
    /// Its TLS is broken.
    Tls,
}

/// The response to a caller without a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gets {
    /// The upstream's answer, in the end.
    Answer,
    /// 503.
    Unavailable,
}

use Gets::{Answer, Unavailable};
use Sick::{Answers, Behaves, Tls};

fn faults() -> Vec<(&'static str, Sick, Gets)> {
    let body = |text: &str| Behaves(Behave::Body(text.to_owned()));
    vec![
        (
            "slow",
            Behaves(Behave::Delay(Duration::from_millis(1500))),
            Answer,
        ),
        (
            "byte by byte",
            Behaves(Behave::Slow(Duration::ZERO)),
            Answer,
        ),
        ("hanging", Behaves(Behave::Hang), Unavailable),
        ("500", Behaves(Behave::Status(500)), Unavailable),
        ("429", Behaves(Behave::Status(429)), Unavailable),
        ("invalid JSON", Behaves(Behave::InvalidJson), Unavailable),
        ("empty 200", Behaves(Behave::EmptyBody), Unavailable),
        ("huge", Behaves(Behave::HugeBody(64 << 20)), Unavailable),
        ("a list", body("[]"), Unavailable),
        ("a page", body("<html>all is well</html>"), Unavailable),
        ("no token", body("{}"), Unavailable),
        ("cut off", Behaves(Behave::Truncated), Unavailable),
        ("reset", Behaves(Behave::Reset), Unavailable),
        (
            "no HTTP",
            Behaves(Behave::Raw(b"SSH-2.0-x\r\n\r\n".to_vec())),
            Unavailable,
        ),
        ("TLS", Tls, Unavailable),
        (
            "no expires_in",
            Answers(|it| it.expires_in = ExpiresIn::Missing),
            Answer,
        ),
        (
            "neither expires_in nor exp",
            Answers(|it| (it.expires_in, it.with_exp) = (ExpiresIn::Missing, false)),
            Answer,
        ),
        (
            "expires_in 0",
            Answers(|it| it.expires_in = ExpiresIn::Is(json!(0))),
            Answer,
        ),
        (
            "negative expires_in",
            Answers(|it| it.expires_in = ExpiresIn::Is(json!(-1))),
            Answer,
        ),
        (
            "huge expires_in",
            Answers(|it| it.expires_in = ExpiresIn::Is(json!(1e30))),
            Answer,
        ),
        (
            "expires_in as a text",
            Answers(|it| it.expires_in = ExpiresIn::Is(json!("3600"))),
            Answer,
        ),
        (
            "expires_in as a word",
            Answers(|it| it.expires_in = ExpiresIn::Is(json!("soon"))),
            Answer,
        ),
        (
            "mac",
            Answers(|it| it.token_type = Some(json!("mac"))),
            Unavailable,
        ),
        (
            "DPoP",
            Answers(|it| it.token_type = Some(json!("DPoP"))),
            Unavailable,
        ),
        ("no token_type", Answers(|it| it.token_type = None), Answer),
        (
            "BearerToken",
            Answers(|it| it.token_type = Some(json!("BearerToken"))),
            Answer,
        ),
        (
            "bearer",
            Answers(|it| it.token_type = Some(json!("bearer"))),
            Answer,
        ),
        (
            "a control character",
            Answers(|it| it.token = Some("never.to-be\u{7}.attached".into())),
            Unavailable,
        ),
        (
            "a line break",
            Answers(|it| it.token = Some("never.to-be\r\nX-Y: z.attached".into())),
            Unavailable,
        ),
        (
            "an empty token",
            Answers(|it| it.token = Some(String::new())),
            Unavailable,
        ),
    ]
}

/// Less than a client of ours waits for an answer.
const TIMEOUTS: &str = "    timeouts: { total: 4s }\n";

/// The sick world, and how long its tokens live while it is well.
async fn world_for(sick: &Sick, lifetime: Duration) -> World {
    let world = match sick {
        Tls => {
            let (authority, upstream) = (Authority::start_tls(), Upstream::start());
            authority.register_client("legacy", SECRET);
            let credential = format!("    caFile: \"@DIR@/ca.pem\"\n{TIMEOUTS}");
            let yaml = yaml(&authority, &upstream.url(), &credential, "");
            let files = Sidecar::builder().secret_file("secret", "legacy", SECRET);
            let sidecar = files.file("ca.pem", authority.ca_pem()).start(&yaml).await;
            World {
                authority,
                upstream,
                sidecar,
            }
        }
        _ => world(TIMEOUTS, "").await,
    };
    world
        .authority
        .answer_tokens(|answer| answer.lifetime = lifetime);
    world
}

async fn fall_sick(authority: &Authority, sick: &Sick) {
    match sick {
        Behaves(behave) => authority.behave(Endpoint::Token, behave.clone()),
        Answers(change) => authority.answer_tokens(change),
        Tls => {
            authority.break_tls(true);
            // A connection that is there would go on.
            authority.down().await;
            authority.up();
        }
    }
}

fn recover(authority: &Authority) {
    authority.behave(Endpoint::Token, Behave::Normal);
    authority.answer_tokens(|answer| *answer = TokenAnswer::default());
    authority.break_tls(false);
}

/// The response to a caller; any other is a fault.
fn classify(name: &str, answer: &RawAnswer) -> Gets {
    match answer.status {
        200 => Answer,
        _ => {
            assert_eq!(
                (answer.status, answer.header("x-m2m-reason")),
                (503, Some("token_unavailable")),
                "{name}"
            );
            assert!(
                answer
                    .header("retry-after")
                    .is_some_and(|wait| wait.parse::<u64>().unwrap() >= 1),
                "{name}"
            );
            assert_eq!(answer.json()["error"], "temporarily_unavailable", "{name}");
            Unavailable
        }
    }
}

/// The authority is well again; exactly how soon it is found is a fact of the paused clock's tests.
async fn is_found_again(name: &str, world: &World) {
    recover(&world.authority);
    until(name, async || world.get("/").await.status == 200).await;
}

async fn at_the_first_fetch(name: &str, sick: &Sick, gets: Gets) {
    let world = world_for(sick, Duration::from_secs(3600)).await;
    fall_sick(&world.authority, sick).await;
    let began = Instant::now();
    assert_eq!(classify(name, &world.get("/").await), gets, "{name}");
    if gets == Unavailable {
        assert!(world.upstream.received().is_empty(), "{name}");
        // Many requests cause no more fetches.
        for _ in 0..100 {
            assert_eq!(classify(name, &world.get("/").await), Unavailable, "{name}");
        }
        let most = began.elapsed().as_secs() + 1;
        assert!(
            world.authority.fetches(Endpoint::Token) as u64 <= most,
            "{name}: more than one fetch a second"
        );
    }
    is_found_again(name, &world).await;
    check_what_arrived(name, &world);
}

async fn at_a_refresh(name: &str, sick: &Sick, gets: Gets) {
    let world = world_for(sick, Duration::from_secs(3)).await;
    assert_eq!(classify(name, &world.get("/").await), Answer, "{name}");
    fall_sick(&world.authority, sick).await;
    // The token in hand serves to its end; then a new one does, or none.
    let first = world
        .authority
        .issued()
        .first()
        .cloned()
        .expect("one was issued");
    until(name, async || {
        let got = classify(name, &world.get("/").await);
        let newest = world
            .upstream
            .received()
            .last()
            .and_then(|seen| seen.bearer().map(str::to_owned));
        got == Unavailable || newest.as_ref() != Some(&first)
    })
    .await;
    let served = world
        .upstream
        .received()
        .iter()
        .any(|seen| seen.bearer() != Some(&first));
    assert_eq!(if served { Answer } else { Unavailable }, gets, "{name}");
    is_found_again(name, &world).await;
    check_what_arrived(name, &world);
}

/// Only what the authority has issued ever reached the upstream, and always something.
fn check_what_arrived(name: &str, world: &World) {
    let issued = world.authority.issued();
    for seen in world.upstream.received() {
        let bearer = seen
            .bearer()
            .unwrap_or_else(|| panic!("{name}: a request without a token"));
        assert!(issued.iter().any(|token| token == bearer), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_the_authority_at_the_first_fetch() {
    let faults = faults();
    for some in faults.chunks(8) {
        let cells = some
            .iter()
            .map(|(name, sick, gets)| at_the_first_fetch(name, sick, *gets));
        futures_util::future::join_all(cells).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_the_authority_at_a_refresh() {
    let faults = faults();
    for some in faults.chunks(8) {
        let cells = some
            .iter()
            .map(|(name, sick, gets)| at_a_refresh(name, sick, *gets));
        futures_util::future::join_all(cells).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_hints_of_the_authority_are_followed() {
    let world = world("", "").await;
    let raw = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n";
    world
        .authority
        .behave(Endpoint::Token, Behave::Raw(raw.into()));
    for _ in 0..20 {
        let answer = get(world.sidecar.address("hub"), "/", &[]).await;
        assert_eq!(answer.status, 503);
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((100..=120).contains(&wait), "{wait}");
    }
    assert_eq!(world.authority.fetches(Endpoint::Token), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_token_request_is_logged_with_its_url_and_the_cause() {
    let world = world("", "").await;
    let mark = logs::mark();
    world.authority.behave(Endpoint::Token, Behave::Status(500));
    assert_eq!(
        get(world.sidecar.address("hub"), "/", &[]).await.status,
        503
    );
    let said = "no access token fetched";
    logs::wait_for_line(
        mark,
        &["WARN", said, "status 500", &world.authority.token_url()],
    )
    .await;
    world.authority.down().await;
    let metadata = format!(
        "{}/.well-known/openid-configuration",
        world.authority.issuer()
    );
    until("the cause has changed", async || {
        get(world.sidecar.address("hub"), "/", &[]).await;
        !logs::lines_since(mark, &["WARN", said, &metadata, "nothing listens there"]).is_empty()
    })
    .await;
}
