//! The TLS of a running listener: the last good content of each file, and rustls' configuration of
//! them for new connections.
//!
//! Every change makes a new configuration with new ticket keys, so no session outlives the files
//! that it began with.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};

use super::certificates::Certificates;
use super::files::{Authorities, Expiring, Pair, RevocationLists};
use super::self_signed::SelfSigned;
use super::{ClientFiles, Config, provider};
use crate::domain::settings::TlsVersion;

/// The TLS of a listener. Its files can be read again at any time.
#[derive(Debug)]
pub struct ServerTls {
    config: Config,
    protocols: &'static [&'static [u8]],
    content: Mutex<Content>,
    current: ArcSwap<Current>,
}

/// The last good content of the files.
#[derive(Debug)]
struct Content {
    pairs: Vec<Pair>,
    authorities: Option<Authorities>,
    revoked: Option<RevocationLists>,
    /// The problems of the files whose old content serves on.
    faults: BTreeMap<PathBuf, String>,
}

/// The TLS of new connections.
#[derive(Debug)]
struct Current {
    server: Arc<ServerConfig>,
    verifier: Verifier,
}

/// The verification of client certificates.
#[derive(Clone, Debug)]
pub(super) enum Verifier {
    /// No client certificate is requested.
    None,
    /// An authority of the listener must have issued them.
    Verified(Arc<dyn ClientCertVerifier>),
    /// They may be self-signed.
    SelfSigned(Arc<SelfSigned>),
}

impl Verifier {
    /// The verification of rustls.
    pub fn get(&self) -> Option<Arc<dyn ClientCertVerifier>> {
        match self {
            Self::None => None,
            Self::Verified(verifier) => Some(verifier.clone()),
            Self::SelfSigned(verifier) => Some(verifier.clone()),
        }
    }

    pub fn self_signed(&self) -> Option<&SelfSigned> {
        match self {
            Self::SelfSigned(verifier) => Some(verifier),
            _ => None,
        }
    }
}

/// Files that are read together when one of them changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// A certificate and its key, by index.
    Pair(usize),
    Authorities,
    Revoked,
}

