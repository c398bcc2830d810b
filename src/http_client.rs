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
mod tests;
