//! Requests through a proxy. Each has a connection of its own.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_LENGTH, HOST, PROXY_AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use reqwest::Request;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Url;

use super::egress::EgressProxy;
use super::tunnel::{self, ProxyFault};
use super::{Failed, HttpAnswer, HttpClient, HttpError, error, trust};
use crate::domain::duration;

/// A connection, perhaps within TLS, perhaps within a tunnel.
trait Pipe: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Pipe for T {}

/// Why a request through a proxy got no complete answer.
enum Broken {
    /// The way to the authority.
    Proxy(ProxyFault),
    /// The authority, or its answer.
    Other(HttpError, String),
}

impl From<ProxyFault> for Broken {
    fn from(fault: ProxyFault) -> Self {
        Self::Proxy(fault)
    }
}

type Exchanged = (StatusCode, HeaderMap, Bytes);

impl HttpClient {
    /// Sends a request through a proxy, once and on a new connection.
    pub(super) async fn through(
        &self,
        proxy: &EgressProxy,
        request: Request,
    ) -> Result<HttpAnswer, Failed> {
        let url = request.url().clone();
        let done = tokio::time::timeout(self.limits.total, self.exchange(proxy, &request)).await;
        let done = done.unwrap_or_else(|_| {
            let limit = duration::written(self.limits.total);
            let why = format!("no complete answer within {limit}");
            Err(Broken::Other(HttpError::Timeout, why))
        });
        let (status, headers, body) = done.map_err(|broken| match broken {
            Broken::Proxy(fault) => {
                let why = format!("the proxy {proxy}: {fault}");
                Failed::because(fault.kind(), &url, why)
            }
            Broken::Other(kind, why) => {
                Failed::because(kind, &url, format!("{why} (through the proxy {proxy})"))
            }
        })?;
        self.answer(&url, status, headers, body)
    }

    async fn exchange(&self, proxy: &EgressProxy, request: &Request) -> Result<Exchanged, Broken> {
        let url = request.url();
        let authorization = proxy.authorization().await?;
        let opening = self.open(proxy, url, authorization.as_ref());
        let limit = self.limits.connect;
        let opened = tokio::time::timeout(limit, opening).await;
        let late = |_| ProxyFault::Late(duration::written(limit));
        let pipe = opened.map_err(late)??;
        let is_tunnel = url.scheme() == "https";
        let authorization = authorization.filter(|_| !is_tunnel);
        let had_password = authorization.is_some();
        let outgoing = outgoing(request, is_tunnel, authorization)?;
        let (status, headers, body) = self.send(pipe, outgoing, is_tunnel).await?;
        // In a tunnel it would be the authority's.
        if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED && !is_tunnel {
            let status = status.as_u16();
            return Err(ProxyFault::Answered {
                status,
                authorized: had_password,
            }
            .into());
        }
        Ok((status, headers, body))
    }

    /// Connects to the proxy and, for https, through it to the authority.
    async fn open(
        &self,
        proxy: &EgressProxy,
        url: &Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<Box<dyn Pipe>, Broken> {
        let host = url.host_str().unwrap_or_default();
        let bare = host.trim_matches(['[', ']']);
        let asked = match &self.reach {
            Some(reach) => {
                let checked = reach.through_proxy(url).await;
                checked.map_err(|why| Broken::Other(HttpError::Dns, why))?
            }
            None => None,
        };
        let asked = asked.map_or_else(|| bare.to_owned(), |address| address.to_string());
        let mut pipe = self.to_proxy(proxy).await?;
        if url.scheme() != "https" {
            return Ok(pipe);
        }
        let port = url.port_or_known_default().unwrap_or(443);
        tunnel::ask(&mut pipe, &tunnel::authority(&asked, port), authorization).await?;
        let name = ServerName::try_from(bare.to_owned());
        let name = name
            .map_err(|_| Broken::Other(HttpError::Tls, "its host is no name for TLS".to_owned()))?;
        let connecting = TlsConnector::from(self.tls.clone()).connect(name, pipe);
        let secured = connecting.await;
        secured
            .map(|tls| Box::new(tls) as Box<dyn Pipe>)
            .map_err(|error| Broken::Other(HttpError::Tls, explained(&error)))
    }

    async fn to_proxy(&self, proxy: &EgressProxy) -> Result<Box<dyn Pipe>, ProxyFault> {
        let (host, port) = proxy.place();
        let addresses = tokio::net::lookup_host((host.as_str(), port)).await;
        let unresolved =
            |error: io::Error| ProxyFault::Unresolved(error.to_string().escape_debug().to_string());
        let mut failed = ProxyFault::Unresolved("it has no address".to_owned());
        for address in addresses.map_err(unresolved)? {
            match TcpStream::connect(address).await {
                Ok(tcp) => {
                    let _ = tcp.set_nodelay(true);
                    return self.secured(proxy, &host, tcp).await;
                }
                Err(error) => failed = ProxyFault::of_connect(&error),
            }
        }
        Err(failed)
    }

    /// The connection to the proxy, within TLS for an https proxy.
    async fn secured(
        &self,
        proxy: &EgressProxy,
        host: &str,
        tcp: TcpStream,
    ) -> Result<Box<dyn Pipe>, ProxyFault> {
        if !proxy.is_https() {
            return Ok(Box::new(tcp));
        }
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|_| ProxyFault::Tls("its host is no name for TLS".to_owned()))?;
        let tls = TlsConnector::from(Arc::clone(&self.proxy_tls)).connect(name, tcp);
        let tls = tls
            .await
            .map_err(|error| ProxyFault::Tls(explained(&error)))?;
        Ok(Box::new(tls))
    }

