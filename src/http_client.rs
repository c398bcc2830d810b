//! The one HTTP client: key sets, metadata and token requests go through it.
//!
//! It is deliberately narrow. Redirects are never followed (one would carry a client's secret to
//! wherever the answer points), proxies of the environment are ignored, compression is never asked
//! for, and a body is read only up to a limit: an authority that misbehaves costs a bounded time
//! and a bounded amount of memory. Errors name the URL without its query and the cause, and nothing
//! of the answer's body; `said` shows the one message of it that may be shown.
//!
//! A server may close an idle connection in the very moment of a request. A GET is then sent once
//! more on a new connection. A POST is sent on a new connection from the first, unless it only asks
//! something: see [`HttpClient::ask_form`].

mod alert;
mod demand;
mod encoding;
mod error;
mod reuse;
mod said;
pub mod trust;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use http::header::{AGE, CONTENT_TYPE, DATE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, ClientBuilder, Request, Response, redirect, retry};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use tokio::time::Instant;
use url::{Host, Url};

pub use self::alert::alert_in;
pub use self::demand::demanded_certificate;
pub use self::error::{Failed, HttpError, place};
use self::error::{Limits, Unresolved};
use self::reuse::NoteConnects;
use self::trust::Trust;

use crate::domain::clock::UnixTime;
use crate::domain::public_address::{is_public, is_same_inside};
use crate::domain::secret::{ExposeSecret, SecretString};

const USER_AGENT: &str = concat!("m2m-sidecar/", env!("CARGO_PKG_VERSION"));

/// Below what servers usually keep an idle connection, so that ours is rarely the one found closed.
const POOL_IDLE: Duration = Duration::from_secs(25);

/// How long a fetch may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchTimeouts {
    /// Name resolution, TCP and TLS together.
    pub connect: Duration,
    /// From the start until the last byte of the answer.
    pub total: Duration,
}

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
    /// By how many seconds the server's clock is ahead of ours, negative: behind, by `Date` (RFC
    /// 9110 §6.6.1) and, from a cache, `Age`. The answer was made some time between question and
    /// answer: within that span there is no difference.
    #[must_use]
    pub fn clock_skew(&self, asked: UnixTime, answered: UnixTime) -> Option<i64> {
        let text = |name: HeaderName| self.headers.get(name).and_then(|value| value.to_str().ok());
        let date = httpdate::parse_http_date(text(DATE)?)
            .ok()?
            .duration_since(UNIX_EPOCH)
            .ok()?;
        let age = text(AGE)
            .and_then(|age| age.trim().parse().ok())
            .unwrap_or(0_u32);
        let theirs = i64::try_from(date.as_secs())
            .ok()?
            .saturating_add(i64::from(age));
        Some(if theirs > answered.0 {
            theirs - answered.0
        } else {
            (theirs - asked.0).min(0)
        })
    }
}

impl HttpAnswer {
    /// What an answer of failure says of the URL that was asked.
    #[must_use]
    pub fn hint(&self, url: &Url) -> Option<&'static str> {
        // nginx, Apache, Go and others answer so on a port for TLS.
        let is_about_https = self.body.windows(5).any(|part| part == b"HTTPS");
        (url.scheme() == "http" && self.status == StatusCode::BAD_REQUEST && is_about_https)
            .then_some("it speaks TLS on this port, so the URL must begin with `https://`")
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
    /// Uses connections again.
    pooled: Client,
    /// Makes a connection for each request.
    fresh: Client,
    limits: Limits,
    max_body: usize,
    /// Whether it trusts no certificate at all.
    trusts_none: bool,
    /// Where it may go, when strangers say where; anywhere, when none.
    reach: Option<Arc<Reach>>,
}

impl HttpClient {
    /// A client with these options. Reads the platform's certificates.
    ///
    /// # Errors
    /// When the CA certificates are no certificates.
    pub fn new(options: HttpOptions) -> Result<Self, BuildError> {
        Self::build(&options, None)
    }

