//! The end of a WebSocket between its frames.

use super::*;
use crate::support::http1::Wire as AnyWire;
use crate::support::http2::websocket::{End, Socket};

/// Waits for the close frame that the server gets, which shows that the end has begun.
async fn server_is_told(server: &mut AnyWire<Stream>) {
    let header = server.take(6).await.expect("a frame");
    assert_eq!(header[0], 0x88, "{header:?}");
    let length = usize::from(header[1] & 0x7f);
    server.take(length).await.expect("a frame");
}

/// Ends a stream whose server is in the middle of this frame.
async fn ends_after(mut open: Open, rest_of_frame: &[u8]) {
    server_is_told(&mut open.server).await;
    // The rest of the frame passes; the next frame does not.
    let more = [rest_of_frame, &frame(0x81, b"too late")].concat();
    send(&mut open.server, more).await;
    expect(&mut open.client, rest_of_frame).await;
    let last = rest(&mut open.client).await;
    let expired = Some((4401, "expired".to_owned()));
    assert_eq!(closed(&last), expired, "{last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_close_frame_waits_for_the_end_of_the_servers_frame() {
    let world = world("revocation: none").await;
    let mut open = Vec::new();
    // A message in one frame, a fragment of a message, and frames with longer headers.
    for (first, length) in [(0x81, 4), (0x01, 100), (0x82, 40_000), (0x82, 70_000)] {
        let whole = frame(first, &vec![7; length]);
        for cut in [1, 2, 3, whole.len() / 2, whole.len() - 1] {
            let mut stream = world.websocket("api", &world.token()).await;
            send(&mut stream.server, &whole[..cut]).await;
            expect(&mut stream.client, &whole[..cut]).await;
            open.push((stream, whole[cut..].to_vec()));
        }
    }
    world.clock.forward(HOUR);
    let ends = open
        .into_iter()
        .map(async |(stream, left)| ends_after(stream, &left).await);
    futures_util::future::join_all(ends).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_does_not_end_is_cut_off() {
    let world = world("revocation: none").await;
    let mut open = world.websocket("api", &world.token()).await;
    let half = &frame(0x81, &[7; 100])[..50];
    send(&mut open.server, half).await;
    expect(&mut open.client, half).await;
    world.clock.forward(HOUR);
    let began = Instant::now();
    assert_eq!(rest(&mut open.client).await, b"");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_within_a_frame_gets_the_close_frame_and_the_server_no_frame_of_ours() {
    let world = world("revocation: none").await;
    let mut open = world.websocket("api", &world.token()).await;
    let whole = masked(0x81, &[7; 100]);
    send(&mut open.client, &whole[..50]).await;
    expect(&mut open.server, &whole[..50]).await;
    world.clock.forward(HOUR);
    assert_eq!(rest(&mut open.server).await, b"");
    // Nothing that the client sends afterwards takes the close frame from it.
    send(&mut open.client, &whole[50..]).await;
    let last = rest(&mut open.client).await;
    assert_eq!(
        closed(&last),
        Some((4401, "expired".to_owned())),
        "{last:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http2_the_close_frame_ends_the_stream() {
    let world = world("revocation: none").await;
    let bearer = format!("Bearer {}", world.token());
    let address = world.sidecar.address("api");
    let fields = [("authorization", bearer.as_str())];
    let mut client = Socket::ask(address, "/events", &fields).await;
    let (_, mut server) = world.upstream.accept("").await;
    assert_eq!(client.answered().await.status, 200);
    // The service is within a frame.
    let whole = frame(0x82, &[7; 100]);
    send(&mut server, &whole[..50]).await;
    client.expect(&whole[..50]).await;
    world.clock.forward(HOUR);
    send(&mut server, &whole[50..]).await;
    let (last, end) = client.rest().await;
    let close = last
        .strip_prefix(&whole[50..])
        .expect("the rest of the frame");
    assert_eq!(closed(close), Some((4401, "expired".to_owned())));
    assert_eq!(end, End::Stream);
    assert!(rest(&mut server).await.starts_with(&[0x88]));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_close_frame_of_the_server_no_other_follows() {
    let world = world("revocation: none").await;
    let mut open = world.websocket("api", &world.token()).await;
    let close = frame(0x88, &[3, 232]);
    send(&mut open.server, &close).await;
    expect(&mut open.client, &close).await;
    world.clock.forward(HOUR);
    assert_eq!(rest(&mut open.client).await, b"");
}
