//! The HTTP client for key sets, metadata and token requests.
//!
//! It never follows redirects (one would carry a client's secret to the redirect's target),
//! requests no compression, and reads a body only up to a limit. So a misbehaving authority costs
//! bounded time and memory. Errors name the cause and the URL without its query, and nothing of the
//! response body; `said` defines the one exception.
//!
//! The configuration decides about proxies (`egress`), never the library. A request through a proxy
//! has a connection of its own (`through`), so that each fault of the proxy has its text.
//!
//! A server may close an idle connection at the moment of a request. A GET is then sent again on a
//! new connection. A POST uses a new connection from the start, unless it changes nothing: see
//! [`HttpClient::ask_form`].

mod alert;
mod answer;
mod building;
mod demand;
mod egress;
mod encoding;
mod error;
mod options;
mod reach;
mod reuse;
mod said;
mod through;
pub mod trust;
pub mod tunnel;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use reqwest::{Client, Request, Response};
use tokio::time::Instant;
use url::Url;

pub use self::alert::alert_in;
pub use self::answer::HttpAnswer;
use self::answer::{Unread, read_body};
pub use self::building::proxy_tls;
use self::building::{builder, form_request, tls};
pub use self::demand::demanded_certificate;
pub use self::egress::{Egress, EgressProxy};
use self::error::Limits;
pub use self::error::{Failed, HttpError, place};
pub use self::options::{BuildError, FetchTimeouts, HttpOptions};
use self::reach::Reach;
use self::trust::Trust;

const USER_AGENT: &str = concat!("m2m-sidecar/", env!("CARGO_PKG_VERSION"));

/// Shorter than the idle timeout of most servers, so that a reused connection is rarely closed.
const POOL_IDLE: Duration = Duration::from_secs(25);

/// An HTTP/1.1 client with a connection pool. Clones share the pool.
#[derive(Clone, Debug)]
pub struct HttpClient {
    /// Reuses connections.
    pooled: Client,
    /// Opens a connection for each request.
    fresh: Client,
    limits: Limits,
    max_body: usize,
    trust: Arc<Trust>,
    egress: Egress,
    /// The TLS of a tunnel, with the client certificate.
    tls: Arc<rustls::ClientConfig>,
    /// The TLS of a proxy, which gets no client certificate.
    proxy_tls: Arc<rustls::ClientConfig>,
    /// The permitted destinations of URLs from others; `None`: no restriction.
    reach: Option<Arc<Reach>>,
}

impl HttpClient {
    /// A client with these options.
    ///
    /// # Errors
    /// When `ca_pem` is invalid.
    pub fn new(options: HttpOptions) -> Result<Self, BuildError> {
        Self::build(&options, None)
    }

    /// A client for a server on this machine, whose certificate is known (PEM): it accepts the first
    /// certificate of the text, whatever its names, and no other. With `socket` it connects to that
    /// file.
    ///
    /// # Errors
    /// When the PEM is invalid.
    pub fn for_server(
        options: &HttpOptions,
        certificate: Option<&[u8]>,
        socket: Option<&Path>,
    ) -> Result<Self, BuildError> {
        let trust = match certificate {
            Some(certificate) => Trust::exactly(certificate),
            None => Trust::with_platform(None),
        };
        let trust = trust.map_err(|_| BuildError::Certificate)?;
        Self::with_trust(options, trust, None, socket)
    }

    /// Whether it trusts no certificate, so that every https request fails. Reads the platform's
    /// certificates.
    #[must_use]
    pub fn trusts_none(&self) -> bool {
        self.trust.is_empty()
    }

    /// A client for URLs that clients name: https only, and only public addresses or any address of
    /// one of `hosts`. The checked address is the one that is connected to, so a later change of
    /// the name's resolution has no effect.
    ///
    /// # Errors
    /// When `ca_pem` is invalid.
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

