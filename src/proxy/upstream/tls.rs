//! TLS towards an upstream: the trusted certificates, the client certificate, and ALPN.
//!
//! One rustls configuration serves as long as the content of its files, so sessions are resumed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use pingora::{Error, ErrorType};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::config::{Config, UnusableUpstream};
use super::error::UpstreamError;
use super::stream::HTTP2;
use crate::domain::hash::sha256_parts;
use crate::files::{MAX_PUBLIC, blocking, read};
use crate::http_client::trust::{Trust, provider};
use crate::proxy::tls::{Expiring, Pair, PairFiles};

const HTTP1: &[u8] = b"http/1.1";

/// How connections to one upstream are secured.
pub(super) struct Tls {
    name: ServerName<'static>,
    /// Distinguishes connections to other upstreams in the pool.
    label: String,
    ca_file: Option<PathBuf>,
    identity_files: Option<PairFiles>,
    /// Whether the platform's certificates have been read, which blocks.
    is_platform_read: AtomicBool,
    content: Mutex<Content>,
    current: ArcSwap<Current>,
}

/// The last good content of the files.
struct Content {
    /// `None`: the platform's certificates are trusted.
    ca_pem: Option<Arc<[u8]>>,
    identity: Option<Pair>,
    /// The problems of files whose old content is in use.
    faults: BTreeMap<PathBuf, String>,
}

/// The configurations for new connections.
struct Current {
    /// Offers HTTP/2 and HTTP/1.1.
    any: Arc<ClientConfig>,
    http1: Arc<ClientConfig>,
    trust: Arc<Trust>,
    ca_pem: Option<Arc<[u8]>>,
    key: Option<Arc<CertifiedKey>>,
    settings: u128,
}

/// Files that are read together when one of them changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFiles {
    /// The authorities of the upstream's certificate.
    Authorities,
    /// The client certificate and its key.
    Identity,
}

impl Tls {
    /// Reads the files. Blocks.
    pub fn new(config: &Config) -> Result<Self, UnusableUpstream> {
        let name = config.server_name.clone();
        let name = ServerName::try_from(name).map_err(|_| UnusableUpstream::NoServerName)?;
        let ca_pem = config.ca_file.as_deref().map(read_authorities).transpose();
        let identity = config.identity.as_ref().map(Pair::read).transpose();
        let content = Content {
            ca_pem: ca_pem.map_err(|_| UnusableUpstream::Certificates)?,
            identity: identity.map_err(|_| UnusableUpstream::Identity)?,
            faults: BTreeMap::new(),
        };
        let label = label(config);
        let current = Current::new(&label, &content)?;
        Ok(Self {
            name,
            label,
            ca_file: config.ca_file.clone(),
            identity_files: config.identity.clone(),
            is_platform_read: AtomicBool::new(false),
            content: Mutex::new(content),
            current: ArcSwap::from_pointee(current),
        })
    }

    /// The files, in the groups in which they are read again.
    pub fn watched(&self) -> Vec<(TlsFiles, Vec<PathBuf>)> {
        let authorities = self.ca_file.iter();
        let authorities = authorities.map(|file| (TlsFiles::Authorities, vec![file.clone()]));
        let identity = self.identity_files.iter().map(|files| {
            let files = vec![files.certificate.clone(), files.key.clone()];
            (TlsFiles::Identity, files)
        });
        authorities.chain(identity).collect()
    }

    /// Reads files again, and uses them for new connections. Returns whether their content is new.
    /// Blocks.
    ///
    /// # Errors
    /// Why the files cannot be used. Their old content stays.
    pub fn reload(&self, files: TlsFiles) -> Result<bool, String> {
        let mut content = self.content();
        let reloaded = self.read_again(files, &mut content);
        let watched = self
            .watched()
            .into_iter()
            .find(|(found, _)| *found == files);
        if let Some(file) = watched.and_then(|(_, files)| files.into_iter().next()) {
            match &reloaded {
                Ok(_) => content.faults.remove(&file),
                Err(fault) => content.faults.insert(file, fault.clone()),
            };
        }
        reloaded
    }

