//! TLS of the listeners (RFC 8446, RFC 5246): certificates by server name, client certificates, and
//! files that take effect when they change.
//!
//! - `files` reads and checks certificates, keys and revocation lists.
//! - `server` holds the last good content of each file, and makes rustls' configuration of it.
//! - `handshake` runs handshakes, bounded in time, one step per turn of a worker.
//! - `stream` is the client's byte stream, `peer` the facts of a finished handshake.

mod certificates;
mod failure;
mod files;
mod handshake;
mod peer;
mod self_signed;
mod server;
mod stream;
mod x509;

use std::path::PathBuf;

use crate::domain::settings::TlsVersion;

pub use self::failure::Failure;
pub use self::files::{Authorities, Expiring, FileFault, Pair, PairFault, RevocationLists};
pub use self::handshake::{First, Turns, first_byte, handshake};
pub use self::peer::TlsPeer;
pub use self::server::{ServerTls, Watch};
pub use self::stream::TlsClient;

/// The application protocols that a listener offers (RFC 7301), preferred first.
pub const PROTOCOLS: &[&[u8]] = &[b"h2", b"http/1.1"];

/// The TLS of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The certificates with their keys. The first one serves clients that name no other.
    pub pairs: Vec<PairFiles>,
    /// The client certificates; `None`: none is requested.
    pub clients: Option<ClientFiles>,
    pub min_version: TlsVersion,
}

/// A certificate with its chain, and its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// The client certificates that a listener accepts: of an authority, self-signed, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFiles {
    pub authorities: Option<PathBuf>,
    /// The certificates that an authority has withdrawn.
    pub revoked: Option<PathBuf>,
    /// Whether a client must have a certificate.
    pub are_required: bool,
    /// Whether self-signed certificates are accepted, and marked as not verified. Then none is
    /// required.
    pub self_signed: bool,
}

/// The process's cryptography provider, or the default.
fn provider() -> std::sync::Arc<rustls::crypto::CryptoProvider> {
    let default = || std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    rustls::crypto::CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(default)
}

#[cfg(test)]
mod tests;
