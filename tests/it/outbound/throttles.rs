//! Quotas of calls to upstreams.

use crate::support::authority::Authority;
use crate::support::client::{Connection, get, request_bytes};
use crate::support::sidecar::Sidecar;
use crate::support::until;
use crate::support::upstream::{Answer, Upstream};

use super::{SECRET, World, world};

/// A world whose upstream may be called so often, by the listener or with the credential.
async fn throttled(credential: &str, listener: &str) -> World {
    let line = |throttle: &str| match throttle {
        "" => String::new(),
        throttle => format!("    throttle: {throttle}"),
    };
    world(&line(credential), &line(listener)).await
}

async fn metrics(sidecar: &Sidecar) -> String {
    get(sidecar.address("probes"), "/metrics", &[]).await.text()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_beyond_the_quota_is_refused_and_says_when_to_come_again() {
    let world = throttled("", "{ requests: 2, per: 1h, mode: refuse }").await;
    for _ in 0..2 {
        assert_eq!(world.get("/").await.status, 200);
    }
    let refused = world.get("/").await;
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert_eq!(refused.header("x-m2m-reason"), Some("throttled"));
    let wait = refused
        .header("retry-after")
        .and_then(|it| it.parse::<u64>().ok());
    assert!(
        wait.is_some_and(|wait| (3500..=3600).contains(&wait)),
        "{wait:?}"
    );
    assert_eq!(world.upstream.received().len(), 2);
    let text = metrics(&world.sidecar).await;
    let counted = "m2m_throttled_requests_total{of=\"listener\",name=\"hub\",result=\"refused\"} 1";
    assert!(text.contains(counted), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_wait_for_their_turn_in_order_and_none_is_lost() {
    let world = throttled("{ requests: 2, per: 1s }", "").await;
    let address = world.sidecar.address("hub");
    let mut connections = Vec::new();
    for number in 0..5_usize {
        let mut connection = Connection::open(address).await;
        let target = format!("/{number}");
        let request = request_bytes("GET", address, &target, &[], b"");
        connection.send(request).await;
        connections.push(connection);
        // The next one comes after it.
        let waiting = number.saturating_sub(1);
        until("the request waits or has arrived", async || {
            let is_there = world.upstream.received().len() > number;
            let text = format!("m2m_throttle_waiting{{of=\"credential\",name=\"hub\"}} {waiting}");
            is_there || metrics(&world.sidecar).await.contains(&text) || number < 2
        })
        .await;
    }
    for connection in &mut connections {
        assert_eq!(connection.answer().await.status, 200);
    }
    let received = world.upstream.received();
    let mut late: Vec<_> = received
        .iter()
        .skip(2)
        .map(|seen| seen.target.clone())
        .collect();
    late.truncate(3);
    assert_eq!(received.len(), 5);
    assert_eq!(late[2], "/4", "{late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_frees_its_place() {
    let world = throttled("", "{ requests: 1, per: 1h, maxWait: 10m }").await;
    assert_eq!(world.get("/").await.status, 200);
    // An hour is longer than any wait.
    assert_eq!(world.get("/").await.status, 429);
    let world = throttled("", "{ requests: 1, per: 9m, maxWait: 10m }").await;
    assert_eq!(world.get("/").await.status, 200);
    let address = world.sidecar.address("hub");
    let mut connection = Connection::open(address).await;
    connection
        .send(request_bytes("GET", address, "/", &[], b""))
        .await;
    let waiting = async |count: usize| {
        let text = format!("m2m_throttle_waiting{{of=\"listener\",name=\"hub\"}} {count}");
        until("so many requests wait", async || {
            metrics(&world.sidecar).await.contains(&text)
        })
        .await;
    };
    waiting(1).await;
    // The next one would wait for 18 minutes.
    assert_eq!(world.get("/").await.status, 429);
    connection.reset();
    waiting(0).await;
    assert_eq!(world.upstream.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quota_of_a_token_is_shared_by_listeners_and_survives_a_reload() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    authority.register_client("legacy", SECRET);
    let yaml = |more: &str| {
        format!(
            r#"
credentials:
  hub:
    authority: "{}"
    clientID: legacy
    clientSecretFile: "@DIR@/secret"
    throttle: {{ requests: 2, per: 1h, mode: refuse }}
outbound:
  - {{ name: one, listen: "127.0.0.1:0", upstream: "{url}", credential: hub{more} }}
  - {{ name: two, listen: "127.0.0.1:0", upstream: "{url}", credential: hub, overwrite: false }}
"#,
            authority.issuer(),
            url = upstream.url(),
        )
    };
    let builder = Sidecar::builder().secret_file("secret", "legacy", SECRET);
    let mut sidecar = builder.start(&yaml("")).await;
    for listener in ["one", "two"] {
        assert_eq!(get(sidecar.address(listener), "/", &[]).await.status, 200);
    }
    for listener in ["one", "two"] {
        assert_eq!(get(sidecar.address(listener), "/", &[]).await.status, 429);
    }
    sidecar
        .replace(&yaml(", preserveHost: true"))
        .await
        .expect("a good configuration");
    assert_eq!(get(sidecar.address("one"), "/", &[]).await.status, 429);
    // A request with a token of its own does not use the quota of the sidecar's.
    let own = [("Authorization", "Bearer own")];
    assert_eq!(get(sidecar.address("two"), "/", &own).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_one_quota_refuses_is_not_counted_by_the_other() {
    let listener = "{ requests: 2, per: 1h, mode: refuse }\n    overwrite: false";
    let world = throttled("{ requests: 1, per: 1h, mode: refuse }", listener).await;
    assert_eq!(world.get("/").await.status, 200);
    assert_eq!(world.get("/").await.status, 429);
    // A request with a token of its own uses the quota of the listener only.
    let own = [("Authorization", "Bearer own")];
    let address = world.sidecar.address("hub");
    assert_eq!(get(address, "/", &own).await.status, 200);
    assert_eq!(get(address, "/", &own).await.status, 429);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_try_after_a_401_is_a_call_too() {
    let clock = crate::support::clock::MovableClock::now();
    let throttle = "    throttle: { requests: 2, per: 1h, mode: refuse }";
    let world = super::world_at(clock.clone(), "", throttle).await;
    assert_eq!(world.get("/").await.status, 200);
    world.upstream.answer(|_| Answer::status(401, "refused"));
    clock.forward(std::time::Duration::from_secs(6));
    // The second call is made, the third one is left out.
    assert_eq!(world.get("/").await.status, 401);
    assert_eq!(world.upstream.received().len(), 2);
    assert_eq!(world.get("/").await.status, 429);
}