    fn read_again(&self, files: TlsFiles, content: &mut Content) -> Result<bool, String> {
        let new = match (files, &self.ca_file, &self.identity_files) {
            (TlsFiles::Authorities, Some(file), _) => Content {
                ca_pem: Some(read_authorities(file)?),
                identity: content.identity.clone(),
                faults: BTreeMap::new(),
            },
            (TlsFiles::Identity, _, Some(files)) => Content {
                ca_pem: content.ca_pem.clone(),
                identity: Some(Pair::read(files).map_err(|fault| fault.to_string())?),
                faults: BTreeMap::new(),
            },
            _ => return Ok(false),
        };
        let current = Current::new(&self.label, &new).map_err(|error| error.to_string())?;
        let is_new = current.settings != self.current.load().settings;
        (content.ca_pem, content.identity) = (new.ca_pem, new.identity);
        if is_new {
            self.current.store(Arc::new(current));
        }
        Ok(is_new)
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The client certificate with the end of its validity.
    pub fn expiring(&self) -> Option<Expiring> {
        self.content().identity.as_ref().map(Pair::expiring)
    }

    /// The problems of files whose old content is in use.
    pub fn faults(&self) -> Vec<String> {
        let content = self.content();
        let faults = content.faults.iter();
        faults
            .map(|(file, fault)| format!("{}: {fault}", file.display()))
            .collect()
    }

    /// The certificates that are trusted at present instead of the platform's.
    pub fn ca_pem(&self) -> Option<Arc<[u8]>> {
        self.current.load().ca_pem.clone()
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
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        http1_only: bool,
    ) -> Result<(TlsStream<S>, u128), UpstreamError> {
        let current = self.current.load_full();
        if current.ca_pem.is_none() && !self.is_platform_read.load(Ordering::Relaxed) {
            let trust = current.trust.clone();
            let is_empty = blocking(move || trust.is_empty()).await;
            self.is_platform_read.store(!is_empty, Ordering::Relaxed);
        }
        let config = if http1_only {
            &current.http1
        } else {
            &current.any
        };
        let connecting = TlsConnector::from(config.clone()).connect(self.name.clone(), stream);
        let stream = connecting.await.map_err(refused)?;
        Ok((stream, current.settings))
    }
}

/// Distinguishes connections to an upstream, beside their address. Behind a proxy the address is
/// the proxy's.
fn label(config: &Config) -> String {
    match &config.proxy {
        None => config.server_name.clone(),
        Some(proxy) => format!("{} {} {proxy}", config.server_name, config.authority()),
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
    fn new(label: &str, content: &Content) -> Result<Self, UnusableUpstream> {
        let trust = match &content.ca_pem {
            Some(pem) => Trust::only(pem),
            None => Trust::with_platform(None),
        };
        let trust = Arc::new(trust.map_err(|_| UnusableUpstream::Certificates)?);
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|_| UnusableUpstream::Certificates)?
            .dangerous()
            .with_custom_certificate_verifier(trust.clone());
        let key = content.identity.as_ref().map(Pair::certified_key);
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
        let ca: [&[u8]; 2] = match &content.ca_pem {
            Some(pem) => [b"own", pem],
            None => [b"platform", b""],
        };
        let mut parts = vec![label.as_bytes(), ca[0], ca[1]];
        parts.extend(chain.iter().map(AsRef::<[u8]>::as_ref));
        let id = sha256_parts(&parts);
        Ok(Self {
            any: offering(&[HTTP2, HTTP1]),
            http1: offering(&[HTTP1]),
            trust,
            ca_pem: content.ca_pem.clone(),
            key,
            settings: first_bytes(&id),
        })
    }
}

/// The content of a `caFile`, which is checked where it is used.
fn read_authorities(file: &Path) -> Result<Arc<[u8]>, String> {
    let pem = read(file, MAX_PUBLIC).map_err(|error| format!("the file {error}"))?;
    match Trust::only(&pem) {
        Ok(trust) if !trust.is_empty() => Ok(pem.into()),
        _ => Err("the file contains no PEM certificate, or an invalid one".to_owned()),
    }
}

pub(super) fn first_bytes(hash: &[u8]) -> u128 {
    let first = hash.first_chunk::<16>();
    u128::from_be_bytes(first.copied().unwrap_or_default())
}