    /// Whether the platform had no certificates when this was made, so that every https is refused.
    #[must_use]
    pub fn trusts_none(&self) -> bool {
        self.trusts_none
    }

    /// A client for URLs that strangers name: https only, and only to public addresses, or to any
    /// address of one of `hosts`. The address is judged that is connected to: a name that resolves
    /// to something else the next time changes nothing.
    ///
    /// # Errors
    /// When the CA certificates are no certificates.
    pub fn for_client_urls(options: HttpOptions, hosts: Vec<String>) -> Result<Self, BuildError> {
        Self::build(
            &options,
            Some(Arc::new(Reach {
                hosts,
                home: None,
                https_only: true,
            })),
        )
    }

    /// A client for URLs that an authority names: to public addresses, to any address of one of
    /// `hosts`, and to addresses that are not public where `home`, the authority's own host, has
    /// one of the same kind. The address is judged that is connected to.
    ///
    /// # Errors
    /// When the CA certificates are no certificates.
    pub fn for_authority_urls(
        options: HttpOptions,
        home: &str,
        mut hosts: Vec<String>,
    ) -> Result<Self, BuildError> {
        hosts.push(home.to_owned());
        let home = Some(home.to_owned());
        Self::build(
            &options,
            Some(Arc::new(Reach {
                hosts,
                home,
                https_only: false,
            })),
        )
    }

    fn build(options: &HttpOptions, reach: Option<Arc<Reach>>) -> Result<Self, BuildError> {
        // reqwest panics without a process provider. An `Err` says that there is one already, which
        // is as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let trust =
            Trust::with_platform(options.ca_pem.as_deref()).map_err(|_| BuildError::Certificate)?;
        let trusts_none = trust.is_empty();
        if trusts_none {
            // An image without any CA bundle: plain HTTP must work there.
            tracing::warn!("the platform has no CA certificates: https authorities need a caFile");
        }
        let tls = tls(trust, options.identity_pem.as_ref())?;
        let build = |pool: usize| {
            let client = builder(options, reach.as_ref()).tls_backend_preconfigured(tls.clone());
            client
                .pool_max_idle_per_host(pool)
                .build()
                .map_err(|_| BuildError::Tls)
        };
        let limits = Limits {
            connect: options.connect_timeout,
            total: options.total_timeout,
        };
        let (pooled, fresh) = (build(usize::MAX)?, build(0)?);
        Ok(Self {
            pooled,
            fresh,
            limits,
            max_body: options.max_body,
            trusts_none,
            reach,
        })
    }

    /// Sends a GET.
    ///
    /// # Errors
    /// When there is no complete answer; a status of failure is an answer.
    pub async fn get(&self, url: &Url, headers: HeaderMap) -> Result<HttpAnswer, Failed> {
        let mut request = Request::new(http::Method::GET, url.clone());
        *request.headers_mut() = headers;
        self.execute_or_repeat(request).await
    }

    /// Sends a POST whose body is a form, once and on a new connection.
    ///
    /// # Errors
    /// When there is no complete answer; a status of failure is an answer.
    pub async fn post_form(
        &self,
        url: &Url,
        headers: HeaderMap,
        form: &[(&str, &str)],
    ) -> Result<HttpAnswer, Failed> {
        self.execute_once(form_request(url, headers, form)).await
    }

    /// Sends a request whose body, if it has one, is JSON; once and on a new connection.
    ///
    /// # Errors
    /// When there is no complete answer; a status of failure is an answer.
    pub async fn send_json(
        &self,
        method: http::Method,
        url: &Url,
        headers: HeaderMap,
        body: Option<String>,
    ) -> Result<HttpAnswer, Failed> {
        let mut request = Request::new(method, url.clone());
        *request.headers_mut() = headers;
        if let Some(body) = body {
            request
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            *request.body_mut() = Some(body.into());
        }
        self.execute_once(request).await
    }