impl ServerTls {
    /// Reads all files. Blocks.
    ///
    /// # Errors
    /// The problem of the first file that cannot be used.
    pub fn open(config: Config, protocols: &'static [&'static [u8]]) -> Result<Self, String> {
        let of_pair = |files| Pair::read(files).map_err(|fault| fault.to_string());
        let pairs = config.pairs.iter().map(of_pair);
        let pairs = pairs.collect::<Result<_, _>>()?;
        let clients = config.clients.as_ref();
        let authorities = clients
            .and_then(|clients| clients.authorities.as_deref())
            .map(Authorities::read)
            .transpose()
            .map_err(|fault| format!("the file of client authorities {fault}"))?;
        let revoked = clients.and_then(|clients| clients.revoked.as_deref());
        let revoked = revoked
            .zip(authorities.as_ref())
            .map(|(file, authorities)| RevocationLists::read(file, authorities))
            .transpose()
            .map_err(|fault| format!("the file of revoked certificates {fault}"))?;
        let content = Content {
            pairs,
            authorities,
            revoked,
            faults: BTreeMap::new(),
        };
        let current = Current::new(&config, &content, protocols)?;
        Ok(Self {
            current: ArcSwap::from_pointee(current),
            content: Mutex::new(content),
            config,
            protocols,
        })
    }

    /// rustls' configuration for a new connection.
    #[must_use]
    pub(super) fn current(&self) -> Arc<ServerConfig> {
        self.current.load().server.clone()
    }

    /// The verification of client certificates.
    pub(super) fn verifier(&self) -> Verifier {
        self.current.load().verifier.clone()
    }

    /// The files, in the groups in which they are read again.
    #[must_use]
    pub fn watched(&self) -> Vec<(Watch, Vec<PathBuf>)> {
        let pairs = self.config.pairs.iter().enumerate().map(|(index, files)| {
            let files = vec![files.certificate.clone(), files.key.clone()];
            (Watch::Pair(index), files)
        });
        let clients = self.config.clients.iter();
        let authorities = clients
            .clone()
            .filter_map(|clients| clients.authorities.clone());
        let authorities = authorities.map(|file| (Watch::Authorities, vec![file]));
        let revoked = clients.filter_map(|clients| clients.revoked.clone());
        let revoked = revoked.map(|file| (Watch::Revoked, vec![file]));
        pairs.chain(authorities).chain(revoked).collect()
    }

    /// Reads files again, and serves new connections with them. Gives whether their content is new.
    /// Blocks.
    ///
    /// # Errors
    /// The problem of the files; their old content serves on.
    pub fn reload(&self, watch: Watch) -> Result<bool, String> {
        let mut content = self.content();
        let reloaded = self.read_again(watch, &mut content);
        let reloaded = reloaded.and_then(|is_new| {
            if is_new {
                let current = Current::new(&self.config, &content, self.protocols)?;
                self.current.store(Arc::new(current));
            }
            Ok(is_new)
        });
        if let Some(file) = self.first_file(watch) {
            match &reloaded {
                Ok(_) => content.faults.remove(&file),
                Err(fault) => content.faults.insert(file, fault.clone()),
            };
        }
        reloaded
    }

    fn read_again(&self, watch: Watch, content: &mut Content) -> Result<bool, String> {
        match (watch, &self.config.clients) {
            (Watch::Pair(index), _) => {
                let files = self.config.pairs.get(index);
                let Some((files, kept)) = files.zip(content.pairs.get_mut(index)) else {
                    return Ok(false);
                };
                let read = Pair::read(files).map_err(|fault| fault.to_string())?;
                let is_new = !read.is_same(kept);
                *kept = read;
                Ok(is_new)
            }
            (Watch::Authorities, Some(clients)) => {
                let Some(file) = &clients.authorities else {
                    return Ok(false);
                };
                let read = Authorities::read(file);
                let read = read.map_err(|fault| format!("the file {fault}"))?;
                let kept = content.authorities.replace(read.clone());
                Ok(kept.is_none_or(|kept| !kept.is_same(&read)))
            }
            (Watch::Revoked, Some(clients)) => {
                let Some((file, authorities)) =
                    clients.revoked.as_ref().zip(content.authorities.as_ref())
                else {
                    return Ok(false);
                };
                let read = RevocationLists::read(file, authorities);
                let read = read.map_err(|fault| format!("the file {fault}"))?;
                let kept = content.revoked.replace(read.clone());
                Ok(kept != Some(read))
            }
            (_, None) => Ok(false),
        }
    }

    fn first_file(&self, watch: Watch) -> Option<PathBuf> {
        let watched = self.watched().into_iter();
        let mut files = watched.filter(|(found, _)| *found == watch);
        files.next()?.1.into_iter().next()
    }

    /// The certificates of the listener, and the revocation lists, with the ends of their validity.
    #[must_use]
    pub fn expiring(&self) -> Vec<Expiring> {
        let content = self.content();
        let pairs = content.pairs.iter().map(Pair::expiring);
        let revoked = content.revoked.iter().filter_map(|lists| {
            Some(Expiring {
                name: "clientCrlFile".to_owned(),
                not_before: None,
                not_after: lists.next_update?,
            })
        });
        pairs.chain(revoked).collect()
    }

    /// The problems of files whose old content serves on.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let content = self.content();
        let faults = content.faults.iter();
        faults
            .map(|(file, fault)| format!("{}: {fault}", file.display()))
            .collect()
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Current {
    fn new(config: &Config, content: &Content, protocols: &[&[u8]]) -> Result<Self, String> {
        let failed = |error: &dyn std::fmt::Display| format!("TLS cannot be set up: {error}");
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(config.min_version))
            .map_err(|error| failed(&error))?;
        let verifier = verifier(config, content)?;
        let builder = match verifier.get() {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let certificates = Certificates::new(&content.pairs);
        let mut server = builder.with_cert_resolver(Arc::new(certificates));
        // The server's order, as scanners of weak configurations want it.
        server.ignore_client_order = true;
        server.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        // Tickets are encrypted with keys that change every six hours and are kept nowhere.
        server.ticketer = Ticketer::new().map_err(|error| failed(&error))?;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self {
            server: Arc::new(server),
            verifier,
        })
    }
}

fn versions(min: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static FROM_12: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    static FROM_13: [&SupportedProtocolVersion; 1] = [&TLS13];
    match min {
        TlsVersion::Tls12 => &FROM_12,
        TlsVersion::Tls13 => &FROM_13,
    }
}

/// The verification of client certificates.
fn verifier(config: &Config, content: &Content) -> Result<Verifier, String> {
    let Some(files) = &config.clients else {
        return Ok(Verifier::None);
    };
    let verified = content.authorities.as_ref();
    let verified = verified
        .map(|authorities| by_authorities(files, authorities, content))
        .transpose()?;
    Ok(match verified {
        verified if files.self_signed => {
            Verifier::SelfSigned(Arc::new(SelfSigned::beside(verified)))
        }
        Some(verified) => Verifier::Verified(verified),
        None => Verifier::None,
    })
}

/// The verification by authorities. Every certificate of a chain must be in a list that is not
/// overdue, if there are lists.
fn by_authorities(
    files: &ClientFiles,
    authorities: &Authorities,
    content: &Content,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let roots = authorities.roots.clone();
    let mut builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
    if let Some(revoked) = &content.revoked {
        builder = builder
            .with_crls(revoked.lists.iter().cloned())
            .enforce_revocation_expiration();
    }
    if !files.are_required {
        builder = builder.allow_unauthenticated();
    }
    let built = builder.build();
    built.map_err(|error| format!("client certificates cannot be verified: {error}"))
}
