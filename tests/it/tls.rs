//! TLS on the listeners: handshakes, certificates, client certificates, files that change.

mod changes;
mod clients;
mod handshakes;
mod listeners;
mod requests;

use std::net::SocketAddr;
use std::path::Path;

use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::support::certificates::{CertificateAuthority, TlsClient};
use crate::support::client::{Connection, RawAnswer, get};
use crate::support::sidecar::{Sidecar, SidecarBuilder};
use crate::support::upstream::Upstream;

/// The name of the listeners' certificate.
const NAME: &str = "api.test";

type OverTls = Connection<TlsStream<TcpStream>>;

/// An inbound listener `api` with TLS, and its surroundings.
struct World {
    authority: CertificateAuthority,
    upstream: Upstream,
    sidecar: Sidecar,
}

/// An inbound listener that lets every request pass, and the probes. `tls` is added to the files of
/// the certificate.
fn yaml(upstream: &Upstream, tls: &str) -> String {
    format!(
        r#"
probes: {{ listen: 127.0.0.1:0 }}
authorities: {{ self: {{ issuer: "http://127.0.0.1:9", jwksUri: "http://127.0.0.1:9/jwks" }} }}
inbound:
  - name: api
    listen: 127.0.0.1:0
    tls: {{ certFile: "@DIR@/tls.crt", keyFile: "@DIR@/tls.key"{tls} }}
    upstream: {}
    authorities: [self]
    audiences: any
    rules: [{{ paths: ["/**"], access: public }}]
"#,
        upstream.url()
    )
}

impl World {
    async fn new(tls: &str) -> Self {
        Self::with(tls, |_, builder| builder).await
    }

    /// With further files, which the authority of the certificate may issue.
    async fn with(
        tls: &str,
        files: impl FnOnce(&CertificateAuthority, SidecarBuilder) -> SidecarBuilder,
    ) -> Self {
        let authority = CertificateAuthority::new("the servers' authority");
        let pair = authority.server(&[NAME]);
        let builder = Sidecar::builder()
            .file("tls.crt", &pair.cert_pem)
            .file("tls.key", &pair.key_pem);
        let builder = files(&authority, builder);
        let upstream = Upstream::start();
        let sidecar = builder.start(&yaml(&upstream, tls)).await;
        Self {
            authority,
            upstream,
            sidecar,
        }
    }

    fn address(&self) -> SocketAddr {
        self.sidecar.address("api")
    }

    fn client(&self) -> TlsClient {
        TlsClient::trusting(&self.authority.pem)
    }

    /// The value of a metric with these labels; `None` if it is absent.
    async fn metric(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let scrape = get(self.sidecar.address("probes"), "/metrics", &[]).await;
        let text = scrape.text();
        let mut lines = text.lines().filter(|line| {
            line.starts_with(&format!("{name}{{")) && labels.iter().all(|it| line.contains(it))
        });
        lines.next()?.rsplit(' ').next()?.parse().ok()
    }
}

/// Sends a GET and reads the answer.
async fn ask(connection: &mut OverTls, target: &str) -> RawAnswer {
    let request = format!("GET {target} HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
    connection.send(request).await;
    connection.answer().await
}

/// The first certificate that the listener showed.
fn shown(connection: &mut OverTls) -> CertificateDer<'static> {
    let certificates = connection.stream().get_ref().1.peer_certificates();
    certificates.expect("the server shows a certificate")[0].clone()
}

/// Replaces a file by renaming.
fn replace(file: &Path, content: &str) {
    let next = file.with_extension("next");
    std::fs::write(&next, content).expect("a writable directory");
    std::fs::rename(next, file).expect("a writable directory");
}
