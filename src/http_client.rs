//! The one HTTP client: key sets, metadata and token requests go through it.
//!
//! It is deliberately narrow. Redirects are never followed (one would carry a client's secret to wherever the answer
//! points), proxies of the environment are ignored, answers are not decompressed, and a body is read only up to a
//! limit: an authority that misbehaves costs a bounded time and a bounded amount of memory. Errors are constants,
//! because URLs and bodies may hold what must not be logged.

pub mod trust;

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use http::header::{AGE, CONTENT_TYPE, DATE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Certificate, Client, ClientBuilder, Identity, Request, Response, redirect, retry};
use url::{Host, Url};

use crate::domain::clock::UnixTime;
use crate::domain::public_address::is_public;
use crate::domain::secret::{ExposeSecret, SecretString};

const USER_AGENT: &str = concat!("m2m-sidecar/", env!("CARGO_PKG_VERSION"));

/// Below what servers usually keep an idle connection, so that ours is rarely the one found closed.
const POOL_IDLE: Duration = Duration::from_secs(50);

/// How a client behaves.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// Name resolution, TCP and TLS together.
    pub connect_timeout: Duration,
    /// From the start until the last byte of the answer.
    pub total_timeout: Duration,
    /// Certificates (PEM) that are trusted beside the platform's.
    pub ca_pem: Option<Vec<u8>>,
    /// A private key and its certificates (PEM), which are shown to servers that ask for them.
    pub identity_pem: Option<SecretString>,
    /// The largest body read, in bytes.
    pub max_body: usize,
}

/// Why no client could be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The PEM holds no certificate, or a broken one.
    #[error("the CA file holds no valid certificate")]
    Certificate,
    /// The PEM holds no private key, no certificate, or the two do not belong together.
    #[error("the client's certificate and private key cannot be used together")]
    Identity,
    /// The platform has no certificates.
    #[error("the platform has no CA certificates, and there is no caFile")]
    NoRoots,
    /// The TLS library refused its settings.
    #[error("the TLS client could not be set up")]
    Tls,
}

/// Why a request got no answer. The texts are constants: nothing of the URL, nothing of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum HttpError {
    /// No complete answer in time.
    #[error("no answer in time")]
    Timeout,
    /// The name could not be resolved, or no connection could be made in time.
    #[error("connection failed")]
    Connect,
    /// The server's certificate or its TLS was refused.
    #[error("TLS failed: certificate or name not trusted")]
    Tls,
    /// The body is larger than allowed.
    #[error("answer too large")]
    TooLarge,
    /// The connection broke, or what came was no HTTP.
    #[error("connection broke or answer is not valid HTTP")]
    Broken,
}

impl HttpError {
    /// A short stable code, for metrics.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::TooLarge => "too_large",
            Self::Broken => "broken",
        }
    }
}

/// A complete answer, whatever its status.
#[derive(Clone)]
pub struct HttpAnswer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, at most `max_body` bytes.
    pub body: Bytes,
}

impl HttpAnswer {
    /// By how many seconds the server's clock is ahead of ours, negative: behind, by `Date` (RFC 9110 §6.6.1) and, from a
    /// cache, `Age`. The answer was made some time between question and answer: within that span there is no difference.
    #[must_use]
    pub fn clock_skew(&self, asked: UnixTime, answered: UnixTime) -> Option<i64> {
        let text = |name: HeaderName| self.headers.get(name).and_then(|value| value.to_str().ok());
        let date = httpdate::parse_http_date(text(DATE)?).ok()?.duration_since(UNIX_EPOCH).ok()?;
        let age = text(AGE).and_then(|age| age.trim().parse().ok()).unwrap_or(0_u32);
        let theirs = i64::try_from(date.as_secs()).ok()?.saturating_add(i64::from(age));
        Some(if theirs > answered.0 { theirs - answered.0 } else { (theirs - asked.0).min(0) })
    }
}

