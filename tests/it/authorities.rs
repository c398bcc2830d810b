//! Authorities that rotate, break, answer slowly or not at all: no wrong accept, no needless
//! refusal, no storm.

mod complaints;
mod files;
pub mod flood;
mod left_out;
mod lifetimes;
mod slashes;
mod state;
mod tenants;

use std::time::Duration;

use crate::support::authority::{Authority, Endpoint};
use crate::support::behave::{Behave, Gate};
use crate::support::client::{RawAnswer, get};
use crate::support::clock::MovableClock;
use crate::support::keys::{Alg, TestKey};
use crate::support::sidecar::{Sidecar, SidecarBuilder};
use crate::support::until;
use crate::support::upstream::Upstream;

pub fn yaml(authority: &str, upstream: &Upstream) -> String {
    format!(
        r#"
stateDir: "@DIR@/state"
probes: {{ listen: 127.0.0.1:0 }}
authorities: {{ users: {authority} }}
inbound:
  - {{ name: api, listen: 127.0.0.1:0, upstream: "{}", authorities: [users], audiences: any, rules: [{{ paths: ["/**"] }}] }}
"#,
        upstream.url()
    )
}

async fn sidecar(authority: &Authority, upstream: &Upstream) -> Sidecar {
    let sidecar = Sidecar::start(&yaml(
        &format!("{{ issuer: \"{}\" }}", authority.issuer()),
        upstream,
    ))
    .await;
    authority.wait_for_fetches(Endpoint::Jwks, 1).await;
    sidecar
}

async fn ask(sidecar: &Sidecar, token: &str) -> RawAnswer {
    get(
        sidecar.address("api"),
        "/",
        &[("Authorization", &format!("Bearer {token}"))],
    )
    .await
}

async fn metrics(sidecar: &Sidecar) -> String {
    get(sidecar.address("probes"), "/metrics", &[]).await.text()
}

