//! Many streams at once, and streams that end early on either side.

use super::World;
use crate::relay::ok;
use crate::support::http2::{
    DATA, END_HEADERS, END_STREAM, Outcome, RST_STREAM, RawClient, data, get, headers, pseudo,
    reset,
};
use crate::support::logs;

const INTERNAL_ERROR: u32 = 2;
const CANCEL: u32 = 8;
const EVENTS: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
    Transfer-Encoding: chunked\r\n\r\n6\r\nfirst\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_streams_are_answered_in_the_order_of_their_upstreams() {
    let world = World::new("").await;
    let mut client = world.client().await;
    let mut upstreams = Vec::new();
    for number in 0..50 {
        client
            .send(get(2 * number + 1, &format!("/public/{number}")))
            .await;
        let mut upstream = world.upstream().await;
        let head = upstream.head().await;
        assert!(
            head.starts_with(&format!("GET /public/{number} ")),
            "{head}"
        );
        upstreams.push(upstream);
    }
    for (number, upstream) in upstreams.iter_mut().enumerate().rev() {
        upstream.send(ok("", &format!("of {number}"))).await;
        let stream = u32::try_from(2 * number + 1).expect("few");
        assert_eq!(client.response(stream).await.text(), format!("of {number}"));
    }
}

/// A client that has received the first event of stream 1.
async fn events(world: &World, client: &mut RawClient) -> crate::relay::Peer {
    client.send(get(1, "/public/events")).await;
    let mut upstream = world.upstream().await;
    upstream.head().await;
    upstream.send(EVENTS).await;
    loop {
        let frame = client.frame().await.expect("an event");
        if frame.kind == DATA {
            assert_eq!(frame.payload, b"first\n");
            return upstream;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_resets_its_stream_ends_the_work_of_the_upstream() {
    let world = World::new("").await;
    let mut client = world.client().await;
    // In the middle of a response.
    let mut upstream = events(&world, &mut client).await;
    client.send(reset(1, CANCEL)).await;
    upstream.rest().await;
    world
        .line(&["path=\"/public/events\"", "reason=\"client_gone\""])
        .await;
    // Before it.
    client.send(get(3, "/public/wait")).await;
    let mut upstream = world.upstream().await;
    upstream.head().await;
    client.send(reset(3, CANCEL)).await;
    upstream.rest().await;
    // In the middle of an upload.
    client
        .send(headers(END_HEADERS, 5, &pseudo("POST", "/public/half")))
        .await;
    client.send(data(0, 5, b"half")).await;
    let mut upstream = world.upstream().await;
    upstream.through("half").await;
    client.send(reset(5, CANCEL)).await;
    upstream.rest().await;
    // The connection goes on.
    client.send(get(7, "/public/next")).await;
    let mut upstream = world.upstream().await;
    upstream.head().await;
    upstream.send(ok("", "next")).await;
    assert_eq!(client.response(7).await.text(), "next");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_breaks_off_resets_the_stream_behind_the_part_that_came() {
    let world = World::new("").await;
    let mut client = world.client().await;
    let mut upstream = events(&world, &mut client).await;
    upstream.send("7\r\nsecond\n\r\n").await;
    upstream.reset();
    let mut received = Vec::new();
    loop {
        let frame = client.frame().await.expect("a frame");
        match frame.kind {
            DATA => received.extend(frame.payload),
            RST_STREAM => {
                assert_eq!(frame.payload, INTERNAL_ERROR.to_be_bytes());
                break;
            }
            _ => {}
        }
    }
    // A reset may overtake the bytes before it between sidecar and upstream, so they may miss.
    assert!(
        received.is_empty() || received == b"second\n",
        "{received:?}"
    );
    // In order, every byte arrives.
    client.send(get(3, "/public/cut")).await;
    let mut upstream = world.upstream().await;
    upstream.head().await;
    upstream
        .send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart")
        .await;
    drop(upstream);
    let (mut part, mut code) = (Vec::new(), None);
    while code.is_none() {
        let frame = client.frame().await.expect("a frame");
        match frame.kind {
            DATA if frame.stream == 3 => part.extend(frame.payload),
            RST_STREAM => code = Some(frame.payload),
            _ => {}
        }
    }
    assert_eq!(
        (part, code),
        (
            b"part".to_vec(),
            Some(INTERNAL_ERROR.to_be_bytes().to_vec())
        )
    );
    // Before a response, it is answered.
    client.send(get(5, "/public/none")).await;
    drop(world.upstream().await);
    let response = client.response(5).await;
    assert_eq!(
        (response.status, response.header("x-m2m-reason")),
        (502, Some("upstream_broken"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_before_the_end_of_the_upload_reaches_the_client() {
    let world = World::new("").await;
    let mut client = world.client().await;
    client
        .send(headers(END_HEADERS, 1, &pseudo("POST", "/public/x")))
        .await;
    client.send(data(0, 1, b"begin")).await;
    let mut upstream = world.upstream().await;
    upstream.through("begin").await;
    let answer = "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 4\r\n\r\n";
    upstream.send(format!("{answer}full")).await;
    let response = client.response(1).await;
    assert_eq!((response.status, response.text()), (413, "full".to_owned()));
    // RFC 9113 §8.1: the client need not send the rest.
    assert_eq!(client.outcome(1).await, Outcome::Reset(0));
    client.send(data(END_STREAM, 1, b"rest")).await;
    client.send(get(3, "/devices/x")).await;
    assert_eq!(client.response(3).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_of_a_connection_that_breaks_has_a_line() {
    let world = World::new("").await;
    let mut client = world.client().await;
    let mut upstreams = Vec::new();
    for number in 0..3 {
        client
            .send(get(2 * number + 1, &format!("/public/gone/{number}")))
            .await;
        let mut upstream = world.upstream().await;
        upstream.head().await;
        upstreams.push(upstream);
    }
    client.reset();
    for (number, upstream) in upstreams.iter_mut().enumerate() {
        upstream.rest().await;
        let path = format!("path=\"/public/gone/{number}\"");
        world.line(&[&path, "reason=\"client_gone\""]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pauses_are_limited_on_both_sides() {
    let more = "    upstreamTimeouts: { read: 300ms }\n    downstreamTimeouts: { read: 300ms, \
        write: 300ms }";
    let world = World::new(more).await;
    let mut client = world.client().await;
    // An upstream without an answer.
    client.send(get(1, "/public/silent")).await;
    let mut upstream = world.upstream().await;
    upstream.head().await;
    let response = client.response(1).await;
    let expected = (504, Some("upstream_timeout"));
    assert_eq!((response.status, response.header("x-m2m-reason")), expected);
    // A client that does not send the rest.
    client
        .send(headers(END_HEADERS, 3, &pseudo("POST", "/public/x")))
        .await;
    let response = client.response(3).await;
    assert_eq!(
        (response.status, response.header("x-m2m-reason")),
        (408, Some("body_timeout"))
    );
    // A client that takes nothing: its window is empty.
    let mut narrow = RawClient::with_settings(world.address(), &[(4, 0)]).await;
    narrow.send(get(1, "/public/full")).await;
    let mut upstream = loop {
        let mut upstream = world.upstream().await;
        if upstream.head().await.contains("/public/full") {
            break upstream;
        }
    };
    upstream.send(ok("", "never")).await;
    assert_eq!(narrow.outcome(1).await, Outcome::Reset(INTERNAL_ERROR));
    world
        .line(&["path=\"/public/full\"", "reason=\"client_stalled\""])
        .await;
    // Its connection goes on.
    narrow
        .send(headers(5, 3, &pseudo("HEAD", "/devices/x")))
        .await;
    assert_eq!(narrow.response(3).await.status, 401);
    assert!(logs::lines_since(world.mark, &["internal", &world.name]).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_without_window_does_not_hold_up_the_others() {
    let world = World::new("").await;
    let mut client = RawClient::with_settings(world.address(), &[(4, 5)]).await;
    client.returns_window = false;
    client.send(get(1, "/public/large")).await;
    let mut upstream = world.upstream().await;
    upstream.head().await;
    upstream.send(ok("", "more than five bytes")).await;
    client.send(get(3, "/public/small")).await;
    let mut upstream = world.upstream().await;
    upstream.head().await;
    upstream.send(ok("", "small")).await;
    assert_eq!(client.response(3).await.text(), "small");
    client
        .send(crate::support::http2::window_update(1, 100))
        .await;
    let frame = loop {
        let frame = client.frame().await.expect("the rest");
        if frame.kind == DATA && frame.stream == 1 && frame.flags & END_STREAM != 0 {
            break frame;
        }
    };
    assert_eq!(frame.payload, b"than five bytes"[..].to_vec());
}

/// A compressed head of a few bytes can hold 32 KiB, and a client can keep its requests waiting.
#[tokio::test(flavor = "multi_thread")]
async fn heads_beyond_the_memory_of_a_connection_are_refused_and_others_are_served() {
    const REFUSED_STREAM: u32 = 7;
    let world = World::new("").await;
    let mut client = world.client().await;
    let large = "x".repeat(15_000);
    // 36 heads are the first ones beyond 512 KiB; their upstream answers none.
    for number in 0..40 {
        let mut fields = pseudo("GET", "/public/waits").to_vec();
        fields.push(("x-large", &large));
        client
            .send(headers(END_HEADERS | END_STREAM, 2 * number + 1, &fields))
            .await;
    }
    let outcome = client.outcome(79).await;
    assert!(
        matches!(outcome, Outcome::Reset(REFUSED_STREAM)),
        "{outcome:?}"
    );
    // The end of one makes room again.
    client.send(reset(1, CANCEL)).await;
    client.send(reset(3, CANCEL)).await;
    world.line(&["path=\"/public/waits\"", "client_gone"]).await;
    client.send(get(81, "/devices/1")).await;
    assert_eq!(client.response(81).await.status, 401);
}
