//! A connection that breaks in the middle ends its other side at once.

use super::{LISTENERS, OWN, Peer, World, ok};

/// A client with an upload of which only the begin was sent, and its upstream.
async fn uploading(world: &World, listener: &str) -> (Peer, Peer) {
    let mut client = world.client(listener).await;
    client
        .send(format!(
            "POST /x HTTP/1.1\r\n{OWN}Content-Length: 100\r\n\r\nbegin"
        ))
        .await;
    let mut upstream = world.upstream().await;
    upstream.through("begin").await;
    (client, upstream)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_gone_ends_its_upstream_in_every_state() {
    let world = World::new().await;
    for listener in LISTENERS {
        // Waiting for an answer.
        let (client, mut upstream) = world.asked(listener, "GET", "").await;
        client.reset();
        assert!(upstream.rest().await.is_empty(), "{listener}");
        // In the middle of an upload.
        let (client, mut upstream) = uploading(&world, listener).await;
        client.reset();
        assert!(upstream.rest().await.is_empty(), "{listener}");
        // In the middle of an answer.
        let (mut client, mut upstream) = world.asked(listener, "GET", "").await;
        upstream
            .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
            .await;
        client.through("half").await;
        client.reset();
        assert!(upstream.rest().await.is_empty(), "{listener}");
        // In the middle of both.
        let (mut client, mut upstream) = uploading(&world, listener).await;
        upstream
            .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
            .await;
        client.through("half").await;
        client.reset();
        assert!(upstream.rest().await.is_empty(), "{listener}");
        // Behind an interim answer.
        let (mut client, mut upstream) = world.asked(listener, "GET", "").await;
        upstream.send("HTTP/1.1 103 Early Hints\r\n\r\n").await;
        client.head().await;
        client.reset();
        assert!(upstream.rest().await.is_empty(), "{listener}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_ends_early_never_looks_whole_to_its_upstream() {
    let world = World::new().await;
    for listener in LISTENERS {
        for (framing, begin) in [
            ("Content-Length: 100", "begin"),
            ("Transfer-Encoding: chunked", "5\r\nbegin\r\n"),
        ] {
            let mut client = world.client(listener).await;
            client
                .send(format!("POST /x HTTP/1.1\r\n{OWN}{framing}\r\n\r\n{begin}"))
                .await;
            let mut upstream = world.upstream().await;
            upstream.through("begin").await;
            client.finish_sending().await;
            let rest = upstream.rest_as_text().await;
            assert!(
                !rest.contains("0\r\n\r\n"),
                "{listener}, {framing}: {rest:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_breaks_is_502_in_every_state_before_its_answer() {
    let world = World::new().await;
    for listener in LISTENERS {
        for begun in [
            "",
            "H",
            "HTTP/1.1 200 OK\r\nContent-Le",
            "HTTP/1.1 103 E\r\n\r\n",
        ] {
            for reset in [false, true] {
                let (mut client, mut upstream) = world.asked(listener, "GET", "").await;
                upstream.send(begun).await;
                match reset {
                    true => upstream.reset(),
                    false => drop(upstream),
                }
                let wire = client.rest_as_text().await;
                let last = wire.rsplit("HTTP/1.1 ").next().unwrap_or_default();
                assert!(
                    last.starts_with("502 ") && last.contains("upstream_broken"),
                    "{listener} {begun:?} {reset}: {wire}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_breaks_during_an_upload_is_502() {
    let world = World::new().await;
    for listener in LISTENERS {
        for reset in [false, true] {
            let (mut client, upstream) = uploading(&world, listener).await;
            match reset {
                true => upstream.reset(),
                false => drop(upstream),
            }
            let wire = client.rest_as_text().await;
            assert!(
                wire.starts_with("HTTP/1.1 502 ") && wire.contains("upstream_broken"),
                "{listener} {reset}: {wire}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_only_stopped_sending_gets_its_answers() {
    let world = World::new().await;
    for listener in LISTENERS {
        let mut client = world.client(listener).await;
        let get = format!("GET /x HTTP/1.1\r\n{OWN}\r\n");
        client.send(get.repeat(3)).await;
        client.finish_sending().await;
        let mut upstream = world.upstream().await;
        for number in 0..3 {
            upstream.head().await;
            upstream.send("HTTP/1.1 103 Early Hints\r\n\r\n").await;
            assert!(client.head().await.starts_with("HTTP/1.1 103 "));
            upstream.send(ok("", &format!("answer {number}"))).await;
            client.through(&format!("answer {number}")).await;
        }
        assert!(client.rest().await.is_empty());
        drop(upstream);
        // The pool is empty again for the next listener's first request.
    }
}
