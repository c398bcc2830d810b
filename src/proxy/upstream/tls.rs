//! TLS towards an upstream: the trusted certificates, the client certificate, and ALPN.
//!
//! One rustls configuration serves as long as its client certificate, so sessions are resumed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use pingora::protocols::Stream;
use pingora::{Error, ErrorType};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::TlsConnector;

use super::config::{Config, UnusableUpstream};
use super::error::UpstreamError;
use super::stream::{HTTP2, UpstreamStream};
use crate::domain::hash::sha256_parts;
use crate::files::blocking;
use crate::http_client::trust::{Trust, provider};
use crate::proxy::tls::Pair;

const HTTP1: &[u8] = b"http/1.1";

/// How connections to one upstream are secured.
pub(super) struct Tls {
    name: ServerName<'static>,
    trust: Arc<Trust>,
    /// Whether the platform's certificates are trusted.
    with_platform: bool,
    /// Whether those have been read, which blocks.
    is_platform_read: AtomicBool,
    /// The hash of everything but the client certificate.
    base: Vec<u8>,
    current: ArcSwap<Current>,
}

/// The configurations with the present client certificate.
struct Current {
    /// Offers HTTP/2 and HTTP/1.1.
    any: Arc<ClientConfig>,
    http1: Arc<ClientConfig>,
    key: Option<Arc<CertifiedKey>>,
    settings: u128,
}

impl Tls {
    pub fn new(config: &Config) -> Result<Self, UnusableUpstream> {
        let name = config.server_name.clone();
        let name = ServerName::try_from(name).map_err(|_| UnusableUpstream::NoServerName)?;
        let trust = match &config.ca_pem {
            Some(pem) => Trust::only(pem),
            None => Trust::with_platform(None),
        };
        let trust = Arc::new(trust.map_err(|_| UnusableUpstream::Certificates)?);
        let identity = config.identity.as_ref().map(Pair::read);
        let identity = identity
            .transpose()
            .map_err(|_| UnusableUpstream::Identity)?;
        let base = base(config);
        let current = Current::new(&trust, &base, identity.as_ref())?;
        Ok(Self {
            name,
            trust,
            with_platform: config.ca_pem.is_none(),
            is_platform_read: AtomicBool::new(false),
            base,
            current: ArcSwap::from_pointee(current),
        })
    }

    /// Uses another client certificate for new connections. Returns whether it differs.
    pub fn replace_identity(&self, identity: &Pair) -> Result<bool, UnusableUpstream> {
        let new = Current::new(&self.trust, &self.base, Some(identity))?;
        let differs = new.settings != self.current.load().settings;
        if differs {
            self.current.store(Arc::new(new));
        }
        Ok(differs)
    }

    /// The present client certificate.
    pub fn certified_key(&self) -> Option<Arc<CertifiedKey>> {
        self.current.load().key.clone()
    }

    /// Distinguishes connections with other settings, also with another client certificate.
    pub fn settings(&self) -> u128 {
        self.current.load().settings
    }

    /// Secures a connection, and verifies the upstream's certificate. Returns the settings that it
    /// was made with.
    pub async fn connect(
        &self,
        stream: Stream,
        http1_only: bool,
    ) -> Result<(UpstreamStream, u128), UpstreamError> {
        if self.with_platform && !self.is_platform_read.load(Ordering::Relaxed) {
            let trust = self.trust.clone();
            let is_empty = blocking(move || trust.is_empty()).await;
            self.is_platform_read.store(!is_empty, Ordering::Relaxed);
        }
        let current = self.current.load_full();
        let config = if http1_only {
            &current.http1
        } else {
            &current.any
        };
        let connecting = TlsConnector::from(config.clone()).connect(self.name.clone(), stream);
        let stream = connecting.await.map_err(refused)?;
        Ok((UpstreamStream::Tls(Box::new(stream)), current.settings))
    }
}

/// The error of a handshake.
fn refused(error: std::io::Error) -> UpstreamError {
    let inner = error.get_ref();
    let inner = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let kind = match inner {
        Some(rustls::Error::InvalidCertificate(_)) => ErrorType::InvalidCert,
        _ => ErrorType::TLSHandshakeFailure,
    };
    UpstreamError::Connect(Error::because(kind, "tls connect error", error))
}

impl Current {
    fn new(
        trust: &Arc<Trust>,
        base: &[u8],
        identity: Option<&Pair>,
    ) -> Result<Self, UnusableUpstream> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|_| UnusableUpstream::Certificates)?
            .dangerous()
            .with_custom_certificate_verifier(trust.clone());
        let key = identity.map(Pair::certified_key);
        let config = match &key {
            None => builder.with_no_client_auth(),
            Some(key) => {
                let resolver = SingleCertAndKey::from(key.clone());
                builder.with_client_cert_resolver(Arc::new(resolver))
            }
        };
        let offering = |protocols: &[&[u8]]| {
            let mut config = config.clone();
            config.resumption = Resumption::in_memory_sessions(8);
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            Arc::new(config)
        };
        let chain = key.as_ref().map_or(&[][..], |key| &key.cert);
        let mut parts = vec![base];
        parts.extend(chain.iter().map(AsRef::<[u8]>::as_ref));
        let id = sha256_parts(&parts);
        Ok(Self {
            any: offering(&[HTTP2, HTTP1]),
            http1: offering(&[HTTP1]),
            key,
            settings: first_bytes(&id),
        })
    }
}

fn base(config: &Config) -> Vec<u8> {
    let ca: [&[u8]; 2] = match &config.ca_pem {
        Some(pem) => [b"own", pem],
        None => [b"platform", b""],
    };
    sha256_parts(&[config.server_name.as_bytes(), ca[0], ca[1]]).to_vec()
}

pub(super) fn first_bytes(hash: &[u8]) -> u128 {
    let first = hash.first_chunk::<16>();
    u128::from_be_bytes(first.copied().unwrap_or_default())
}