impl fmt::Debug for HttpAnswer {
    /// Neither body nor headers: an answer of a token endpoint is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpAnswer")
            .field("status", &self.status)
            .field("body_len", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// An HTTP/1.1 client with its connections. Clones share them.
#[derive(Clone, Debug)]
pub struct HttpClient {
    client: Client,
    max_body: usize,
    /// Whether it trusts no certificate at all.
    trusts_nobody: bool,
    /// Where it may go, when strangers say where; anywhere, when none.
    reach: Option<Arc<Reach>>,
}

impl HttpClient {
    /// A client with these options. Reads the platform's certificates.
    ///
    /// # Errors
    /// When the CA certificates are no certificates.
    pub fn new(options: HttpOptions) -> Result<Self, BuildError> {
        let (client, trusts_nobody) = Self::build(&options, |builder| builder)?;
        Ok(Self { client, max_body: options.max_body, trusts_nobody, reach: None })
    }

    /// Whether the platform had no certificates when this was made, so that every https is refused.
    #[must_use]
    pub fn trusts_nobody(&self) -> bool {
        self.trusts_nobody
    }

    /// A client for URLs that strangers name: https only, and only to public addresses, or to any address of one of
    /// `hosts`. The address is judged that is connected to: a name that resolves to something else the next time changes
    /// nothing.
    ///
    /// # Errors
    /// When the CA certificates are no certificates.
    pub fn for_strangers_urls(options: HttpOptions, hosts: Vec<String>) -> Result<Self, BuildError> {
        let reach = Arc::new(Reach { hosts });
        let (client, trusts_nobody) =
            Self::build(&options, |builder| builder.https_only(true).dns_resolver(reach.clone()))?;
        Ok(Self { client, max_body: options.max_body, trusts_nobody, reach: Some(reach) })
    }

    fn build(
        options: &HttpOptions,
        adapt: impl Fn(ClientBuilder) -> ClientBuilder,
    ) -> Result<(Client, bool), BuildError> {
        // reqwest panics without a process provider. An `Err` says that there is one already, which is as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let certificates = match &options.ca_pem {
            Some(pem) => parse_certificates(pem)?,
            None => Vec::new(),
        };
        let private_ca = !certificates.is_empty();
        let identity = options.identity_pem.as_ref().map(parse_identity).transpose()?;
        let builder = |options| match &identity {
            Some(identity) => builder(options).identity(identity.clone()),
            None => builder(options),
        };
        match adapt(builder(options)).tls_certs_merge(certificates).build() {
            Ok(client) => Ok((client, false)),
            // Each was readable by itself.
            Err(_) if identity.is_some() => Err(BuildError::Identity),
            Err(_) if private_ca => Err(BuildError::Certificate),
            // An image without any CA bundle: plain HTTP must work there all the same, and every https is refused.
            Err(_) => {
                tracing::warn!("the platform has no CA certificates: https authorities need a caFile");
                let client = adapt(builder(options)).tls_certs_only([]).build();
                client.map(|client| (client, true)).map_err(|_| BuildError::Tls)
            }
        }
    }

    /// Sends a GET.
    ///
    /// # Errors
    /// When there is no complete answer; a status of failure is an answer.
    pub async fn get(&self, url: &Url, headers: HeaderMap) -> Result<HttpAnswer, HttpError> {
        let mut request = Request::new(http::Method::GET, url.clone());
        *request.headers_mut() = headers;
        self.execute(request).await
    }

    /// Sends a POST whose body is a form.
    ///
    /// # Errors
    /// When there is no complete answer; a status of failure is an answer.
    pub async fn post_form(
        &self,
        url: &Url,
        headers: HeaderMap,
        form: &[(&str, &str)],
    ) -> Result<HttpAnswer, HttpError> {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let mut request = Request::new(http::Method::POST, url.clone());
        *request.headers_mut() = headers;
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert(CONTENT_TYPE, form_type);
        *request.body_mut() = Some(body.into());
        self.execute(request).await
    }

    /// Sends a request whose body, if it has one, is JSON.
    ///
    /// # Errors
    /// When there is no complete answer; a status of failure is an answer.
    pub async fn send_json(
        &self,
        method: http::Method,
        url: &Url,
        headers: HeaderMap,
        body: Option<String>,
    ) -> Result<HttpAnswer, HttpError> {
        let mut request = Request::new(method, url.clone());
        *request.headers_mut() = headers;
        if let Some(body) = body {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            *request.body_mut() = Some(body.into());
        }
        self.execute(request).await
    }

    async fn execute(&self, request: Request) -> Result<HttpAnswer, HttpError> {
        // An address in the URL itself is resolved by nobody.
        if self.reach.as_ref().is_some_and(|reach| !reach.allows(request.url())) {
            return Err(HttpError::Connect);
        }
        let mut response = self.client.execute(request).await.map_err(|error| classify(&error))?;
        let body = read_body(&mut response, self.max_body).await?;
        let status = response.status();
        Ok(HttpAnswer { status, headers: std::mem::take(response.headers_mut()), body })
    }
}

/// Where a client for strangers' URLs may go; resolves names for it.
#[derive(Debug)]
struct Reach {
    /// Hosts that may have any address.
    hosts: Vec<String>,
}

impl Reach {
    fn allows(&self, url: &Url) -> bool {
        let address = match url.host() {
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
            Some(Host::Domain(_)) => return true,
            None => return false,
        };
        is_public(address) || self.names(url.host_str().unwrap_or_default())
    }

