//! The preface, sizes and ids of frames, states of streams, windows, and settings.

use super::{
    Arena, Around, End, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, MALFORMED, PASSES, PROTOCOL_ERROR,
    REFUSED_STREAM, STREAM_CLOSED, begin,
};
use crate::hostile::World;
use crate::support::http2::{
    ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Outcome, PING, PREFACE, PRIORITY,
    PUSH_PROMISE, RST_STREAM, RawClient, SETTINGS, WHOLE, WINDOW_UPDATE, data, frame, get, headers,
    ping, pseudo, reset, settings, window_update,
};

const BROKEN: End = End::Goaway(PROTOCOL_ERROR);
const WRONG_SIZE: End = End::Goaway(FRAME_SIZE_ERROR);

type Case = (&'static str, fn(&Around<'_>) -> Vec<u8>, End);

/// After an ordinary beginning.
const FRAMES: &[Case] = &[
    (
        "an unknown frame before a request",
        |it| [frame(0xbe, 255, 0, b"forged"), ask(it)].concat(),
        PASSES,
    ),
    (
        "an unknown frame of an idle stream",
        |it| [frame(0xbe, 0, 7, b"x"), ask(it)].concat(),
        PASSES,
    ),
    (
        "unknown flags",
        |it| headers(WHOLE | 0xd2 & !0x20, 1, &pseudo("GET", &it.path)),
        PASSES,
    ),
    (
        "a reserved bit",
        |it| headers(WHOLE, 1 | 1 << 31, &pseudo("GET", &it.path)),
        PASSES,
    ),
    (
        "a frame beyond 16 KiB",
        |_| frame(DATA, 0, 1, &[0; 16_385]),
        WRONG_SIZE,
    ),
    (
        "a head beyond 16 KiB in one frame",
        |_| frame(HEADERS, WHOLE, 1, &[0; 16_385]),
        WRONG_SIZE,
    ),
    (
        "a request on stream 0",
        |it| headers(WHOLE, 0, &pseudo("GET", &it.path)),
        BROKEN,
    ),
    (
        "a request on stream 2",
        |it| headers(WHOLE, 2, &pseudo("GET", &it.path)),
        BROKEN,
    ),
    ("DATA on stream 0", |_| data(END_STREAM, 0, b"x"), BROKEN),
    (
        "DATA on an idle stream",
        |_| data(END_STREAM, 1, b"x"),
        BROKEN,
    ),
    (
        "DATA on an idle stream of the server",
        |_| data(END_STREAM, 2, b"x"),
        BROKEN,
    ),
    ("RST_STREAM on stream 0", |_| reset(0, 8), BROKEN),
    ("RST_STREAM on an idle stream", |_| reset(1, 8), BROKEN),
    (
        "RST_STREAM of 3 bytes",
        |_| frame(RST_STREAM, 0, 1, b"abc"),
        BROKEN,
    ),
    (
        "RST_STREAM of 5 bytes",
        |_| frame(RST_STREAM, 0, 1, b"abcde"),
        BROKEN,
    ),
    (
        "PRIORITY of 4 bytes",
        |it| [frame(PRIORITY, 0, 1, b"abcd"), ask(it)].concat(),
        BROKEN,
    ),
    (
        "PRIORITY on stream 0",
        |_| frame(PRIORITY, 0, 0, b"abcde"),
        BROKEN,
    ),
    (
        "PRIORITY of an idle stream",
        |it| [frame(PRIORITY, 0, 9, &[0, 0, 0, 0, 1]), ask(it)].concat(),
        PASSES,
    ),
    (
        "SETTINGS on stream 1",
        |_| frame(SETTINGS, 0, 1, &[]),
        BROKEN,
    ),
    (
        "SETTINGS of 5 bytes",
        |_| frame(SETTINGS, 0, 0, b"abcde"),
        BROKEN,
    ),
    (
        "an acknowledgement with settings",
        |_| frame(SETTINGS, ACK, 0, b"abcdef"),
        BROKEN,
    ),
    (
        "unknown settings",
        |it| [settings(&[(0xbeef, 9)]), ask(it)].concat(),
        PASSES,
    ),
    ("ENABLE_PUSH 2", |_| settings(&[(2, 2)]), BROKEN),
    ("a window of 2^31", |_| settings(&[(4, 1 << 31)]), BROKEN),
    (
        "frames of 16,383 bytes",
        |_| settings(&[(5, 16_383)]),
        BROKEN,
    ),
    (
        "frames of 2^24 bytes",
        |_| settings(&[(5, 1 << 24)]),
        BROKEN,
    ),
    (
        "a client that enables CONNECT",
        |it| [settings(&[(8, 1)]), ask(it)].concat(),
        PASSES,
    ),
    ("PING on stream 1", |_| frame(PING, 0, 1, &[0; 8]), BROKEN),
    ("PING of 7 bytes", |_| frame(PING, 0, 0, &[0; 7]), BROKEN),
    (
        "a reply without a question",
        |it| [frame(PING, ACK, 0, &[7; 8]), ask(it)].concat(),
        PASSES,
    ),
    (
        "GOAWAY on stream 1",
        |_| frame(GOAWAY, 0, 1, &[0; 8]),
        BROKEN,
    ),
    (
        "GOAWAY of 7 bytes",
        |_| frame(GOAWAY, 0, 0, &[0; 7]),
        BROKEN,
    ),
    (
        "GOAWAY behind a request",
        |it| [ask(it), frame(GOAWAY, 0, 0, &[0; 8])].concat(),
        PASSES,
    ),
    (
        "PUSH_PROMISE",
        |_| frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]),
        BROKEN,
    ),
    (
        "PUSH_PROMISE on an open stream",
        |it| {
            let head = headers(END_HEADERS, 1, &pseudo("POST", &it.path));
            [
                head,
                frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x82]),
            ]
            .concat()
        },
        BROKEN,
    ),
    (
        "WINDOW_UPDATE of 3 bytes",
        |_| frame(WINDOW_UPDATE, 0, 0, b"abc"),
        BROKEN,
    ),
    (
        "WINDOW_UPDATE 0 of the connection",
        |_| window_update(0, 0),
        BROKEN,
    ),
    (
        "WINDOW_UPDATE on an idle stream",
        |_| window_update(1, 9),
        BROKEN,
    ),
    (
        "a window beyond 2^31",
        |_| window_update(0, (1 << 31) - 1),
        End::Goaway(FLOW_CONTROL_ERROR),
    ),
    (
        "WINDOW_UPDATE 0 of a stream",
        |it| {
            [
                headers(END_HEADERS, 1, &pseudo("POST", &it.path)),
                window_update(1, 0),
            ]
            .concat()
        },
        BROKEN,
    ),
    (
        "a stream's window beyond 2^31",
        |it| {
            let head = headers(END_HEADERS, 1, &pseudo("POST", &it.path));
            [head, window_update(1, (1 << 31) - 1)].concat()
        },
        End::Reset(FLOW_CONTROL_ERROR),
    ),
    (
        "settings that lift a window beyond 2^31",
        |it| {
            let head = headers(END_HEADERS, 1, &pseudo("POST", &it.path));
            [
                head,
                window_update(1, 1 << 30),
                settings(&[(4, (1 << 31) - 1)]),
            ]
            .concat()
        },
        End::Goaway(FLOW_CONTROL_ERROR),
    ),
    (
        "a second head that is no trailer",
        |it| {
            let head = headers(END_HEADERS, 1, &pseudo("POST", &it.path));
            [
                head,
                headers(END_HEADERS, 1, &pseudo("GET", "/admin/smuggled")),
            ]
            .concat()
        },
        MALFORMED,
    ),
    (
        "an id that goes back",
        |it| {
            [
                frame(HEADERS, END_HEADERS, 5, &[]),
                headers(WHOLE, 3, &pseudo("GET", &it.path)),
            ]
            .concat()
        },
        BROKEN,
    ),
    (
        "a request that the client takes back",
        |it| {
            [
                headers(END_HEADERS, 1, &pseudo("POST", &it.path)),
                reset(1, 8),
            ]
            .concat()
        },
        End::Silence,
    ),
    (
        "an HTTP/1.1 request",
        |_| b"GET /admin/smuggled HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        WRONG_SIZE,
    ),
];

