//! An answer and its request's body travel at the same time.

use super::{LISTENERS, OWN, World};

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_and_an_upload_pass_each_other() {
    let world = World::new().await;
    for listener in LISTENERS {
        let mut client = world.client(listener).await;
        client
            .send(format!(
                "POST /echo HTTP/1.1\r\n{OWN}Transfer-Encoding: chunked\r\n\r\n"
            ))
            .await;
        let mut upstream = world.upstream().await;
        upstream.head().await;
        upstream
            .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        assert!(client.head().await.starts_with("HTTP/1.1 200 "));
        // Each part is sent only after the answer to the one before.
        for number in 100..120 {
            client.send(format!("9\r\npart-{number}-\r\n")).await;
            upstream.through(&format!("part-{number}-")).await;
            upstream.send(format!("8\r\ngot-{number}.\r\n")).await;
            client.through(&format!("got-{number}.")).await;
        }
        client.send("0\r\n\r\n").await;
        upstream.through("0\r\n\r\n").await;
        upstream.send("0\r\n\r\n").await;
        client.through("0\r\n\r\n").await;
        // Both connections carry another request.
        client
            .send(format!("GET /next HTTP/1.1\r\n{OWN}\r\n"))
            .await;
        assert!(upstream.head().await.starts_with("GET /next "));
        upstream
            .send(super::ok("Connection: close\r\n", "next"))
            .await;
        client.through("next").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_answer_ends_the_upload() {
    let world = World::new().await;
    let length = 64 << 20;
    for listener in LISTENERS {
        let mut client = world.client(listener).await;
        client
            .send(format!(
                "PUT /x HTTP/1.1\r\n{OWN}Content-Length: {length}\r\n\r\nbegin"
            ))
            .await;
        let mut upstream = world.upstream().await;
        upstream.through("begin").await;
        upstream
            .send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")
            .await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
        assert!(
            head.to_lowercase().contains("\r\nconnection: close\r\n"),
            "{head}"
        );
        client.through("no").await;
        // The client sends on; the upstream gets no more, and the end of its connection.
        let mut sent = 0;
        let more = vec![b'x'; 1 << 20];
        let sending = async {
            while sent < length {
                client.try_send(&more).await;
                sent += more.len();
            }
        };
        let (rest, ()) = tokio::join!(upstream.rest(), sending);
        assert!(rest.len() < length / 2, "{listener}: {} bytes", rest.len());
        assert!(client.rest().await.is_empty(), "one answer");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_begins_before_the_upload_ends_and_ends_after_it() {
    let world = World::new().await;
    for listener in LISTENERS {
        let mut client = world.client(listener).await;
        client
            .send(format!(
                "POST /x HTTP/1.1\r\n{OWN}Content-Length: 10\r\n\r\nhello"
            ))
            .await;
        let mut upstream = world.upstream().await;
        upstream.through("hello").await;
        upstream
            .send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
            .await;
        client.through("first").await;
        client.send("world").await;
        upstream.through("world").await;
        upstream.send("then.").await;
        client.through("then.").await;
        client
            .send(format!("GET /x HTTP/1.1\r\n{OWN}Connection: close\r\n\r\n"))
            .await;
        upstream.head().await;
        upstream.send(super::ok("", "in step")).await;
        let next = client.rest_as_text().await;
        assert!(next.ends_with("in step"), "{next}");
        drop(upstream);
    }
}
