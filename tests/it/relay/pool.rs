//! Kept connections to an upstream: a look before each use, and the rules for a second attempt.

use super::{LISTENERS, OWN, Peer, World, ok};

/// A client's connection and the upstream's, both kept after one request.
async fn kept(world: &World, listener: &str) -> (Peer, Peer) {
    let (mut client, mut upstream) = world.asked(listener, "GET", "").await;
    upstream.send(ok("", "first")).await;
    client.through("first").await;
    (client, upstream)
}

fn request(method: &str, target: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\n{OWN}Content-Length: 0\r\n\r\n")
}

/// Whether the next request of this method comes on a new connection and is answered there.
async fn is_served_again(world: &World, client: &mut Peer, method: &str) {
    client.send(request(method, "/second")).await;
    let mut upstream = world.upstream().await;
    let head = upstream.head().await;
    assert!(head.starts_with(&format!("{method} /second ")), "{head}");
    upstream.send(ok("Connection: close\r\n", "second")).await;
    client.through("second").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_ended_while_idle_is_not_used_even_for_a_post() {
    let world = World::new().await;
    for listener in LISTENERS {
        for end in ["closed", "half-closed", "reset"] {
            let (mut client, mut upstream) = kept(&world, listener).await;
            match end {
                "closed" => drop(upstream),
                "reset" => upstream.reset(),
                _ => {
                    upstream.finish_sending().await;
                    // The sidecar closes its side as well.
                    assert!(upstream.rest().await.is_empty(), "{end}");
                }
            }
            is_served_again(&world, &mut client, "POST").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_on_an_idle_connection_are_answers_to_no_request() {
    let world = World::new().await;
    for listener in LISTENERS {
        for stray in [ok("", "forged"), "\r\n".to_owned(), "x".to_owned()] {
            let (mut client, mut upstream) = kept(&world, listener).await;
            upstream.send(stray).await;
            assert!(upstream.rest().await.is_empty(), "{listener}: it is ended");
            is_served_again(&world, &mut client, "POST").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_behind_an_answer_end_its_connection() {
    let world = World::new().await;
    for listener in LISTENERS {
        let (mut client, mut upstream) = world.asked(listener, "GET", "").await;
        upstream.send(ok("", "first") + &ok("", "forged")).await;
        client.through("first").await;
        assert!(upstream.rest().await.is_empty(), "{listener}: it is ended");
        is_served_again(&world, &mut client, "GET").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swallowed_request_is_repeated_only_if_it_may_be() {
    let world = World::new().await;
    for listener in LISTENERS {
        for (method, is_repeated) in [
            ("GET", true),
            ("PUT", true),
            ("DELETE", true),
            ("POST", false),
            ("PATCH", false),
        ] {
            let (mut client, mut upstream) = kept(&world, listener).await;
            client.send(request(method, "/swallowed")).await;
            assert!(upstream.head().await.contains(" /swallowed "));
            drop(upstream);
            if is_repeated {
                let mut again = world.upstream().await;
                assert!(
                    again
                        .head()
                        .await
                        .starts_with(&format!("{method} /swallowed "))
                );
                again.send(ok("Connection: close\r\n", "again")).await;
                client.through("again").await;
            } else {
                let wire = client.rest_as_text().await;
                assert!(
                    wire.starts_with("HTTP/1.1 502 ") && wire.contains("upstream_broken"),
                    "{listener} {method}: {wire}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_on_a_fresh_connection_is_never_repeated() {
    let world = World::new().await;
    for listener in LISTENERS {
        for method in ["GET", "PUT", "POST"] {
            let mut client = world.client(listener).await;
            client.send(request(method, "/x")).await;
            let mut upstream = world.upstream().await;
            upstream.head().await;
            drop(upstream);
            let wire = client.rest_as_text().await;
            assert!(
                wire.starts_with("HTTP/1.1 502 "),
                "{listener} {method}: {wire}"
            );
        }
    }
    let accepted = world.listener.accept();
    let pending = tokio::time::timeout(std::time::Duration::ZERO, accepted).await;
    assert!(pending.is_err(), "a connection more than requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_answer_costs_only_its_own_connections() {
    let world = World::new().await;
    for listener in LISTENERS {
        let (mut good, mut upstream) = kept(&world, listener).await;
        // The second client takes the kept connection, so the first one needs a new one.
        let mut bad = world.client(listener).await;
        bad.send(format!("GET /bad HTTP/1.1\r\n{OWN}\r\n")).await;
        assert!(upstream.head().await.starts_with("GET /bad "));
        upstream
            .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nforged")
            .await;
        let wire = bad.rest_as_text().await;
        assert!(!wire.contains("forged"), "{wire}");
        assert!(upstream.rest().await.is_empty(), "{listener}");
        is_served_again(&world, &mut good, "GET").await;
    }
}
