//! CONNECT: programs that open a tunnel for every URL, and programs with `https_proxy`.

use std::net::SocketAddr;
use std::process::Command;

use super::SECRET;
use crate::support::authority::{Authority, Endpoint};
use crate::support::client::{Connection, RawAnswer, get};
use crate::support::logs;
use crate::support::sidecar::Sidecar;
use crate::support::until;
use crate::support::upstream::Upstream;

const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

struct World {
    authority: Authority,
    /// The upstream of the target.
    hub: Upstream,
    /// Listed in `tunnels`.
    listed: Upstream,
    sidecar: Sidecar,
}

async fn world(more: &str) -> World {
    let (authority, hub, listed) = (Authority::start(), Upstream::start(), Upstream::start());
    authority.register_client("legacy", SECRET);
    let yaml = format!(
        r#"
stateDir: "@DIR@"
probes: {{ listen: 127.0.0.1:0 }}
credentials:
  hub: {{ authority: "{}", clientID: legacy, clientSecretFile: "@DIR@/secret" }}
outbound:
  - name: proxy
    listen: 127.0.0.1:0
    forwardProxy:
      targets:
        - {{ host: hub.example, upstream: "{hub}", credential: hub, paths: ["/api/**"] }}
        - {{ host: 192.0.2.7, port: 8080, upstream: "{hub}", credential: hub }}
      tunnels: ["{}", "*.example:443", "*.invalid"]
{more}
"#,
        authority.issuer(),
        listed.address(),
        hub = hub.url(),
    );
    let files = Sidecar::builder().secret_file("secret", "legacy", SECRET);
    let sidecar = files.start(&yaml).await;
    World {
        authority,
        hub,
        listed,
        sidecar,
    }
}

impl World {
    fn proxy(&self) -> SocketAddr {
        self.sidecar.address("proxy")
    }

    /// A connection inside a tunnel.
    async fn inside(&self, to: &str) -> Connection {
        let mut connection = Connection::open(self.proxy()).await;
        let connect = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n");
        connection.send(connect).await;
        assert!(connection.wait_for_bytes(ESTABLISHED).await, "{to}");
        connection
    }

    /// The answer to a CONNECT that opens no tunnel. Bytes sent ahead are not read as a request.
    async fn refused(&self, to: &str, fields: &str) -> RawAnswer {
        let ahead = "GET http://hub.example/api/ahead HTTP/1.1\r\nHost: hub.example\r\n\r\n";
        let connect = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{fields}\r\n{ahead}");
        let mut connection = Connection::open(self.proxy()).await;
        connection.send(connect).await;
        let answer = connection.answer().await;
        assert!(connection.is_ended().await, "{to}: {answer:?}");
        answer
    }
}

