//! The members of a client's metadata about its certificate and the binding of its tokens.

use super::metadata::ClientMetadata;
use crate::domain::client_certificate::AlternativeName;
use crate::domain::distinguished_name::DistinguishedName;
use crate::issuer::client::CertificateName;

/// The members that name the certificate of a client (RFC 8705 §2.1.2).
pub(super) const SUBJECT_DN: &str = "tls_client_auth_subject_dn";
pub(super) const SAN_DNS: &str = "tls_client_auth_san_dns";
pub(super) const SAN_URI: &str = "tls_client_auth_san_uri";
pub(super) const SAN_IP: &str = "tls_client_auth_san_ip";
pub(super) const SAN_EMAIL: &str = "tls_client_auth_san_email";

/// The members that bind access tokens (RFC 8705 §3.4, RFC 9449 §5.2).
pub(super) const TO_CERTIFICATE: &str = "tls_client_certificate_bound_access_tokens";
pub(super) const TO_DPOP_KEY: &str = "dpop_bound_access_tokens";

/// The expected name of a certificate, from a member.
///
/// # Errors
/// The problem of its text.
pub(super) fn certificate_name(member: &str, text: &str) -> Result<CertificateName, String> {
    Ok(CertificateName::Alternative(match member {
        SUBJECT_DN => {
            let name = DistinguishedName::parse(text);
            return name
                .map(CertificateName::Subject)
                .map_err(|why| format!("it is {why}"));
        }
        SAN_DNS => AlternativeName::Dns(text.to_owned()),
        SAN_URI => {
            return CertificateName::of_uri(text).map_err(|why| format!("it is {why}"));
        }
        SAN_IP => AlternativeName::Ip(text.parse().map_err(|_| "it is not an IP address")?),
        _ => AlternativeName::Email(text.to_owned()),
    }))
}

impl ClientMetadata {
    /// The members that name its certificate.
    pub(super) fn certificate_names(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let members = [
            (SUBJECT_DN, &self.tls_client_auth_subject_dn),
            (SAN_DNS, &self.tls_client_auth_san_dns),
            (SAN_URI, &self.tls_client_auth_san_uri),
            (SAN_IP, &self.tls_client_auth_san_ip),
            (SAN_EMAIL, &self.tls_client_auth_san_email),
        ];
        members
            .into_iter()
            .filter_map(|(name, text)| Some((name, text.as_deref()?)))
    }

    /// Sets the member that names its certificate.
    pub(super) fn with_certificate(mut self, name: &CertificateName) -> Self {
        let (member, text) = match name {
            CertificateName::Subject(name) => {
                (&mut self.tls_client_auth_subject_dn, name.to_string())
            }
            CertificateName::Spiffe(pattern) => {
                (&mut self.tls_client_auth_san_uri, pattern.to_string())
            }
            CertificateName::Alternative(name) => {
                let member = match name {
                    AlternativeName::Dns(_) => &mut self.tls_client_auth_san_dns,
                    AlternativeName::Uri(_) => &mut self.tls_client_auth_san_uri,
                    AlternativeName::Ip(_) => &mut self.tls_client_auth_san_ip,
                    AlternativeName::Email(_) => &mut self.tls_client_auth_san_email,
                };
                (member, name.to_string())
            }
        };
        *member = Some(text);
        self
    }
}
