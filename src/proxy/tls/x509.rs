//! The facts of certificates and revocation lists that rustls does not tell.

use std::net::IpAddr;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use crate::domain::client_certificate::AlternativeName;
use crate::domain::clock::UnixTime;
use crate::domain::distinguished_name::{Attribute, DistinguishedName};
use crate::domain::hash::sha256;

/// The facts of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The subject's distinguished name.
    pub subject: DistinguishedName,
    /// Whether the subject is also the issuer.
    pub is_self_issued: bool,
    /// The names in subjectAltName (RFC 5280 §4.2.1.6).
    pub names: Vec<AlternativeName>,
    pub not_before: UnixTime,
    pub not_after: UnixTime,
    /// The SHA-256 of its public key (SubjectPublicKeyInfo).
    pub key_hash: [u8; 32],
}

impl Facts {
    /// The facts of a certificate in DER form; `None` if it cannot be read.
    pub fn of(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let names = certificate.subject_alternative_name().ok()?;
        let names = names.map(|names| &names.value.general_names);
        let validity = certificate.validity();
        Some(Self {
            subject: distinguished_name(certificate.subject()),
            is_self_issued: certificate.subject().as_raw() == certificate.issuer().as_raw(),
            names: names.into_iter().flatten().filter_map(name).collect(),
            not_before: UnixTime(validity.not_before.timestamp()),
            not_after: UnixTime(validity.not_after.timestamp()),
            key_hash: sha256(certificate.public_key().raw),
        })
    }

    /// A name for messages: the first alternative name, or the subject.
    pub fn name(&self) -> String {
        let first = self.names.first().map(ToString::to_string);
        first.unwrap_or_else(|| self.subject.to_string())
    }
}

fn distinguished_name(name: &X509Name<'_>) -> DistinguishedName {
    let parts = name.iter_rdn();
    DistinguishedName::new(parts.map(|part| part.iter().map(attribute).collect()))
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> Attribute {
    let text = attribute.as_str();
    let is_text = text.is_ok();
    Attribute {
        kind: attribute.attr_type().to_id_string(),
        value: text.map_or_else(|_| encoding(attribute), str::to_owned),
        is_text,
    }
}

/// The DER encoding of a value, in hexadecimal.
fn encoding(attribute: &AttributeTypeAndValue<'_>) -> String {
    let content = attribute.as_slice();
    let tag = attribute.attr_value().tag().0;
    let bytes = content.iter().map(|byte| format!("{byte:02x}"));
    let hex: String = bytes.collect();
    match u8::try_from(content.len()) {
        Ok(length) if length < 0x80 => format!("{tag:02x}{length:02x}{hex}"),
        Ok(length) => format!("{tag:02x}81{length:02x}{hex}"),
        Err(_) => format!("{tag:02x}82{:04x}{hex}", content.len()),
    }
}

fn name(name: &GeneralName<'_>) -> Option<AlternativeName> {
    Some(match name {
        GeneralName::DNSName(name) => AlternativeName::Dns((*name).to_owned()),
        GeneralName::URI(name) => AlternativeName::Uri((*name).to_owned()),
        GeneralName::RFC822Name(name) => AlternativeName::Email((*name).to_owned()),
        GeneralName::IPAddress(bytes) => AlternativeName::Ip(address(bytes)?),
        _ => return None,
    })
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

/// The time by which the next revocation list is due. The outer `None`: the list cannot be read.
#[expect(
    clippy::option_option,
    reason = "unreadable and unlimited are two cases"
)]
pub fn next_update(der: &[u8]) -> Option<Option<UnixTime>> {
    let (_, list) = CertificateRevocationList::from_der(der).ok()?;
    Some(list.next_update().map(|at| UnixTime(at.timestamp())))
}