    async fn send(
        &self,
        pipe: Box<dyn Pipe>,
        request: http::Request<Full<Bytes>>,
        https: bool,
    ) -> Result<Exchanged, Broken> {
        let failed = |error: hyper::Error| {
            let (kind, why) = error::classify_exchange(&error, https);
            Broken::Other(kind, why)
        };
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(pipe)).await.map_err(failed)?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(failed)?;
            let (parts, body) = response.into_parts();
            let body = self.collect(&parts.headers, body, failed).await?;
            Ok((parts.status, parts.headers, body))
        };
        // The connection's own end is seen by the exchange.
        let driver = async {
            let _ = connection.await;
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            exchanged = exchange => exchanged,
            never = driver => match never {},
        }
    }

    /// Reads a body, and stops as soon as it exceeds the limit.
    async fn collect(
        &self,
        headers: &HeaderMap,
        mut body: Incoming,
        failed: impl Fn(hyper::Error) -> Broken,
    ) -> Result<Bytes, Broken> {
        let too_large = || Broken::Other(HttpError::TooLarge, self.too_large());
        let announced = headers
            .get(CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok());
        let announced = announced.and_then(|text| text.parse::<usize>().ok());
        if announced.is_some_and(|length| length > self.max_body) {
            return Err(too_large());
        }
        let mut read = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(&failed)?.into_data() else {
                continue;
            };
            if data.len() > self.max_body - read.len() {
                return Err(too_large());
            }
            read.extend_from_slice(&data);
        }
        Ok(read.freeze())
    }
}

/// The reason why a handshake failed.
fn explained(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe => trust::explain("eof"),
        _ => trust::explain(&error.to_string()),
    }
}

/// The request as it is sent: in a tunnel as to the authority itself, else in absolute form.
fn outgoing(
    request: &Request,
    is_tunnel: bool,
    authorization: Option<HeaderValue>,
) -> Result<http::Request<Full<Bytes>>, Broken> {
    let unsendable = || Broken::Other(HttpError::Broken, "the request cannot be sent".to_owned());
    let mut url = request.url().clone();
    url.set_fragment(None);
    let host = url.host_str().unwrap_or_default();
    let host = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let target = if is_tunnel {
        let query = url
            .query()
            .map_or(String::new(), |query| format!("?{query}"));
        format!("{}{query}", url.path())
    } else {
        url.as_str().to_owned()
    };
    let body = request.body().and_then(reqwest::Body::as_bytes);
    let body = Full::new(Bytes::copy_from_slice(body.unwrap_or_default()));
    let mut sent = http::Request::new(body);
    *sent.method_mut() = request.method().clone();
    *sent.uri_mut() = target.parse().map_err(|_| unsendable())?;
    let headers = sent.headers_mut();
    headers.insert(
        HOST,
        HeaderValue::from_str(&host).map_err(|_| unsendable())?,
    );
    headers.insert(USER_AGENT, HeaderValue::from_static(super::USER_AGENT));
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    headers.extend(request.headers().clone());
    if let Some(value) = authorization {
        headers.insert(PROXY_AUTHORIZATION, value);
    }
    Ok(sent)
}