fn outcome(answer: &RawAnswer) -> (u16, &str) {
    (answer.status, answer.header("x-m2m-reason").unwrap_or("-"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_key_is_accepted_under_traffic_and_the_removed_one_no_more() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    let clock = MovableClock::now();
    let start = yaml(
        &format!("{{ issuer: \"{}\" }}", authority.issuer()),
        &upstream,
    );
    let sidecar = Sidecar::builder().clock(clock).start(&start).await;
    let old = authority.token().sign();
    assert_eq!(ask(&sidecar, &old).await.status, 200);
    let before = authority.fetches(Endpoint::Jwks);
    authority.rotate();
    let new = authority.token().sign();
    // Traffic with the old key goes on meanwhile.
    until("the new key is fetched", async || {
        let (fresh, stale) = tokio::join!(ask(&sidecar, &new), ask(&sidecar, &old));
        match outcome(&fresh) {
            (401, "unknown_kid") | (503, "keys_unavailable") => {
                assert_eq!(outcome(&stale), (200, "-"));
                false
            }
            (200, _) => true,
            other => panic!("{other:?}"),
        }
    })
    .await;
    assert_eq!(
        authority.fetches(Endpoint::Jwks),
        before + 1,
        "one fetch for one rotation"
    );
    // The remembered verification does not outlive its key.
    assert_eq!(outcome(&ask(&sidecar, &old).await), (401, "unknown_kid"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_unknown_key_ids_causes_few_fetches_and_delays_no_rotation() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    let sidecar = sidecar(&authority, &upstream).await;
    let good = authority.token().sign();
    assert_eq!(ask(&sidecar, &good).await.status, 200);
    let before = authority.fetches(Endpoint::Jwks);
    let impostor = TestKey::generate("impostor", Alg::ES256);
    let floods = (0..200).map(|n| {
        let bad = authority
            .token()
            .signed_by(&impostor)
            .header("kid", format!("kid-{n}"))
            .sign();
        let sidecar = &sidecar;
        async move {
            let answer = ask(sidecar, &bad).await;
            let outcome = outcome(&answer);
            assert!(
                matches!(outcome, (401, "unknown_kid") | (503, "keys_unavailable")),
                "{outcome:?}"
            );
            assert_eq!(answer.header("retry-after").is_some(), answer.status == 503);
        }
    });
    futures_util::future::join_all(floods).await;
    // One after the other, so that each of them is a question of its own.
    for n in 0..20 {
        let bad = authority
            .token()
            .signed_by(&impostor)
            .header("kid", format!("later-{n}"))
            .sign();
        ask(&sidecar, &bad).await;
    }
    let during = authority.fetches(Endpoint::Jwks);
    assert!(during <= before + 6, "{during} {before}");
    assert_eq!(ask(&sidecar, &good).await.status, 200);
    authority.rotate();
    let fresh = ask(&sidecar, &authority.token().sign()).await;
    assert!(
        matches!(outcome(&fresh), (200, _) | (503, "keys_unavailable")),
        "{:?}",
        outcome(&fresh)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_noticed_only_by_tokens_whose_key_is_unknown() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    let clock = MovableClock::now();
    let start = yaml(
        &format!("{{ issuer: \"{}\", maxStale: 1h }}", authority.issuer()),
        &upstream,
    );
    let sidecar = Sidecar::builder().clock(clock.clone()).start(&start).await;
    let token = authority.token().expires_in(86_400).sign();
    assert_eq!(ask(&sidecar, &token).await.status, 200);
    authority.down().await;
    for _ in 0..5 {
        clock.forward(Duration::from_secs(600));
        let fresh = authority.token().expires_in(86_400).sign();
        assert_eq!(ask(&sidecar, &fresh).await.status, 200, "its key is known");
        assert_eq!(ask(&sidecar, &token).await.status, 200);
    }
    authority.rotate();
    let unknown = ask(&sidecar, &authority.token().expires_in(86_400).sign()).await;
    // Within the cool-down of the first, successful fetch the set counts as current; afterwards
    // it may be outdated.
    assert!(
        matches!(
            outcome(&unknown),
            (401, "unknown_kid") | (503, "keys_unavailable")
        ),
        "{:?}",
        outcome(&unknown)
    );
    // Beyond `maxStale` even known keys serve no more: they may have been withdrawn long ago.
    clock.forward(Duration::from_secs(700));
    let stale = ask(&sidecar, &token).await;
    assert_eq!(outcome(&stale), (503, "keys_unavailable"));
    assert!(stale.header("retry-after").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_authority_blocks_no_start_and_says_503_until_it_is_back() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    authority.down().await;
    let start = yaml(
        &format!("{{ issuer: \"{}\" }}", authority.issuer()),
        &upstream,
    );
    let sidecar = Sidecar::start(&start).await;
    let ready = get(sidecar.address("probes"), "/readyz", &[]).await;
    assert_eq!(ready.status, 200);
    let token = authority.token().sign();
    assert_eq!(
        outcome(&ask(&sidecar, &token).await),
        (503, "keys_unavailable")
    );
    authority.up();
    until("the keys come", async || {
        ask(&sidecar, &token).await.status == 200
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_request_waits_for_the_first_fetch() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    let gate = Gate::closed();
    authority.behave_next(Endpoint::Jwks, [Behave::Hold(gate.clone())]);
    let sidecar = sidecar(&authority, &upstream).await;
    let token = authority.token().sign();
    let (answer, ()) = tokio::join!(ask(&sidecar, &token), async { gate.open() });
    assert_eq!(answer.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_answer_never_replaces_nothing_by_something_wrong() {
    let huge = 3 * 1024 * 1024;
    for (number, broken) in [
        Behave::Status(500),
        Behave::Status(302),
        Behave::Reset,
        Behave::HugeBody(huge),
        Behave::InvalidJson,
        Behave::EmptyBody,
        Behave::EmptyKeys,
        Behave::Truncated,
        Behave::Raw(b"\x00\x01\x02\r\n\r\n".to_vec()),
        Behave::Body(
            r#"{"keys":[{"kty":"oct","k":"c2VjcmV0c2VjcmV0c2VjcmV0","kid":"es256-1"}]}"#.to_owned(),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let (authority, upstream) = (Authority::start(), Upstream::start());
        authority.behave(Endpoint::Jwks, broken);
        let sidecar = sidecar(&authority, &upstream).await;
        let token = authority.token().sign();
        assert_eq!(
            outcome(&ask(&sidecar, &token).await),
            (503, "keys_unavailable"),
            "case {number}"
        );
        assert!(upstream.received().is_empty());
        authority.behave(Endpoint::Jwks, Behave::Normal);
        until(&format!("case {number} recovers"), async || {
            ask(&sidecar, &token).await.status == 200
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_authority_costs_a_request_one_second_at_most() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    authority.behave(Endpoint::OpenidConfiguration, Behave::Hang);
    // A request that waited for the fetch would have no answer within 30 seconds.
    let patient = format!(
        "{{ issuer: \"{}\", timeouts: {{ total: 1m }} }}",
        authority.issuer()
    );
    let sidecar = Sidecar::start(&yaml(&patient, &upstream)).await;
    let token = authority.token().sign();
    let answers = futures_util::future::join_all((0..50).map(|_| ask(&sidecar, &token)));
    let answers = tokio::time::timeout(Duration::from_secs(30), answers).await;
    for answer in answers.expect("no request waits for the authority") {
        assert_eq!(outcome(&answer), (503, "keys_unavailable"));
    }
    assert_eq!(authority.fetches(Endpoint::OpenidConfiguration), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_of_another_issuer_is_not_used() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    authority.behave(Endpoint::OpenidConfiguration, Behave::WrongIssuer);
    authority.behave(Endpoint::AuthorizationServer, Behave::WrongIssuer);
    let start = yaml(
        &format!("{{ issuer: \"{}\" }}", authority.issuer()),
        &upstream,
    );
    let sidecar = Sidecar::start(&start).await;
    authority
        .wait_for_fetches(Endpoint::AuthorizationServer, 1)
        .await;
    assert_eq!(
        outcome(&ask(&sidecar, &authority.token().sign()).await),
        (503, "keys_unavailable")
    );
    assert_eq!(authority.fetches(Endpoint::Jwks), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn rfc_8414_metadata_is_found_when_there_is_no_other() {
    let (authority, upstream) = (Authority::start_at_path("/realms/iot"), Upstream::start());
    authority.behave(Endpoint::OpenidConfiguration, Behave::Status(404));
    let sidecar = sidecar(&authority, &upstream).await;
    assert_eq!(ask(&sidecar, &authority.token().sign()).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_come_from_a_given_url_or_file_too() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    let issuer = authority.issuer();
    let by_url = yaml(
        &format!(
            "{{ issuer: \"{issuer}\", jwksUri: \"{}\" }}",
            authority.jwks_url()
        ),
        &upstream,
    );
    let sidecar = Sidecar::start(&by_url).await;
    assert_eq!(ask(&sidecar, &authority.token().sign()).await.status, 200);
    assert_eq!(authority.fetches(Endpoint::OpenidConfiguration), 0);

    authority.down().await;
    let by_file = yaml(
        &format!("{{ issuer: \"{issuer}\", jwksFile: \"@DIR@/jwks.json\" }}"),
        &upstream,
    );
    let sidecar = Sidecar::builder()
        .file("jwks.json", authority.jwks().to_string())
        .start(&by_file)
        .await;
    assert_eq!(ask(&sidecar, &authority.token().sign()).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_authority_is_trusted_by_its_ca_and_by_nothing_else() {
    let (authority, upstream) = (Authority::start_tls(), Upstream::start());
    let issuer = authority.issuer();
    let trusting = yaml(
        &format!("{{ issuer: \"{issuer}\", caFile: \"@DIR@/ca.pem\" }}"),
        &upstream,
    );
    let sidecar = Sidecar::builder()
        .file("ca.pem", authority.ca_pem())
        .start(&trusting)
        .await;
    let token = authority.token().sign();
    assert_eq!(ask(&sidecar, &token).await.status, 200);
    let other = Sidecar::start(&yaml(&format!("{{ issuer: \"{issuer}\" }}"), &upstream)).await;
    assert_eq!(
        outcome(&ask(&other, &token).await),
        (503, "keys_unavailable")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_during_an_outage_uses_the_kept_keys_of_this_authority() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    let first = sidecar(&authority, &upstream).await;
    let token = authority.token().sign();
    assert_eq!(ask(&first, &token).await.status, 200);
    let kept =
        || std::fs::read_dir(first.path("state")).map_or(0, |dir| dir.filter(is_kept).count());
    until("the keys are kept", async || kept() > 0).await;
    authority.down().await;
    let state: SidecarBuilder = first.stop_keeping_state().await;
    let start = yaml(
        &format!("{{ issuer: \"{}\" }}", authority.issuer()),
        &upstream,
    );
    let second = state.start(&start).await;
    assert_eq!(ask(&second, &token).await.status, 200);

    let state = second.stop_keeping_state().await;
    let other = yaml(
        &format!(
            "{{ issuer: \"{}\", jwksUri: \"{}\" }}",
            authority.issuer(),
            authority.jwks_url()
        ),
        &upstream,
    );
    let third = state.start(&other).await;
    assert_eq!(
        outcome(&ask(&third, &token).await),
        (503, "keys_unavailable")
    );
}

fn is_kept(entry: &std::io::Result<std::fs::DirEntry>) -> bool {
    use std::os::unix::fs::PermissionsExt;
    let Ok(entry) = entry else { return false };
    if entry
        .path()
        .extension()
        .is_none_or(|extension| extension != "json")
    {
        return false;
    }
    assert_eq!(
        entry.metadata().expect("a file").permissions().mode() & 0o777,
        0o600
    );
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_verifies_only_its_own_tokens() {
    let (one, two, upstream) = (Authority::start(), Authority::start(), Upstream::start());
    let start = format!(
        r#"
stateDir: "@DIR@"
authorities: {{ one: {{ issuer: "{}" }}, two: {{ issuer: "{}" }} }}
inbound:
  - {{ name: api, listen: 127.0.0.1:0, upstream: "{}", authorities: [one, two], audiences: any, rules: [{{ paths: ["/**"] }}] }}
  - {{ name: only-one, listen: 127.0.0.1:0, upstream: "{}", authorities: [one], audiences: any, rules: [{{ paths: ["/**"] }}] }}
"#,
        one.issuer(),
        two.issuer(),
        upstream.url(),
        upstream.url()
    );
    let sidecar = Sidecar::start(&start).await;
    for authority in [&one, &two] {
        assert_eq!(ask(&sidecar, &authority.token().sign()).await.status, 200);
    }
    // Two's key, published under the same name as one's, with one's issuer in the token.
    let kid = one.jwks()["keys"][0]["kid"]
        .as_str()
        .expect("a kid")
        .to_owned();
    let mut foreign = two.key(two.jwks()["keys"][0]["kid"].as_str().expect("a kid"));
    foreign.kid = kid;
    let forged = one.token().signed_by(&foreign).sign();
    assert_eq!(outcome(&ask(&sidecar, &forged).await), (401, "signature"));
    let other = get(
        sidecar.address("only-one"),
        "/",
        &[("Authorization", &format!("Bearer {}", two.token().sign()))],
    )
    .await;
    assert_eq!(outcome(&other), (401, "unknown_issuer"));
    // The outage of one authority does not affect the other's tokens.
    two.down().await;
    assert_eq!(ask(&sidecar, &one.token().sign()).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn time_is_checked_on_every_request_also_of_a_cached_token() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    let clock = MovableClock::now();
    let start = yaml(
        &format!("{{ issuer: \"{}\", clockSkew: 0s }}", authority.issuer()),
        &upstream,
    );
    let sidecar = Sidecar::builder().clock(clock.clone()).start(&start).await;
    let token = authority.token().expires_in(100).sign();
    assert_eq!(ask(&sidecar, &token).await.status, 200);
    clock.forward(Duration::from_secs(95));
    assert_eq!(ask(&sidecar, &token).await.status, 200);
    clock.forward(Duration::from_secs(6));
    assert_eq!(outcome(&ask(&sidecar, &token).await), (401, "expired"));
}
