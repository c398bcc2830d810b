//! The end of a connection: by its idle time, for a new connection, by a shutdown, by a reload.

use std::time::Duration;

use tokio::time::Instant;

use super::World;
use crate::relay::ok;
use crate::support::client;
use crate::support::http2::{GOAWAY, PING, RawClient, get, headers, pseudo};

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_ends_in_order_after_its_time() {
    let world = World::new("    keepAlive: 1s").await;
    let mut client = world.client().await;
    client.send(get(1, "/devices/x")).await;
    assert_eq!(client.response(1).await.status, 401);
    let began = Instant::now();
    // It does not close its side, so it is cut off a little after the last frame.
    assert_eq!(client.end().await, Some(0));
    assert!((900..4000).contains(&began.elapsed().as_millis()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_gives_way_to_a_new_one_and_a_busy_one_does_not() {
    let world = World::new("    maxConnections: { total: 1 }").await;
    let mut idle = world.client().await;
    idle.send(get(1, "/devices/x")).await;
    assert_eq!(idle.response(1).await.status, 401);
    // The reply shows that the connection has been idle.
    idle.until_pong(1).await;
    // The idle one is silent, and must not delay the new one.
    let began = Instant::now();
    let answer = client::get(world.address(), "/devices/x", &[]).await;
    assert_eq!(answer.status, 401);
    assert!(began.elapsed() < Duration::from_millis(900));
    assert_eq!(idle.end().await, Some(0));
    let mut busy = world.client().await;
    busy.send(get(1, "/public/busy")).await;
    let mut upstream = world.upstream().await;
    upstream.head().await;
    let answer = client::get(world.address(), "/devices/x", &[]).await;
    let expected = (503, Some("too_many_connections"));
    assert_eq!((answer.status, answer.header("x-m2m-reason")), expected);
    upstream.send(ok("", "busy")).await;
    assert_eq!(busy.response(1).await.text(), "busy");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_waits_for_open_streams_and_takes_no_new_ones() {
    let world = World::new("shutdown: { gracePeriod: 20s }").await;
    let mut idle = world.client().await;
    idle.send(get(1, "/devices/x")).await;
    idle.response(1).await;
    let mut client = world.client().await;
    client.send(get(1, "/public/last")).await;
    let mut upstream = world.upstream().await;
    upstream.head().await;
    let stop = tokio::spawn(world.sidecar.stop());
    // The client is told, and asked when it has read that.
    let mut kinds = Vec::new();
    while kinds.len() < 2 {
        let kind = client.frame().await.expect("it is open").kind;
        if [GOAWAY, PING].contains(&kind) {
            kinds.push(kind);
        }
    }
    assert_eq!(idle.end().await, Some(0));
    // It has replied, so this stream is above the last one.
    client.until_pong(3).await;
    client
        .send(headers(5, 3, &pseudo("GET", "/devices/late")))
        .await;
    upstream.send(ok("", "last")).await;
    assert_eq!(client.response(1).await.text(), "last");
    assert_eq!(client.end().await, Some(0));
    stop.await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_outlives_a_reload_and_its_next_request_meets_the_new_rules() {
    let mut world = World::new("").await;
    let mut client = world.client().await;
    client.send(get(1, "/new/x")).await;
    assert_eq!(client.response(1).await.status, 401);
    let port = world.listener.local_addr().expect("bound").port();
    let more = "      - { paths: [\"/new/**\"], access: public }";
    let yaml = super::yaml(&world.authority.issuer(), port, more);
    world
        .sidecar
        .replace(&yaml)
        .await
        .expect("a valid configuration");
    client.send(get(3, "/new/x")).await;
    let mut upstream = world.upstream().await;
    upstream.head().await;
    upstream.send(ok("", "new")).await;
    assert_eq!(client.response(3).await.text(), "new");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_closes_its_side_ends_its_connection() {
    let world = World::new("").await;
    let mut client = world.client().await;
    client.send(get(1, "/public/x")).await;
    let mut upstream = world.upstream().await;
    upstream.head().await;
    client.finish_sending().await;
    upstream.rest().await;
    client.end().await;
    let mut silent = RawClient::silent(world.address()).await;
    silent.finish_sending().await;
    silent.end().await;
}
