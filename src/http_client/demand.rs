//! Determines why a TLS server refuses its client's certificate, or demands one, when its alert was
//! lost.
//!
//! With TLS 1.3 the alert comes after the handshake. A client that is still sending its request
//! then sees a failed write, and the alert is lost with the connection. A second connection, on
//! which nothing is sent, reveals it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use tokio::time::Instant;

use super::alert::alert_in;
use super::trust::{Trust, provider};

/// The limit of connect, handshake and alert together, because a request waits for it.
const LIMIT: Duration = Duration::from_secs(2);

/// The alert by which a server refuses a client with this certificate or without one; `None` if it
/// sends none or is unreachable. Opens a connection and sends no data. `ca_pem` are the only
/// trusted certificates; `None`: the platform's. Blocks for at most two seconds.
#[must_use]
pub fn demanded_certificate(
    address: SocketAddr,
    server_name: String,
    ca_pem: Option<&[u8]>,
    own: Option<Arc<CertifiedKey>>,
) -> Option<&'static str> {
    let server_name = ServerName::try_from(server_name).ok()?;
    let trust = match ca_pem {
        Some(pem) => Trust::only(pem),
        None => Trust::with_platform(None),
    };
    let demand = Arc::new(NotesDemand {
        is_noted: AtomicBool::new(false),
        own,
    });
    alert_of(address, server_name, trust.ok()?, demand, LIMIT)
        .err()
        .and_then(|error| alert_in(&error.to_string()))
}

/// Records that the server requested a certificate.
#[derive(Debug, Default)]
struct NotesDemand {
    is_noted: AtomicBool,
    /// The certificate that it gets.
    own: Option<Arc<CertifiedKey>>,
}

impl ResolvesClientCert for NotesDemand {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.is_noted.store(true, Ordering::Relaxed);
        self.own.clone()
    }

    fn has_certs(&self) -> bool {
        self.own.is_some()
    }
}

/// A connection with a deadline, however slowly the other side sends.
struct Until {
    tcp: TcpStream,
    end: Instant,
}

impl Until {
    fn left(&self) -> io::Result<Duration> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            Err(io::ErrorKind::TimedOut.into())
        } else {
            Ok(left)
        }
    }
}

impl Read for Until {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.tcp.set_read_timeout(Some(self.left()?))?;
        self.tcp.read(buf)
    }
}

impl Write for Until {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.tcp.set_write_timeout(Some(self.left()?))?;
        self.tcp.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}

/// Connects, and waits for the alert of a server that requested a certificate.
fn alert_of(
    address: SocketAddr,
    name: ServerName<'static>,
    trust: Trust,
    demand: Arc<NotesDemand>,
    limit: Duration,
) -> io::Result<()> {
    let end = Instant::now() + limit;
    let other = io::Error::other::<rustls::Error>;
    let builder = rustls::ClientConfig::builder_with_provider(provider());
    let builder = builder
        .with_safe_default_protocol_versions()
        .map_err(other)?;
    let builder = builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(trust));
    let mut config = builder.with_client_cert_resolver(demand.clone());
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut tls = rustls::ClientConnection::new(Arc::new(config), name).map_err(other)?;
    let mut tcp = Until {
        tcp: TcpStream::connect_timeout(&address, limit)?,
        end,
    };
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp)?;
    }
    if demand.is_noted.load(Ordering::Relaxed) {
        rustls::Stream::new(&mut tls, &mut tcp).read_exact(&mut [0])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// The server sends a record in single bytes, and never all of it.
    #[test]
    fn a_server_that_sends_slowly_gets_no_more_than_the_limit() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut tcp, _) = listener.accept().unwrap();
            let record = [&[0x16, 3, 3, 0x3f, 0xff][..], &[0; 0x3fff]].concat();
            record
                .iter()
                .take_while(|byte| {
                    std::thread::sleep(Duration::from_millis(10));
                    tcp.write_all(&[**byte]).is_ok()
                })
                .count()
        });
        let name = ServerName::try_from("localhost").unwrap();
        let trust = Trust::with_platform(None).unwrap();
        let limit = Duration::from_millis(100);
        let error = alert_of(address, name, trust, Arc::default(), limit).unwrap_err();
        assert!(matches!(
            error.kind(),
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
        ));
        assert!(
            server.join().unwrap() < 0x3fff,
            "the client ended the connection"
        );
    }
}
