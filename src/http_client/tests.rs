//! The client against servers that misbehave.

use crate::domain::clock::UnixTime;
use bytes::Bytes;
use http::StatusCode;
use http::header::{AGE, DATE};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// Answers each connection with the next of `scripts`, once a request's head has arrived, then
/// closes it.
async fn serve(scripts: Vec<Vec<u8>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for script in scripts {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            while !seen.windows(4).any(|w| w == b"\r\n\r\n") {
                let mut buffer = [0; 1024];
                let n = stream.read(&mut buffer).await.unwrap();
                seen.extend_from_slice(&buffer[..n]);
            }
            // The client may stop reading early; that is what some tests are about.
            let _ = stream.write_all(&script).await;
        }
    });
    address
}

fn options() -> HttpOptions {
    HttpOptions {
        connect_timeout: Duration::from_secs(2),
        total_timeout: Duration::from_secs(5),
        ca_pem: None,
        identity_pem: None,
        max_body: 64,
        egress: Egress::default(),
    }
}

async fn get(script: &[u8]) -> Result<HttpAnswer, Failed> {
    let address = serve(vec![script.to_vec()]).await;
    let url = format!("http://user:pass@{address}/x?secret=1")
        .parse()
        .unwrap();
    HttpClient::new(options())
        .unwrap()
        .get(&url, HeaderMap::new())
        .await
}

#[tokio::test]
async fn an_answer_of_any_status_is_an_answer() {
    let answer = get(b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\nx-a: b\r\n\r\nhi")
        .await
        .unwrap();
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(answer.headers["x-a"], "b");
    assert_eq!(&answer.body[..], b"hi");
    assert!(!format!("{answer:?}").contains("hi"));
}

#[test]
fn the_clock_difference_follows_date_and_age() {
    // 1994-11-06 08:49:37, the example of RFC 9110 §5.6.7.
    let now = 784_111_777;
    let answer = |headers| HttpAnswer {
        status: StatusCode::OK,
        headers,
        body: Bytes::new(),
    };
    let skew = |date: &str, age: Option<&str>, asked: i64, answered: i64| {
        let mut headers = HeaderMap::new();
        headers.insert(DATE, date.parse().unwrap());
        if let Some(age) = age {
            headers.insert(AGE, age.parse().unwrap());
        }
        answer(headers).clock_skew(UnixTime(now + asked), UnixTime(now + answered))
    };
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    assert_eq!(skew(date, None, 0, 0), Some(0));
    assert_eq!(skew(date, None, -4, 1), Some(0), "made while we waited");
    assert_eq!(skew(date, None, -95, -90), Some(90), "it is ahead");
    assert_eq!(skew(date, None, 90, 95), Some(-90), "it is behind");
    assert_eq!(skew(date, Some("600"), 600, 600), Some(0), "from a cache");
    assert_eq!(skew(date, Some("x"), 0, 0), Some(0));
    assert_eq!(skew("yesterday", None, 0, 0), None);
    assert_eq!(
        answer(HeaderMap::new()).clock_skew(UnixTime(now), UnixTime(now)),
        None
    );
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let answer = get(b"HTTP/1.1 302 Found\r\nlocation: /y\r\ncontent-length: 0\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(answer.status, StatusCode::FOUND);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_with_or_without_its_length_announced() {
    let announced = get(b"HTTP/1.1 200 OK\r\ncontent-length: 65\r\n\r\n").await;
    assert_eq!(announced.unwrap_err().kind(), HttpError::TooLarge);
    let mut endless = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    endless.resize(1 << 20, b'x');
    assert_eq!(get(&endless).await.unwrap_err().kind(), HttpError::TooLarge);
    let mut fits = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    fits.extend_from_slice(&[b'x'; 64]);
    assert_eq!(get(&fits).await.unwrap().body.len(), 64);
}

#[tokio::test]
async fn invalid_or_incomplete_http_is_broken() {
    for script in [
        &b"SSH-2.0-x\r\n\r\n"[..],
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab",
    ] {
        assert_eq!(get(script).await.unwrap_err().kind(), HttpError::Broken);
    }
}

#[tokio::test]
async fn an_answer_that_never_comes_is_a_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let options = HttpOptions {
        total_timeout: Duration::from_millis(50),
        ..options()
    };
    let error = HttpClient::new(options)
        .unwrap()
        .get(&url, HeaderMap::new())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), HttpError::Timeout);
}

