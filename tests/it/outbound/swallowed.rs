//! Requests that an idle connection to the upstream swallows.

use super::world;
use crate::support::client::request;
use crate::support::upstream::Answer;

#[tokio::test(flavor = "multi_thread")]
async fn a_swallowed_request_is_repeated_if_idempotent_and_without_body() {
    // One worker, so that its one idle connection is the one that is used.
    let world = world("", "threads: 1\n").await;
    let address = world.sidecar.address("hub");
    for broken in [|| Answer::Close, || Answer::Reset] {
        for (method, body, status, times) in [
            ("GET", &b""[..], 200, 2),
            ("HEAD", b"", 200, 2),
            ("OPTIONS", b"", 200, 2),
            ("DELETE", b"", 200, 2),
            ("PUT", b"", 200, 2),
            ("PUT", b"once", 502, 1),
            ("POST", b"", 502, 1),
            ("PATCH", b"once", 502, 1),
        ] {
            assert_eq!(request("GET", address, "/", &[], b"").await.status, 200);
            let before = world.upstream.received().len();
            world.upstream.next(broken());
            let answer = request(method, address, "/", &[], body).await;
            assert_eq!(answer.status, status, "{method}");
            let seen = world.upstream.received().split_off(before);
            assert_eq!(seen.len(), times, "{method}");
            assert!(
                seen.iter()
                    .all(|seen| seen.method == method && seen.bearer().is_some()),
                "{method}"
            );
        }
    }
    // A connection that is new has swallowed nothing.
    world.upstream.down().await;
    world.upstream.up();
    let before = world.upstream.received().len();
    world.upstream.next(Answer::Close);
    assert_eq!(request("GET", address, "/", &[], b"").await.status, 502);
    assert_eq!(world.upstream.received().len(), before + 1);
}
