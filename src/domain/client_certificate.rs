//! The certificate that a client showed in the TLS handshake, and the connection of a client.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::distinguished_name::DistinguishedName;

/// The certificate of a client. The handshake proved that the client has its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The SHA-256 of the certificate in base64url form: `x5t#S256` (RFC 8705 §3.1).
    pub thumbprint: String,
    /// The subject's distinguished name in the form of RFC 4514.
    pub subject: String,
    /// The same, for comparisons.
    pub name: DistinguishedName,
    /// The names in subjectAltName (RFC 5280 §4.2.1.6).
    pub names: Vec<AlternativeName>,
    /// The SHA-256 of the public key (SubjectPublicKeyInfo).
    pub key_hash: [u8; 32],
    /// Whether an authority of the listener has issued it. Without that, its names say nothing.
    pub is_verified: bool,
}

impl ClientCertificate {
    /// Its URI, if it has exactly one, as an X.509-SVID must (X509-SVID §2).
    #[must_use]
    pub fn only_uri(&self) -> Option<&str> {
        let mut uris = self.names.iter().filter_map(|name| match name {
            AlternativeName::Uri(uri) => Some(uri.as_str()),
            _ => None,
        });
        uris.next().filter(|_| uris.next().is_none())
    }
}

/// A name of a certificate's subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlternativeName {
    Dns(String),
    Uri(String),
    Email(String),
    Ip(IpAddr),
}

impl AlternativeName {
    /// Whether both are the same name (RFC 5280 §7): hosts are compared without regard to case.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Dns(one), Self::Dns(other)) => one.eq_ignore_ascii_case(other),
            (Self::Email(one), Self::Email(other)) => {
                match (one.rsplit_once('@'), other.rsplit_once('@')) {
                    (Some((user, host)), Some((other_user, other_host))) => {
                        user == other_user && host.eq_ignore_ascii_case(other_host)
                    }
                    _ => one == other,
                }
            }
            (one, other) => one == other,
        }
    }
}

impl fmt::Display for AlternativeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) | Self::Uri(name) | Self::Email(name) => f.write_str(name),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

/// The connection of a client: its address, and the certificate that it showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientConnection {
    pub address: Option<IpAddr>,
    pub certificate: Option<Arc<ClientCertificate>>,
}

impl From<Option<IpAddr>> for ClientConnection {
    fn from(address: Option<IpAddr>) -> Self {
        Self {
            address,
            certificate: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_compared_without_case_and_everything_else_with_it() {
        let dns = |name: &str| AlternativeName::Dns(name.to_owned());
        let email = |name: &str| AlternativeName::Email(name.to_owned());
        let uri = |name: &str| AlternativeName::Uri(name.to_owned());
        assert!(dns("A.Example").is_same(&dns("a.example")));
        assert!(!dns("*.example").is_same(&dns("a.example")));
        assert!(!dns("a.example").is_same(&uri("a.example")));
        assert!(email("me@A.example").is_same(&email("me@a.example")));
        assert!(!email("Me@a.example").is_same(&email("me@a.example")));
        assert!(!uri("spiffe://a/B").is_same(&uri("spiffe://a/b")));
    }
}