#[tokio::test]
async fn a_form_is_posted_as_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/t", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let client = HttpClient::new(options()).unwrap();
    let form = [("scope", "a b"), ("x", "ü&=")];
    let post = client.post_form(&url, HeaderMap::new(), &form);
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = String::new();
        while !seen.ends_with("x=%C3%BC%26%3D") {
            let mut buffer = [0; 1024];
            let n = stream.read(&mut buffer).await.unwrap();
            assert_ne!(n, 0, "{seen}");
            seen.push_str(std::str::from_utf8(&buffer[..n]).unwrap());
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .await
            .unwrap();
        seen
    };
    let (answer, seen) = tokio::join!(post, server);
    assert_eq!(answer.unwrap().status, StatusCode::OK);
    assert!(
        seen.starts_with("POST /t HTTP/1.1\r\n") && seen.contains("scope=a+b&x="),
        "{seen}"
    );
    assert!(
        seen.contains("content-type: application/x-www-form-urlencoded\r\n"),
        "{seen}"
    );
}

#[test]
fn a_ca_file_without_a_certificate_is_refused() {
    for pem in [
        "",
        "nonsense",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        let options = HttpOptions {
            ca_pem: Some(pem.into()),
            ..options()
        };
        assert_eq!(
            HttpClient::new(options).unwrap_err(),
            BuildError::Certificate,
            "{pem}"
        );
    }
}

#[tokio::test]
async fn without_any_ca_plain_http_still_works() {
    drop(HttpClient::new(options()).unwrap());
    let address = serve(vec![
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec(),
    ])
    .await;
    let url = format!("http://{address}/").parse().unwrap();
    let answer = HttpClient::new(options())
        .unwrap()
        .get(&url, HeaderMap::new())
        .await
        .unwrap();
    assert_eq!(&answer.body[..], b"ok");
}

/// A TLS server with a certificate of its own for 127.0.0.1, and that certificate.
async fn serve_tls() -> (SocketAddr, String) {
    use std::sync::Arc;

    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // rustls by hand on a thread of its own: the tree has no async TLS acceptor that we name.
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for stream in listener.incoming().flatten() {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut tls = rustls::StreamOwned::new(connection, stream);
            let mut buffer = [0; 4096];
            if tls.read(&mut buffer).is_ok() {
                let _ = tls.write_all(
                    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
                );
                tls.conn.send_close_notify();
                let _ = tls.flush();
            }
        }
    });
    (address, own.cert.pem())
}

#[tokio::test]
async fn client_urls_lead_to_public_addresses_over_https_only() {
    let (address, pem) = serve_tls().await;
    let options = HttpOptions {
        ca_pem: Some(pem.into()),
        ..options()
    };
    let client = HttpClient::for_client_urls(options.clone(), Vec::new()).unwrap();
    let port = address.port();
    for url in [
        format!("https://127.0.0.1:{port}/"),
        format!("https://localhost:{port}/"),
        format!("https://127.1:{port}/"),
        format!("https://0x7f000001:{port}/"),
        format!("https://2130706433:{port}/"),
        format!("https://[::1]:{port}/"),
        format!("https://[::ffff:127.0.0.1]:{port}/"),
        format!("https://0.0.0.0:{port}/"),
        format!("https://10.0.0.1:{port}/"),
        format!("https://169.254.169.254:{port}/latest/meta-data"),
        format!("https://192.168.1.1:{port}/"),
        format!("https://100.64.0.1:{port}/"),
        format!("https://[fe80::1]:{port}/"),
        format!("https://[fd00::1]:{port}/"),
        format!("https://224.0.0.1:{port}/"),
        format!("https://localhost.:{port}/"),
    ] {
        let answer = client.get(&url.parse().unwrap(), HeaderMap::new()).await;
        let kind = answer.unwrap_err().kind();
        assert!(
            matches!(kind, HttpError::Connect | HttpError::Dns),
            "{url}: {kind}"
        );
    }
    let named = HttpClient::for_client_urls(options, vec!["127.0.0.1".to_owned()]).unwrap();
    let secure = format!("https://{address}/").parse().unwrap();
    assert_eq!(
        &named.get(&secure, HeaderMap::new()).await.unwrap().body[..],
        b"ok"
    );
    let plain = format!("http://{address}/").parse().unwrap();
    assert!(named.get(&plain, HeaderMap::new()).await.is_err());
}

