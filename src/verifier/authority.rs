//! A trusted issuer: its keys, and the rules its tokens obey.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::HeaderMap;

use super::discovery::{Get, Remote};
use super::{AuthorityConfig, KeySource, key_file};
use crate::domain::clock::SharedClock;
use crate::domain::hash::sha256_parts;
use crate::http_client::{HttpClient, HttpOptions};
use crate::jose::Algorithm;
use crate::jose::live_keys::{KeptAt, LiveKeys, Source};

/// The largest discovery document or JWKS that is read.
const MAX_DOCUMENT: usize = 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const TOTAL_TIMEOUT: Duration = Duration::from_secs(5);

/// A trusted issuer.
pub struct Authority {
    pub(super) issuer: String,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) clock_skew: Duration,
    name: String,
    keys: Arc<LiveKeys>,
    source: KeySource,
    ca_pem: Option<Vec<u8>>,
    clock: SharedClock,
    /// Whether its clock was last seen to be further off than its tokens are forgiven.
    clock_is_off: AtomicBool,
}

/// The authority's HTTP client could not be made: its `caFile` holds no usable certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the authority's certificates cannot be used")]
pub struct UnusableCertificates;

impl Authority {
    /// An authority whose keys are fetched as [`Authority::source`] says, or, for our own issuer, are `own_keys`.
    #[must_use]
    pub fn new(config: AuthorityConfig, clock: SharedClock, own_keys: Option<Arc<LiveKeys>>) -> Arc<Self> {
        let keys = match (&config.keys, own_keys) {
            (KeySource::OwnIssuer, Some(own)) => own,
            _ => LiveKeys::fetched(clock.clone(), config.max_stale),
        };
        Arc::new(Self {
            issuer: config.issuer,
            algorithms: config.algorithms,
            clock_skew: config.clock_skew,
            name: config.name,
            keys,
            source: config.keys,
            ca_pem: config.ca_pem,
            clock,
            clock_is_off: AtomicBool::new(false),
        })
    }

    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its keys.
    #[must_use]
    pub fn keys(&self) -> &Arc<LiveKeys> {
        &self.keys
    }

    /// Where its keys come from, and where the last good ones are kept; `None` for our own issuer's.
    ///
    /// # Errors
    /// [`UnusableCertificates`].
    pub fn source(&self, state_dir: &Path) -> Result<Option<Source>, UnusableCertificates> {
        if let KeySource::File(file) = &self.source {
            return Ok(Some(key_file::source(file)));
        }
        let options = HttpOptions {
            connect_timeout: CONNECT_TIMEOUT,
            total_timeout: TOTAL_TIMEOUT,
            ca_pem: self.ca_pem.clone(),
            max_body: MAX_DOCUMENT,
        };
        let client = HttpClient::new(options).map_err(|_| UnusableCertificates)?;
        let get: Get = Arc::new(move |url| {
            let client = client.clone();
            Box::pin(async move { client.get(&url, HeaderMap::new()).await })
        });
        Ok(self.remote(get, state_dir))
    }

    /// The same with the way in which a URL is asked as a parameter; `None` when it is not asked by URL.
    pub(super) fn remote(&self, get: Get, state_dir: &Path) -> Option<Source> {
        let (jwks_uri, source) = match &self.source {
            KeySource::OwnIssuer | KeySource::File(_) => return None,
            KeySource::Url(url) => (Some(url.clone()), url.to_string()),
            KeySource::Discovery => (None, "discovery".to_owned()),
        };
        let (clock, issuer) = (self.clock.clone(), self.issuer.clone());
        let remote = Arc::new(Remote { get, clock, issuer, jwks_uri });
        let identity = format!("{} {source}", self.issuer);
        let id =
            sha256_parts(&[identity.as_bytes()])[..8].iter().map(|b| format!("{b:02x}")).collect::<String>();
        Some(Source {
            fetch: Arc::new(move || {
                let remote = remote.clone();
                Box::pin(async move { remote.fetch().await })
            }),
            changed: Arc::new(|| Box::pin(std::future::pending())),
            kept_at: Some(KeptAt { file: state_dir.join(format!("jwks-{id}.json")), identity }),
        })
    }

    /// Warns when the authority's clock has come to differ from ours by more than its tokens are forgiven, and says when
    /// that is over. To be called after each fetch; silent while nothing changes.
    pub fn check_clock(&self) {
        let Some(seconds) = self.keys.clock_skew() else { return };
        let allowed = self.clock_skew.as_secs();
        let is_off = seconds.unsigned_abs() > allowed;
        if self.clock_is_off.swap(is_off, Ordering::Relaxed) == is_off {
            return;
        }
        let authority = self.name.as_str();
        if is_off {
            tracing::warn!(
                authority,
                seconds,
                allowed,
                "the authority's clock differs from ours (negative: it is behind) by more than its `clockSkew`: \
                 good tokens may be refused"
            );
        } else {
            tracing::info!(authority, seconds, allowed, "the authority's clock agrees with ours again");
        }
    }
}
