//! Certificates for the servers of the fake world: a temporary authority and one leaf.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio_rustls::TlsAcceptor;

/// A server's TLS side, and the certificate that its clients must trust.
pub struct TestTls {
    /// For a `caFile`.
    pub ca_pem: String,
    /// The server's acceptor.
    pub acceptor: TlsAcceptor,
}

impl TestTls {
    /// A leaf for these names (host names or IP addresses), signed by a certificate authority of
    /// its own.
    pub fn for_names(names: &[&str]) -> Self {
        Self::with_clients(names, None)
    }

    /// One certificate for the server that is its own authority (CA:TRUE), as of `openssl req
    /// -x509`.
    pub fn self_signed_authority(names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("valid names");
        params
            .distinguished_name
            .push(DnType::CommonName, "a certificate of its own");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let private = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let mut config = ServerConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .expect("the provider's versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .expect("certificate and key fit");
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self {
            ca_pem: certificate.pem(),
            acceptor: TlsAcceptor::from(Arc::new(config)),
        }
    }

    /// The same; with `client`, clients must show its certificate.
    pub fn with_clients(names: &[&str], client: Option<&ClientCertificate>) -> Self {
        Self::with(names, client.as_slice(), rustls::ALL_VERSIONS)
    }

    /// The same; clients must show one of these certificates.
    pub fn with_client_list(names: &[&str], clients: &[&ClientCertificate]) -> Self {
        Self::with(names, clients, rustls::ALL_VERSIONS)
    }

    /// A server that speaks only this version of TLS and demands a client certificate that no
    /// client has.
    pub fn demanding_a_certificate(
        names: &[&str],
        version: &'static SupportedProtocolVersion,
    ) -> Self {
        Self::with(names, &[&ClientCertificate::generate()], &[version])
    }

    /// The same server, which agrees on one of these protocols (ALPN).
    pub fn speaking(self, protocols: &[&str]) -> Self {
        let mut config = ServerConfig::clone(self.acceptor.config());
        let protocols = protocols.iter();
        config.alpn_protocols = protocols.map(|name| name.as_bytes().to_vec()).collect();
        Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            ..self
        }
    }

    fn with(
        names: &[&str],
        clients: &[&ClientCertificate],
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let ca_key = KeyPair::generate().expect("a key");
        let mut ca = CertificateParams::new(Vec::new()).expect("no names");
        // Without it authority and leaf share one name, as if each had signed itself.
        ca.distinguished_name
            .push(DnType::CommonName, "the test's authority");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_certificate = ca.self_signed(&ca_key).expect("a certificate");
        let issuer = Issuer::new(ca, ca_key);

        let key = KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let leaf = CertificateParams::new(names).expect("valid names");
        let certificate = leaf.signed_by(&key, &issuer).expect("a certificate");

        let private = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .expect("the provider's versions");
        let builder = match clients {
            [] => builder.with_no_client_auth(),
            clients => {
                let mut roots = RootCertStore::empty();
                for client in clients {
                    roots.add(client.der.clone()).expect("a certificate");
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.expect("a verifier"))
            }
        };
        let mut config = builder
            .with_single_cert(vec![certificate.der().clone()], private)
            .expect("certificate and key fit");
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self {
            ca_pem: ca_certificate.pem(),
            acceptor: TlsAcceptor::from(Arc::new(config)),
        }
    }
}

/// A self-signed client certificate.
pub struct ClientCertificate {
    /// For a `certFile`.
    pub cert_pem: String,
    /// For a `keyFile`.
    pub key_pem: String,
    der: CertificateDer<'static>,
}

impl ClientCertificate {
    pub fn generate() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec!["legacy".to_owned()]).expect("a valid name");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.self_signed(&key).expect("a certificate");
        Self {
            cert_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            der: certificate.der().clone(),
        }
    }
}
