//! A program that supports only `HTTP_PROXY`.

use super::SECRET;
use crate::support::authority::{Authority, Endpoint};
use crate::support::client::{Connection, RawAnswer, get, request, send_raw};
use crate::support::sidecar::Sidecar;
use crate::support::upstream::{Answer, Upstream};

struct World {
    authority: Authority,
    hub: Upstream,
    other: Upstream,
    sidecar: Sidecar,
}

/// `hub.example:80`, of which `/api/**` may be called, goes to one upstream over https;
/// `other.example:8080` to a plain one.
async fn world(other: &str) -> World {
    let (authority, hub) = (Authority::start(), Upstream::start_tls());
    let plain = Upstream::start();
    authority.register_client("legacy", SECRET);
    let yaml = format!(
        r#"
stateDir: "@DIR@"
credentials:
  hub: {{ authority: "{0}", clientID: legacy, clientSecretFile: "@DIR@/secret" }}
  other: {{ authority: "{0}", clientID: legacy, clientSecretFile: "@DIR@/secret", scopes: [other] }}
outbound:
  - name: proxy
    listen: 127.0.0.1:0
    forwardProxy:
      targets:
        - host: hub.example
          upstream: "https://localhost:{1}"
          upstreamTls: {{ caFile: "@DIR@/ca.pem" }}
          credential: hub
          paths: ["/api/**"]
        - {{ host: other.example, port: 8080, upstream: "{2}", credential: other }}
{other}
"#,
        authority.issuer(),
        hub.address().port(),
        plain.url(),
    );
    let files = Sidecar::builder()
        .secret_file("secret", "legacy", SECRET)
        .file("ca.pem", hub.ca_pem());
    let sidecar = files.start(&yaml).await;
    World {
        authority,
        hub,
        other: plain,
        sidecar,
    }
}

impl World {
    /// A GET of a whole URL, as a program sends it to its proxy.
    async fn get(&self, url: &str) -> RawAnswer {
        let host = url.split('/').nth(2).unwrap_or_default();
        let request =
            format!("GET {url} HTTP/1.1\r\nHost: {host}\r\nProxy-Connection: keep-alive\r\n\r\n");
        send_raw(self.sidecar.address("proxy"), request).await
    }
}

