//! Where an authority's keys come from, and the HTTP clients of its URLs.

use std::path::Path;
use std::sync::Arc;

use url::Url;

use super::discovery::{Get, Remote};
use super::key_token::KeyToken;
use super::tenants::Family;
use super::{Authority, KeySource, UnusableCertificates, introspection, key_file};
use crate::http_client::{HttpClient, HttpOptions};
use crate::jose::live_keys::{KeptAt, Source};

/// The largest discovery document or JWKS that is read.
const MAX_DOCUMENT: usize = 1024 * 1024;
/// The largest revocation list: some 200,000 tokens.
const MAX_REVOCATION_ANSWER: usize = 8 * 1024 * 1024;

impl Authority {
    /// The HTTP client of the task that asks about opaque tokens.
    ///
    /// # Errors
    /// [`UnusableCertificates`].
    pub fn introspection_client(&self) -> Result<HttpClient, UnusableCertificates> {
        self.client(introspection::MAX_ANSWER)
    }

    /// The HTTP client of the task that asks about revocations.
    ///
    /// # Errors
    /// [`UnusableCertificates`].
    pub fn revocation_client(&self) -> Result<HttpClient, UnusableCertificates> {
        self.client(MAX_REVOCATION_ANSWER)
    }

    /// Where its keys come from, and where the last good ones are kept; `None` for our own issuer,
    /// and if its tenants have [keys of their own](Self::tenant_keys).
    ///
    /// # Errors
    /// [`UnusableCertificates`].
    pub fn source(&self, state_dir: &Path) -> Result<Option<Source>, UnusableCertificates> {
        if let KeySource::File(file) = &self.source {
            return Ok(Some(key_file::source(file, self.trust_domain())));
        }
        if self.family.is_some() && self.source == KeySource::Discovery {
            return Ok(None);
        }
        Ok(self.remote_source(self.get()?, state_dir))
    }

    /// The HTTP client of its keys and metadata.
    pub(super) fn get(&self) -> Result<Get, UnusableCertificates> {
        let client = self.client(MAX_DOCUMENT)?;
        Ok(Arc::new(move |url, fields| {
            let client = client.clone();
            Box::pin(async move { client.get(&url, fields).await })
        }))
    }

    fn client(&self, max_body: usize) -> Result<HttpClient, UnusableCertificates> {
        let options = HttpOptions {
            connect_timeout: self.timeouts.connect,
            total_timeout: self.timeouts.total,
            ca_pem: self.ca_pem.clone(),
            identity_pem: None,
            max_body,
            egress: self.egress.clone(),
        };
        // A configured URL may be anywhere. A URL of the metadata may be in a private network only
        // if the authority itself is there.
        let issuer = self.family.as_ref().and_then(Family::first_issuer);
        let home = Url::parse(issuer.unwrap_or(&self.issuer).written())
            .ok()
            .filter(|_| self.source == KeySource::Discovery);
        let client = match home.as_ref().and_then(Url::host_str) {
            Some(home) => HttpClient::for_authority_urls(options, home, self.named_hosts.clone()),
            None => HttpClient::new(options),
        };
        client.map_err(|_| UnusableCertificates)
    }

    /// [`source`](Self::source) with the HTTP client as a parameter, for tests. `None` if the keys
    /// are not fetched by URL.
    #[must_use]
    pub fn remote_source(&self, get: Get, state_dir: &Path) -> Option<Source> {
        let (jwks_uri, source) = match &self.source {
            KeySource::OwnIssuer | KeySource::File(_) => return None,
            KeySource::Url(url) => (Some(url.clone()), url.to_string()),
            KeySource::Discovery => (None, "discovery".to_owned()),
        };
        let (clock, issuer) = (self.clock.clone(), self.issuer.clone());
        let issuer_url = Url::parse(issuer.written()).ok();
        let endpoint = jwks_uri.as_ref().or(issuer_url.as_ref());
        let token = self.key_token_file.as_deref().zip(endpoint);
        let token = token.map(|(file, endpoint)| KeyToken::new(file, endpoint));
        let remote = Arc::new(Remote {
            get,
            clock,
            issuer,
            tenant: self.tenant().map(str::to_owned),
            jwks_uri,
            token: token.clone(),
        });
        let identity = format!("{} {source}", self.issuer.name());
        Some(Source {
            fetch: Arc::new(move || {
                let remote = remote.clone();
                Box::pin(async move { remote.fetch().await })
            }),
            changed: Arc::new(move || match token.clone() {
                Some(token) => Box::pin(token.changed()),
                None => Box::pin(std::future::pending()),
            }),
            kept_at: Some(KeptAt::new(state_dir, "jwks", identity)),
        })
    }
}
