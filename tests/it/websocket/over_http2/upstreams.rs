//! WebSockets to services that speak HTTP/2.

use h2::ext::Protocol;
use h2::server::Builder;

use super::*;
use crate::support::http2_upstream::{Act, Http2Upstream, Received, field};
use crate::support::tls::TestTls;

fn announces(builder: &mut Builder) {
    builder.enable_connect_protocol();
}

/// Accepts an extended CONNECT, and refuses any other request.
fn accepts(received: &Received) -> Act {
    if received.head.extensions.get::<Protocol>().is_some() {
        Act::WebSocket
    } else {
        Act::HeadOnly("x-refused", "1")
    }
}

/// A listener in front of this service, whose certificate it trusts.
async fn over(service: &Http2Upstream, is_tls: bool) -> Sidecar {
    let tls = if is_tls {
        "upstreamTls: { caFile: \"@DIR@/ca.pem\" }"
    } else {
        ""
    };
    let yaml = format!(
        r#"
threads: 1
stateDir: "@DIR@"
authorities: {{ a: {{ issuer: "http://127.0.0.1:1" }} }}
inbound:
  - name: api
    listen: 127.0.0.1:0
    upstream: "{}"
    {tls}
    authorities: [a]
    audiences: any
    rules: [{{ paths: ["/**"], access: public }}]
"#,
        service.url()
    );
    let ca_pem = if is_tls { service.ca_pem() } else { "" };
    Sidecar::builder().file("ca.pem", ca_pem).start(&yaml).await
}

fn check(received: &Received, path: &str) {
    let head = &received.head;
    assert_eq!(head.method, http::Method::CONNECT);
    let protocol = head.extensions.get::<Protocol>();
    assert_eq!(protocol.map(Protocol::as_str), Some("websocket"));
    assert_eq!(head.uri.path(), path);
    assert_eq!(field(received, "sec-websocket-version"), Some("13"));
    assert_eq!(field(received, "sec-websocket-protocol"), Some("json"));
    for gone in ["sec-websocket-key", "connection", "upgrade", "host"] {
        assert_eq!(field(received, gone), None, "{gone}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_announces_it_gets_an_extended_connect_from_any_client() {
    for is_tls in [false, true] {
        let names = ["localhost", "127.0.0.1"];
        let tls = is_tls.then(|| TestTls::for_names(&names).speaking(&["h2", "http/1.1"]));
        let service = Http2Upstream::start_with(tls, announces, accepts);
        let sidecar = over(&service, is_tls).await;
        let (message, large) = (masked(0x81, b"hello"), masked(0x82, &[9; 300_000]));

        let protocols = "Sec-WebSocket-Protocol: json\r\n";
        let asked = handshake("/old", protocols);
        let mut old = connect(sidecar.address("api"), asked).await;
        let (status, head) = answered(&mut old).await;
        assert_eq!(status, 101, "{head:?}");
        assert_eq!(
            head.all("sec-websocket-accept"),
            [crate::support::websocket::ACCEPT]
        );
        assert_eq!(head.all("sec-websocket-protocol"), ["json"]);
        check(&service.received()[0], "/old");
        for bytes in [&message, &large] {
            let (mut from, mut to) = tokio::io::split(&mut old.stream);
            let sent = tokio::io::AsyncWriteExt::write_all(&mut to, bytes);
            let mut echo = vec![0; bytes.len()];
            let read = tokio::io::AsyncReadExt::read_exact(&mut from, &mut echo);
            tokio::try_join!(sent, read).expect("an echo");
            assert!(echo == *bytes);
        }
        tokio::io::AsyncWriteExt::shutdown(&mut old.stream)
            .await
            .expect("it is open");
        assert_eq!(rest(&mut old).await, b"");

        let protocol = [("sec-websocket-protocol", "json")];
        let mut new = Socket::ask(sidecar.address("api"), "/new", &protocol).await;
        let response = new.answered().await;
        assert_eq!(
            (response.status, response.header("sec-websocket-accept")),
            (200, None)
        );
        check(&service.received()[1], "/new");
        for part in [&message[..], &large[..60_000], &large[60_000..90_000]] {
            new.send(part).await;
            new.expect(part).await;
        }
        new.finish_sending().await;
        assert_eq!(new.rest().await, (vec![], End::Stream));
        // Both were streams of one connection.
        assert_eq!(service.connections(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_does_not_announce_it_gets_no_extended_connect() {
    let service = Http2Upstream::start(accepts);
    let sidecar = over(&service, false).await;
    let mut client = Socket::ask(sidecar.address("api"), "/x", &[]).await;
    let response = client.refused().await;
    let found = (response.status, response.header("x-m2m-reason"));
    assert_eq!(found, (502, Some("upstream_broken")));
    assert_eq!(service.received()[0].head.method, http::Method::GET);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_refusal_of_a_service_passes_and_a_reset_ends_the_client() {
    let service =
        Http2Upstream::start_with(None, announces, |received| match received.head.uri.path() {
            "/refused" => Act::Status(403),
            "/reset" => Act::ResetAmid(h2::Reason::CANCEL),
            _ => Act::Reset(h2::Reason::INTERNAL_ERROR),
        });
    let sidecar = over(&service, false).await;
    let address = sidecar.address("api");
    let mut client = Socket::ask(address, "/refused", &[]).await;
    assert_eq!(client.refused().await.status, 403);
    let mut client = Socket::ask(address, "/broken", &[]).await;
    assert_eq!(client.refused().await.status, 502);
    let mut client = Socket::ask(address, "/reset", &[]).await;
    assert_eq!(client.answered().await.status, 200);
    let (_, end) = client.rest().await;
    assert_eq!(end, End::Reset(crate::support::http2::websocket::CANCEL));
    let mut old = connect(address, handshake("/reset", "")).await;
    assert_eq!(answered(&mut old).await.0, 101);
    rest(&mut old).await;
}
