//! Whether a TLS server demands a client certificate, where its alert about it was lost.
//!
//! With TLS 1.3 the alert comes after the handshake. A client that is still sending its request then sees its write fail, and
//! the alert is gone with the connection. Another connection, on which nothing is sent, shows it.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;

use super::alert::alert_in;
use super::trust::{Trust, provider};

/// How long each step may take: connecting, the handshake, the alert.
const STEP: Duration = Duration::from_secs(1);

/// The alert by which a server refuses a client without a certificate. `None`: it sends none, or cannot be reached. Makes a
/// connection of its own and sends nothing on it. `ca_pem`: the only certificates that are trusted; none: the platform's. Blocks for
/// a few seconds at most.
#[must_use]
pub fn demanded_certificate(
    address: SocketAddr,
    server_name: String,
    ca_pem: Option<&[u8]>,
) -> Option<&'static str> {
    let server_name = ServerName::try_from(server_name).ok()?;
    let trust = match ca_pem {
        Some(pem) => Trust::only(pem),
        None => Trust::with_platform(None),
    };
    alert_of(address, server_name, trust.ok()?).err().and_then(|error| alert_in(&error.to_string()))
}

/// Notes that the server has asked for a certificate, and shows none.
#[derive(Debug, Default)]
struct NotesDemand(AtomicBool);

impl ResolvesClientCert for NotesDemand {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.store(true, Ordering::Relaxed);
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// Connects, and waits for the alert of a server that has asked for a certificate.
fn alert_of(address: SocketAddr, name: ServerName<'static>, trust: Trust) -> std::io::Result<()> {
    let other = std::io::Error::other::<rustls::Error>;
    let demand = Arc::new(NotesDemand::default());
    let builder = rustls::ClientConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions().map_err(other)?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(trust));
    let mut config = builder.with_client_cert_resolver(demand.clone());
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut tls = rustls::ClientConnection::new(Arc::new(config), name).map_err(other)?;
    let mut tcp = TcpStream::connect_timeout(&address, STEP)?;
    tcp.set_read_timeout(Some(STEP))?;
    tcp.set_write_timeout(Some(STEP))?;
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp)?;
    }
    if demand.0.load(Ordering::Relaxed) {
        rustls::Stream::new(&mut tls, &mut tcp).read_exact(&mut [0])?;
    }
    Ok(())
}
