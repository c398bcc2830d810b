//! Pages in a browser cannot use an outbound listener.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn pages_in_a_browser_cannot_use_the_listener() {
    let world = world("", "    hosts: [alias.internal]\n").await;
    let address = world.sidecar.address("hub");
    for (headers, reason) in [
        (vec![("Host", "evil.example")], "host"),
        (vec![("Host", "evil.example:9000")], "host"),
        (vec![("Sec-Fetch-Site", "cross-site")], "cross_site"),
        (vec![("Sec-Fetch-Site", "same-site")], "cross_site"),
    ] {
        let answer = get(address, "/", &headers).await;
        assert_eq!(
            (answer.status, answer.header("x-m2m-reason")),
            (403, Some(reason)),
            "{headers:?}"
        );
    }
    assert!(world.upstream.received().is_empty());
    assert_eq!(
        world.authority.fetches(Endpoint::Token),
        0,
        "the destination is checked before the token is fetched"
    );
    for host in [
        "localhost:9000",
        "127.0.0.1",
        "[::1]:9000",
        "alias.internal",
    ] {
        assert_eq!(
            get(address, "/", &[("Host", host)]).await.status,
            200,
            "{host}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_of_the_listeners_own_host_or_listed_or_refused() {
    let world = world(
        "",
        "    hosts: [sidecar.test]\n    allowedOrigins: [\"https://app.test\"]\n",
    )
    .await;
    let address = world.sidecar.address("hub");
    let own = address.to_string();
    for headers in [
        vec![("Host", own.as_str()), ("Origin", "http://10.0.0.5")],
        vec![("Host", own.as_str()), ("Origin", "http://127.0.0.1:1")],
        vec![("Host", own.as_str()), ("Origin", "http://localhost")],
        vec![("Host", own.as_str()), ("Origin", "null")],
        vec![("Host", own.as_str()), ("Origin", "http://app.test")],
        vec![("Host", "sidecar.test"), ("Origin", "http://10.0.0.5")],
        vec![
            ("Host", "sidecar.test"),
            ("Referer", "http://evil.test/page?secret"),
        ],
        vec![
            ("Host", "sidecar.test"),
            ("Referer", "http://10.0.0.5/page"),
        ],
        vec![
            ("Host", "sidecar.test"),
            ("Origin", "http://sidecar.test"),
            ("Referer", "http://evil.test/"),
        ],
    ] {
        let answer = get(address, "/", &headers).await;
        assert_eq!(
            (answer.status, answer.header("x-m2m-reason")),
            (403, Some("cross_site")),
            "{headers:?}"
        );
    }
    assert!(world.upstream.received().is_empty());
    assert_eq!(world.authority.fetches(Endpoint::Token), 0);
    let own_origin = format!("http://{own}");
    for headers in [
        vec![("Host", own.as_str()), ("Origin", own_origin.as_str())],
        vec![
            ("Host", "sidecar.test"),
            ("Origin", "http://sidecar.test"),
            ("Referer", "http://sidecar.test/page"),
        ],
        vec![
            ("Host", own.as_str()),
            ("Origin", "https://app.test"),
            ("Sec-Fetch-Site", "cross-site"),
        ],
        vec![
            ("Host", "sidecar.test"),
            ("Referer", "https://app.test/page"),
        ],
        vec![("Host", "sidecar.test"), ("User-Agent", "legacy/1.0")],
        vec![("Host", own.as_str()), ("Referer", "/relative")],
    ] {
        assert_eq!(get(address, "/", &headers).await.status, 200, "{headers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_with_a_required_header_refuses_what_does_not_have_it() {
    let world = world(
        "",
        "    hosts: [sidecar.test]\n    requireHeader: \"X-Sidecar: 1\"\n",
    )
    .await;
    let address = world.sidecar.address("hub");
    for value in [None, Some("0"), Some("")] {
        let mut headers = vec![("Host", "sidecar.test")];
        headers.extend(value.map(|value| ("X-Sidecar", value)));
        let answer = get(address, "/image.png", &headers).await;
        assert_eq!(
            (answer.status, answer.header("x-m2m-reason")),
            (403, Some("cross_site")),
            "{value:?}"
        );
        assert!(answer.text().contains("requireHeader"), "{}", answer.text());
    }
    // The preflight of a browser before a page of another site may send the header.
    let preflight = [
        ("Host", "sidecar.test"),
        ("Origin", "http://evil.test"),
        ("Access-Control-Request-Method", "GET"),
        ("Access-Control-Request-Headers", "x-sidecar"),
    ];
    let answer = request("OPTIONS", address, "/", &preflight, b"").await;
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (403, None)
    );
    assert!(world.upstream.received().is_empty());
    assert_eq!(
        get(
            address,
            "/",
            &[("Host", "sidecar.test"), ("X-Sidecar", "1")]
        )
        .await
        .status,
        200
    );
}