    /// A client for URLs that an authority names: public addresses, any address of one of `hosts`,
    /// and private addresses of the kind that `home`, the authority's own host, has. The checked
    /// address is the one that is connected to.
    ///
    /// # Errors
    /// When `ca_pem` is invalid.
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
        let trust = Trust::with_platform(options.ca_pem.as_deref());
        let trust = trust.map_err(|_| BuildError::Certificate)?;
        Self::with_trust(options, trust, reach, None)
    }

    fn with_trust(
        options: &HttpOptions,
        trust: Trust,
        reach: Option<Arc<Reach>>,
        socket: Option<&Path>,
    ) -> Result<Self, BuildError> {
        // reqwest panics without a process-wide provider. `Err` means that one is already
        // installed.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let trust = Arc::new(trust);
        let own_tls = tls(trust.clone(), options.identity_pem.as_ref())?;
        let build = |pool: usize| {
            let client =
                builder(options, reach.as_ref()).tls_backend_preconfigured(own_tls.clone());
            let client = match socket {
                Some(socket) => client.unix_socket(socket),
                None => client,
            };
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
        let proxy_tls = Arc::new(tls(trust.clone(), None)?);
        Ok(Self {
            pooled,
            fresh,
            limits,
            max_body: options.max_body,
            trust,
            // A socket is on this machine.
            egress: if socket.is_none() {
                options.egress.clone()
            } else {
                Egress::default()
            },
            tls: Arc::new(own_tls),
            proxy_tls,
            reach,
        })
    }

    /// Sends a GET.
    ///
    /// # Errors
    /// When there is no complete response. An error status is a response.
    pub async fn get(&self, url: &Url, headers: HeaderMap) -> Result<HttpAnswer, Failed> {
        let mut request = Request::new(http::Method::GET, url.clone());
        *request.headers_mut() = headers;
        self.execute_or_repeat(request).await
    }

    /// Sends a POST with a form, once and on a new connection.
    ///
    /// # Errors
    /// When there is no complete response. An error status is a response.
    pub async fn post_form(
        &self,
        url: &Url,
        headers: HeaderMap,
        form: &[(&str, &str)],
    ) -> Result<HttpAnswer, Failed> {
        self.execute_once(form_request(url, headers, form)).await
    }

    /// Sends a request with an optional JSON body, once and on a new connection.
    ///
    /// # Errors
    /// When there is no complete response. An error status is a response.
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

    /// Sends a POST with a form that changes nothing, such as an introspection request. It may be
    /// sent twice.
    ///
    /// # Errors
    /// When there is no complete response. An error status is a response.
    pub async fn ask_form(
        &self,
        url: &Url,
        headers: HeaderMap,
        form: &[(&str, &str)],
    ) -> Result<HttpAnswer, Failed> {
        self.execute_or_repeat(form_request(url, headers, form))
            .await
    }

    /// Sends a request that may be repeated. When an idle connection swallows it, it is sent again
    /// on a new one.
    async fn execute_or_repeat(&self, request: Request) -> Result<HttpAnswer, Failed> {
        let url = self.allowed(&request).await?;
        if let Some(proxy) = self.egress.way_to(&url) {
            return self.through(proxy, request).await;
        }
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

    /// Sends a request that must not be repeated, on a new connection.
    async fn execute_once(&self, request: Request) -> Result<HttpAnswer, Failed> {
        let url = self.allowed(&request).await?;
        if let Some(proxy) = self.egress.way_to(&url) {
            return self.through(proxy, request).await;
        }
        self.read(&url, self.fresh.execute(request).await).await
    }

    /// The request's URL, if its destination is permitted.
    async fn allowed(&self, request: &Request) -> Result<Url, Failed> {
        let url = request.url();
        // An IP address is not resolved.
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
        let body = match read_body(&mut response, self.max_body).await {
            Ok(body) => body,
            Err(Unread::TooLarge) => {
                return Err(Failed::because(HttpError::TooLarge, url, self.too_large()));
            }
            Err(Unread::Broken(error)) => return Err(failed(error)),
        };
        let headers = std::mem::take(response.headers_mut());
        self.answer(url, response.status(), headers, body)
    }

    fn too_large(&self) -> String {
        format!("its answer has more than {} bytes", self.max_body)
    }

    /// A complete response, with its body decoded.
    fn answer(
        &self,
        url: &Url,
        status: StatusCode,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<HttpAnswer, Failed> {
        let body = encoding::decoded(body, &headers, self.max_body).map_err(|kind| {
            let why = match kind {
                HttpError::TooLarge => self.too_large(),
                _ => "its answer's compression is broken".to_owned(),
            };
            Failed::because(kind, url, why)
        })?;
        Ok(HttpAnswer {
            status,
            headers,
            body,
        })
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod through_tests;
