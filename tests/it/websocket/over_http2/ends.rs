//! The ends of a WebSocket over HTTP/2: the stream of its client and the connection to the service
//! end as each other (RFC 8441 §5).

use super::*;
use crate::support::http2::websocket::CANCEL;
use crate::support::http2::{END_HEADERS, END_STREAM, headers};
use crate::support::logs;

#[tokio::test(flavor = "multi_thread")]
async fn each_direction_ends_by_itself() {
    let world = world("").await;
    for client_is_first in [true, false] {
        let (mut client, mut server) = world.open().await;
        if client_is_first {
            client.finish_sending().await;
            assert_eq!(rest(&mut server).await, b"");
            send(&mut server, frame(0x81, b"late")).await;
            client.expect(frame(0x81, b"late")).await;
            drop(server);
            assert_eq!(client.rest().await, (vec![], End::Stream));
        } else {
            send(&mut server, frame(0x88, &[3, 232])).await;
            tokio::io::AsyncWriteExt::shutdown(&mut server.stream)
                .await
                .expect("it is open");
            assert_eq!(client.rest().await, (frame(0x88, &[3, 232]), End::Stream));
            client.send(masked(0x88, &[3, 232])).await;
            client.finish_sending().await;
            assert_eq!(rest(&mut server).await, masked(0x88, &[3, 232]));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_of_either_side_is_one_of_the_other() {
    let mark = logs::mark();
    let world = world("").await;
    let (mut client, mut server) = world.open().await;
    client.reset(CANCEL).await;
    assert_eq!(rest(&mut server).await, b"");
    let line = logs::wait_for_line(mark, &["access", "/events", "client_gone"]).await;
    assert!(line.contains("status=200"), "{line}");

    let (client, mut server) = world.open().await;
    client.client.reset();
    assert_eq!(rest(&mut server).await, b"");

    let (mut client, server) = world.open().await;
    server.stream.reset();
    assert_eq!(client.rest().await, (vec![], End::Reset(CANCEL)));
    logs::wait_for_line(mark, &["access", "/events", "upstream_broken"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_resets_after_the_last_frame_has_not_broken_off() {
    let mark = logs::mark();
    let world = world("").await;
    let (mut client, server) = world.open().await;
    drop(server);
    assert_eq!(client.rest().await, (vec![], End::Stream));
    client.reset(CANCEL).await;
    logs::wait_for_line(mark, &["access", "/events", "decision=\"allow\""]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_do_not_follow_frames() {
    let world = world("").await;
    let (mut client, mut server) = world.open().await;
    client
        .client
        .send(headers(END_HEADERS | END_STREAM, 1, &[("x", "y")]))
        .await;
    assert_eq!(rest(&mut server).await, b"");
    assert!(matches!(client.rest().await.1, End::Reset(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_websocket_ends_only_after_its_configured_time() {
    let world = world("    wsIdle: 1s\n    upstreamTimeouts: { read: 200ms }").await;
    let (mut client, mut server) = world.open().await;
    let began = tokio::time::Instant::now();
    assert_eq!(client.rest().await, (vec![], End::Reset(CANCEL)));
    assert_eq!(rest(&mut server).await, b"");
    assert!(began.elapsed().as_millis() >= 900, "{:?}", began.elapsed());
}

/// Writes until the other side takes nothing for a moment.
async fn fill(server: &mut crate::support::http1::Wire<Stream>) -> usize {
    let (pause, mut taken) = (std::time::Duration::from_millis(500), 0);
    let part = [7; 16_384];
    let mut write = async || tokio::io::AsyncWriteExt::write(&mut server.stream, &part).await;
    while let Ok(written) = tokio::time::timeout(pause, write()).await {
        taken += written.expect("it is open");
    }
    taken
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_gives_no_window_stops_the_service() {
    let world = world("").await;
    let (mut client, mut server) = world.open().await;
    client.client.returns_window = false;
    // A frame of 1 GiB, so that every byte belongs to it.
    send(&mut server, [0x82, 127, 0, 0, 0, 0, 0x40, 0, 0, 0]).await;
    // The window of 64 KiB, one read, and the buffers of the sockets.
    let taken = fill(&mut server).await;
    assert!(taken < 16 << 20, "{taken}");
    let mut received = 0;
    while let Some(before) = client.client.until_pong(1).await {
        let data = before.iter().filter(|frame| frame.stream == 1);
        let new: usize = data.map(|frame| frame.payload.len()).sum();
        received += new;
        if new == 0 {
            break;
        }
    }
    assert!((1..=65_535).contains(&received), "{received}");
    // The other direction is not held up.
    client.send(masked(0x81, b"still")).await;
    expect(&mut server, masked(0x81, b"still")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_ends_closes_its_websockets() {
    let world = world("").await;
    let (mut client, mut server) = world.open().await;
    let ended = async {
        assert_eq!(client.rest().await, (frame(0x88, &[3, 233]), End::Stream));
        assert!(rest(&mut server).await.starts_with(&[0x88, 0x82]));
        drop(client);
    };
    tokio::join!(world.sidecar.stop(), ended);
}
