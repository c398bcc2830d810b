//! Tests of `web_origin`.

use super::*;

fn of(pairs: &[(&'static str, &str)]) -> Site {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    let listed =
        ["https://app.example", "http://127.0.0.1:3000"].map(|origin| origin.parse().unwrap());
    site(&headers, &listed)
}

#[test]
fn an_origin_is_the_requests_own_host_or_listed_or_foreign() {
    for (host, origin, expected) in [
        ("127.0.0.1:9000", "http://127.0.0.1:9000", Site::Own),
        ("127.0.0.1:9000", "http://127.0.0.1:9001", Site::Foreign),
        ("127.0.0.1:9000", "http://127.0.0.1", Site::Foreign),
        ("127.0.0.1:9000", "http://127.0.0.1:3000", Site::Listed),
        ("127.0.0.1:9000", "http://10.0.0.5", Site::Foreign),
        ("127.0.0.1:9000", "http://localhost:9000", Site::Foreign),
        ("localhost:9000", "HTTP://LocalHost:9000", Site::Own),
        ("sidecar.test", "http://sidecar.test", Site::Own),
        ("sidecar.test:80", "http://sidecar.test", Site::Own),
        ("sidecar.test", "https://sidecar.test", Site::Own),
        ("sidecar.test:9000", "https://sidecar.test", Site::Foreign),
        ("sidecar.test:9000", "http://sidecar.test", Site::Foreign),
        ("[::1]:9000", "http://[::1]:9000", Site::Own),
        ("[::1]:9000", "http://[::2]:9000", Site::Foreign),
        ("a", "https://app.example", Site::Listed),
        ("a", "https://app.example:443", Site::Listed),
        ("a", "http://app.example", Site::Foreign),
        ("a", "https://app.example.evil", Site::Foreign),
        ("a", "https://evil.app.example", Site::Foreign),
        ("a", "null", Site::Foreign),
        ("a", "", Site::Foreign),
        ("a", "a", Site::Foreign),
        ("a", "http://a/", Site::Foreign),
        ("a", "http://u@a", Site::Foreign),
        ("a", "http://a http://evil", Site::Foreign),
        ("a", "ftp://a", Site::Foreign),
        ("", "http://", Site::Foreign),
    ] {
        assert_eq!(
            of(&[("host", host), ("origin", origin)]),
            expected,
            "{origin} at {host}"
        );
    }
    let two = [
        ("host", "a"),
        ("origin", "http://a"),
        ("origin", "http://evil"),
    ];
    assert_eq!(of(&two), Site::Foreign);
    assert_eq!(
        of(&[("origin", "http://a")]),
        Site::Foreign,
        "there is no host to be its own"
    );
}

#[test]
fn a_referer_names_a_page_too() {
    for (value, expected) in [
        ("http://a/page?x=http://evil#y", Site::Own),
        ("http://a", Site::Own),
        ("https://app.example/page", Site::Listed),
        ("http://evil.example/", Site::Foreign),
        ("http://10.0.0.5/page", Site::Foreign),
        ("http://a.evil.example/a", Site::Foreign),
        ("http://a@evil.example/", Site::Foreign),
        ("http://evil.example?http://a/", Site::Foreign),
        ("//evil.example/x", Site::Foreign),
        ("file:///etc/x.html", Site::Foreign),
        ("chrome-extension://abc/", Site::Foreign),
        ("evil.example/x", Site::Foreign),
        ("", Site::Unknown),
        ("about:blank", Site::Unknown),
        ("/path/on/the/same/host", Site::Unknown),
    ] {
        assert_eq!(
            of(&[("host", "a"), ("referer", value)]),
            expected,
            "{value}"
        );
    }
    let both = [
        ("host", "a"),
        ("origin", "http://a"),
        ("referer", "http://evil.example/"),
    ];
    assert_eq!(of(&both), Site::Foreign);
}

#[test]
fn a_browser_says_how_near_a_page_is() {
    for (value, expected) in [
        ("same-origin", Site::Unknown),
        ("none", Site::Unknown),
        ("same-site", Site::Foreign),
        ("cross-site", Site::Foreign),
        ("", Site::Foreign),
        ("SAME-ORIGIN", Site::Foreign),
    ] {
        assert_eq!(
            of(&[("host", "a"), ("sec-fetch-site", value)]),
            expected,
            "{value}"
        );
    }
    let listed = [
        ("host", "a"),
        ("sec-fetch-site", "cross-site"),
        ("origin", "https://app.example"),
    ];
    assert_eq!(of(&listed), Site::Listed);
    let by_referer = [
        ("host", "a"),
        ("sec-fetch-site", "cross-site"),
        ("referer", "https://app.example/x"),
    ];
    assert_eq!(of(&by_referer), Site::Listed);
    let own = [
        ("host", "a"),
        ("sec-fetch-site", "cross-site"),
        ("origin", "http://a"),
    ];
    assert_eq!(of(&own), Site::Foreign, "the two do not agree");
    assert_eq!(of(&[("host", "a")]), Site::Unknown);
}
