//! Upstreams through a proxy, where the listener says so.

use std::net::SocketAddr;

use crate::support::client::get;
use crate::support::egress_proxy::{Act, EgressProxy};
use crate::support::logs;
use crate::support::sidecar::Sidecar;
use crate::support::tls::TestTls;
use crate::support::upstream::Upstream;

const PASSWORD: &str = "upstream-proxy-password-1";

fn yaml(proxy: SocketAddr, ca: &str, listener: &str) -> String {
    format!(
        r#"
threads: 1
stateDir: "@DIR@"
egressProxy: {{ url: "http://ann@{proxy}", passwordFile: "@DIR@/password" }}
authorities: {{ a: {{ issuer: "http://127.0.0.1:1" }} }}
inbound:
  - name: service
    listen: 127.0.0.1:0
    upstreams:
      one: {{ url: "https://service.example", tls: {{ caFile: "@DIR@/{ca}" }} }}
      two: {{ url: "https://service.example:8443", tls: {{ caFile: "@DIR@/{ca}" }} }}
    authorities: [a]
    audiences: any
{listener}
    rules:
      - {{ paths: ["/two/**"], access: public, upstream: two }}
      - {{ paths: ["/**"], access: public, upstream: one }}
"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_sends_its_requests_through_the_proxy_only_if_it_says_so() {
    let tls = TestTls::for_names(&["service.example"]);
    let upstream = Upstream::start_with(Some(tls));
    let proxy = EgressProxy::start(&[("service.example", upstream.address())]);
    proxy.demand("ann", PASSWORD);
    let files = || {
        Sidecar::builder()
            .file("ca.pem", upstream.ca_pem())
            .secret_file("password", "ann", PASSWORD)
    };
    let yaml = |listener: &str| yaml(proxy.address(), "ca.pem", listener);
    let sidecar = files().start(&yaml("    egressProxy: shared")).await;
    let address = sidecar.address("service");
    for path in ["/a", "/b", "/two/a", "/c", "/two/b"] {
        assert_eq!(get(address, path, &[]).await.status, 200, "{path}");
    }
    // Each upstream has connections of its own, though both are behind one address.
    assert!(proxy.was_asked("CONNECT service.example:443 HTTP/1.1"));
    assert!(proxy.was_asked("CONNECT service.example:8443 HTTP/1.1"));
    for (path, connection) in [
        ("/a", 0),
        ("/b", 0),
        ("/two/a", 1),
        ("/c", 0),
        ("/two/b", 1),
    ] {
        let received = upstream.received();
        let received = received.iter().find(|it| it.target == path).expect(path);
        assert_eq!(received.connection, connection, "{path}");
        assert!(received.header("proxy-authorization").is_none());
    }
    sidecar.stop().await;
    let before = proxy.asked().len();
    let sidecar = files()
        .start(&yaml("    upstreamTimeouts: { connect: 200ms }"))
        .await;
    let status = get(sidecar.address("service"), "/a", &[]).await.status;
    assert!(
        (502..=504).contains(&status),
        "its name has no address: {status}"
    );
    assert_eq!(proxy.asked().len(), before);
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_opens_no_tunnel_is_a_fault_of_its_own() {
    let upstream = Upstream::start_with(Some(TestTls::for_names(&["service.example"])));
    let proxy = EgressProxy::start(&[("service.example", upstream.address())]);
    let sidecar = Sidecar::builder()
        .file("ca.pem", upstream.ca_pem())
        .secret_file("password", "ann", PASSWORD)
        .start(&yaml(
            proxy.address(),
            "ca.pem",
            "    egressProxy: shared\n    upstreamTimeouts: { connect: 300ms }",
        ))
        .await;
    let at = format!("the proxy http://{}", proxy.address());
    for (act, status, words) in [
        (
            Act::Answer(b"HTTP/1.1 407 Denied\r\n\r\n"),
            502,
            "refuses the user or the password",
        ),
        (
            Act::Answer(b"HTTP/1.1 503 No\r\n\r\n"),
            502,
            "it answered 503",
        ),
        (Act::Answer(b"SSH-2.0-x\r\n"), 502, "not valid HTTP/1.1"),
        (Act::Close, 502, "it closed the connection"),
    ] {
        proxy.act(act);
        let mark = logs::mark();
        let answer = get(sidecar.address("service"), "/a", &[]).await;
        assert_eq!(answer.status, status, "{words}");
        logs::wait_for_line(mark, &[&at, words]).await;
    }
    proxy.act(Act::Hang);
    assert_eq!(get(sidecar.address("service"), "/a", &[]).await.status, 504);
    proxy.act(Act::Serve);
    assert_eq!(get(sidecar.address("service"), "/a", &[]).await.status, 200);
    sidecar.stop().await;
}
