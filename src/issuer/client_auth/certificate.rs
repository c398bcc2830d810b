//! `tls_client_auth` and `self_signed_tls_client_auth`: the certificate of the client's connection
//! (RFC 8705 §2).

use std::sync::Arc;

use super::known::KnownClients;
use super::{AuthenticatedClient, ClientAuth};
use crate::domain::client_certificate::ClientCertificate;
use crate::domain::clock::UnixTime;
use crate::domain::oauth::ClientAuthMethod;
use crate::domain::spiffe::SpiffeId;
use crate::issuer::TokenError;
use crate::issuer::client::{Authentication, CertificateName, Client, ClientKeys};
use crate::issuer::client_auth::fault::CertificateFault;
use crate::issuer::token::request::{Candidate, SecretCredentials};

/// The client that a request names by `client_id` alone, if it authenticates by a certificate. The
/// id may be the SPIFFE ID of an X.509-SVID (draft-ietf-oauth-spiffe-client-auth §3.2).
///
/// # Errors
/// [`CertificateFault::SeveralClients`]: the SPIFFE ID may be of several clients.
pub(super) fn named(
    clients: KnownClients<'_>,
    credentials: &SecretCredentials,
    certificate: Option<&ClientCertificate>,
    now: UnixTime,
) -> Result<Option<Arc<Client>>, CertificateFault> {
    // RFC 8705 §2 wants the id as a parameter.
    if credentials.method() != ClientAuthMethod::ClientSecretPost
        || credentials.candidates().any(Candidate::has_secret)
    {
        return Ok(None);
    }
    let id = credentials.client_id();
    let Some(client) = clients.get(id) else {
        let shown = certificate.filter(|it| it.only_uri() == Some(id));
        let shown = shown.filter(|_| SpiffeId::parse(id).is_some());
        let Some(certificate) = shown else {
            return Ok(None);
        };
        let fits = |client: &Client| match &client.authentication {
            Authentication::TlsClientAuth(name) => name.is_of(certificate),
            _ => false,
        };
        let mut fitting = clients.usable(now, fits).into_iter();
        let client = fitting.next();
        return match fitting.next() {
            None => Ok(client),
            Some(_) => Err(CertificateFault::SeveralClients),
        };
    };
    let by_certificate = matches!(
        client.authentication,
        Authentication::TlsClientAuth(_) | Authentication::SelfSignedTls(_)
    );
    Ok(by_certificate.then_some(client))
}

impl ClientAuth {
    /// Authenticates a client by the certificate of its connection.
    pub(super) async fn authenticate_by_certificate(
        &self,
        client: Arc<Client>,
        certificate: Option<&ClientCertificate>,
        now: UnixTime,
    ) -> Result<AuthenticatedClient, TokenError> {
        if !client.is_usable(now) {
            return Err(CertificateFault::UnusableClient.into());
        }
        let certificate = certificate.ok_or(CertificateFault::Missing)?;
        match &client.authentication {
            Authentication::TlsClientAuth(name) => check_name(name, certificate)?,
            Authentication::SelfSignedTls(keys) => self.check_key(keys, certificate).await?,
            _ => return Err(CertificateFault::OtherMethod.into()),
        }
        Ok(AuthenticatedClient {
            client,
            exchanged: None,
        })
    }

    /// Checks that the certificate's key is one of the client's. If a newer key set may have it,
    /// the set is fetched.
    async fn check_key(
        &self,
        keys: &ClientKeys,
        certificate: &ClientCertificate,
    ) -> Result<(), TokenError> {
        let known = self.keys.current(keys).await;
        let known = known.ok_or(TokenError::ClientKeysUnavailable)?;
        let (key, thumbprint) = (&certificate.key_hash, &certificate.thumbprint);
        if known.has_key_of(key, thumbprint) {
            return Ok(());
        }
        if matches!(keys, ClientKeys::Inline(_)) {
            return Err(CertificateFault::Key.into());
        }
        match self.keys.newer(keys).await {
            Ok(newer) if newer.has_key_of(key, thumbprint) => Ok(()),
            Ok(_) => Err(CertificateFault::Key.into()),
            Err(_) => Err(TokenError::ClientKeysUnavailable),
        }
    }
}

/// Checks the name of a certificate, which only an authority of the listener can vouch for.
fn check_name(
    name: &CertificateName,
    certificate: &ClientCertificate,
) -> Result<(), CertificateFault> {
    match () {
        () if !certificate.is_verified => Err(CertificateFault::SelfSigned),
        () if !name.is_of(certificate) => Err(CertificateFault::Name),
        () => Ok(()),
    }
}
