//! Certificate authorities, and a client that speaks TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use m2m_sidecar::for_tests::domain::hash::sha256;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::client::Connection;
use super::{WAIT_LIMIT, logs};

/// An authority that issues certificates and withdraws them.
pub struct CertificateAuthority {
    issuer: Issuer<'static, KeyPair>,
    /// For a `caFile`.
    pub pem: String,
    next_serial: AtomicU64,
}

/// A certificate with its key.
pub struct Issued {
    /// For a `certFile`.
    pub cert_pem: String,
    /// For a `keyFile`.
    pub key_pem: String,
    serial: u64,
}

impl Issued {
    /// A self-signed certificate with these changes, and its public key as a JWK.
    pub fn by_itself(change: impl FnOnce(&mut CertificateParams)) -> (Self, Value) {
        Self::by_itself_with(KeyPair::generate().expect("a key"), change)
    }

    /// The same for this key, of P-256.
    pub fn by_itself_with(
        key: KeyPair,
        change: impl FnOnce(&mut CertificateParams),
    ) -> (Self, Value) {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, "me");
        change(&mut params);
        let key_pem = key.serialize_pem();
        logs::remember_private_key(&key_pem);
        let (x, y) = key.public_key_raw()[1..].split_at(32);
        let encode = |bytes| URL_SAFE_NO_PAD.encode(bytes);
        let jwk = json!({ "kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y) });
        let cert_pem = params.self_signed(&key).expect("a certificate").pem();
        let issued = Self {
            cert_pem,
            key_pem,
            serial: 0,
        };
        (issued, jwk)
    }

    /// The first certificate in DER form.
    pub fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.cert_pem.as_bytes()).expect("a certificate")
    }

    /// The `x5t#S256` of the certificate (RFC 8705 §3.1).
    pub fn thumbprint(&self) -> String {
        URL_SAFE_NO_PAD.encode(sha256(&self.der()))
    }
}

impl CertificateAuthority {
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
            next_serial: AtomicU64::new(1000),
        }
    }

    /// A certificate for a server with these names.
    pub fn server(&self, names: &[&str]) -> Issued {
        self.issue(names, |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        })
    }

    /// A certificate for a client with this common name.
    pub fn client(&self, name: &str) -> Issued {
        self.issue(&[], |params| {
            params.distinguished_name.push(DnType::CommonName, name);
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        })
    }

    /// A certificate with these names and changes.
    pub fn issue(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let serial = self.next_serial.fetch_add(1, Ordering::Relaxed);
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("valid names");
        params.serial_number = Some(SerialNumber::from(serial));
        params.use_authority_key_identifier_extension = true;
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let key_pem = key.serialize_pem();
        logs::remember_private_key(&key_pem);
        Issued {
            cert_pem: certificate.pem(),
            key_pem,
            serial,
        }
    }

    /// A list of these certificates, for a `clientCrlFile`, that is due in so many seconds.
    pub fn revoked(&self, certificates: &[&Issued], due: i64) -> String {
        let now = OffsetDateTime::now_utc();
        let revoked = certificates.iter().map(|issued| RevokedCertParams {
            serial_number: SerialNumber::from(issued.serial),
            revocation_time: now - Duration::from_secs(60),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: now - Duration::from_secs(3600),
            next_update: now + time::Duration::seconds(due),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).expect("a list");
        list.pem().expect("a PEM text")
    }
}

/// A client of TLS, which keeps sessions for resumption.
#[derive(Clone)]
pub struct TlsClient(Arc<ClientConfig>);

impl TlsClient {
    /// A client that trusts this authority.
    pub fn trusting(ca_pem: &str) -> Self {
        Self::with(ca_pem, None, rustls::ALL_VERSIONS, &[])
    }

    /// The same with a certificate of its own.
    pub fn showing(ca_pem: &str, certificate: &Issued) -> Self {
        Self::with(ca_pem, Some(certificate), rustls::ALL_VERSIONS, &[])
    }

    pub fn with(
        ca_pem: &str,
        certificate: Option<&Issued>,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
    ) -> Self {
        let mut roots = RootCertStore::empty();
        for der in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
            roots
                .add(der.expect("a certificate"))
                .expect("an authority");
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("the provider's versions")
            .with_root_certificates(roots);
        let mut config = match certificate {
            None => builder.with_no_client_auth(),
            Some(issued) => {
                let chain = CertificateDer::pem_slice_iter(issued.cert_pem.as_bytes());
                let chain = chain.collect::<Result<_, _>>().expect("certificates");
                let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes());
                builder
                    .with_client_auth_cert(chain, key.expect("a key"))
                    .expect("certificate and key fit")
            }
        };
        config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
        Self(Arc::new(config))
    }

    /// Connects, and calls the listener by this name.
    pub async fn try_open(
        &self,
        address: SocketAddr,
        name: &str,
    ) -> io::Result<Connection<TlsStream<TcpStream>>> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        self.handshake(tcp, name).await
    }

    /// The same over a connected stream.
    pub async fn over<S>(&self, stream: S, name: &str) -> Connection<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let opened = self.handshake(stream, name).await;
        opened.unwrap_or_else(|error| panic!("no handshake: {error}"))
    }

    async fn handshake<S>(&self, stream: S, name: &str) -> io::Result<Connection<TlsStream<S>>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(name.to_owned()).expect("a valid name");
        let handshake = TlsConnector::from(self.0.clone()).connect(name, stream);
        let stream = tokio::time::timeout(WAIT_LIMIT, handshake).await;
        stream.expect("the handshake ends").map(Connection::over)
    }

    pub async fn open(&self, address: SocketAddr, name: &str) -> Connection<TlsStream<TcpStream>> {
        let opened = self.try_open(address, name).await;
        opened.unwrap_or_else(|error| panic!("no connection to {address}: {error}"))
    }
}
