//! Floods: each ends its own connection, long before it costs much, and disturbs no other. A client
//! that does the same at an honest pace is served.

use std::time::Duration;

use super::ENHANCE_YOUR_CALM;
use crate::hostile::World;
use crate::support::client::Connection;
use crate::support::http2::{
    CONTINUATION, END_HEADERS, END_STREAM, HEADERS, PRIORITY, RawClient, block, data, frame, get,
    headers, ping, pseudo, reset, settings, window_update,
};

const CALM: Option<Option<u32>> = Some(Some(ENHANCE_YOUR_CALM));

/// Sends the bytes many times; the connection must end.
async fn ends(world: &mut World, name: &str, first: &[u8], again: &[u8], times: usize) {
    let mut kept = Connection::open(world.address()).await;
    world.canary(&mut kept, name).await;
    let mut client = RawClient::open(world.address()).await;
    client.send(first).await;
    let end = client.flood(again, times).await;
    let end = match end {
        None => Some(client.end().await),
        end => end,
    };
    // A reset that overtakes the last frame hides its code.
    assert!(end == CALM || end == Some(None), "{name}: {end:?}");
    world.canary(&mut kept, name).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_end_their_connection_and_disturb_no_other() {
    let mut world = World::new("").await;
    let open = headers(END_HEADERS, 1, &pseudo("POST", "/public/open"));
    let many = |bytes: &[u8]| bytes.repeat(100);
    for (name, first, again, times) in [
        ("PING (CVE-2019-9512)", vec![], many(&ping(1)), 200),
        (
            "SETTINGS (CVE-2019-9515)",
            vec![],
            many(&settings(&[(4, 70_000)])),
            200,
        ),
        ("empty SETTINGS", vec![], many(&settings(&[])), 200),
        (
            "PRIORITY (CVE-2019-9513)",
            vec![],
            many(&frame(PRIORITY, 0, 5, &[0, 0, 0, 3, 1])),
            200,
        ),
        ("WINDOW_UPDATE", vec![], many(&window_update(0, 1)), 400),
        (
            "WINDOW_UPDATE of a stream",
            open.clone(),
            many(&window_update(1, 1)),
            400,
        ),
        ("unknown frames", vec![], many(&frame(99, 0, 0, b"")), 200),
        (
            "RST_STREAM of an ended stream",
            [&open[..], &reset(1, 8)].concat(),
            many(&reset(1, 8)),
            200,
        ),
        (
            "empty DATA (CVE-2019-9518)",
            open.clone(),
            many(&data(0, 1, b"")),
            200,
        ),
        (
            "acknowledgements of PING",
            vec![],
            many(&frame(6, 1, 0, &[1; 8])),
            200,
        ),
    ] {
        ends(&mut world, name, &first, &again, times).await;
    }
    world.check_recorded().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_without_an_end_is_cut_off() {
    let mut world = World::new("").await;
    let begun = frame(
        HEADERS,
        END_STREAM,
        1,
        &block(&pseudo("GET", "/admin/smuggled")),
    );
    let full = frame(
        CONTINUATION,
        0,
        1,
        &crate::support::http2::hpack::literal(b"x", &[b'v'; 9000]),
    );
    let empty = frame(CONTINUATION, 0, 1, b"").repeat(50);
    for (name, again, times) in [
        ("CONTINUATION (CVE-2024-27316)", full, 2000),
        ("empty CONTINUATION", empty, 2000),
    ] {
        let mut kept = Connection::open(world.address()).await;
        let mut client = RawClient::open(world.address()).await;
        client.send(&begun).await;
        let end = client.flood(&again, times).await;
        assert!(end.is_some() || client.end().await.is_some(), "{name}");
        world.canary(&mut kept, name).await;
    }
    world.check_recorded().await;
}

/// Opens streams and undoes each with these bytes, so many at once.
async fn undo(world: &World, at_once: u32, rounds: u32, with: impl Fn(u32) -> Vec<u8>) -> bool {
    let mut client = RawClient::open(world.address()).await;
    for round in 0..rounds {
        let mut bytes = Vec::new();
        for number in 0..at_once {
            let stream = 2 * (round * at_once + number) + 1;
            bytes.extend(headers(
                END_HEADERS,
                stream,
                &pseudo("POST", "/public/undone"),
            ));
            bytes.extend(with(stream));
        }
        client.send(&bytes).await;
        if client.until_pong(5).await.is_none() {
            return true;
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_undoes_its_requests_is_cut_off() {
    let mut world = World::new("").await;
    let mut kept = Connection::open(world.address()).await;
    // Rapid reset (CVE-2023-44487), all at once and paced.
    assert!(undo(&world, 400, 20, |stream| reset(stream, 8)).await);
    assert!(undo(&world, 10, 400, |stream| reset(stream, 8)).await);
    // MadeYouReset (CVE-2025-8671): errors that make the server reset the stream.
    assert!(undo(&world, 10, 400, |stream| window_update(stream, 0)).await);
    assert!(
        undo(&world, 10, 400, |stream| window_update(
            stream,
            (1 << 31) - 1
        ))
        .await
    );
    let second = |stream| headers(END_HEADERS, stream, &pseudo("GET", "/admin/smuggled"));
    assert!(undo(&world, 10, 400, second).await);
    world.canary(&mut kept, "the resets").await;
    // An upstream may have received the heads, and no whole request.
    assert!(
        world
            .recorder
            .requests()
            .iter()
            .all(|it| !it.target.contains("undone"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn honest_clients_are_not_cut_off() {
    let world = World::new("").await;
    // A gateway whose clients give up a hundred calls a second, beside calls that are answered.
    let mut client = RawClient::open(world.address()).await;
    let mut stream = 1;
    for _ in 0..30 {
        for _ in 0..10 {
            let open = headers(END_HEADERS, stream, &pseudo("POST", "/public/call"));
            client.send(open).await;
            client.send(reset(stream, 8)).await;
            stream += 2;
        }
        client.send(get(stream, "/public/call")).await;
        assert_eq!(client.response(stream).await.status, 200);
        stream += 2;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // A burst of a browser: priorities, and settings that change.
    let mut client = RawClient::open(world.address()).await;
    client
        .send(frame(PRIORITY, 0, 201, &[0, 0, 0, 0, 1]).repeat(100))
        .await;
    client.send(settings(&[(4, 1 << 20)]).repeat(10)).await;
    client.send(get(1, "/public/page")).await;
    assert_eq!(client.response(1).await.status, 200);
    world.check_recorded().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_head_has_ten_seconds() {
    let world = World::new("").await;
    let mut client = RawClient::open(world.address()).await;
    client.until_pong(1).await;
    client
        .send(frame(
            HEADERS,
            END_STREAM,
            1,
            &block(&pseudo("GET", "/admin/smuggled")),
        ))
        .await;
    let began = tokio::time::Instant::now();
    let end = client.end().await;
    assert_eq!(end, Some(ENHANCE_YOUR_CALM));
    assert!((9..14).contains(&began.elapsed().as_secs()));
    world.check_recorded().await;
}