    /// Sends a POST whose body is a form and which changes nothing (a question, such as an
    /// introspection): it may be sent twice.
    ///
    /// # Errors
    /// When there is no complete answer; a status of failure is an answer.
    pub async fn ask_form(
        &self,
        url: &Url,
        headers: HeaderMap,
        form: &[(&str, &str)],
    ) -> Result<HttpAnswer, Failed> {
        self.execute_or_repeat(form_request(url, headers, form))
            .await
    }

    /// Sends a request that does no harm twice. When an idle connection swallows it, it is sent
    /// once more on a new one.
    async fn execute_or_repeat(&self, request: Request) -> Result<HttpAnswer, Failed> {
        let url = self.allowed(&request).await?;
        let again = request.try_clone();
        let began = Instant::now();
        let (sent, connected) = reuse::noting(self.pooled.execute(request)).await;
        match (sent, again) {
            (Err(error), Some(mut again)) if !connected && error::has_ended(&error) => {
                *again.timeout_mut() = Some(self.limits.total.saturating_sub(began.elapsed()));
                self.read(&url, self.fresh.execute(again).await).await
            }
            (sent, _) => self.read(&url, sent).await,
        }
    }

    /// Sends a request that is not to be sent twice, on a new connection.
    async fn execute_once(&self, request: Request) -> Result<HttpAnswer, Failed> {
        let url = self.allowed(&request).await?;
        self.read(&url, self.fresh.execute(request).await).await
    }

    /// The URL of a request, if it may be asked.
    async fn allowed(&self, request: &Request) -> Result<Url, Failed> {
        let url = request.url();
        // A host that is an address is not resolved.
        match &self.reach {
            Some(reach) if !reach.allows(url).await => Err(Failed::because(
                HttpError::Connect,
                url,
                "its address is not public".to_owned(),
            )),
            Some(reach) if reach.https_only && url.scheme() != "https" => Err(Failed::because(
                HttpError::Connect,
                url,
                "it is not an https URL".to_owned(),
            )),
            _ => Ok(url.clone()),
        }
    }

    async fn read(
        &self,
        url: &Url,
        sent: Result<Response, reqwest::Error>,
    ) -> Result<HttpAnswer, Failed> {
        let failed = |error: reqwest::Error| {
            let (kind, why) = error::classify(&error, url.scheme() == "https", self.limits);
            Failed::because(kind, url, why)
        };
        let mut response = sent.map_err(failed)?;
        let too_large = || {
            let why = format!("its answer has more than {} bytes", self.max_body);
            Failed::because(HttpError::TooLarge, url, why)
        };
        let body = match read_body(&mut response, self.max_body).await {
            Ok(body) => body,
            Err(Unread::TooLarge) => return Err(too_large()),
            Err(Unread::Broken(error)) => return Err(failed(error)),
        };
        let body =
            encoding::decoded(body, response.headers(), self.max_body).map_err(
                |kind| match kind {
                    HttpError::TooLarge => too_large(),
                    kind => {
                        Failed::because(kind, url, "its answer's compression is broken".to_owned())
                    }
                },
            )?;
        let status = response.status();
        Ok(HttpAnswer {
            status,
            headers: std::mem::take(response.headers_mut()),
            body,
        })
    }
}

fn form_request(url: &Url, headers: HeaderMap, form: &[(&str, &str)]) -> Request {
    let body = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(form)
        .finish();
    let mut request = Request::new(http::Method::POST, url.clone());
    *request.headers_mut() = headers;
    let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
    request.headers_mut().insert(CONTENT_TYPE, form_type);
    *request.body_mut() = Some(body.into());
    request
}

/// Where a client for URLs of others may go; resolves names for it.
#[derive(Debug)]
struct Reach {
    /// Hosts that may have any address.
    hosts: Vec<String>,
    /// A host beside which others may stand that are not public.
    home: Option<String>,
    https_only: bool,
}

