//! The transports, each of which is used on every way: from the client to the listener, between two
//! listeners, and from the listener to the service.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::kinds::{Kind, Outcome};
use crate::support::certificates::{CertificateAuthority, Issued, TlsClient};
use crate::support::sidecar::SidecarBuilder;

/// The address of a listener.
#[derive(Clone)]
pub enum Place {
    Port(SocketAddr),
    Socket(PathBuf),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Http1,
    Http1OverTls,
    Http2OverTls,
    H2c,
    Unix,
    /// HTTP/2 over a Unix socket.
    H2cUnix,
    /// HTTP/2 over TLS, with a client certificate on every way.
    MutualTls,
}

impl Transport {
    /// The expected result of a request of this kind.
    pub fn expected(self, kind: Kind) -> Outcome {
        match kind {
            // The call passes, but gRPC needs HTTP/2.
            Kind::GrpcUnary | Kind::GrpcStreams if !self.is_http2() => Outcome::Refused(505),
            _ => Outcome::Works,
        }
    }

    pub fn is_http2(self) -> bool {
        !matches!(self, Self::Http1 | Self::Http1OverTls | Self::Unix)
    }

    pub fn is_tls(self) -> bool {
        matches!(
            self,
            Self::Http1OverTls | Self::Http2OverTls | Self::MutualTls
        )
    }

    pub fn is_socket(self) -> bool {
        matches!(self, Self::Unix | Self::H2cUnix)
    }

    fn alpn(self) -> &'static str {
        if self.is_http2() { "h2" } else { "http/1.1" }
    }

    /// The URL of an upstream at this place.
    pub fn url(self, place: &Place) -> String {
        match (self, place) {
            (Self::Unix, Place::Socket(path)) => format!("unix:{}", path.display()),
            (_, Place::Socket(path)) => format!("h2c+unix:{}", path.display()),
            (Self::Http1, Place::Port(address)) => format!("http://{address}"),
            (Self::H2c, Place::Port(address)) => format!("h2c://{address}"),
            (_, Place::Port(address)) => format!("https://{address}"),
        }
    }

    /// The keys of a listener and of its upstream.
    pub fn keys(self, name: &str) -> String {
        let listen = if self.is_socket() {
            format!("\"unix:@DIR@/{name}.sock\"")
        } else {
            "127.0.0.1:0".to_owned()
        };
        let (client, shown) = if self == Self::MutualTls {
            (
                ", clientCertificate: required, clientCaFile: \"@DIR@/ca.pem\"",
                ", certFile: \"@DIR@/client.pem\", keyFile: \"@DIR@/client.key\"",
            )
        } else {
            ("", "")
        };
        let server = "certFile: \"@DIR@/server.pem\", keyFile: \"@DIR@/server.key\"";
        let upstream = format!("caFile: \"@DIR@/ca.pem\"{shown}");
        let tls = format!("    tls: {{ {server}{client} }}\n    upstreamTls: {{ {upstream} }}\n");
        let tls = if self.is_tls() { &tls } else { "" };
        format!("    listen: {listen}\n{tls}")
    }
}

/// The certificates of all sides.
pub struct Certificates {
    authority: CertificateAuthority,
    server: Issued,
    client: Issued,
}

impl Certificates {
    pub fn new() -> Self {
        let authority = CertificateAuthority::new("the authority of all sides");
        let server = authority.server(&["localhost", "127.0.0.1"]);
        let client = authority.client("caller");
        Self {
            authority,
            server,
            client,
        }
    }

    /// The files that [`Transport::keys`] names.
    pub fn files(&self, builder: SidecarBuilder) -> SidecarBuilder {
        builder
            .file("ca.pem", &self.authority.pem)
            .file("server.pem", &self.server.cert_pem)
            .file("server.key", &self.server.key_pem)
            .file("client.pem", &self.client.cert_pem)
            .file("client.key", &self.client.key_pem)
    }

    pub fn caller(&self, transport: Transport) -> Option<TlsClient> {
        let shown = (transport == Transport::MutualTls).then_some(&self.client);
        let alpn = [transport.alpn()];
        transport
            .is_tls()
            .then(|| TlsClient::with(&self.authority.pem, shown, rustls::ALL_VERSIONS, &alpn))
    }

    /// The TLS of the service.
    pub fn acceptor(&self, transport: Transport) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("the provider's versions");
        let builder = if transport == Transport::MutualTls {
            let mut roots = RootCertStore::empty();
            for der in certificates(&self.authority.pem) {
                roots.add(der).expect("an authority");
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::from_pem_slice(self.server.key_pem.as_bytes());
        let chain = certificates(&self.server.cert_pem);
        let mut config = builder
            .with_single_cert(chain, key.expect("a key"))
            .expect("certificate and key fit");
        config.alpn_protocols = vec![transport.alpn().as_bytes().to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}

fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    let found = CertificateDer::pem_slice_iter(pem.as_bytes());
    found.collect::<Result<_, _>>().expect("certificates")
}
