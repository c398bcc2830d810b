//! How long fetches from an authority may take.

use std::time::Duration;

use super::{SECRET, World, world};
use crate::support::authority::{Authority, Endpoint};
use crate::support::behave::{Behave, Gate};
use crate::support::client::get;
use crate::support::sidecar::Sidecar;
use crate::support::until;
use crate::support::upstream::Upstream;

async fn many(world: &World) -> Vec<u16> {
    let requests = (0..20).map(|_| async { world.get("/").await.status });
    futures_util::future::join_all(requests).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_waiting_request_gets_the_token_of_one_slow_fetch() {
    let world = world("", "").await;
    let gate = Gate::closed();
    world
        .authority
        .behave(Endpoint::Token, Behave::Hold(gate.clone()));
    let (statuses, ()) = tokio::join!(many(&world), async {
        let waiting = "m2m_connections{role=\"outbound\",listener=\"hub\"} 20";
        until("all are waiting", async || {
            let metrics = get(world.sidecar.address("probes"), "/metrics", &[]).await;
            metrics.text().contains(waiting)
        })
        .await;
        gate.open();
    });
    assert_eq!(statuses, [200; 20]);
    assert_eq!(world.authority.fetches(Endpoint::Token), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credentials_timeouts_limit_the_wait_and_one_fetch_runs_at_a_time() {
    let world = world("    timeouts: { total: 500ms }\n", "").await;
    world.authority.behave(Endpoint::Token, Behave::Hang);
    assert_eq!(many(&world).await, [503; 20]);
    world.authority.behave(Endpoint::Token, Behave::Normal);
    until("the authority is found again", async || {
        world.get("/").await.status == 200
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authoritys_timeouts_decide_whether_its_keys_come() {
    let sidecar_with = async |timeouts: &str| {
        let (authority, upstream) = (Authority::start(), Upstream::start());
        authority.behave(Endpoint::Jwks, Behave::Delay(Duration::from_secs(1)));
        let yaml = format!(
            r#"
stateDir: "@DIR@"
authorities:
  users: {{ issuer: "{}", {timeouts} revocation: none }}
inbound:
  - name: api
    listen: 127.0.0.1:0
    upstream: "{}"
    authorities: [users]
    audiences: any
    rules: [{{ paths: ["/**"] }}]
"#,
            authority.issuer(),
            upstream.url(),
        );
        (Sidecar::start(&yaml).await, authority, upstream)
    };
    let asked = async |sidecar: &Sidecar, authority: &Authority| {
        let bearer = format!("Bearer {}", authority.token().sign());
        get(sidecar.address("api"), "/", &[("Authorization", &bearer)])
            .await
            .status
    };
    let (patient, authority, _upstream) = sidecar_with("").await;
    until("the keys are there", async || {
        asked(&patient, &authority).await == 200
    })
    .await;
    let (hasty, authority, _upstream) =
        sidecar_with("timeouts: { connect: 100ms, total: 300ms },").await;
    authority.wait_for_fetches(Endpoint::Jwks, 3).await;
    assert_eq!(asked(&hasty, &authority).await, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn timeouts_out_of_bounds_are_errors_with_their_place() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    for (timeouts, told) in [
        (
            "{ connect: 0s }",
            "timeouts.connect: it must be from 10ms to 1m",
        ),
        (
            "{ total: 2m }",
            "timeouts.total: it must be from 10ms to 1m",
        ),
        ("{ read: 1s }", "timeouts.read"),
    ] {
        let yaml = super::yaml(
            &authority,
            &upstream.url(),
            &format!("    timeouts: {timeouts}\n"),
            "",
        );
        let files = Sidecar::builder().secret_file("secret", "legacy", SECRET);
        let why = files.try_start(&yaml).await.err().expect("refused");
        assert!(
            why.contains("credentials.hub") && why.contains(told),
            "{why}"
        );
    }
}