#[tokio::test]
async fn an_authoritys_urls_lead_inside_only_where_it_is_itself() {
    let (address, pem) = serve_tls().await;
    let options = HttpOptions {
        ca_pem: Some(pem.into()),
        ..options()
    };
    let client = |home: &str, hosts: &[&str]| {
        let hosts = hosts.iter().map(ToString::to_string).collect();
        HttpClient::for_authority_urls(options.clone(), home, hosts).unwrap()
    };
    let port = address.port();
    let get = async |client: HttpClient, url: String| {
        client.get(&url.parse().unwrap(), HeaderMap::new()).await
    };
    let here = || format!("https://{address}/");
    for (home, hosts) in [
        ("127.0.0.1", &[][..]),
        ("localhost", &[]),
        ("[::1]", &[]),
        ("1.1.1.1", &["127.0.0.1"]),
    ] {
        let answer = get(client(home, hosts), here()).await;
        assert_eq!(
            &answer
                .unwrap_or_else(|failed| panic!("{home}: {failed}"))
                .body[..],
            b"ok"
        );
    }
    for home in [
        "1.1.1.1",
        "[2606:4700::1111]",
        "10.0.0.1",
        "169.254.1.1",
        "no-such-host.invalid",
    ] {
        for url in [
            here(),
            format!("https://localhost:{port}/"),
            format!("http://127.0.0.1:{port}/"),
        ] {
            let kind = get(client(home, &[]), url.clone())
                .await
                .unwrap_err()
                .kind();
            assert!(
                matches!(kind, HttpError::Connect | HttpError::Dns),
                "{url} of {home}: {kind}"
            );
        }
    }
    for url in [
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/",
    ] {
        let failed = get(client("127.0.0.1", &[]), url.to_owned())
            .await
            .unwrap_err();
        assert!(
            failed.to_string().contains("its address is not public"),
            "{url}: {failed}"
        );
    }
}

#[tokio::test]
async fn only_certificates_of_the_platform_or_the_ca_file_are_trusted() {
    let (address, pem) = serve_tls().await;
    let url = format!("https://{address}/").parse().unwrap();
    let without_ca = HttpClient::new(options())
        .unwrap()
        .get(&url, HeaderMap::new())
        .await;
    assert_eq!(without_ca.unwrap_err().kind(), HttpError::Tls);
    let trusting = HttpOptions {
        ca_pem: Some(pem.into()),
        ..options()
    };
    let answer = HttpClient::new(trusting)
        .unwrap()
        .get(&url, HeaderMap::new())
        .await
        .unwrap();
    assert_eq!(&answer.body[..], b"ok");
}

/// A server that keeps its connections and says nothing else, but reads a second request on one of
/// them without an answer. Gives its address and how many requests it has read.
async fn serve_one_request_per_connection() -> (SocketAddr, Arc<std::sync::atomic::AtomicUsize>) {
    use std::sync::atomic::{AtomicUsize, Ordering};

    async fn head(stream: &mut tokio::net::TcpStream) -> bool {
        let mut seen = Vec::new();
        let mut buffer = [0; 4096];
        while !seen.windows(4).any(|part| part == b"\r\n\r\n") {
            match stream.read(&mut buffer).await {
                Ok(read) if read > 0 => seen.extend_from_slice(&buffer[..read]),
                _ => return false,
            }
        }
        true
    }

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let read = Arc::new(AtomicUsize::new(0));
    let count = read.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let count = count.clone();
            tokio::spawn(async move {
                if head(&mut stream).await {
                    count.fetch_add(1, Ordering::SeqCst);
                    let _ = stream
                        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                        .await;
                }
                if head(&mut stream).await {
                    count.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    (address, read)
}

#[tokio::test]
async fn a_swallowed_get_is_repeated_and_a_post_uses_a_new_connection() {
    let (address, read) = serve_one_request_per_connection().await;
    let url: Url = format!("http://{address}/").parse().unwrap();
    let client = HttpClient::new(options()).unwrap();
    for _ in 0..6 {
        assert_eq!(
            client.get(&url, HeaderMap::new()).await.unwrap().status,
            StatusCode::OK
        );
    }
    // Each second one was swallowed.
    assert_eq!(read.swap(0, std::sync::atomic::Ordering::SeqCst), 9);
    for _ in 0..3 {
        assert_eq!(
            client
                .post_form(&url, HeaderMap::new(), &[("a", "b")])
                .await
                .unwrap()
                .status,
            StatusCode::OK
        );
    }
    assert_eq!(
        read.swap(0, std::sync::atomic::Ordering::SeqCst),
        3,
        "each on a connection of its own"
    );
    for _ in 0..4 {
        assert_eq!(
            client
                .ask_form(&url, HeaderMap::new(), &[("a", "b")])
                .await
                .unwrap()
                .status,
            StatusCode::OK
        );
    }
}

#[tokio::test]
async fn a_request_on_a_new_connection_is_sent_once() {
    let address = serve(vec![
        b"".to_vec(),
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec(),
    ])
    .await;
    let url = format!("http://{address}/").parse().unwrap();
    let failed = HttpClient::new(options())
        .unwrap()
        .get(&url, HeaderMap::new())
        .await
        .unwrap_err();
    assert_eq!(failed.kind(), HttpError::Broken);
    assert!(failed.why().contains("closed the connection"), "{failed}");
}

/// Answers whatever comes, TLS too, in plain HTTP.
async fn serve_plain() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream
                .write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
                .await;
        }
    });
    address
}

