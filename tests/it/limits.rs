//! Limits: the counter of each request, the budget that unauthenticated clients cannot use up, and
//! the end of a request.
//!
//! Rates over time are tested with paused time, beside `src/limits.rs`.

use crate::rules::{World, world};
use crate::support::behave::Gate;
use crate::support::client::{Connection, RawAnswer, request_bytes};
use crate::support::keys::{Alg, TestKey};
use crate::support::until;
use crate::support::upstream::Answer;

const RULES: &str = r#"
      - { paths: [/public], access: public }
      - { paths: ["/**"], scopes: ["devices:read"] }"#;

fn status_and_reason(answer: &RawAnswer) -> (u16, &str) {
    (answer.status, answer.header("x-m2m-reason").unwrap_or("-"))
}

impl World {
    async fn as_client(&self, client_id: &str) -> RawAnswer {
        self.send_token(
            "GET",
            "/",
            self.token()
                .claim("client_id", client_id)
                .claim("sub", "same"),
        )
        .await
    }

    /// Uses up a client's budget; how many requests passed.
    async fn exhaust(&self, client_id: &str) -> usize {
        for passed in 0..1000 {
            let answer = self.as_client(client_id).await;
            if answer.status == 429 {
                assert_eq!(status_and_reason(&answer), (429, "rate_limited"));
                assert_eq!(answer.header("retry-after"), Some("1"));
                assert_eq!(answer.json()["error"], "too_many_requests");
                return passed;
            }
            assert_eq!(answer.status, 200);
        }
        panic!("nothing was limited");
    }

    /// A request that is under way until the gate is opened.
    async fn held(&self, target: &str, headers: &[(&str, &str)], gate: &Gate) -> Connection {
        let before = self.upstream.received().len();
        self.upstream
            .next(Answer::Hold(gate.clone(), Box::new(Answer::Echo)));
        let address = self.sidecar.address("api");
        let mut connection = Connection::open(address).await;
        connection
            .send(request_bytes("GET", address, target, headers, b""))
            .await;
        self.upstream.wait_for(before + 1).await;
        connection
    }

    /// Waits until a request passes again: the sidecar counts a request's end a little later than
    /// its client.
    async fn passes_again(&self) {
        until("a request passes again", async || {
            let answer = self.send("GET", "/public", &[]).await;
            answer.status == 200 || {
                assert_eq!(status_and_reason(&answer), (429, "too_many_at_once"));
                false
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_over_its_rate_gets_429_and_another_client_does_not() {
    let world = world("    limits: { requestsPerSecond: 1, burst: 5 }", RULES).await;
    assert!(world.exhaust("loud").await >= 5);
    for _ in 0..5 {
        assert_eq!(
            status_and_reason(&world.as_client("quiet").await),
            (200, "-")
        );
    }
    world.wait_for_count("deny", "rate_limited", 1).await;
    // A limited request does not reach the upstream.
    world
        .wait_for_count("allow", "permitted", world.upstream.received().len() as u64)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_requests_use_up_no_budget() {
    let world = world("    limits: { requestsPerSecond: 1, burst: 3 }", RULES).await;
    let unknown = TestKey::generate("unknown", Alg::ES256);
    for _ in 0..20 {
        let victim = || world.token().claim("client_id", "victim");
        for (token, status) in [
            (victim().signed_by(&unknown).header("kid", "es256-1"), 401),
            (victim().expires_in(-100), 401),
            (victim().claim("scope", "other"), 403),
        ] {
            assert_eq!(world.send_token("GET", "/", token).await.status, status);
        }
    }
    for _ in 0..3 {
        assert_eq!(
            status_and_reason(&world.as_client("victim").await),
            (200, "-")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_together_by_what_the_listener_says() {
    // Two clients that speak for the same user, from the same address.
    for (per, together) in [
        ("client_id", false),
        ("sub", true),
        ("address", true),
        ("listener", true),
    ] {
        let keys =
            format!("    limits: {{ requestsPerSecond: 1, burst: 1, concurrent: 1, per: {per} }}");
        let world = world(&keys, RULES).await;
        let gate = Gate::closed();
        let bearer = format!(
            "Bearer {}",
            world
                .token()
                .claim("client_id", "one")
                .claim("sub", "same")
                .sign()
        );
        let mut held = world.held("/", &[("Authorization", &bearer)], &gate).await;
        let other = world.as_client("two").await;
        let expected = if together {
            (429, "too_many_at_once")
        } else {
            (200, "-")
        };
        assert_eq!(status_and_reason(&other), expected, "{per}");
        gate.open();
        assert_eq!(held.answer().await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_without_a_client_are_counted_by_address() {
    for per in ["client_id", "sub"] {
        let world = world(
            &format!("    limits: {{ concurrent: 1, per: {per} }}"),
            RULES,
        )
        .await;
        let gate = Gate::closed();
        let mut held = world.held("/public", &[], &gate).await;
        assert_eq!(
            status_and_reason(&world.send("GET", "/public", &[]).await),
            (429, "too_many_at_once")
        );
        let nameless = world.token().without("client_id").without("sub");
        assert_eq!(
            status_and_reason(&world.send_token("GET", "/", nameless).await),
            (429, "too_many_at_once"),
            "{per}"
        );
        assert_eq!(
            status_and_reason(&world.as_client("named").await),
            (200, "-"),
            "{per}"
        );
        gate.open();
        assert_eq!(held.answer().await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_as_may_be_are_under_way_and_every_way_to_end_makes_room() {
    for ending in ["answered", "client gone", "upstream gone"] {
        let world = world("    limits: { concurrent: 2, per: listener }", RULES).await;
        let gate = Gate::closed();
        let mut first = world.held("/public", &[], &gate).await;
        let second = world.held("/public", &[], &gate).await;
        for _ in 0..3 {
            let answer = world.send("GET", "/public", &[]).await;
            assert_eq!(
                status_and_reason(&answer),
                (429, "too_many_at_once"),
                "{ending}"
            );
            assert_eq!(answer.header("retry-after"), Some("1"));
        }
        match ending {
            "answered" => {
                gate.open();
                assert_eq!(first.answer().await.status, 200);
            }
            "client gone" => {
                first.reset();
                second.reset();
            }
            _ => {
                world.upstream.down().await;
                assert_eq!(first.answer().await.status, 502);
                world.upstream.up();
            }
        }
        world.passes_again().await;
    }
}
