//! Listeners: bad bytes, slow heads, refused starts, and an end that waits for the last request.

mod shutdown;

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::client::{Connection, get, request, request_bytes, send_raw};
use crate::support::logs;
use crate::support::sidecar::Sidecar;
use crate::support::until;
use crate::support::upstream::{Answer, Upstream};

/// All kinds of listeners at once.
async fn sidecar(upstream: &Upstream, more: &str) -> Sidecar {
    let yaml = format!(
        r#"
stateDir: "@DIR@"
store: {{ url: "sqlite::memory:" }}
probes: {{ listen: 127.0.0.1:0 }}
issuer:
  url: http://issuer.test
  listen: 127.0.0.1:0
  clients: [{{ id: legacy, secretFile: "@DIR@/secret", allowedGrantTypes: [client_credentials] }}]
authorities: {{ self: {{ issuer: http://issuer.test }} }}
inbound:
  - {{ name: api, listen: 127.0.0.1:0, upstream: "{0}", authorities: [self], audiences: any,
      rules: [{{ paths: ["/**"], access: public }}] }}
credentials: {{ hub: {{ tokenUrl: "{0}/token", clientID: legacy,
  clientSecretFile: "@DIR@/secret" }} }}
outbound:
  - {{ name: hub, listen: 127.0.0.1:0, upstream: "{0}", credential: hub, overwrite: false }}
{more}
"#,
        upstream.url()
    );
    Sidecar::builder()
        .secret_file("secret", "legacy", "a-secret-of-16-bytes")
        .start(&yaml)
        .await
}

const LISTENERS: [&str; 4] = ["api", "hub", "issuer", "probes"];

#[tokio::test(flavor = "multi_thread")]
async fn malformed_http_gets_an_answer_on_every_listener() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream, "").await;
    for listener in LISTENERS {
        let address = sidecar.address(listener);
        for (bytes, status, reason) in [
            (&b"nonsense\r\n\r\n"[..], 400, "malformed_request"),
            (
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
                400,
                "malformed_request",
            ),
            (b"GET / HTTP/1.1\r\n\r\n", 400, "malformed_request"),
            (
                b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
                400,
                "malformed_request",
            ),
            (
                b"GET / HTTP/1.1\r\nHost: a\r\nBad Header: b\r\n\r\n",
                400,
                "malformed_request",
            ),
            (
                b"GET / HTTP/1.1\r\nHost: a\r\n folded: b\r\n\r\n",
                400,
                "malformed_request",
            ),
            (
                b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
                400,
                "malformed_request",
            ),
            (
                b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
                400,
                "malformed_request",
            ),
            (
                b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
                400,
                "malformed_request",
            ),
            (
                b"GET http://u@b/ HTTP/1.1\r\nHost: a\r\n\r\n",
                400,
                "malformed_request",
            ),
            (
                b"GET /%2e%2e HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
                400,
                "ambiguous_path",
            ),
        ] {
            if listener == "hub" && reason == "ambiguous_path" {
                continue; // An outbound listener checks no paths.
            }
            let answer = send_raw(address, bytes).await;
            let shown = String::from_utf8_lossy(bytes);
            assert_eq!(
                (answer.status, answer.header("x-m2m-reason")),
                (status, Some(reason)),
                "{listener}: {shown}"
            );
            assert!(answer.json()["error_description"].is_string());
            assert_eq!(
                answer.header("connection"),
                Some("close"),
                "{listener}: {shown}"
            );
            assert_eq!(answer.header("server"), None, "{listener}: {shown}");
        }
    }
    assert!(upstream.received().is_empty());
}

/// Load balancers, IoT clients and ping tools use HTTP/1.0; only HTTP/1.1 requires `Host`.
#[tokio::test(flavor = "multi_thread")]
async fn http_1_0_without_host_is_served_on_every_listener() {
    let upstream = Upstream::start();
    let admin = "admin: { listen: 127.0.0.1:0, tokenFile: \"@DIR@/secret\" }";
    let sidecar = sidecar(&upstream, admin).await;
    for (listener, request, status) in [
        ("probes", "GET /readyz HTTP/1.0", 200),
        ("probes", "HEAD /livez HTTP/1.0", 200),
        ("probes", "OPTIONS /readyz HTTP/1.0", 200),
        (
            "issuer",
            "GET /.well-known/openid-configuration HTTP/1.0",
            200,
        ),
        (
            "admin",
            "GET /status HTTP/1.0\r\nAuthorization: Bearer a-secret-of-16-bytes",
            200,
        ),
        ("api", "OPTIONS /healthz HTTP/1.0", 200),
        ("api", "GET /x HTTP/1.0\r\nConnection: keep-alive", 200),
        ("hub", "GET /x HTTP/1.0\r\nAuthorization: own", 200),
    ] {
        let answer = send_raw(sidecar.address(listener), format!("{request}\r\n\r\n")).await;
        assert_eq!(
            answer.status,
            status,
            "{listener}: {request}: {}",
            answer.text()
        );
    }
    let authority = upstream.address().to_string();
    let seen = upstream.received();
    assert_eq!(seen.len(), 3);
    for request in seen {
        assert_eq!(
            request.header("host"),
            Some(authority.as_str()),
            "the upstream's own: {request:?}"
        );
        assert_eq!(request.header("x-forwarded-host"), None);
    }
}

/// A proxy ignores `Host` beside an absolute target (RFC 9112 §3.2.2): Java and PHP leave the port
/// out of it, curl can leave out the header.
#[tokio::test(flavor = "multi_thread")]
async fn host_is_ignored_beside_an_absolute_target() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream, "").await;
    let authority = upstream.address();
    for host in [
        "Host: 127.0.0.1\r\n",
        "Host: evil.example\r\n",
        "Host:\r\n",
        "",
    ] {
        for listener in ["hub", "api"] {
            let request =
                format!("GET http://{authority}/x HTTP/1.1\r\n{host}Authorization: own\r\n\r\n");
            let answer = send_raw(sidecar.address(listener), request).await;
            assert_eq!(
                answer.status,
                200,
                "{listener}, {host:?}: {}",
                answer.text()
            );
        }
    }
    for request in upstream.received() {
        assert_eq!(
            (request.target.as_str(), request.header("host")),
            ("/x", Some(&*authority.to_string()))
        );
    }
    // The target decides, not `Host`.
    let request = format!(
        "GET http://evil.example/x HTTP/1.1\r\nHost: {authority}\r\nAuthorization: own\r\n\r\n"
    );
    let answer = send_raw(sidecar.address("hub"), request).await;
    assert_eq!(
        (answer.status, answer.header("x-m2m-reason")),
        (403, Some("host"))
    );
}