    fn names(&self, host: &str) -> bool {
        let bare = |host: &str| host.trim_matches(['[', ']']).to_ascii_lowercase();
        self.hosts.iter().any(|known| bare(known) == bare(host))
    }
}

impl Resolve for Reach {
    fn resolve(&self, name: Name) -> Resolving {
        let anywhere = self.names(name.as_str());
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found: Vec<SocketAddr> = found.filter(|found| anywhere || is_public(found.ip())).collect();
            if found.is_empty() {
                return Err("the host has no public address".into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

fn builder(options: &HttpOptions) -> ClientBuilder {
    Client::builder()
        .user_agent(USER_AGENT)
        .no_proxy()
        .referer(false)
        .redirect(redirect::Policy::none())
        // Who asks decides about trying again; hyper still replaces a pooled connection found closed.
        .retry(retry::never())
        .connect_timeout(options.connect_timeout)
        .timeout(options.total_timeout)
        .pool_idle_timeout(POOL_IDLE)
}

fn parse_certificates(pem: &[u8]) -> Result<Vec<Certificate>, BuildError> {
    let certificates = Certificate::from_pem_bundle(pem).map_err(|_| BuildError::Certificate)?;
    if certificates.is_empty() { Err(BuildError::Certificate) } else { Ok(certificates) }
}

fn parse_identity(pem: &SecretString) -> Result<Identity, BuildError> {
    Identity::from_pem(pem.expose_secret().as_bytes()).map_err(|_| BuildError::Identity)
}

/// Reads a body, and stops as soon as it is known to be too large.
async fn read_body(response: &mut Response, max_body: usize) -> Result<Bytes, HttpError> {
    let announced = response.content_length().unwrap_or(0);
    if usize::try_from(announced).map_or(true, |length| length > max_body) {
        return Err(HttpError::TooLarge);
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| classify(&error))? {
        if chunk.len() > max_body - body.len() {
            return Err(HttpError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// What kind of failure this is. A connection that times out counts as one that could not be made.
fn classify(error: &reqwest::Error) -> HttpError {
    if is_tls(error) {
        HttpError::Tls
    } else if error.is_connect() {
        HttpError::Connect
    } else if error.is_timeout() {
        HttpError::Timeout
    } else {
        HttpError::Broken
    }
}

/// Whether rustls is at the root of an error. `io::Error::source` skips the error it wraps, hence the detour.
fn is_tls(error: &reqwest::Error) -> bool {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = next {
        if error.is::<rustls::Error>() {
            return true;
        }
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    false
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers each connection with the next of `scripts`, once a request's head has arrived, then closes it.
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
        }
    }

    async fn get(script: &[u8]) -> Result<HttpAnswer, HttpError> {
        let address = serve(vec![script.to_vec()]).await;
        let url = format!("http://user:pass@{address}/x?secret=1").parse().unwrap();
        HttpClient::new(options()).unwrap().get(&url, HeaderMap::new()).await
    }

    #[tokio::test]
    async fn an_answer_of_any_status_is_an_answer() {
        let answer = get(b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\nx-a: b\r\n\r\nhi").await.unwrap();
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        assert_eq!(answer.headers["x-a"], "b");
        assert_eq!(&answer.body[..], b"hi");
        assert!(!format!("{answer:?}").contains("hi"));
    }

    #[test]
    fn the_clock_is_judged_by_the_date_of_an_answer_and_its_age_in_a_cache() {
        // 1994-11-06 08:49:37, the example of RFC 9110 §5.6.7.
        let now = 784_111_777;
        let answer = |headers| HttpAnswer { status: StatusCode::OK, headers, body: Bytes::new() };
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
        assert_eq!(answer(HeaderMap::new()).clock_skew(UnixTime(now), UnixTime(now)), None);
    }

    #[tokio::test]
    async fn redirects_are_not_followed() {
        let answer = get(b"HTTP/1.1 302 Found\r\nlocation: /y\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        assert_eq!(answer.status, StatusCode::FOUND);
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_with_or_without_its_length_announced() {
        let announced = get(b"HTTP/1.1 200 OK\r\ncontent-length: 65\r\n\r\n").await;
        assert_eq!(announced.unwrap_err(), HttpError::TooLarge);
        let mut endless = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        endless.resize(1 << 20, b'x');
        assert_eq!(get(&endless).await.unwrap_err(), HttpError::TooLarge);
        let mut fits = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        fits.extend_from_slice(&[b'x'; 64]);
        assert_eq!(get(&fits).await.unwrap().body.len(), 64);
    }

    #[tokio::test]
    async fn what_is_no_http_or_breaks_off_is_broken() {
        for script in [&b"SSH-2.0-x\r\n\r\n"[..], b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab"] {
            assert_eq!(get(script).await.unwrap_err(), HttpError::Broken);
        }
    }

    #[tokio::test]
    async fn a_closed_port_is_a_failed_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        drop(listener);
        let error = HttpClient::new(options()).unwrap().get(&url, HeaderMap::new()).await.unwrap_err();
        assert_eq!(error, HttpError::Connect);
    }

    #[tokio::test]
    async fn an_answer_that_never_comes_is_a_timeout() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let options = HttpOptions { total_timeout: Duration::from_millis(50), ..options() };
        let error = HttpClient::new(options).unwrap().get(&url, HeaderMap::new()).await.unwrap_err();
        assert_eq!(error, HttpError::Timeout);
    }

    #[tokio::test]
    async fn a_form_is_posted_as_one() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/t", listener.local_addr().unwrap()).parse().unwrap();
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
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            seen
        };
        let (answer, seen) = tokio::join!(post, server);
        assert_eq!(answer.unwrap().status, StatusCode::OK);
        assert!(seen.starts_with("POST /t HTTP/1.1\r\n") && seen.contains("scope=a+b&x="), "{seen}");
        assert!(seen.contains("content-type: application/x-www-form-urlencoded\r\n"), "{seen}");
    }

    #[test]
    fn a_ca_file_without_a_certificate_is_refused() {
        for pem in ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let options = HttpOptions { ca_pem: Some(pem.into()), ..options() };
            assert_eq!(HttpClient::new(options).unwrap_err(), BuildError::Certificate, "{pem}");
        }
    }

    #[tokio::test]
    async fn without_any_ca_plain_http_still_works() {
        drop(HttpClient::new(options()).unwrap());
        let address = serve(vec![b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec()]).await;
        let client = builder(&options()).tls_certs_only([]).build().unwrap();
        let url = format!("http://{address}/").parse().unwrap();
        let answer = HttpClient { client, max_body: 64, trusts_nobody: false, reach: None }
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
                    let _ =
                        tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
                    tls.conn.send_close_notify();
                    let _ = tls.flush();
                }
            }
        });
        (address, own.cert.pem())
    }

    #[tokio::test]
    async fn a_strangers_url_leads_to_public_addresses_over_https_only() {
        let (address, pem) = serve_tls().await;
        let options = HttpOptions { ca_pem: Some(pem.into()), ..options() };
        let client = HttpClient::for_strangers_urls(options.clone(), Vec::new()).unwrap();
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
            assert_eq!(answer.unwrap_err(), HttpError::Connect, "{url}");
        }
        let named = HttpClient::for_strangers_urls(options, vec!["127.0.0.1".to_owned()]).unwrap();
        let secure = format!("https://{address}/").parse().unwrap();
        assert_eq!(&named.get(&secure, HeaderMap::new()).await.unwrap().body[..], b"ok");
        let plain = format!("http://{address}/").parse().unwrap();
        assert!(named.get(&plain, HeaderMap::new()).await.is_err());
    }

    #[tokio::test]
    async fn only_certificates_of_the_platform_or_the_ca_file_are_trusted() {
        let (address, pem) = serve_tls().await;
        let url = format!("https://{address}/").parse().unwrap();
        let stranger = HttpClient::new(options()).unwrap().get(&url, HeaderMap::new()).await;
        assert_eq!(stranger.unwrap_err(), HttpError::Tls);
        let trusting = HttpOptions { ca_pem: Some(pem.into()), ..options() };
        let answer = HttpClient::new(trusting).unwrap().get(&url, HeaderMap::new()).await.unwrap();
        assert_eq!(&answer.body[..], b"ok");
    }
}
