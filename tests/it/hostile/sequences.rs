//! Several requests on one connection, and expectations.

use super::{BAD, Case, NO_TOKEN, OK, PATH, World};

const PIPELINES: &[Case<'static>] = &[
    (
        "good, good",
        "GET /public/{m} HTTP/1.1\r\n{h}\r\nGET /public/{m}/2 HTTP/1.1\r\n{h}\r\n",
        &[OK, OK],
    ),
    (
        "good, malformed",
        "GET /public/{m} HTTP/1.1\r\n{h}\r\nGET /public/{m} HTTP/1.1\r\n\r\n",
        &[OK, BAD],
    ),
    (
        "malformed, good",
        "GET /public/{m} HTTP/1.1\r\n\r\nGET /public/{m} HTTP/1.1\r\n{h}\r\n",
        &[BAD],
    ),
    (
        "ambiguous, good",
        "GET /public/%2e HTTP/1.1\r\n{h}\r\nGET /public/{m} HTTP/1.1\r\n{h}\r\n",
        &[PATH],
    ),
    (
        "refused, good",
        "GET /admin/smuggled HTTP/1.1\r\n{h}\r\nGET /public/{m} HTTP/1.1\r\n{h}\r\n",
        &[NO_TOKEN, OK],
    ),
    (
        "good, refused, good",
        "GET /public/{m} HTTP/1.1\r\n{h}\r\n{s}GET /public/{m}/3 HTTP/1.1\r\n{h}\r\n",
        &[OK, NO_TOKEN, OK],
    ),
    (
        "refused with an unread body that is a request",
        "POST /admin/smuggled HTTP/1.1\r\n{h}Content-Length: 41\r\n\r\n{s}GET /public/{m} \
        HTTP/1.1\r\n{h}\r\n",
        &[NO_TOKEN, OK],
    ),
    (
        "refused with an unread chunked body",
        "POST /admin/smuggled HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\n29\r\n{s}\r\n0\r\n\
        \r\nGET /public/{m} HTTP/1.1\r\n{h}\r\n",
        &[NO_TOKEN, OK],
    ),
    (
        "a body, then a request",
        "POST /public/{m} HTTP/1.1\r\n{h}Content-Length: 5\r\n\r\nhelloGET /public/{m}/2 \
        HTTP/1.1\r\n{h}\r\n",
        &[OK, OK],
    ),
    (
        "chunks, then a request",
        "POST /public/{m} HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\
        \r\nGET /public/{m}/2 HTTP/1.1\r\n{h}\r\n",
        &[OK, OK],
    ),
    (
        "closed, then more",
        "GET /public/{m} HTTP/1.1\r\n{h}Connection: close\r\n\r\n{s}",
        &[OK],
    ),
    (
        "HTTP/1.0, then more",
        "GET /public/{m} HTTP/1.0\r\n{h}\r\n{s}",
        &[OK],
    ),
    (
        "an empty line between",
        "GET /public/{m} HTTP/1.1\r\n{h}\r\n\r\nGET /public/{m}/2 HTTP/1.1\r\n{h}\r\n",
        &[OK, OK],
    ),
    (
        "with a token, then without",
        "GET /devices/{m} HTTP/1.1\r\n{h}Authorization: Bearer {t}\r\n\r\nGET /devices/smuggled \
        HTTP/1.1\r\n{h}\r\n",
        &[OK, NO_TOKEN],
    ),
];

const EXPECTATIONS: &[Case<'static>] = &[
    (
        "100-continue",
        "POST /public/{m} HTTP/1.1\r\n{h}Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
        &[OK],
    ),
    (
        "100-Continue",
        "POST /public/{m} HTTP/1.1\r\n{h}Expect: 100-Continue\r\nContent-Length: 5\r\n\r\nhello",
        &[OK],
    ),
    (
        "without a body",
        "GET /public/{m} HTTP/1.1\r\n{h}Expect: 100-continue\r\n\r\n",
        &[OK],
    ),
    (
        "HTTP/1.0",
        "POST /public/{m} HTTP/1.0\r\n{h}Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
        &[OK],
    ),
    (
        "refused",
        "POST /admin/smuggled HTTP/1.1\r\n{h}Expect: 100-continue\r\nContent-Length: 5\r\n\r\n",
        &[NO_TOKEN],
    ),
    (
        "something else",
        "POST /public/{m} HTTP/1.1\r\n{h}Expect: 200-ok\r\nContent-Length: 5\r\n\r\nhello",
        &[(417, "expectation")],
    ),
    (
        "a list",
        "POST /public/{m} HTTP/1.1\r\n{h}Expect: 100-continue, x\r\nContent-Length: 5\r\n\r\nhello",
        &[(417, "expectation")],
    ),
    (
        "a space before the colon",
        "POST /public/{m} HTTP/1.1\r\n{h}Expect : 100-continue\r\n\r\n",
        &[BAD],
    ),
    (
        "an imitation",
        "POST /public/{m} HTTP/1.1\r\n{h}Ex_pect: x\r\nExpect_: 100-continue\r\nContent-Length: \
        5\r\n\r\nhello",
        &[OK],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn requests_on_one_connection_are_answered_one_by_one() {
    World::new("").await.run(PIPELINES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_expectation_is_100_continue() {
    World::new("").await.run(EXPECTATIONS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_requests_at_once_get_their_own_answers_in_order() {
    let mut world = World::new("").await;
    let request = |number: usize| format!("GET /public/{number} HTTP/1.1\r\nHost: a\r\n\r\n");
    let all: String = (0..100).map(request).collect();
    let mut connection = crate::support::client::Connection::open(world.address()).await;
    connection.send(all).await;
    for number in 0..100 {
        assert_eq!(
            connection.answer().await.text(),
            format!("/public/{number}")
        );
    }
    world.canary(&mut connection, "a hundred").await;
    world.check_recorded().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_request_waits_for_the_answer_of_the_one_before() {
    let mut world = World::new("").await;
    let mut connection = crate::support::client::Connection::open(world.address()).await;
    connection
        .send("POST /public/first HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo")
        .await;
    world
        .canary(
            &mut crate::support::client::Connection::open(world.address()).await,
            "a waiting body",
        )
        .await;
    connection
        .send("dyGET /public/second HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    assert_eq!(connection.answer().await.text(), "/public/first");
    assert_eq!(connection.answer().await.text(), "/public/second");
    world.check_recorded().await;
}