/// nginx and HAProxy let such bytes pass; the upstream gets the one form that RFC 3986 has for
/// them.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_no_uri_holds_are_sent_on_percent_encoded() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream, "").await;
    for (target, expected) in [
        (
            &b"/q?query=up{job=\"a\"}>1"[..],
            "/q?query=up%7Bjob=%22a%22%7D%3E1",
        ),
        (
            b"/`a`|<b>^?`|[0]^\\",
            "/%60a%60%7C%3Cb%3E%5E?%60%7C[0]%5E%5C",
        ),
        (
            "/gr\u{f6}\u{df}e?\u{20ac}".as_bytes(),
            "/gr%C3%B6%C3%9Fe?%E2%82%AC",
        ),
        (b"/x?name=\xf6", "/x?name=%F6"),
        (b"/kept%2d%20?%2d%e9", "/kept-%20?%2d%e9"),
    ] {
        for listener in ["api", "hub"] {
            let head = [
                b"GET ",
                target,
                b" HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: own\r\n\r\n",
            ]
            .concat();
            assert_eq!(
                send_raw(sidecar.address(listener), head).await.status,
                200,
                "{listener}: {expected}"
            );
            let seen = upstream.received().pop().expect("a request").target;
            let expected = match listener {
                // An outbound listener leaves escapes as they are.
                "hub" => expected.replace("kept-", "kept%2d"),
                _ => expected.to_owned(),
            };
            assert_eq!(seen, expected, "{listener}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_over_32_kib_is_431_on_every_listener() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream, "").await;
    for listener in LISTENERS {
        for size in [33 * 1024, 200 * 1024] {
            let value = "a".repeat(size);
            let answer = get(sidecar.address(listener), "/", &[("X-Large", &value)]).await;
            assert_eq!(
                (answer.status, answer.header("x-m2m-reason")),
                (431, Some("head_too_large")),
                "{listener} {size}"
            );
        }
    }
    let value = "a".repeat(30 * 1024);
    assert_eq!(
        get(sidecar.address("api"), "/", &[("X-Large", &value)])
            .await
            .status,
        200
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_trickles_is_cut_off_after_ten_seconds() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream, "").await;
    let stream = TcpStream::connect(sidecar.address("api")).await;
    let (mut reader, mut writer) = stream.expect("it listens").into_split();
    // Half a minute of a head that is never complete: only a limit for the whole head ends it.
    let trickle = async {
        let mut sent = writer.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n").await;
        for _ in 0..120 {
            if sent.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
            sent = writer.write_all(b"X: y\r\n").await;
        }
    };
    let mut answer = String::new();
    tokio::select! {
        () = trickle => {}
        _ = reader.read_to_string(&mut answer) => {}
    }
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("head_timeout"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_refusal_reaches_a_client_that_is_still_sending() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream, "").await;
    let body = vec![b'x'; 200 * 1024];
    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
    for _ in 0..20 {
        let answer = request(
            "POST",
            sidecar.address("issuer"),
            "/oauth/token",
            &headers,
            &body,
        )
        .await;
        assert_eq!(
            (answer.status, answer.header("x-m2m-reason")),
            (413, Some("body_too_large"))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_use_is_an_error_with_listener_and_address() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound");
    let upstream = Upstream::start();
    let yaml = format!(
        "stateDir: \"@DIR@\"\nauthorities: {{ a: {{ issuer: \"{0}\" }} }}\n\
        inbound: [{{ name: api, listen: {address}, upstream: \"{0}\", authorities: [a], \
        audiences: any, rules: [{{ paths: [/], access: public }}] }}]\n",
        upstream.url()
    );
    let why = Sidecar::builder()
        .try_start(&yaml)
        .await
        .err()
        .expect("no start");
    assert!(
        why.contains("api") && why.contains(&address.to_string()),
        "{why}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_leaves_one_line_that_says_what_was_decided_and_why() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream, "").await;
    let mark = logs::mark();
    let secret_query = format!("/devices/7?access_token={}", "t".repeat(40));
    get(sidecar.address("api"), &secret_query, &[]).await;
    let line = logs::wait_for_line(mark, &["access", "/devices/7"]).await;
    for part in ["inbound", "api", "GET", "200", "allow", "public", "ms="] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(!line.contains("access_token"), "{line}");
    let metrics = get(sidecar.address("probes"), "/metrics", &[]).await;
    assert_eq!(metrics.status, 200);
    assert!(metrics.text().contains(
        "m2m_inbound_requests_total{listener=\"api\",decision=\"allow\",reason=\"public\"} 1"
    ));
    assert!(
        metrics
            .text()
            .contains("m2m_request_duration_seconds_count{role=\"inbound\",listener=\"api\"} 1")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_probes_listener_has_the_probes_and_nothing_else() {
    let upstream = Upstream::start();
    let sidecar = sidecar(&upstream, "").await;
    let probes = sidecar.address("probes");
    assert_eq!(get(probes, "/livez", &[]).await.text(), "ok\n");
    assert_eq!(get(probes, "/readyz", &[]).await.text(), "ready\n");
    for path in ["/", "/oauth/token", "/.well-known/jwks.json", "/livez/x"] {
        assert_eq!(get(probes, path, &[]).await.status, 404, "{path}");
    }
    assert_eq!(
        request("POST", probes, "/metrics", &[], b"").await.status,
        405
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_called_by_no_name_that_dns_could_lead_here() {
    let upstream = Upstream::start();
    let yaml = format!(
        r#"
stateDir: "@DIR@"
probes: {{ listen: 127.0.0.1:0, hosts: [metrics.example, "other.example:9900"] }}
authorities: {{ a: {{ issuer: "{0}" }} }}
inbound:
  - {{ name: api, listen: 127.0.0.1:0, upstream: "{0}", authorities: [a], audiences: any,
      rules: [{{ paths: [/x] }}] }}
"#,
        upstream.url()
    );
    let sidecar = Sidecar::start(&yaml).await;
    let probes = sidecar.address("probes");
    let status = async |path: &str, host: &str| get(probes, path, &[("Host", host)]).await.status;
    for host in [
        "127.0.0.1:9900",
        "[::1]",
        "localhost:1",
        "sidecar:9900",
        "sidecar.team.svc:9900",
        "sidecar.team.svc.cluster.local:9900",
        "sidecar.team.svc.cluster.local.:9900",
        "Metrics.Internal",
        "sidecar.test",
        "a.localhost",
        "metrics.example:80",
        "Metrics.Example",
        "other.example:9900",
    ] {
        assert_eq!(status("/metrics", host).await, 200, "{host}");
    }
    for host in [
        "evil.example",
        "evil.example:9900",
        "other.example",
        "metrics.example.evil",
        "evil.example.",
        "sidecar.svc.example",
        "sidecar.local.evil",
        "sidecar.team",
        ".",
        "127.0.0.1.evil.example",
    ] {
        assert_eq!(status("/metrics", host).await, 403, "{host}");
        assert_eq!(status("/livez", host).await, 200, "{host}");
        assert_eq!(status("/readyz", host).await, 200, "{host}");
    }
    let absolute = send_raw(
        probes,
        "GET http://evil.example/metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    )
    .await;
    assert_eq!(absolute.status, 403, "the target names another host");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_may_have_the_name_of_one_of_the_sidecars_own() {
    let upstream = Upstream::start();
    let yaml = format!(
        r#"
stateDir: "@DIR@"
probes: {{ listen: 127.0.0.1:0 }}
authorities: {{ a: {{ issuer: "{0}" }} }}
inbound:
  - {{ name: probes, listen: 127.0.0.1:0, upstream: "{0}", authorities: [a], audiences: any,
      rules: [{{ paths: [/x] }}] }}
"#,
        upstream.url()
    );
    let sidecar = Sidecar::start(&yaml).await;
    let addresses: Vec<_> = sidecar
        .addresses()
        .filter(|(name, _)| name == "probes")
        .map(|(_, at)| at)
        .collect();
    assert_eq!(addresses.len(), 2);
    let mut statuses = Vec::new();
    for address in addresses {
        statuses.push(get(address, "/metrics", &[]).await.status);
    }
    statuses.sort_unstable();
    assert_eq!(
        statuses,
        [200, 401],
        "one serves metrics, the other wants a token"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn localhost_is_both_loopback_addresses_on_every_listener() {
    let has_v6 = std::net::TcpListener::bind("[::1]:0").is_ok();
    let upstream = Upstream::start();
    let yaml = format!(
        r#"
stateDir: "@DIR@"
store: {{ url: "sqlite::memory:" }}
probes: {{ listen: localhost:0 }}
admin: {{ listen: localhost:0 }}
issuer:
  url: http://issuer.test
  listen: localhost:0
  clients: [{{ id: legacy, secretFile: "@DIR@/secret", allowedGrantTypes: [client_credentials] }}]
authorities: {{ self: {{ issuer: http://issuer.test }} }}
inbound:
  - {{ name: api, listen: localhost:0, upstream: "{0}", authorities: [self], audiences: any,
      rules: [{{ paths: ["/**"], access: public }}] }}
credentials: {{ hub: {{ tokenUrl: "{0}/token", clientID: legacy, clientSecretFile: "@DIR@/secret",
  localApi: true }} }}
localApi: {{ listen: localhost:0 }}
outbound:
  - {{ name: hub, listen: localhost:0, upstream: "{0}", credential: hub, overwrite: false }}
"#,
        upstream.url()
    );
    let builder = Sidecar::builder().secret_file("secret", "legacy", "a-secret-of-16-bytes");
    let sidecar = builder.start(&yaml).await;
    for listener in ["probes", "admin", "issuer", "api", "localApi", "hub"] {
        let addresses: Vec<_> = sidecar
            .addresses()
            .filter(|(name, _)| name == listener)
            .collect();
        assert_eq!(addresses.len(), if has_v6 { 2 } else { 1 }, "{addresses:?}");
        for (_, address) in &addresses {
            assert_eq!(address.port(), addresses[0].1.port());
            // Any answer is one of this listener.
            let headers = [("Authorization", "Bearer own")];
            assert!(
                get(*address, "/", &headers).await.status > 0,
                "{listener} {address}"
            );
        }
    }
    // And both are left when it ends.
    let addresses: Vec<_> = sidecar.addresses().collect();
    sidecar.stop().await;
    for (name, address) in addresses {
        assert!(
            tokio::net::TcpStream::connect(address).await.is_err(),
            "{name} {address}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_of_localhost_taken_on_one_address_is_named() {
    let Ok(taken) = std::net::TcpListener::bind("[::1]:0") else {
        return;
    };
    let address = taken.local_addr().expect("bound");
    let yaml = format!(
        r#"
stateDir: "@DIR@"
probes: {{ listen: localhost:{} }}
authorities: {{ a: {{ issuer: "http://127.0.0.1:1" }} }}
inbound: [{{ name: api, listen: 127.0.0.1:0, upstream: "http://127.0.0.1:9", authorities: [a],
  audiences: any, rules: [{{ paths: [/], access: public }}] }}]
"#,
        address.port()
    );
    let why = Sidecar::builder()
        .try_start(&yaml)
        .await
        .err()
        .expect("the port is taken");
    assert!(
        why.contains("probes") && why.contains(&address.to_string()),
        "{why}"
    );
}
