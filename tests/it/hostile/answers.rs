//! Upstreams that answer wrongly: no other client gets an extra, early or repeated answer.

use super::World;
use crate::support::client::Connection;
use crate::support::logs;

const SPLIT: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged";

/// The upstream's bytes, and the status that the client gets; 0: a broken answer, or none.
const ANSWERS: &[(&str, &str, u16)] = &[
    (
        "bytes behind the answer",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokforged",
        200,
    ),
    (
        "a second answer",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok{s}",
        200,
    ),
    (
        "a second answer behind chunks",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n{s}",
        200,
    ),
    ("204 with a body", "HTTP/1.1 204 No Content\r\n\r\n{s}", 204),
    (
        "204 with a length",
        "HTTP/1.1 204 No Content\r\nContent-Length: 44\r\n\r\n{s}",
        204,
    ),
    (
        "304 with a body",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 44\r\n\r\n{s}",
        304,
    ),
    (
        "both framings, the length shorter",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n\
        0\r\n\r\n",
        200,
    ),
    (
        "both framings, and more",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{s}",
        200,
    ),
    (
        "two equal lengths",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        200,
    ),
    (
        "a list of equal lengths",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok{s}",
        200,
    ),
    (
        "204 with chunks",
        "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        204,
    ),
    (
        "two lengths",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 46\r\n\r\nok{s}",
        502,
    ),
    (
        "a negative length",
        "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok{s}",
        502,
    ),
    (
        "100 and then the answer",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        200,
    ),
    (
        "103 and then the answer",
        "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\
        \r\nok",
        200,
    ),
    (
        "many interim answers and too much",
        "HTTP/1.1 102 P\r\n\r\nHTTP/1.1 102 P\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n\
        {s}",
        200,
    ),
    (
        "101 without a request for it",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n{s}",
        502,
    ),
    (
        "a bad chunk",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n",
        0,
    ),
    ("no HTTP", "forged\r\n\r\n", 502),
    (
        "a status of two digits",
        "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
        502,
    ),
    (
        "NUL in a field",
        "HTTP/1.1 200 OK\r\nX: {00}\r\nContent-Length: 0\r\n\r\n",
        502,
    ),
    (
        "HTTP/1.0 with a length",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok{s}",
        200,
    ),
    (
        "HTTP/1.0 that is kept",
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
        200,
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn extra_bytes_of_an_upstream_reach_no_client() {
    let mut world = World::new("").await;
    for method in ["GET", "HEAD", "POST"] {
        for (number, (name, answer, status)) in ANSWERS.iter().enumerate() {
            let path = format!("/public/answer/{method}/{number}");
            let bytes = world.bytes(&answer.replace("{s}", SPLIT), "");
            world.recorder.script(&path, vec![bytes]);
            let mut kept = Connection::open(world.address()).await;
            world.canary(&mut kept, name).await;
            let mut client = Connection::open(world.address()).await;
            let body = if method == "POST" {
                "Content-Length: 2\r\n\r\nhi"
            } else {
                "\r\n"
            };
            client
                .send(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{body}"))
                .await;
            match client.try_answer(method).await {
                // An answer to HEAD always ends with its head.
                Ok(answer) if method == "HEAD" => {
                    assert!([200, *status].contains(&answer.status), "{name}")
                }
                Ok(answer) => {
                    assert_eq!(answer.status, *status, "{name}, {method}");
                    assert!(
                        answer.header_all("content-length").len() < 2,
                        "{name}, {method}: {answer:?}"
                    );
                    let has_body_fields = ["content-length", "transfer-encoding"]
                        .into_iter()
                        .any(|field| !answer.header_all(field).is_empty());
                    assert!(
                        answer.status != 204 || !has_body_fields,
                        "{name}, {method}: {answer:?}"
                    );
                    assert!(
                        !answer.text().contains("forged"),
                        "{name}, {method}: {answer:?}"
                    );
                }
                Err(error) => assert_eq!(*status, 0, "{name}, {method}: {error:?}"),
            }
            for _ in 0..3 {
                world.canary(&mut kept, name).await;
                world
                    .canary(&mut Connection::open(world.address()).await, name)
                    .await;
            }
        }
    }
    world.recorder.read_again();
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_on_an_idle_connection_end_it() {
    let mut world = World::new("").await;
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec();
    for round in 0..5 {
        let path = format!("/public/late/{round}");
        world
            .recorder
            .script(&path, vec![answer.clone(), SPLIT.into()]);
        let mut client = Connection::open(world.address()).await;
        client
            .send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        assert_eq!(client.answer().await.text(), "ok");
        world.recorder.wait_for_ended(round + 1).await;
        world.canary(&mut client, "late bytes").await;
        // The canary's own connection is the next round's.
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_before_the_end_of_the_body_is_its_own_clients_only() {
    let mut world = World::new("").await;
    world.recorder.script(
        "/public/early",
        vec![b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno".to_vec()],
    );
    for finish in [true, false] {
        let mut client = Connection::open(world.address()).await;
        client
            .send("POST /public/early HTTP/1.1\r\nHost: a\r\nContent-Length: 41\r\n\r\n")
            .await;
        assert_eq!(client.answer().await.status, 413);
        let mut kept = Connection::open(world.address()).await;
        world.canary(&mut kept, "an early answer").await;
        if finish {
            client.send(super::SMUGGLED).await;
        }
        world.canary(&mut kept, "an early answer").await;
        client.finish_sending().await;
        assert!(client.is_ended().await);
        world.canary(&mut kept, "an early answer").await;
    }
    world.recorder.read_again();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_1_0_client_gets_an_answer_that_it_can_read() {
    let world = World::new("").await;
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    world
        .recorder
        .script("/public/chunked", vec![chunked.into()]);
    let mut client = Connection::open(world.address()).await;
    client
        .send("GET /public/chunked HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
        .await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    assert_eq!(
        (
            answer.header("transfer-encoding"),
            answer.header("connection")
        ),
        (None, Some("close"))
    );
    assert!(client.is_ended().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_1_0_client_gets_no_interim_answer() {
    let world = World::new("").await;
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 102 P\r\n\r\nHTTP/1.1 \
        200 OK\r\nContent-Length: 2\r\n\r\nok";
    world.recorder.script("/public/hints", vec![hints.into()]);
    for (version, interim) in [("HTTP/1.0", &[][..]), ("HTTP/1.1", &[103, 102])] {
        let mut client = Connection::open(world.address()).await;
        client
            .send(format!("GET /public/hints {version}\r\nHost: a\r\n\r\n"))
            .await;
        let answer = client.answer().await;
        assert_eq!(
            (answer.status, answer.interim.as_slice()),
            (200, interim),
            "{version}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hop_by_hop_fields_are_removed_from_every_answer() {
    let world = World::new("").await;
    let fields = "Connection: x-hop, keep-alive\r\nX-Hop: own\r\nKeep-Alive: timeout=3\r\n\
        Proxy-Connection: own\r\nTrailer: own\r\nUpgrade: own\r\nTE: own\r\nX-End: to-end\r\n";
    let answer = format!(
        "HTTP/1.1 103 Early Hints\r\n{fields}Content-Length: 7\r\nTransfer-Encoding: own\r\n\r\n\
        HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok"
    );
    world.recorder.script("/public/hop", vec![answer.into()]);
    let mut client = tokio::net::TcpStream::connect(world.address())
        .await
        .expect("it listens");
    let request = b"GET /public/hop HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut client, request)
        .await
        .expect("it reads");
    let mut wire = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut client, &mut wire)
        .await
        .expect("an answer");
    let lower = wire.to_lowercase();
    assert!(
        lower.starts_with("http/1.1 103") && lower.matches("x-end: to-end").count() == 2,
        "{wire}"
    );
    assert!(
        !lower.contains("own") && !lower.contains("timeout=3"),
        "{wire}"
    );
    assert_eq!(lower.matches("content-length").count(), 1, "{wire}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_no_http_is_502_and_says_what_is_wrong() {
    let world = World::new("").await;
    let many = format!(
        "HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n",
        "a: b\r\n".repeat(300)
    );
    for (number, (answer, text)) in [
        (many.as_str(), "more than 256 header fields"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
            "two that differ",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nok",
            "no plain number",
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "an upgrade that was not asked for",
        ),
        ("forged\r\n\r\n", "not HTTP/1.1"),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/public/broken/{number}");
        world.recorder.script(&path, vec![answer.into()]);
        let mut client = Connection::open(world.address()).await;
        client
            .send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        let refused = client.answer().await;
        assert_eq!(
            (refused.status, refused.header("x-m2m-reason")),
            (502, Some("upstream_broken")),
            "{text}"
        );
        assert!(refused.text().contains(text), "{}", refused.text());
        logs::wait_for_line(world.mark, &["access", &path, "upstream_broken", text]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_ends_after_a_body_with_a_bodiless_method() {
    let mut world = World::new("").await;
    let mut client = Connection::open(world.address()).await;
    for (round, method) in ["GET", "DELETE", "OPTIONS"].into_iter().enumerate() {
        client
            .send(format!(
                "{method} /public/body HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"
            ))
            .await;
        assert_eq!(client.answer().await.status, 200);
        // Not reused, even if the upstream keeps it open.
        world.recorder.wait_for_ended(round + 1).await;
        world.canary(&mut client, "a body").await;
        let seen = world.recorder.requests();
        assert_eq!(seen[seen.len() - 2].all("connection"), ["close"]);
        assert_eq!(seen[seen.len() - 1].all("connection"), [""; 0]);
    }
}
