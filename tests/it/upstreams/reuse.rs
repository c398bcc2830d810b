//! Reused connections to the upstream, and connections that swallow a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{outcome, send, sidecar};
use crate::support::behave::Gate;
use crate::support::upstream::{Answer, Upstream};

#[tokio::test(flavor = "multi_thread")]
async fn the_time_that_the_upstream_announces_is_heeded() {
    for (announced, connections) in [
        ("timeout=60", 1),
        ("timeout=30, max=100", 1),
        ("timeout=0", 5),
    ] {
        let upstream = Upstream::start();
        let sidecar = sidecar(&upstream.url(), "").await;
        upstream.answer(move |_| Answer::with_headers(&[("Keep-Alive", announced)], "{}"));
        for _ in 0..5 {
            assert_eq!(send(&sidecar, "POST", b"x").await.status, 200);
        }
        assert_eq!(upstream.connections(), connections, "{announced}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_kept_as_long_as_its_own_response_announces() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream.url(), "").await;
    upstream.answer(|_| Answer::with_headers(&[("Keep-Alive", "timeout=20")], "{}"));
    for _ in 0..5 {
        assert_eq!(send(&sidecar, "POST", b"x").await.status, 200);
    }
    assert_eq!(upstream.connections(), 1, "it is kept for 19 s");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swallowed_request_is_sent_again_on_a_new_connection() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream.url(), "").await;
    let gate = Gate::closed();
    for _ in 0..6 {
        upstream.next(Answer::Hold(gate.clone(), Box::new(Answer::Echo)));
    }
    let many = futures_util::future::join_all((0..6).map(|_| send(&sidecar, "GET", b"")));
    let opened = async {
        upstream.wait_for(6).await;
        gate.open();
    };
    let (answers, ()) = tokio::join!(many, opened);
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(upstream.connections(), 6);
    // Now each of the six swallows the next request.
    let dead = Arc::new(AtomicBool::new(true));
    let is_dead = dead.clone();
    upstream.answer(move |request| {
        match request.connection < 6 && is_dead.load(Ordering::Relaxed) {
            true => Answer::Close,
            false => Answer::Echo,
        }
    });
    let before = upstream.received().len();
    assert_eq!(outcome(&send(&sidecar, "GET", b"").await), (200, ""));
    let seen = upstream.received().split_off(before);
    assert_eq!(seen.len(), 2, "once more, and not again and again");
    assert!(seen[0].connection < 6 && seen[1].connection == 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_answer_had_begun_is_not_sent_twice() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream.url(), "").await;
    for begun in [
        "HTTP/1.1 200 OK\r\nContent-Le",
        "HTTP/1.1 100 Continue\r\n\r\n",
    ] {
        assert_eq!(send(&sidecar, "GET", b"").await.status, 200);
        let before = upstream.received().len();
        upstream.next(Answer::Raw(begun.as_bytes().to_vec()));
        assert_eq!(
            outcome(&send(&sidecar, "GET", b"").await),
            (502, "upstream_broken"),
            "{begun}"
        );
        assert_eq!(upstream.received().len(), before + 1, "{begun}");
    }
}
