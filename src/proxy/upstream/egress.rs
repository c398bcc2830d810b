//! A tunnel to an upstream through a proxy.

use std::sync::Arc;

use pingora::protocols::Stream;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::Config;
use super::config::UnusableUpstream;
use super::error::UpstreamError;
use super::stream::UpstreamStream;
use crate::http_client::tunnel::{self, ProxyFault};
use crate::http_client::{EgressProxy, alert_in, proxy_tls};

/// The way to an upstream through a proxy.
pub(super) struct Tunnel {
    proxy: Arc<EgressProxy>,
    /// The TLS of an https proxy.
    tls: Option<(ServerName<'static>, Arc<ClientConfig>)>,
    /// The upstream, as the proxy is asked for it.
    authority: String,
}

impl Tunnel {
    /// The way of an upstream; `None` without a proxy.
    pub fn new(config: &Config) -> Result<Option<Self>, UnusableUpstream> {
        let Some(proxy) = config.proxy.clone() else {
            return Ok(None);
        };
        let tls = if proxy.is_https() {
            let name = ServerName::try_from(proxy.place().0);
            let name = name.map_err(|_| UnusableUpstream::Proxy)?;
            Some((name, proxy_tls().map_err(|_| UnusableUpstream::Proxy)?))
        } else {
            None
        };
        Ok(Some(Self {
            proxy,
            tls,
            authority: tunnel::authority(&config.host, config.port),
        }))
    }

    /// Opens a tunnel over a connection to the proxy.
    pub async fn open(&self, stream: Stream) -> Result<UpstreamStream, UpstreamError> {
        let opened = self.ask(stream).await;
        opened.map_err(|fault| UpstreamError::Proxy(self.proxy.to_string(), fault))
    }

    async fn ask(&self, stream: Stream) -> Result<UpstreamStream, ProxyFault> {
        let authorization = self.proxy.authorization().await?;
        let mut way = match &self.tls {
            None => UpstreamStream::Plain(stream),
            Some((name, config)) => {
                let connecting = TlsConnector::from(config.clone()).connect(name.clone(), stream);
                UpstreamStream::Tls(Box::new(connecting.await.map_err(|error| failed(&error))?))
            }
        };
        tunnel::ask(&mut way, &self.authority, authorization.as_ref()).await?;
        Ok(way)
    }
}

fn failed(error: &std::io::Error) -> ProxyFault {
    let text = error.to_string();
    let alert = alert_in(&text).map(str::to_owned);
    ProxyFault::Tls(alert.unwrap_or_else(|| crate::http_client::trust::explain(&text)))
}