fn outcome(answer: &RawAnswer) -> (u16, &str) {
    (
        answer.status,
        answer.header("x-m2m-reason").unwrap_or_default(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_inside_a_tunnel_to_a_target_get_its_token() {
    let world = world("").await;
    let mark = logs::mark();
    let mut inside = world.inside("Hub.Example:80").await;
    for round in 0..3 {
        let path = format!("/api/{round}");
        let request = format!("GET {path} HTTP/1.1\r\nHost: hub.example\r\n\r\n");
        inside.send(request).await;
        assert_eq!(inside.answer().await.status, 200);
        let seen = world.hub.wait_for(round + 1).await.pop().unwrap();
        assert_eq!(seen.target, path);
        assert_eq!(
            seen.bearer(),
            Some(world.authority.issued()[0].as_str()),
            "{round}"
        );
    }
    let opened = [" access: ", "method=\"CONNECT\"", "path=\"Hub.Example:80\""];
    let line = logs::wait_for_line(mark, &opened).await;
    assert!(line.contains("reason=\"tunnel_opened\""), "{line}");
    // The rules of the target hold inside.
    for (request, expected) in [
        (
            "GET /admin HTTP/1.1\r\nHost: hub.example\r\n\r\n",
            (403, "destination"),
        ),
        (
            "GET /api HTTP/1.1\r\nHost: other.example\r\n\r\n",
            (403, "destination"),
        ),
        (
            "GET /api HTTP/1.1\r\nHost: hub.example\r\nOrigin: http://evil.example\r\n\r\n",
            (403, "cross_site"),
        ),
        (
            "CONNECT hub.example:80 HTTP/1.1\r\nHost: hub.example:80\r\n\r\n",
            (405, "tunnel"),
        ),
    ] {
        inside.send(request).await;
        assert_eq!(outcome(&inside.answer().await), expected, "{request}");
    }
    assert_eq!(world.hub.received().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_program_and_one_that_does_not_wait_are_served_too() {
    let world = world("").await;
    // Python's http.client opens tunnels in HTTP/1.0, without `Host`.
    let mut old = Connection::open(world.proxy()).await;
    old.send("CONNECT 192.0.2.7:8080 HTTP/1.0\r\n\r\n").await;
    assert!(old.wait_for_bytes(ESTABLISHED).await);
    let request = "GET /any HTTP/1.1\r\nHost: 192.0.2.7:8080\r\n\r\n";
    for _ in 0..2 {
        old.send(request).await;
        assert_eq!(old.answer().await.status, 200);
    }
    let mut hasty = Connection::open(world.proxy()).await;
    let both = format!("CONNECT 192.0.2.7:8080 HTTP/1.1\r\nHost: a\r\n\r\n{request}");
    hasty.send(both).await;
    assert!(hasty.wait_for_bytes(ESTABLISHED).await);
    assert_eq!(hasty.answer().await.status, 200);
    for seen in world.hub.received() {
        assert!(seen.bearer().is_some());
    }
    let url = "http://hub.example/api/curl";
    let proxy = format!("http://{}", world.proxy());
    let curl = Command::new("curl")
        .args(["-sS", "--proxytunnel", "--noproxy", "", "-x", &proxy, url])
        .output()
        .expect("curl is installed");
    let said = String::from_utf8_lossy(&curl.stderr);
    assert!(curl.status.success(), "{said}");
    let seen = world.hub.received().pop().unwrap();
    assert_eq!(seen.target, "/api/curl");
    assert!(seen.bearer().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_inside_a_tunnel_to_a_target_ends_with_the_reason() {
    let world = world("").await;
    let mark = logs::mark();
    let mut inside = world.inside("hub.example:80").await;
    inside
        .send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        .await;
    assert_eq!(outcome(&inside.answer().await), (400, "encrypted"));
    assert!(inside.is_ended().await);
    let line = logs::wait_for_line(mark, &[" access: ", "reason=\"encrypted\""]).await;
    for part in ["hub.example:80", "http:// instead of https://"] {
        assert!(line.contains(part), "{line}");
    }
    let probes = world.sidecar.address("probes");
    let counted = "m2m_outbound_requests_total{listener=\"proxy\",result=\"encrypted\"} 1";
    until("the metric counts it", async || {
        get(probes, "/metrics", &[]).await.text().contains(counted)
    })
    .await;
    assert_eq!(world.authority.fetches(Endpoint::Token), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_to_a_listed_host_carries_any_bytes_and_no_token() {
    let world = world("").await;
    let mark = logs::mark();
    let to = world.listed.address().to_string();
    let mut inside = world.inside(&to).await;
    for round in 1..3 {
        let request = format!("GET /{round} HTTP/1.1\r\nHost: {to}\r\nX-Own: 1\r\n\r\n");
        inside.send(request).await;
        assert_eq!(inside.answer().await.status, 200);
    }
    inside.finish_sending().await;
    assert!(inside.is_ended().await);
    let line = logs::wait_for_line(mark, &[" access: ", "reason=\"tunnel_opened\""]).await;
    assert!(line.contains(&format!("path=\"{to}\"")), "{line}");
    let received = world.listed.received();
    assert_eq!(received.len(), 2);
    for seen in received {
        assert_eq!(seen.header("authorization"), None);
        assert_eq!(seen.header("x-own"), Some("1"));
        assert_eq!(seen.header("x-request-id"), None, "nothing is added");
    }
    assert_eq!(world.authority.fetches(Endpoint::Token), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_tunnels_are_refused() {
    let world = world("").await;
    let own = world.proxy().to_string();
    for (to, expected) in [
        ("hub.example:8080", (405, "tunnel")),
        ("evil.test:443", (405, "tunnel")),
        ("127.0.0.1:443", (405, "tunnel")),
        ("169.254.169.254:80", (405, "tunnel")),
        ("[::1]:443", (405, "tunnel")),
        (own.as_str(), (405, "tunnel")),
        ("a.example:80", (405, "tunnel")),
        ("no-such-name.invalid:443", (502, "upstream_unreachable")),
        ("hub.example", (400, "malformed_request")),
        ("http://hub.example:80", (400, "malformed_request")),
        ("/", (400, "malformed_request")),
    ] {
        assert_eq!(outcome(&world.refused(to, "").await), expected, "{to}");
    }
    let answer = world.refused("hub.example:8443", "").await;
    assert!(answer.text().contains("http:// URL"), "{}", answer.text());
    let answer = world.refused("evil.test:443", "").await;
    let text = answer.text();
    assert!(text.contains("forwardProxy.tunnels"), "{text}");
    let body = "Content-Length: 2\r\n";
    let answer = world.refused("hub.example:80", body).await;
    assert_eq!(outcome(&answer), (400, "malformed_request"));
    assert!(world.hub.received().is_empty() && world.listed.received().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_open_no_tunnels() {
    let required = world("    requireHeader: X-Sidecar\n").await;
    let plain = world("").await;
    let to = plain.listed.address().to_string();
    for page in [
        "Origin: http://evil.example\r\n",
        "Origin: null\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
    ] {
        for to in [to.as_str(), "hub.example:80"] {
            let answer = plain.refused(to, page).await;
            assert_eq!(outcome(&answer), (403, "cross_site"), "{page} {to}");
        }
    }
    for to in [&required.listed.address().to_string(), "hub.example:80"] {
        let answer = required.refused(to, "").await;
        assert_eq!(outcome(&answer), (403, "cross_site"), "{to}");
    }
    assert!(plain.listed.received().is_empty() && required.listed.received().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_tunnel_does_not_hold_up_the_end() {
    let world = world("").await;
    let mark = logs::mark();
    let to = world.listed.address().to_string();
    let mut listed = world.inside(&to).await;
    let mut target = world.inside("hub.example:80").await;
    let World { sidecar, .. } = world;
    tokio::join!(sidecar.stop(), async {
        assert!(listed.is_ended().await && target.is_ended().await);
    });
    let line = logs::wait_for_line(mark, &[" access: ", &to]).await;
    assert!(line.contains("the listener ended"), "{line}");
}
