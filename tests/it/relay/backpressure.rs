//! The slower side sets the pace: bytes that it does not take stay where they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{LISTENERS, OWN, Peer, World};

/// Four times as much as the buffers of all sockets on the way hold.
const LARGE: usize = 128 << 20;
/// The sockets' buffers: at most 6 MiB to read and 4 MiB to write each, and room.
const MOST: usize = 32 << 20;

/// Writes this part again and again up to [`LARGE`], and counts the bytes that the socket took.
fn write(
    mut stream: TcpStream,
    part: Vec<u8>,
    taken: Arc<AtomicUsize>,
) -> tokio::task::JoinHandle<TcpStream> {
    tokio::spawn(async move {
        'all: while taken.load(Ordering::Relaxed) < LARGE {
            let mut rest = &part[..];
            while !rest.is_empty() {
                let Ok(written) = stream.write(rest).await else {
                    break 'all;
                };
                taken.fetch_add(written, Ordering::Relaxed);
                rest = &rest[written..];
            }
        }
        stream
    })
}

/// A part of a body, of which [`LARGE`] is a multiple.
fn body() -> Vec<u8> {
    vec![b'x'; 64 << 10]
}

/// Waits until no more bytes are taken. A pause that ends too early only makes the test weaker.
async fn stopped(taken: &AtomicUsize) -> usize {
    let (mut last, mut since) = (0, Instant::now());
    while since.elapsed() < Duration::from_millis(700) {
        let now = taken.load(Ordering::Relaxed);
        assert!(now < MOST, "{now} bytes were taken and not passed on");
        if now != last {
            (last, since) = (now, Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_stops_its_upstream() {
    let world = World::new().await;
    for listener in LISTENERS {
        let (mut client, mut upstream) = world.asked(listener, "GET", "").await;
        upstream
            .send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"
            ))
            .await;
        let taken = Arc::<AtomicUsize>::default();
        let writing = write(upstream.stream, body(), taken.clone());
        client.head().await;
        stopped(&taken).await;
        // It goes on, and nothing is lost.
        let mut read = client.received.len();
        while read < LARGE {
            client.received.clear();
            read += client.fill().await.expect("the answer goes on");
        }
        assert_eq!(read, LARGE, "{listener}");
        writing.await.expect("no panic");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_does_not_read_stops_its_client() {
    let world = World::new().await;
    for listener in LISTENERS {
        let mut client = world.client(listener).await;
        client
            .send(format!(
                "PUT /x HTTP/1.1\r\n{OWN}Content-Length: {LARGE}\r\n\r\n"
            ))
            .await;
        let mut upstream = world.upstream().await;
        let taken = Arc::<AtomicUsize>::default();
        let writing = write(client.stream, body(), taken.clone());
        stopped(&taken).await;
        upstream.head().await;
        let mut read = upstream.received.len();
        while read < LARGE {
            upstream.received.clear();
            read += upstream.fill().await.expect("the upload goes on");
        }
        assert_eq!(read, LARGE, "{listener}");
        upstream
            .send(super::ok("Connection: close\r\n", "all"))
            .await;
        let mut client = Peer::over(writing.await.expect("no panic"));
        client.through("all").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_no_interim_answers_stops_its_upstream() {
    let world = World::new().await;
    // Fewer of them than a request may have.
    let link = "x".repeat(1_000_000);
    let hint = format!("HTTP/1.1 103 Early Hints\r\nLink: {link}\r\n\r\n");
    for listener in LISTENERS {
        let (client, upstream) = world.asked(listener, "GET", "").await;
        let taken = Arc::<AtomicUsize>::default();
        let writing = write(upstream.stream, hint.clone().into_bytes(), taken.clone());
        stopped(&taken).await;
        client.reset();
        writing.await.expect("no panic");
    }
}