/// From the first byte on.
const BEGINNINGS: &[Case] = &[
    (
        "the preface and a request without settings",
        |it| [PREFACE, &ask(it)].concat(),
        PASSES,
    ),
    (
        "a preface with another end",
        |_| b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_vec(),
        End::Closed,
    ),
    (
        "the preface twice",
        |_| [PREFACE, PREFACE].concat(),
        WRONG_SIZE,
    ),
];

fn ask(around: &Around<'_>) -> Vec<u8> {
    get(1, &around.path)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_frame_has_its_size_its_stream_and_its_state() {
    let mut arena = Arena::new().await;
    for (name, make, expected) in FRAMES {
        arena.run(name, make, *expected).await;
    }
    arena.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_begins_with_the_preface() {
    let mut arena = Arena::new().await;
    for (name, make, expected) in BEGINNINGS {
        arena.run_from(name, make, *expected).await;
    }
    let world = arena.finish().await;
    // Cut anywhere: the connection ends, and no request is read.
    for length in 1..PREFACE.len() {
        let mut client = RawClient::silent(world.address()).await;
        client.send(&PREFACE[..length]).await;
        client.finish_sending().await;
        client.end().await;
    }
    // The upgrade is ignored (RFC 9113 §3.1): the request is one of HTTP/1.1.
    let upgrade = "GET /public/upgrade HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, \
        HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
    let answer = crate::support::client::send_raw(world.address(), upgrade).await;
    assert_eq!(
        (answer.status, answer.text()),
        (200, "/public/upgrade".to_owned())
    );
}

/// A client whose first request has been answered.
async fn answered(world: &World) -> RawClient {
    let mut client = RawClient::open(world.address()).await;
    client.send(get(1, "/public/first")).await;
    assert_eq!(client.response(1).await.status, 200);
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_on_a_stream_that_has_ended_open_no_request() {
    let world = World::new("").await;
    let is_ignored = |bytes: Vec<u8>| (bytes, None);
    let ends = |bytes: Vec<u8>| (bytes, Some(()));
    for (number, (bytes, end)) in [
        ends(get(1, "/admin/smuggled")),
        is_ignored(reset(1, 8)),
        is_ignored(window_update(1, 9)),
        is_ignored(frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])),
        ends(frame(
            crate::support::http2::CONTINUATION,
            END_HEADERS,
            1,
            &[],
        )),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = answered(&world).await;
        client.send(&bytes).await;
        match end {
            Some(()) => assert!(client.end().await.is_some_and(|code| code != 0), "{number}"),
            None => {
                client.send(get(3, "/public/second")).await;
                assert_eq!(client.response(3).await.status, 200, "{number}");
            }
        }
    }
    // DATA is an error of the stream.
    let mut client = answered(&world).await;
    client.send(data(END_STREAM, 1, b"x")).await;
    assert_eq!(client.outcome(1).await, Outcome::Reset(STREAM_CLOSED));
    client.send(get(3, "/public/third")).await;
    assert_eq!(client.response(3).await.status, 200);
    world.check_recorded().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_beyond_the_limit_are_refused_and_the_others_go_on() {
    let world = World::new("").await;
    world.recorder.script("/public/hang", vec![Vec::new()]);
    let mut client = RawClient::open(world.address()).await;
    let mut all = Vec::new();
    for number in 0..130 {
        all.extend(headers(
            END_HEADERS,
            2 * number + 1,
            &pseudo("POST", "/public/wait"),
        ));
    }
    client.send(&all).await;
    let mut refused = vec![client.outcome(257).await, client.outcome(259).await];
    refused.dedup();
    assert_eq!(refused, [Outcome::Reset(REFUSED_STREAM)]);
    client.send(data(END_STREAM, 3, b"x")).await;
    assert_eq!(client.response(3).await.status, 200);
    // One has ended, so there is room for another.
    client.send(get(301, "/public/more")).await;
    assert_eq!(client.response(301).await.status, 200);
    world.check_recorded().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_cut_off_anywhere_disturbs_no_other() {
    let mut world = World::new("").await;
    let mut kept = crate::support::client::Connection::open(world.address()).await;
    let mut beside = answered(&world).await;
    let whole = [
        &begin()[..],
        &get(1, "/public/cut"),
        &headers(END_HEADERS, 3, &pseudo("POST", "/public/cut")),
        &data(0, 3, b"half"),
        &ping(3),
        &window_update(0, 9),
    ]
    .concat();
    for length in (1..whole.len()).step_by(3) {
        let mut client = RawClient::silent(world.address()).await;
        client.send(&whole[..length]).await;
        if length % 2 == 0 {
            client.finish_sending().await;
            client.end().await;
        } else {
            client.reset();
        }
    }
    world.canary(&mut kept, "the cuts").await;
    beside.send(get(3, "/public/beside")).await;
    assert_eq!(beside.response(3).await.text(), "/public/beside");
    world.recorder.read_again();
}
