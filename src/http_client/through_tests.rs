//! Requests through proxies, and the hosts that a proxy is never asked for.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::HeaderMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{Egress, EgressProxy, Failed, HttpAnswer, HttpClient, HttpError, HttpOptions};

/// A proxy that answers each connection with these bytes, and the heads that it was sent.
struct Proxy {
    egress: Egress,
    heads: Arc<Mutex<Vec<String>>>,
}

async fn proxy(user: &str, answer: &'static [u8]) -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = heads.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(byte) = stream.read_u8().await else {
                    break;
                };
                head.push(byte);
            }
            seen.lock().unwrap().push(String::from_utf8(head).unwrap());
            let _ = stream.write_all(answer).await;
        }
    });
    let proxy = EgressProxy::parse(&format!("http://{user}{address}")).unwrap();
    Proxy {
        egress: Egress::new(Some(proxy.clone()), Some(proxy), Vec::new()),
        heads,
    }
}

impl Proxy {
    fn options(&self) -> HttpOptions {
        HttpOptions {
            connect_timeout: Duration::from_secs(2),
            total_timeout: Duration::from_secs(5),
            ca_pem: None,
            identity_pem: None,
            max_body: 64,
            egress: self.egress.clone(),
        }
    }

    async fn get(&self, url: &str) -> Result<HttpAnswer, Failed> {
        let client = HttpClient::new(self.options()).unwrap();
        client.get(&url.parse().unwrap(), HeaderMap::new()).await
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn a_plain_url_is_asked_in_absolute_form() {
    let proxy = proxy("ann:s3cret@", OK).await;
    let answer = proxy
        .get("http://idp.example:8080/a/b?c=d#e")
        .await
        .unwrap();
    assert_eq!(
        (answer.status.as_u16(), &answer.body[..]),
        (200, &b"ok"[..])
    );
    let heads = proxy.heads();
    assert!(
        heads[0].starts_with("GET http://idp.example:8080/a/b?c=d HTTP/1.1\r\n"),
        "{heads:?}"
    );
    assert!(
        heads[0].contains("\r\nhost: idp.example:8080\r\n"),
        "{heads:?}"
    );
    assert!(
        heads[0].contains("\r\nproxy-authorization: Basic YW5uOnMzY3JldA==\r\n"),
        "{heads:?}"
    );
    let client = HttpClient::new(proxy.options()).unwrap();
    let url = "http://idp.example/token".parse().unwrap();
    let answer = client
        .post_form(&url, HeaderMap::new(), &[("a", "b")])
        .await;
    assert_eq!(&answer.unwrap().body[..], b"ok");
    assert!(proxy.heads()[1].contains("\r\ncontent-length: 3\r\n"));
}

#[tokio::test]
async fn a_proxy_that_refuses_or_breaks_is_named_and_its_password_is_not() {
    for (answer, url, kind, words) in [
        (
            &b"HTTP/1.1 407 Denied\r\ncontent-length: 0\r\n\r\n"[..],
            "http://idp.example/",
            HttpError::ProxyRefused,
            "it answered 407: it refuses the user or the password",
        ),
        (
            b"HTTP/1.1 403 No\r\n\r\n",
            "https://idp.example/",
            HttpError::ProxyRefused,
            "it answered 403: it does not permit this destination",
        ),
        (
            b"HTTP/1.1 200 OK\r\n\r\n",
            "https://idp.example/",
            HttpError::Tls,
            "(through the proxy http://127.0.0.1:",
        ),
        (
            b"",
            "https://idp.example/",
            HttpError::Proxy,
            "without an answer",
        ),
        (
            b"nonsense\r\n\r\n",
            "http://idp.example/",
            HttpError::Broken,
            "(through the proxy http://127.0.0.1:",
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 65\r\n\r\n",
            "http://idp.example/",
            HttpError::TooLarge,
            "more than 64 bytes",
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok",
            "http://idp.example/",
            HttpError::Broken,
            "the connection broke",
        ),
    ] {
        let proxy = proxy("ann:s3cret@", answer).await;
        let failed = proxy.get(url).await.unwrap_err();
        let text = failed.to_string();
        assert_eq!(failed.kind(), kind, "{text}");
        assert!(
            text.contains(words) && text.contains("http://127.0.0.1:"),
            "{text}"
        );
        assert!(!text.contains("s3cret") && !text.contains("ann"), "{text}");
    }
}

#[tokio::test]
async fn a_proxy_is_not_asked_for_a_name_that_a_client_chose() {
    let proxy = proxy("", b"HTTP/1.1 200 OK\r\n\r\n").await;
    let client = HttpClient::for_client_urls(proxy.options(), Vec::new()).unwrap();
    for url in [
        "https://inside.invalid/jwks.json",
        "https://10.0.0.1/",
        "https://192.168.1.1:8443/",
        "https://[fd00::1]/",
    ] {
        let failed = client
            .get(&url.parse().unwrap(), HeaderMap::new())
            .await
            .unwrap_err();
        assert!(
            matches!(failed.kind(), HttpError::Dns | HttpError::Connect),
            "{failed}"
        );
    }
    assert!(proxy.heads().is_empty());
    // A host that the operator has named is left to the proxy.
    let hosts = vec!["inside.invalid".to_owned()];
    let client = HttpClient::for_client_urls(proxy.options(), hosts).unwrap();
    let url = "https://inside.invalid/jwks.json".parse().unwrap();
    let failed = client.get(&url, HeaderMap::new()).await.unwrap_err();
    assert_eq!(failed.kind(), HttpError::Tls, "{failed}");
    assert!(proxy.heads()[0].starts_with("CONNECT inside.invalid:443 "));
    // Nor for one that an authority's metadata names, unless it is its own.
    let client = HttpClient::for_authority_urls(proxy.options(), "idp.invalid", Vec::new());
    let client = client.unwrap();
    for (url, asked) in [
        ("https://other.invalid/jwks.json", 1),
        ("http://other.invalid/jwks.json", 1),
        ("https://idp.invalid/jwks.json", 2),
    ] {
        assert!(
            client
                .get(&url.parse().unwrap(), HeaderMap::new())
                .await
                .is_err()
        );
        assert_eq!(proxy.heads().len(), asked, "{url}");
    }
}