#[tokio::test]
async fn a_failure_names_the_url_without_its_secrets_and_the_cause() {
    // Bound and not listening, so that no other test gets its port.
    let closed = tokio::net::TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let refused = closed.local_addr().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain = serve_plain().await;
    let (tls, _) = serve_tls().await;
    let ssh = serve(vec![b"SSH-2.0-OpenSSH\r\n".to_vec()]).await;
    let patient = HttpClient::new(HttpOptions {
        connect_timeout: Duration::from_secs(60),
        total_timeout: Duration::from_secs(60),
        ..options()
    })
    .unwrap();
    let short = HttpOptions {
        total_timeout: Duration::from_millis(500),
        ..options()
    };
    let impatient = HttpClient::new(short).unwrap();
    for (url, kind, why) in [
        (
            format!("http://{refused}/x"),
            HttpError::Refused,
            "nothing listens there",
        ),
        (
            "http://no-such-host.invalid/x".to_owned(),
            HttpError::Dns,
            "its name cannot be resolved",
        ),
        (
            format!("http://{}/x", silent.local_addr().unwrap()),
            HttpError::Timeout,
            "within 500ms",
        ),
        (
            format!("https://{plain}/x"),
            HttpError::Tls,
            "answers without TLS",
        ),
        (
            format!("https://{tls}/x"),
            HttpError::Tls,
            "no trusted authority has issued its certificate",
        ),
        (
            format!("http://{ssh}/x"),
            HttpError::Broken,
            "not valid HTTP/1.1",
        ),
    ] {
        let asked = url.replace("://", "://user:pass@") + "?token=secret#f";
        let client = if kind == HttpError::Timeout {
            &impatient
        } else {
            &patient
        };
        let failed = client
            .get(&asked.parse().unwrap(), HeaderMap::new())
            .await
            .unwrap_err();
        assert_eq!(failed.kind(), kind, "{failed}");
        let text = failed.to_string();
        assert!(
            text.starts_with(&format!("{url}: ")) && text.contains(why),
            "{text}"
        );
        assert!(!text.contains("secret") && !text.contains("pass"), "{text}");
    }
}

#[test]
fn an_answer_about_https_on_a_plain_port_gives_a_hint() {
    let answer = |body: &'static str| HttpAnswer {
        status: StatusCode::BAD_REQUEST,
        headers: HeaderMap::new(),
        body: Bytes::from_static(body.as_bytes()),
    };
    let url = |text: &str| Url::parse(text).unwrap();
    for body in [
        "Client sent an HTTP request to an HTTPS server.",
        "<h1>The plain HTTP request was sent to HTTPS port</h1>",
    ] {
        let hint = |at: &str| answer(body).hint(&url(at));
        assert!(hint("http://a.example/").is_some(), "{body}");
        assert!(hint("https://a.example/").is_none(), "{body}");
    }
    let other = answer("invalid_client").hint(&url("http://a.example/"));
    assert!(other.is_none());
}
