//! How we authenticate at an authority: the configured method and the content of its files.
//!
//! The files are read at start and whenever one of them changes.

use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::{Config, TokenEndpoint, http_options};
use crate::domain::hash::sha256_parts;
use crate::domain::oauth::BasicEncoding;
use crate::domain::secret::{ExposeSecret, SecretString};
use crate::files::{self, MAX_PUBLIC, ReadError};
use crate::http_client::{BuildError, HttpClient};
use crate::jose::Algorithm;
use crate::jose::sign::{SigningKey, SigningKeyError};

/// The client authentication method (RFC 7591 §2 names).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// `client_secret_basic`: id and secret in the `Authorization` header (RFC 6749 §2.3.1).
    SecretBasic {
        secret_file: PathBuf,
        /// The encoding of id and secret in the header.
        encoding: BasicEncoding,
    },
    /// `client_secret_post`: id and secret in the form (RFC 6749 §2.3.1).
    SecretPost { secret_file: PathBuf },
    /// `private_key_jwt`: an assertion signed by the sidecar (RFC 7523 §2.2).
    PrivateKeyJwt(PrivateKeyJwt),
    /// An assertion that another program signs and renews in a file (RFC 7523 §2.2): a
    /// Kubernetes service account token, a SPIFFE JWT-SVID. Read for every token request.
    Assertion {
        /// The file with the JWT.
        file: PathBuf,
        /// Whether it is announced as a JWT-SVID (draft-ietf-oauth-spiffe-client-auth §3.1).
        is_svid: bool,
    },
    /// `tls_client_auth`: a client certificate (RFC 8705 §2.1).
    Certificate {
        /// The certificate chain, the client's first.
        cert_file: PathBuf,
        /// The private key.
        key_file: PathBuf,
    },
    /// None: the endpoint does not authenticate a client.
    None,
}

/// The properties of our own assertions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrivateKeyJwt {
    /// The private key (PEM).
    pub key_file: PathBuf,
    /// `None`: the usual algorithm for the kind of key.
    pub algorithm: Option<Algorithm>,
    /// The `kid` of the assertion's header.
    pub kid: Option<String>,
    /// The assertion's `aud`. `None`: the authority's issuer, or the token endpoint if the issuer
    /// is unknown.
    pub audience: Option<String>,
}

/// Why the files of a credential cannot be used. The texts hold no content.
#[derive(Debug, thiserror::Error)]
pub enum UnusableFiles {
    #[error("the file `{0}` {1}")]
    Read(PathBuf, ReadError),
    /// The private key is invalid, or does not fit the algorithm.
    #[error("the private key in `{0}`: {1}")]
    Key(PathBuf, SigningKeyError),
    /// The TLS client cannot use the certificates.
    #[error(transparent)]
    Tls(#[from] BuildError),
}

/// The content of a credential's files.
pub(super) struct Material {
    pub http: HttpClient,
    pub proof: Proof,
    /// A hash of our credentials and trusted certificates.
    pub identity: [u8; 32],
}

/// The proof of our identity.
pub(super) enum Proof {
    Basic(SecretString, BasicEncoding),
    Post(SecretString),
    Key(Box<SigningKey>),
    /// Read for each request.
    Assertion(PathBuf),
    /// Presented by the TLS client.
    Certificate,
    /// The contents of the files of a login, in their order.
    Login(Vec<SecretString>),
    None,
}

impl Material {
    /// Reads the files. Blocks.
    pub fn load(config: &Config) -> Result<Self, UnusableFiles> {
        Self::load_with(config, None)
    }

    /// [`load`](Self::load) with this client secret instead of its file. Blocks.
    pub fn with_secret(config: &Config, secret: &SecretString) -> Result<Self, UnusableFiles> {
        Self::load_with(config, Some(secret))
    }