fn outcome(answer: &RawAnswer) -> (u16, &str) {
    (
        answer.status,
        answer.header("x-m2m-reason").unwrap_or_default(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_of_a_target_goes_there_over_https_with_its_token_and_its_host() {
    let world = world("").await;
    let answer = world
        .get("http://hub.example/api/v1//devices/../x?y=%2F")
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        world.get("http://Other.Example:8080/any?z").await.status,
        200
    );
    let (hub, other) = (&world.hub.received()[0], &world.other.received()[0]);
    assert_eq!(
        hub.target, "/api/v1/x?y=%2F",
        "the path that was outcome, the query as it came"
    );
    assert_eq!(
        hub.header("host"),
        Some(format!("localhost:{}", world.hub.address().port()).as_str())
    );
    assert_eq!(
        (
            hub.header("proxy-connection"),
            other.header("proxy-connection")
        ),
        (None, None)
    );
    assert_eq!(other.target, "/any?z");
    assert_eq!(
        other.header("host"),
        Some(world.other.address().to_string().as_str())
    );
    let issued = world.authority.issued();
    assert_eq!(hub.bearer(), Some(issued[0].as_str()));
    assert_eq!(
        other.bearer(),
        Some(issued[1].as_str()),
        "each target has its own credential"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn other_targets_are_refused_before_a_token_is_fetched() {
    let world = world("").await;
    for (url, text) in [
        ("http://hub.example/admin", "path"),
        ("http://hub.example/api/../admin", "path"),
        ("http://hub.example:8080/api", "host and port"),
        ("http://other.example/", "host and port"),
        ("http://evil.example/", "host and port"),
        ("http://127.0.0.1/", "host and port"),
        ("https://hub.example/api", "http:// URLs"),
    ] {
        let answer = world.get(url).await;
        assert_eq!(outcome(&answer), (403, "destination"), "{url}");
        let said = answer.json()["error_description"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(said.contains(text), "{url}: {said}");
    }
    assert_eq!(
        outcome(&world.get("http://hub.example/api/..%2Fadmin").await),
        (400, "ambiguous_path")
    );
    let proxy = world.sidecar.address("proxy");
    let direct = get(proxy, "/api/x", &[("Host", "hub.example")]).await;
    assert_eq!(outcome(&direct), (403, "destination"));
    assert!(direct.text().contains("whole URLs"), "{}", direct.text());
    let tunnel = request(
        "CONNECT",
        proxy,
        "hub.example:443",
        &[("Host", "hub.example:443")],
        b"",
    )
    .await;
    assert_eq!(outcome(&tunnel), (405, "tunnel"));
    assert!(tunnel.text().contains("http:// URL"), "{}", tunnel.text());
    // As older programs ask: HTTP/1.0, without a Host.
    let old = send_raw(proxy, "CONNECT hub.example:443 HTTP/1.0\r\n\r\n").await;
    assert_eq!(outcome(&old), (405, "tunnel"));
    let with_origin = [("Host", "hub.example"), ("Origin", "https://evil.example")];
    assert_eq!(
        outcome(&get(proxy, "http://hub.example/api/x", &with_origin).await),
        (403, "cross_site")
    );
    for page in [
        ("Sec-Fetch-Site", "cross-site"),
        ("Origin", "null"),
        ("Origin", "http://10.0.0.5"),
        ("Origin", "http://hub.example:8080"),
        ("Referer", "http://evil.example/page"),
        ("Referer", "http://other.example:8080/"),
    ] {
        let answer = get(
            proxy,
            "http://hub.example/api/x",
            &[("Host", "hub.example"), page],
        )
        .await;
        assert_eq!(outcome(&answer), (403, "cross_site"), "{page:?}");
    }
    // The target says where it goes, not `Host` (RFC 9112 §3.2.2).
    for (url, status) in [
        ("http://evil.example/api", 403),
        ("http://u@hub.example/api", 400),
    ] {
        let answer = send_raw(
            proxy,
            format!("GET {url} HTTP/1.1\r\nHost: hub.example\r\n\r\n"),
        )
        .await;
        assert_eq!(answer.status, status, "{url}");
    }
    assert!(world.hub.received().is_empty() && world.other.received().is_empty());
    assert_eq!(world.authority.fetches(Endpoint::Token), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn passing_through_reaches_only_public_addresses_and_respects_paths() {
    let world = world("      other: passThrough\n").await;
    let elsewhere = Upstream::start();
    for url in [
        format!("{}/x", elsewhere.url()),
        format!("http://localhost:{}/x", elsewhere.address().port()),
        format!("http://[::ffff:127.0.0.1]:{}/x", elsewhere.address().port()),
        "http://10.0.0.1/x".to_owned(),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "http://[fd00::1]/x".to_owned(),
        format!("http://2130706433:{}/x", elsewhere.address().port()),
        "http://hub.example/admin".to_owned(),
    ] {
        assert_eq!(
            outcome(&world.get(&url).await),
            (403, "destination"),
            "{url}"
        );
    }
    let itself = format!(
        "http://127.0.0.1:{}/x",
        world.sidecar.address("proxy").port()
    );
    assert_eq!(outcome(&world.get(&itself).await), (508, "loop"));
    assert_eq!(
        outcome(&world.get("http://hub.example../api").await),
        (400, "malformed_request")
    );
    assert_eq!(
        outcome(&world.get("http://no-such-name.invalid/x").await),
        (502, "upstream_unreachable")
    );
    assert!(elsewhere.received().is_empty());
    // Targets are what they were.
    assert_eq!(world.get("http://hub.example/api").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_passes_piece_by_piece_as_it_comes() {
    let world = world("").await;
    let (answer, stream) = Answer::stream();
    world.other.next(answer);
    let proxy = world.sidecar.address("proxy");
    let mut connection = Connection::open(proxy).await;
    let url = "http://other.example:8080/events";
    connection
        .send(format!(
            "GET {url} HTTP/1.1\r\nHost: other.example:8080\r\nAccept: text/event-stream\r\n\r\n"
        ))
        .await;
    world.other.wait_for(1).await;
    for round in 0..5 {
        let event = format!("data: {round}\n\n");
        stream.send(&event);
        let seen = connection.wait_for_bytes(event.as_bytes()).await;
        assert!(seen, "the event {round} is held back");
    }
    stream.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_header_names_another_path_or_method_than_the_checked_one() {
    let world = world("").await;
    let proxy = world.sidecar.address("proxy");
    let headers = [
        ("Host", "hub.example"),
        ("X-Original-URL", "/admin"),
        ("x_rewrite_url", "/admin"),
        ("X-HTTP-Method-Override", "DELETE"),
        ("X-Own", "kept"),
    ];
    assert_eq!(
        get(proxy, "http://hub.example/api/x", &headers)
            .await
            .status,
        200
    );
    let seen = &world.hub.received()[0];
    assert!(seen.bearer().is_some());
    assert_eq!(seen.header("x-own"), Some("kept"));
    for (name, _) in &headers[1..4] {
        assert_eq!(seen.header(name), None, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_behind_the_listener_gets_a_token_for_listed_pages() {
    let world =
        world("    allowedOrigins: [\"http://app.example\"]\n    requireHeader: X-Sidecar\n").await;
    let proxy = world.sidecar.address("proxy");
    let url = "http://other.example:8080/x";
    for (page, expected) in [
        (vec![], (403, "cross_site")),
        (
            vec![("Origin", "http://other.example:8080")],
            (403, "cross_site"),
        ),
        (
            vec![("Origin", "http://evil.example"), ("X-Sidecar", "1")],
            (403, "cross_site"),
        ),
        (vec![("X-Sidecar", "1")], (200, "")),
        (
            vec![("Origin", "http://other.example:8080"), ("X-Sidecar", "1")],
            (200, ""),
        ),
        (vec![("Origin", "http://app.example")], (200, "")),
        (vec![("Referer", "http://app.example/page")], (200, "")),
    ] {
        let headers = [&[("Host", "other.example:8080")], page.as_slice()].concat();
        assert_eq!(
            outcome(&get(proxy, url, &headers).await),
            expected,
            "{page:?}"
        );
    }
}