impl Reach {
    async fn allows(&self, url: &Url) -> bool {
        let address = match url.host() {
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
            Some(Host::Domain(_)) => return true,
            None => return false,
        };
        if self.names(url.host_str().unwrap_or_default()) {
            return true;
        }
        self.reachable(vec![SocketAddr::new(address, 0)])
            .await
            .len()
            == 1
    }

    fn names(&self, host: &str) -> bool {
        self.hosts.iter().any(|known| bare(known) == bare(host))
    }

    /// Those of some addresses that may be connected to.
    async fn reachable(&self, mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
        let home = match &self.home {
            Some(home) if addresses.iter().any(|found| !is_public(found.ip())) => {
                tokio::net::lookup_host((bare(home), 0))
                    .await
                    .map(Iterator::collect)
                    .unwrap_or_default()
            }
            _ => Vec::new(),
        };
        let is_beside =
            |address: IpAddr| home.iter().any(|home| is_same_inside(home.ip(), address));
        addresses.retain(|found| is_public(found.ip()) || is_beside(found.ip()));
        addresses
    }
}

/// A host in small letters, without brackets.
fn bare(host: &str) -> String {
    host.trim_matches(['[', ']']).to_ascii_lowercase()
}

impl Resolve for Reach {
    fn resolve(&self, name: Name) -> Resolving {
        let anywhere = self.names(name.as_str());
        let reach = Self {
            hosts: Vec::new(),
            home: self.home.clone(),
            https_only: self.https_only,
        };
        Box::pin(async move {
            let found = lookup(&name).await?;
            let found = if anywhere {
                found
            } else {
                reach.reachable(found).await
            };
            if found.is_empty() {
                return Err(Unresolved::NoPublicAddress.into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Resolves names as the system does.
struct System;

impl Resolve for System {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move { Ok(Box::new(lookup(&name).await?.into_iter()) as Addrs) })
    }
}

async fn lookup(name: &Name) -> Result<Vec<SocketAddr>, Unresolved> {
    Ok(tokio::net::lookup_host((name.as_str(), 0)).await?.collect())
}

fn builder(options: &HttpOptions, reach: Option<&Arc<Reach>>) -> ClientBuilder {
    let builder = Client::builder()
        .user_agent(USER_AGENT)
        .no_proxy()
        .referer(false)
        .redirect(redirect::Policy::none())
        // The caller decides about another try; hyper still replaces a pooled connection that was
        // closed before it was used.
        .retry(retry::never())
        .connector_layer(NoteConnects)
        .connect_timeout(options.connect_timeout)
        .timeout(options.total_timeout)
        .pool_idle_timeout(POOL_IDLE);
    match reach {
        Some(reach) => builder
            .https_only(reach.https_only)
            .dns_resolver(reach.clone()),
        None => builder.dns_resolver(Arc::new(System)),
    }
}

fn tls(trust: Trust, identity: Option<&SecretString>) -> Result<rustls::ClientConfig, BuildError> {
    let builder = rustls::ClientConfig::builder_with_provider(trust::provider());
    let builder = builder
        .with_safe_default_protocol_versions()
        .map_err(|_| BuildError::Tls)?;
    let builder = builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(trust));
    let mut tls = match identity {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let pem = pem.expose_secret().as_bytes();
            let chain = trust::certificates(pem).map_err(|_| BuildError::Identity)?;
            let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| BuildError::Identity)?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|_| BuildError::Identity)?
        }
    };
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(tls)
}

enum Unread {
    TooLarge,
    Broken(reqwest::Error),
}

/// Reads a body, and stops as soon as it is known to be too large.
async fn read_body(response: &mut Response, max_body: usize) -> Result<Bytes, Unread> {
    let announced = response.content_length().unwrap_or(0);
    if usize::try_from(announced).map_or(true, |length| length > max_body) {
        return Err(Unread::TooLarge);
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(Unread::Broken)? {
        if chunk.len() > max_body - body.len() {
            return Err(Unread::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

#[cfg(test)]
mod tests;