    fn load_with(config: &Config, secret: Option<&SecretString>) -> Result<Self, UnusableFiles> {
        let read_secret = |file: &Path| match secret {
            Some(secret) => Ok(secret.clone()),
            None => read(file, files::read_secret),
        };
        let ca_pem = config
            .ca_file
            .as_deref()
            .map(|file| read(file, |file| files::read(file, MAX_PUBLIC)));
        let mut identity_pem = None;
        let (proof, identity) = match &config.authentication {
            Authentication::SecretBasic {
                secret_file,
                encoding,
            } => {
                let secret = read_secret(secret_file)?;
                let identity = sha256_parts(&[b"secret", secret.expose_secret().as_bytes()]);
                (Proof::Basic(secret, *encoding), identity)
            }
            Authentication::SecretPost { secret_file } => {
                let secret = read_secret(secret_file)?;
                let identity = sha256_parts(&[b"secret", secret.expose_secret().as_bytes()]);
                (Proof::Post(secret), identity)
            }
            Authentication::PrivateKeyJwt(of) => {
                let pem = read(&of.key_file, files::read_secret_lines)?;
                let key = match of.algorithm {
                    Some(algorithm) => SigningKey::from_pem(&pem, algorithm),
                    None => SigningKey::from_any_pem(&pem),
                };
                let key = key.map_err(|error| UnusableFiles::Key(of.key_file.clone(), error))?;
                let identity = sha256_parts(&[b"key", key.kid().as_bytes()]);
                (Proof::Key(Box::new(key)), identity)
            }
            Authentication::Assertion { file, .. } => (
                Proof::Assertion(file.clone()),
                sha256_parts(&[b"assertion"]),
            ),
            Authentication::Certificate {
                cert_file,
                key_file,
            } => {
                let key = read(key_file, files::read_secret_lines)?;
                let certificates = read(cert_file, files::read_secret_lines)?;
                // A certificate in the key's file would be used as ours.
                let key = blocks(&key, |label| label.ends_with("PRIVATE KEY"));
                let pem = [key, blocks(&certificates, |label| label == "CERTIFICATE")].concat();
                let pem = Zeroizing::new(pem);
                let identity = sha256_parts(&[b"certificate", pem.as_bytes()]);
                identity_pem = Some(SecretString::from(pem.as_str()));
                (Proof::Certificate, identity)
            }
            Authentication::None => match &config.endpoint {
                TokenEndpoint::Login(login) => {
                    let contents = login.files().map(read_secret);
                    let contents = contents.collect::<Result<Vec<_>, _>>()?;
                    let parts: Vec<&[u8]> = contents
                        .iter()
                        .map(|content| content.expose_secret().as_bytes())
                        .collect();
                    let identity = sha256_parts(&parts);
                    (Proof::Login(contents), identity)
                }
                _ => (Proof::None, sha256_parts(&[b"none"])),
            },
        };
        let ca_pem = ca_pem.transpose()?;
        // The trusted certificates are part of the identity.
        let identity = sha256_parts(&[&identity, ca_pem.as_deref().unwrap_or_default()]);
        let http = HttpClient::new(http_options(
            config.timeouts,
            ca_pem,
            identity_pem,
            &config.egress,
        ))?;
        let url = config.endpoint.url();
        // The platform's certificates may be in the middle of a change.
        if url.is_some_and(|url| url.scheme() == "https") && http.trusts_none() {
            return Err(BuildError::NoRoots.into());
        }
        Ok(Self {
            http,
            proof,
            identity,
        })
    }

    /// The files whose change takes effect at once.
    pub fn watched_files(config: &Config) -> Vec<PathBuf> {
        let of_proof = match &config.authentication {
            Authentication::SecretBasic { secret_file, .. }
            | Authentication::SecretPost { secret_file } => {
                vec![secret_file.clone()]
            }
            Authentication::PrivateKeyJwt(of) => vec![of.key_file.clone()],
            // A new assertion ends a pause.
            Authentication::Assertion { file, .. } => vec![file.clone()],
            Authentication::Certificate {
                cert_file,
                key_file,
            } => vec![cert_file.clone(), key_file.clone()],
            Authentication::None => Vec::new(),
        };
        let of_endpoint: Vec<PathBuf> = match &config.endpoint {
            TokenEndpoint::File(file) => vec![file.clone()],
            TokenEndpoint::Login(login) => login.files().map(Path::to_owned).collect(),
            TokenEndpoint::Url(_) | TokenEndpoint::Discovery(_) => Vec::new(),
        };
        of_proof
            .into_iter()
            .chain(config.ca_file.clone())
            .chain(of_endpoint)
            .collect()
    }
}

/// The blocks of a PEM text with a wanted label.
fn blocks(pem: &SecretString, is_wanted: impl Fn(&str) -> bool) -> String {
    let mut found = String::new();
    let mut wanted = false;
    for line in pem.expose_secret().lines() {
        let label = |mark: &str| line.trim_end().strip_prefix(mark)?.strip_suffix("-----");
        if let Some(label) = label("-----BEGIN ") {
            wanted = is_wanted(label);
        }
        if wanted {
            found.push_str(line);
            found.push('\n');
        }
        if label("-----END ").is_some() {
            wanted = false;
        }
    }
    found
}

fn read<T>(
    file: &Path,
    read: impl FnOnce(&Path) -> Result<T, ReadError>,
) -> Result<T, UnusableFiles> {
    read(file).map_err(|error| UnusableFiles::Read(file.to_owned(), error))
}

/// The JWT in a file. Other content is never sent, because a mistyped path could lead to a private
/// key. Blocks.
pub(super) fn read_assertion(file: &Path) -> Result<SecretString, ReadError> {
    let text = files::read_secret_lines(file)?;
    let jwt = text.expose_secret().trim_ascii();
    if is_jwt(jwt) {
        Ok(SecretString::from(jwt))
    } else {
        Err(ReadError::NotText)
    }
}

/// Whether a text has the form of a compact JWS (RFC 7515 §3.1).
#[must_use]
pub fn is_jwt(text: &str) -> bool {
    let is_base64url = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    text.split('.').count() == 3 && text.split('.').all(is_base64url)
}

/// Checks whether a TLS client can use certificates and private key together. Blocks.
///
/// # Errors
/// [`BuildError::Identity`].
pub fn check_client_certificate(
    certificates: &SecretString,
    key: &SecretString,
) -> Result<(), BuildError> {
    let wrong = |_| BuildError::Identity;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificates.expose_secret().as_bytes())
        .collect::<Result<_, _>>()
        .map_err(wrong)?;
    let key = PrivateKeyDer::from_pem_slice(key.expose_secret().as_bytes()).map_err(wrong)?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let certified = rustls::sign::CertifiedKey::from_der(chain, key, &provider);
    certified.map(drop).map_err(|_| BuildError::Identity)
}

#[cfg(test)]
mod tests;
