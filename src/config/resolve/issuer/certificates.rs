//! Whether the listeners of the issuer request the certificates that its clients need.

use crate::config::IssuerRole;
use crate::config::resolve::resolver::Resolver;
use crate::config::tree::KeyPath;
use crate::issuer::client::{Authentication, Client};
use crate::proxy::inbound;
use crate::proxy::tls::ClientFiles;

/// Warns of clients that no listener of the issuer can authenticate by a certificate.
pub(in crate::config::resolve) fn check(
    resolver: &mut Resolver<'_>,
    issuer: Option<&IssuerRole>,
    inbound: &[inbound::Config],
) {
    let Some(issuer) = issuer else { return };
    let inbound = inbound.iter().filter(|listener| listener.settings.issuer);
    let listeners = inbound.map(|it| &it.tls).chain([&issuer.tls]);
    let requested: Vec<_> = listeners
        .filter_map(|tls| tls.as_ref()?.clients.as_ref())
        .collect();
    for (index, client) in issuer.issuer.clients.iter().enumerate() {
        if let Some(missing) = missing(client, &requested) {
            let path = KeyPath::root("issuer").key("clients").index(index);
            resolver.warn(
                &path,
                format!(
                    "no listener of the issuer gets the certificate of this client: set {missing}"
                ),
            );
        }
    }
}

/// The settings that a client needs, and no listener has.
fn missing(client: &Client, requested: &[&ClientFiles]) -> Option<&'static str> {
    let is_verified = requested.iter().any(|it| it.authorities.is_some());
    let is_self_signed = requested.iter().any(|it| it.self_signed);
    match client.authentication {
        Authentication::TlsClientAuth(_) if !is_verified => Some(
            "`tls.clientCertificate` and `tls.clientCaFile` of `issuer` or of an inbound \
                  listener with `issuer: true`",
        ),
        Authentication::SelfSignedTls(_) if !is_self_signed => Some(
            "`tls.clientCertificate: optional` and `tls.selfSignedClients: true` of `issuer` \
                  or of an inbound listener with `issuer: true`",
        ),
        _ if client.bound_access_tokens.to_certificate && requested.is_empty() => Some(
            "`tls.clientCertificate` of `issuer` or of an inbound listener with \
                  `issuer: true`",
        ),
        _ => None,
    }
}
