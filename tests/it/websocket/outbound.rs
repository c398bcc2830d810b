//! WebSockets of programs: the listener attaches the token, also through two sidecars.

use super::*;
use crate::support::sidecar::SidecarBuilder;

const SECRET: &str = "websocket-client-secret-1";

fn builder(authority: &Authority) -> SidecarBuilder {
    authority.register_client("legacy", SECRET);
    Sidecar::builder().secret_file("secret", "legacy", SECRET)
}

fn yaml(authority: &Authority, upstream: &str, keys: &str) -> String {
    format!(
        r#"
stateDir: "@DIR@"
credentials:
  hub:
    authority: "{}"
    clientID: legacy
    clientSecretFile: "@DIR@/secret"
    audiences: [{AUDIENCE}]
outbound:
  - name: hub
    listen: 127.0.0.1:0
    upstream: "{upstream}"
    credential: hub
{keys}
"#,
        authority.issuer()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_without_oauth_opens_a_websocket_with_a_token() {
    for keys in ["", "    upstreamAuthorization: { cookie: token }"] {
        let (authority, upstream) = (Authority::start(), ManualUpstream::start());
        let yaml = yaml(&authority, &upstream.url(), keys);
        let sidecar = builder(&authority).start(&yaml).await;
        let fields = "Cookie: a=1; token=own\r\nAuthorization: Basic YTpi\r\n";
        let mut client = connect(sidecar.address("hub"), handshake("/ws", fields)).await;
        let (seen, mut server) = upstream.accept("").await;
        let token = &authority.issued()[0];
        if keys.is_empty() {
            let bearer = format!("Bearer {token}");
            assert_eq!(seen.all("authorization"), [bearer.as_str()]);
            assert_eq!(seen.all("cookie"), ["a=1; token=own"]);
        } else {
            let cookies = format!("a=1; token={token}");
            assert_eq!(seen.all("cookie"), [cookies.as_str()]);
            assert_eq!(seen.all("authorization"), [""; 0]);
        }
        assert_eq!(answered(&mut client).await.0, 101);
        send(&mut client, masked(0x81, b"hello")).await;
        expect(&mut server, masked(0x81, b"hello")).await;
        send(&mut server, frame(0x81, b"welcome")).await;
        expect(&mut client, frame(0x81, b"welcome")).await;
        // Other requests carry the token in the header.
        let asked = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
        let _client = connect(sidecar.address("hub"), asked).await;
        let (seen, _server) = upstream.asked().await;
        assert!(seen.all("authorization")[0].starts_with("Bearer "));
        assert_eq!(seen.all("cookie"), [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_may_bring_its_own_token_where_that_is_allowed() {
    let keys = "    upstreamAuthorization: { cookie: token }\n    overwrite: false";
    let (authority, upstream) = (Authority::start(), ManualUpstream::start());
    let yaml = yaml(&authority, &upstream.url(), keys);
    let sidecar = builder(&authority).start(&yaml).await;
    let own = handshake("/ws", "Cookie: token=own\r\n");
    let _client = connect(sidecar.address("hub"), own).await;
    let (seen, _server) = upstream.asked().await;
    assert_eq!(seen.all("cookie"), ["token=own"]);
    let without = handshake("/ws", "Cookie: a=1\r\n");
    let _client = connect(sidecar.address("hub"), without).await;
    let (seen, _server) = upstream.asked().await;
    assert_eq!(
        seen.all("cookie"),
        [format!("a=1; token={}", authority.issued()[0])]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_and_broken_handshakes_are_refused() {
    let (authority, upstream) = (Authority::start(), ManualUpstream::start());
    let yaml = yaml(&authority, &upstream.url(), "");
    let sidecar = builder(&authority).start(&yaml).await;
    let page = handshake("/ws", "Origin: https://evil.example\r\n");
    let broken = handshake("/ws", "").replace("Version: 13", "Version: 12");
    for (asked, refused) in [(page, (403, "cross_site")), (broken, (400, "websocket"))] {
        let mut client = connect(sidecar.address("hub"), asked).await;
        let (status, head) = answered(&mut client).await;
        assert_eq!((status, head.all("x-m2m-reason")[0]), refused);
    }
    assert!(upstream.is_unasked().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sidecars_carry_a_websocket_between_them() {
    let world = world("    upstreamAuthorization: { cookie: token }").await;
    let inbound = format!("http://{}", world.address());
    let yaml = yaml(&world.authority, &inbound, "");
    let sidecar = builder(&world.authority).start(&yaml).await;
    let protocols = "Sec-WebSocket-Protocol: json\r\n";
    let mut client = connect(sidecar.address("hub"), handshake("/ws", protocols)).await;
    let (seen, mut server) = world.upstream.accept(protocols).await;
    let cookie = format!("token={}", world.authority.issued()[0]);
    assert_eq!(seen.all("cookie"), [cookie.as_str()]);
    assert_eq!(seen.all("authorization"), [""; 0]);
    let (status, head) = answered(&mut client).await;
    assert_eq!(
        (status, head.all("sec-websocket-protocol")),
        (101, vec!["json"])
    );
    let large = vec![1; 300_000];
    send(&mut client, masked(0x82, &large)).await;
    expect(&mut server, masked(0x82, &large)).await;
    send(&mut server, frame(0x82, &large)).await;
    expect(&mut client, frame(0x82, &large)).await;
    drop(client);
    assert_eq!(rest(&mut server).await, b"");
}
