//! URLs of the upstream in answers: a program that follows them comes back through the listener,
//! with a token.

use super::world;
use crate::support::client::{get, send_raw};
use crate::support::upstream::Answer;

#[tokio::test(flavor = "multi_thread")]
async fn urls_of_the_upstreams_own_origin_lead_back_to_the_listener() {
    let world = world("", "").await;
    let (address, up) = (world.sidecar.address("hub"), world.upstream.url());
    let here = format!("http://{address}");
    for (name, value, expected) in [
        (
            "Location",
            format!("{up}/next?page=2"),
            format!("{here}/next?page=2"),
        ),
        (
            "Content-Location",
            format!("{up}/item"),
            format!("{here}/item"),
        ),
        (
            "Link",
            format!("<{up}/?page=2>; rel=\"next\", <https://other.example/>; rel=help"),
            format!("<{here}/?page=2>; rel=\"next\", <https://other.example/>; rel=help"),
        ),
        ("Location", "/next".to_owned(), "/next".to_owned()),
        (
            "Location",
            "https://other.example/x".to_owned(),
            "https://other.example/x".to_owned(),
        ),
        ("X-Other", format!("{up}/x"), format!("{up}/x")),
    ] {
        for status in [201, 302] {
            world.upstream.next(Answer::Reply(
                status,
                vec![(name.to_owned(), value.clone())],
                Vec::new(),
            ));
            let answer = world.get("/x").await;
            assert_eq!(
                (answer.status, answer.header(name)),
                (status, Some(expected.as_str()))
            );
        }
    }
    // As the program has called it.
    world.upstream.next(Answer::with_headers(
        &[("Location", &format!("{up}/a"))],
        "",
    ));
    let answer = get(address, "/x", &[("Host", "localhost:1234")]).await;
    assert_eq!(answer.header("location"), Some("http://localhost:1234/a"));
    world.upstream.next(Answer::with_headers(
        &[("Location", &format!("{up}/a"))],
        "",
    ));
    let answer = send_raw(address, "GET /x HTTP/1.0\r\n\r\n").await;
    assert_eq!(
        answer.header("location"),
        Some(format!("{here}/a").as_str())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn urls_of_the_upstream_stay_where_the_listener_is_not_to_map_them() {
    let world = world("", "    mapLocation: false\n").await;
    let url = format!("{}/a", world.upstream.url());
    let link = format!("<{url}>; rel=next");
    world.upstream.next(Answer::with_headers(
        &[("Location", &url), ("Link", &link)],
        "",
    ));
    let answer = world.get("/x").await;
    assert_eq!(
        (answer.header("location"), answer.header("link")),
        (Some(url.as_str()), Some(link.as_str()))
    );
}

/// For services that write whole URLs into bodies, such as OData's `nextLink`.
#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_gets_the_called_name_if_the_listener_sends_it() {
    for (keys, told) in [("", false), ("    forwardedHeaders: true\n", true)] {
        let world = world("", keys).await;
        let headers = [
            ("Host", "localhost:9000"),
            ("X-Forwarded-Host", "the.programs.own"),
        ];
        assert_eq!(
            get(world.sidecar.address("hub"), "/x", &headers)
                .await
                .status,
            200
        );
        let seen = &world.upstream.received()[0];
        assert_eq!(
            seen.header("host"),
            Some(world.upstream.address().to_string().as_str())
        );
        let expected = if told {
            (
                Some("localhost:9000"),
                Some("http"),
                Some("host=\"localhost:9000\";proto=http"),
            )
        } else {
            (Some("the.programs.own"), None, None)
        };
        let forwarded = (
            seen.header("x-forwarded-host"),
            seen.header("x-forwarded-proto"),
            seen.header("forwarded"),
        );
        assert_eq!(forwarded, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_clients_host_the_upstreams_urls_in_our_name_get_our_scheme() {
    let world = world("", "    preserveHost: true\n").await;
    let address = world.sidecar.address("hub");
    world.upstream.next(Answer::with_headers(
        &[("Location", &format!("https://{address}/a"))],
        "",
    ));
    assert_eq!(
        world.get("/x").await.header("location"),
        Some(format!("http://{address}/a").as_str())
    );
    assert_eq!(
        world.upstream.received()[0].header("host"),
        Some(address.to_string().as_str())
    );
}
