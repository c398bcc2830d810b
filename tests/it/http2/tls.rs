//! HTTP/2 over TLS, agreed by ALPN.

use http::Request;

use crate::support::certificates::{CertificateAuthority, TlsClient};
use crate::support::sidecar::Sidecar;
use crate::support::upstream::Upstream;

const NAME: &str = "api.test";

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_offers_h2_gets_it_and_others_get_http_1() {
    let authority = CertificateAuthority::new("the servers' authority");
    let pair = authority.server(&[NAME]);
    let upstream = Upstream::start();
    let yaml = format!(
        r#"
authorities: {{ self: {{ issuer: "http://127.0.0.1:9", jwksUri: "http://127.0.0.1:9/jwks" }} }}
inbound:
  - name: api
    listen: 127.0.0.1:0
    tls: {{ certFile: "@DIR@/tls.crt", keyFile: "@DIR@/tls.key" }}
    upstream: {}
    authorities: [self]
    audiences: any
    rules: [{{ paths: ["/**"], access: public }}]
"#,
        upstream.url()
    );
    let builder = Sidecar::builder()
        .file("tls.crt", &pair.cert_pem)
        .file("tls.key", &pair.key_pem);
    let sidecar = builder.start(&yaml).await;
    for (offered, agreed) in [
        (&["h2", "http/1.1"][..], Some("h2")),
        (&["http/1.1", "h2"], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        let client = TlsClient::with(&authority.pem, None, rustls::ALL_VERSIONS, offered);
        let mut connection = client.open(sidecar.address("api"), NAME).await;
        let alpn = connection.stream().get_ref().1.alpn_protocol();
        assert_eq!(alpn, agreed.map(str::as_bytes), "{offered:?}");
    }
    let client = TlsClient::with(&authority.pem, None, rustls::ALL_VERSIONS, &["h2"]);
    let mut connection = client.open(sidecar.address("api"), NAME).await;
    let stream = connection.stream();
    let (mut client, h2) = h2::client::handshake(stream).await.expect("HTTP/2");
    let exchange = async {
        let request = Request::builder()
            .uri("https://api.test/x")
            .body(())
            .expect("a request");
        let (response, _) = client.send_request(request, true).expect("it is open");
        let response = response.await.expect("a response");
        assert_eq!(response.status(), 200);
        let mut body = response.into_body();
        let mut text = Vec::new();
        while let Some(part) = body.data().await {
            text.extend_from_slice(&part.expect("a part"));
        }
        assert!(String::from_utf8_lossy(&text).contains("\"/x\""));
    };
    tokio::select! {
        () = exchange => {}
        end = h2 => panic!("{end:?}"),
    }
    let received = upstream.received().pop().expect("a request");
    assert_eq!(received.header("x-forwarded-proto"), Some("https"));
    assert_eq!(received.header("host"), Some(NAME));
    sidecar.stop().await;
}
