//! Upstreams that end an HTTP/2 connection under requests, frame by frame.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{outcome, send, sidecar};
use crate::support::net::{Server, Stream};

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a small frame");
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A GOAWAY with this last stream and NO_ERROR.
fn goaway(last: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[&last.to_be_bytes()[..], &[0; 4]].concat())
}

/// `200` without a body.
fn ok(stream: u32) -> Vec<u8> {
    frame(HEADERS, 0x5, stream, &[0x88])
}

/// An upstream that answers each request with the frames of `answer`, by the numbers of its
/// connection and stream; `None`: it closes the connection. Also returns the count of requests.
pub(super) fn upstream(
    answer: impl Fn(usize, u32) -> Option<Vec<u8>> + Send + Sync + 'static,
) -> (Server, Arc<AtomicUsize>) {
    let (answer, count) = (Arc::new(answer), Arc::new(AtomicUsize::new(0)));
    let counted = count.clone();
    let server = Server::start(None, move |mut stream: Stream, connection| {
        let (answer, counted) = (answer.clone(), counted.clone());
        async move {
            let mut preface = [0; 24];
            if stream.read_exact(&mut preface).await.is_err() {
                return;
            }
            let _ = stream.write_all(&frame(SETTINGS, 0, 0, &[])).await;
            let mut head = [0; 9];
            while stream.read_exact(&mut head).await.is_ok() {
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
                let mut payload = vec![0; length as usize];
                if stream.read_exact(&mut payload).await.is_err() {
                    return;
                }
                if head[3] != HEADERS {
                    continue;
                }
                counted.fetch_add(1, Ordering::Relaxed);
                let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
                match answer(connection, id) {
                    Some(frames) => drop(stream.write_all(&frames).await),
                    None => return,
                }
            }
        }
    });
    (server, count)
}

pub(super) fn url(server: &Server) -> String {
    format!("h2c://{}", server.address())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_beyond_the_last_stream_is_sent_again() {
    let (server, requests) = upstream(|connection, id| match connection {
        0 => Some(goaway(0)),
        _ => Some(ok(id)),
    });
    let sidecar = sidecar(&url(&server), "").await;
    let answer = send(&sidecar, "POST", b"once").await;
    assert_eq!(outcome(&answer), (200, ""));
    assert_eq!(requests.load(Ordering::Relaxed), 2);
    assert_eq!(server.connections(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_within_the_last_stream_ends_and_the_next_one_opens_a_connection() {
    let (server, requests) = upstream(|_, id| Some([goaway(id), ok(id)].concat()));
    let sidecar = sidecar(&url(&server), "").await;
    for number in 1..=3 {
        let answer = send(&sidecar, "POST", b"once").await;
        assert_eq!(outcome(&answer), (200, ""));
        assert_eq!(requests.load(Ordering::Relaxed), number);
        assert_eq!(server.connections(), number);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_that_was_perhaps_processed_is_not_sent_again() {
    for within in [false, true] {
        let (server, requests) = upstream(move |connection, id| match (connection, id) {
            (0, 1) => Some(ok(id)),
            // GOAWAY names it as processed; then the connection ends.
            (0, _) if within => Some(goaway(id)),
            (0, _) => None,
            _ => Some(ok(id)),
        });
        let sidecar = sidecar(&url(&server), "read: 1s").await;
        assert_eq!(send(&sidecar, "POST", b"first").await.status, 200);
        let answer = send(&sidecar, "POST", b"once").await;
        let (status, reason) = outcome(&answer);
        assert!(status >= 502 && reason.starts_with("upstream_"), "{reason}");
        assert_eq!(requests.load(Ordering::Relaxed), 2, "{within}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_get_on_a_connection_that_ends_is_sent_again() {
    let (server, requests) = upstream(|connection, id| match (connection, id) {
        (0, 1) => Some(ok(id)),
        (0, _) => None,
        _ => Some(ok(id)),
    });
    let sidecar = sidecar(&url(&server), "").await;
    for _ in 0..2 {
        assert_eq!(outcome(&send(&sidecar, "GET", b"").await), (200, ""));
    }
    assert_eq!(requests.load(Ordering::Relaxed), 3);
    assert_eq!(server.connections(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_on_an_idle_connection_that_has_ended_opens_another_one() {
    let (server, requests) = upstream(|_, id| Some(ok(id)));
    let sidecar = sidecar(&url(&server), "").await;
    assert_eq!(send(&sidecar, "POST", b"1").await.status, 200);
    server.down().await;
    server.up();
    assert_eq!(send(&sidecar, "POST", b"2").await.status, 200);
    assert_eq!(requests.load(Ordering::Relaxed), 2);
}
