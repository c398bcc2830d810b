//! The upstream answers 401: the sidecar gets one new token and repeats the request once.

use std::time::Duration;

use crate::support::authority::Endpoint;
use crate::support::behave::{Behave, Gate};
use crate::support::client::{Connection, RawAnswer, request, request_bytes};
use crate::support::clock::MovableClock;
use crate::support::upstream::{Answer, Received};
use crate::support::{logs, until};

use super::{World, world, world_at};

/// A world whose first token is no longer young, and is no longer accepted by the upstream.
async fn revoked(listener: &str) -> (World, String) {
    let clock = MovableClock::now();
    let world = world_at(clock.clone(), "", listener).await;
    assert_eq!(world.get("/").await.status, 200);
    let old = world.authority.issued()[0].clone();
    let refused = old.clone();
    world.upstream.answer(move |seen| match seen.bearer() {
        Some(bearer) if bearer == refused => Answer::status(401, "revoked"),
        _ => Answer::Echo,
    });
    // The sidecar does not replace a younger token after a 401.
    clock.forward(Duration::from_secs(6));
    (world, old)
}

/// The requests at the upstream after the first one, which only fetched the token.
fn seen(world: &World) -> Vec<Received> {
    world.upstream.received().split_off(1)
}

async fn post(world: &World, body: &[u8]) -> RawAnswer {
    request(
        "POST",
        world.sidecar.address("hub"),
        "/x?y=1",
        &[("X-Own", "kept")],
        body,
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_is_sent_again_with_a_new_token_and_the_same_body() {
    let (world, old) = revoked("").await;
    let body: Vec<u8> = (0..64 * 1024_u32).map(|i| (i % 251) as u8).collect();
    let answer = post(&world, &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = seen(&world);
    assert_eq!(seen.len(), 2);
    for request in &seen {
        assert_eq!(
            (request.method.as_str(), request.target.as_str()),
            ("POST", "/x?y=1")
        );
        assert_eq!(request.header("x-own"), Some("kept"));
        assert!(request.body == body);
    }
    assert_eq!(seen[0].bearer(), Some(old.as_str()));
    assert_eq!(seen[1].bearer(), Some(world.authority.issued()[1].as_str()));
    assert_eq!(world.authority.fetches(Endpoint::Token), 2);
    // The new token is used from now on.
    assert_eq!(world.get("/").await.status, 200);
    assert_eq!(world.authority.fetches(Endpoint::Token), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_refused_requests_cause_one_fetch_and_all_are_answered() {
    let (world, _) = revoked("").await;
    let answers = futures_util::future::join_all((0..100).map(|_| world.get("/"))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(world.authority.fetches(Endpoint::Token), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_or_unfinished_body_is_sent_once_and_the_token_is_replaced() {
    let (world, _) = revoked("").await;
    let answer = post(&world, &vec![b'x'; 64 * 1024 + 1]).await;
    assert_eq!((answer.status, answer.text().as_str()), (401, "revoked"));
    assert_eq!(seen(&world).len(), 1);
    // The new token is fetched in the background, for the next request.
    world.authority.wait_for_fetches(Endpoint::Token, 2).await;
    until("the new token serves", async || {
        world.get("/").await.status == 200
    })
    .await;

    // The upstream answers before the body is complete, so the body cannot be sent twice.
    let (world, _) = revoked("").await;
    world.upstream.next(Answer::Early(401));
    let address = world.sidecar.address("hub");
    let mut connection = Connection::open(address).await;
    let head = request_bytes("POST", address, "/", &[("Content-Length", "10")], b"");
    connection.send(head).await;
    connection.send(b"half.").await;
    assert_eq!(connection.answer().await.status, 401);
    assert_eq!(seen(&world).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_behind_expect_is_sent_with_the_new_token() {
    let (world, old) = revoked("").await;
    // The upstream refuses the head alone, before the body is sent.
    world.upstream.next(Answer::Early(401));
    let address = world.sidecar.address("hub");
    let mut connection = Connection::open(address).await;
    // The body is longer than the buffer for a second try.
    let body: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
    let length = body.len().to_string();
    let headers = [
        ("Expect", "100-continue"),
        ("Content-Length", length.as_str()),
    ];
    connection
        .send(request_bytes("POST", address, "/upload", &headers, b""))
        .await;
    assert!(connection.wait_for_bytes(b"100 Continue\r\n\r\n").await);
    connection.send(&body).await;
    let answer = connection.answer().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = seen(&world);
    assert_eq!(seen.len(), 2);
    assert_eq!(
        (seen[0].bearer(), seen[0].body.len()),
        (Some(old.as_str()), 0)
    );
    assert_eq!(seen[1].bearer(), Some(world.authority.issued()[1].as_str()));
    assert!(seen[1].body == body, "whole, and once");
}

/// A refusal with this challenge.
fn challenged(status: u16, challenge: &str) -> Answer {
    Answer::Reply(
        status,
        vec![("WWW-Authenticate".to_owned(), challenge.to_owned())],
        b"no".to_vec(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_that_no_token_meets_passes_and_causes_no_fetch() {
    let (world, _) = revoked("").await;
    for challenge in [
        r#"Bearer realm="x", error="insufficient_scope", scope="a b""#,
        r#"Bearer error="invalid_request""#,
        r#"Basic realm="b", Bearer error=insufficient_scope"#,
    ] {
        world.upstream.next(challenged(401, challenge));
        let answer = world.get("/").await;
        assert_eq!(
            (answer.status, answer.header("www-authenticate")),
            (401, Some(challenge))
        );
    }
    assert_eq!(
        (seen(&world).len(), world.authority.fetches(Endpoint::Token)),
        (3, 1)
    );
    world
        .upstream
        .next(challenged(401, r#"Bearer error="invalid_token""#));
    world.upstream.answer(|_| Answer::Echo);
    assert_eq!(world.get("/").await.status, 200);
    assert_eq!(world.authority.fetches(Endpoint::Token), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_on_names_other_answers_that_refuse_a_token() {
    let (world, _) = revoked("    retryOn: [403 invalid_token, 419]\n").await;
    world.upstream.answer(|_| Answer::Echo);
    for other in [
        Answer::status(401, "no"),
        Answer::status(403, "no"),
        challenged(403, "Bearer"),
    ] {
        world.upstream.next(other);
        assert!(matches!(world.get("/").await.status, 401 | 403));
    }
    assert_eq!(world.authority.fetches(Endpoint::Token), 1);
    world
        .upstream
        .next(challenged(403, r#"Bearer error="invalid_token""#));
    assert_eq!(world.get("/").await.status, 200);
    assert_eq!(world.authority.fetches(Endpoint::Token), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_refused_while_a_renewal_is_under_way_waits_for_it() {
    // Tokens are refreshed at half their lifetime, so none is old enough to be replaced after a
    // 401.
    let world = world("    refreshAt: 50%\n", "").await;
    world
        .authority
        .answer_tokens(|answer| answer.lifetime = Duration::from_secs(4));
    assert_eq!(world.get("/").await.status, 200);
    let refused = world.authority.issued()[0].clone();
    world.upstream.answer(move |seen| match seen.bearer() {
        Some(bearer) if bearer == refused => Answer::status(401, "revoked"),
        _ => Answer::Echo,
    });
    let gate = Gate::closed();
    world
        .authority
        .behave(Endpoint::Token, Behave::Hold(gate.clone()));
    world.authority.wait_for_fetches(Endpoint::Token, 2).await;
    let before = world.upstream.received().len();
    let (answer, ()) = tokio::join!(world.get("/"), async {
        world.upstream.wait_for(before + 1).await;
        gate.open();
    });
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(world.authority.fetches(Endpoint::Token), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn if_the_new_token_is_refused_too_the_answer_passes_and_the_token_stays() {
    let (world, _) = revoked("").await;
    world
        .upstream
        .answer(|_| Answer::status(401, "missing scope"));
    for round in 0..5 {
        let answer = world.get("/").await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (401, "missing scope"),
            "round {round}"
        );
    }
    // The first request was sent twice. Afterwards the token is too young for another fetch, and
    // half a minute has not passed.
    assert_eq!(seen(&world).len(), 6);
    assert_eq!(world.authority.fetches(Endpoint::Token), 2);
    world.upstream.answer(|_| Answer::Echo);
    assert_eq!(world.get("/").await.status, 200);
    let last = world.upstream.received().pop().unwrap();
    assert_eq!(last.bearer(), Some(world.authority.issued()[1].as_str()));
    assert_eq!(world.authority.fetches(Endpoint::Token), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_young_token_is_not_suspected() {
    let world = world("", "").await;
    world
        .upstream
        .answer(|_| Answer::status(401, "not about the token"));
    for _ in 0..3 {
        assert_eq!(world.get("/").await.status, 401);
    }
    assert_eq!(world.upstream.received().len(), 3);
    assert_eq!(world.authority.fetches(Endpoint::Token), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_401_is_a_refusal_of_the_token() {
    let (world, _) = revoked("").await;
    for status in [400, 403, 404, 407, 500, 503] {
        world.upstream.next(Answer::status(status, "as it is"));
        let answer = world.get("/").await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (status, "as it is")
        );
    }
    assert_eq!(seen(&world).len(), 6);
    assert_eq!(world.authority.fetches(Endpoint::Token), 1);
    // gRPC reports the refusal in `grpc-status`.
    let grpc = |status: &str| {
        Answer::with_headers(
            &[
                ("Content-Type", "application/grpc"),
                ("grpc-status", status),
            ],
            "",
        )
    };
    world.upstream.answer(|_| Answer::Echo);
    world.upstream.next(grpc("7"));
    assert_eq!(world.get("/").await.header("grpc-status"), Some("7"));
    assert_eq!(world.authority.fetches(Endpoint::Token), 1);
    world.upstream.next(grpc("16"));
    let answer = world.get("/").await;
    assert_eq!((answer.status, answer.header("grpc-status")), (200, None));
    assert_eq!(world.authority.fetches(Endpoint::Token), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_broke_off_is_never_sent_again() {
    let world = world("", "").await;
    for method in ["GET", "POST", "PUT", "DELETE"] {
        for broken in [
            || Answer::Close,
            || Answer::Reset,
            || Answer::Partial(100, b"half".to_vec()),
        ] {
            // The first request leaves an idle connection, which the next one may reuse.
            assert_eq!(world.get("/").await.status, 200);
            let before = world.upstream.received().len();
            world.upstream.next(broken());
            let address = world.sidecar.address("hub");
            let mut connection = Connection::open(address).await;
            connection
                .send(request_bytes(method, address, "/", &[], b"once"))
                .await;
            if let Ok(answer) = connection.try_answer(method).await {
                assert_eq!(
                    (answer.status, answer.header("x-m2m-reason")),
                    (502, Some("upstream_broken")),
                    "{method}"
                );
            }
            assert_eq!(world.upstream.received().len(), before + 1, "{method}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_authority_turns_no_refusal_into_an_outage() {
    let (world, old) = revoked("").await;
    world.authority.behave(Endpoint::Token, Behave::Status(500));
    let answer = world.get("/").await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (401, "revoked"),
        "what the upstream said"
    );
    // Other requests get the old token, because a 401 often has another cause.
    world.upstream.answer(|_| Answer::Echo);
    for _ in 0..5 {
        assert_eq!(world.get("/").await.status, 200);
        assert_eq!(
            world.upstream.received().last().unwrap().bearer(),
            Some(old.as_str())
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_can_be_switched_off_and_never_uses_a_programs_own_token() {
    let off = async {
        let (world, _) = revoked("    retryUnauthorized: false\n").await;
        assert_eq!(world.get("/").await.status, 401);
        assert_eq!(
            (seen(&world).len(), world.authority.fetches(Endpoint::Token)),
            (1, 1)
        );
    };
    let own = async {
        let (world, old) = revoked("    overwrite: false\n").await;
        let bearer = format!("Bearer {old}");
        let headers = [("Authorization", bearer.as_str())];
        let answer = request("GET", world.sidecar.address("hub"), "/", &headers, b"").await;
        assert_eq!(answer.status, 401);
        assert_eq!(
            (seen(&world).len(), world.authority.fetches(Endpoint::Token)),
            (1, 1)
        );
    };
    tokio::join!(off, own);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_client_has_gone_is_not_sent_later() {
    // Each request has its own target, because the tests share the log.
    let is_gone = async |mark: usize, target: &str| {
        logs::wait_for_line(mark, &["access", target, "client_gone"]).await;
    };
    // The client disconnects while the first token is fetched, with a received body or without.
    let first = async |target: &str, body: &[u8]| {
        let world = world("", "").await;
        let (gate, mark) = (Gate::closed(), logs::mark());
        world
            .authority
            .behave(Endpoint::Token, Behave::Hold(gate.clone()));
        let address = world.sidecar.address("hub");
        let mut connection = Connection::open(address).await;
        connection
            .send(request_bytes("DELETE", address, target, &[], body))
            .await;
        world.authority.wait_for_fetches(Endpoint::Token, 1).await;
        connection.reset();
        is_gone(mark, target).await;
        gate.open();
        assert_eq!(world.get("/").await.status, 200);
        let received = world.upstream.received();
        assert!(received.iter().all(|seen| seen.target != target));
    };
    // The client disconnects while a refused token is replaced.
    let second = async {
        let (world, _) = revoked("").await;
        let (gate, mark) = (Gate::closed(), logs::mark());
        world
            .authority
            .behave(Endpoint::Token, Behave::Hold(gate.clone()));
        let address = world.sidecar.address("hub");
        let mut connection = Connection::open(address).await;
        connection
            .send(request_bytes("DELETE", address, "/gone/refused", &[], b""))
            .await;
        world.authority.wait_for_fetches(Endpoint::Token, 2).await;
        connection.reset();
        is_gone(mark, "/gone/refused").await;
        gate.open();
        until("the new token serves", async || {
            world.get("/").await.status == 200
        })
        .await;
        let done = world
            .upstream
            .received()
            .iter()
            .filter(|seen| seen.method == "DELETE")
            .count();
        assert_eq!(done, 1, "the refused one");
    };
    tokio::join!(
        first("/gone/empty", b""),
        first("/gone/body", b"body"),
        second
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interim_answer_of_an_upstream_that_then_breaks_off_is_no_answer() {
    let world = world("", "").await;
    world.upstream.next(Answer::Raw(
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".to_vec(),
    ));
    let answer = world.get("/").await;
    assert_eq!(
        (answer.status, answer.header("x-m2m-reason")),
        (502, Some("upstream_broken"))
    );
}
