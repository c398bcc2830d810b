//! A trusted issuer: its keys and the rules for its tokens.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use url::Url;

use super::choice::is_svid_type;
use super::discovery::{Get, Remote};
use super::key_token::KeyToken;
use super::revocation::{self, IntrospectionClient, Revocation};
use super::{AuthorityConfig, KeySource, Profile, key_file};
use crate::domain::clock::SharedClock;
use crate::domain::issuer_name::IssuerName;
use crate::domain::printable::excerpt;
use crate::domain::reason::Reason;
use crate::domain::revoked::RevokedNow;
use crate::domain::spiffe;
use crate::http_client::{Egress, FetchTimeouts, HttpClient, HttpOptions};
use crate::jose::Algorithm;
use crate::jose::key_set::KeySet;
use crate::jose::live_keys::{KeptAt, Keys, LiveKeys, Renewal, Source};
use crate::jose::verify::Jws;

/// The largest discovery document or JWKS that is read.
const MAX_DOCUMENT: usize = 1024 * 1024;
/// The largest revocation list: some 200,000 tokens.
const MAX_REVOCATION_ANSWER: usize = 8 * 1024 * 1024;

/// How much of a refused token's `iss` is kept, in bytes.
const SHOWN_ISSUER: usize = 200;

/// A trusted issuer.
pub struct Authority {
    pub(super) issuer: IssuerName,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) clock_skew: Duration,
    pub(super) client_id_claims: Vec<String>,
    pub(super) require_expiry: bool,
    pub(super) profile: Profile,
    pub(super) max_token_size: usize,
    name: String,
    /// The trust domain, if it is one of SPIFFE.
    trust_domain: Option<String>,
    keys: Arc<LiveKeys>,
    revocation: Arc<Revocation>,
    source: KeySource,
    key_token_file: Option<PathBuf>,
    ca_pem: Option<Vec<u8>>,
    timeouts: FetchTimeouts,
    egress: Egress,
    /// The proxy on the way to its keys, without credentials.
    proxy: Option<String>,
    /// The hosts of configured URLs, in addition to the issuer's.
    named_hosts: Vec<String>,
    clock: SharedClock,
    /// Whether its clock differs by more than `clockSkew`.
    clock_is_off: AtomicBool,
    refused_issuer: Mutex<Option<RefusedIssuer>>,
}

/// Tokens that were refused because their `iss` differs from the authority's issuer by slashes
/// only. Their signature is not checked, so anyone can send such a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedIssuer {
    /// The last one's `iss`, escaped and cut.
    pub iss: String,
    /// How many there were since the start.
    pub count: u64,
}

/// The `caFile` has no usable certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the authority's certificates cannot be used")]
pub struct UnusableCertificates;

/// The parts of our own issuer that its tokens are verified with.
#[derive(Clone)]
pub struct OwnIssuer {
    /// Its keys.
    pub keys: Arc<LiveKeys>,
    /// Its revocations.
    pub revoked: RevokedNow,
}

impl Authority {
    /// An authority with the keys of [`Authority::source`], or of `own` if it is our own issuer.
    /// `introspection` is the credential that `revocation.credential` names.
    #[must_use]
    pub fn new(
        config: AuthorityConfig,
        clock: SharedClock,
        own: Option<OwnIssuer>,
        introspection: Option<IntrospectionClient>,
    ) -> Arc<Self> {
        let own = own.filter(|_| config.keys == KeySource::OwnIssuer);
        let (keys, revoked) = match own {
            Some(own) => (own.keys, Some(own.revoked)),
            None => (LiveKeys::fetched(clock.clone(), config.max_stale), None),
        };
        let endpoint = config.revocation.endpoint.as_ref().and_then(Url::host_str);
        let named_hosts = endpoint.map(str::to_owned).into_iter().collect();
        let issuer = config.issuer_name();
        let proxy = config.proxy().map(ToString::to_string);
        let fixed = config.revocation.fixed_method(&config.keys);
        let revocation = Revocation::new(
            config.revocation,
            revocation::Issuer {
                name: issuer.clone(),
                algorithms: config.algorithms.clone(),
                keys: keys.clone(),
                clock: clock.clone(),
                clock_skew: config.clock_skew,
            },
            introspection,
            revoked,
            fixed,
        );
        Arc::new(Self {
            issuer,
            algorithms: config.algorithms,
            clock_skew: config.clock_skew,
            client_id_claims: config.client_id_claims,
            require_expiry: config.require_expiry,
            profile: config.profile,
            max_token_size: config.max_token_size,
            name: config.name,
            trust_domain: spiffe::trust_domain(&config.issuer).map(str::to_owned),
            keys,
            revocation: Arc::new(revocation),
            source: config.keys,
            key_token_file: config.key_token_file,
            ca_pem: config.ca_pem,
            timeouts: config.timeouts,
            egress: config.egress,
            proxy,
            named_hosts,
            clock,
            clock_is_off: AtomicBool::new(false),
            refused_issuer: Mutex::default(),
        })
    }

    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The proxy on the way to its keys, without credentials.
    #[must_use]
    pub fn proxy(&self) -> Option<&str> {
        self.proxy.as_deref()
    }

    /// Its trust domain, if it is one of SPIFFE: its tokens name it in `sub`.
    #[must_use]
    pub(super) fn trust_domain(&self) -> Option<&str> {
        self.trust_domain.as_deref()
    }

    /// Whether it issues tokens of this type, which is one of an access token or a JWT-SVID.
    pub(super) fn accepts_type(&self, jws: &Jws<'_>) -> bool {
        self.trust_domain.is_some() || !is_svid_type(jws)
    }

    /// Its keys.
    #[must_use]
    pub fn keys(&self) -> &Arc<LiveKeys> {
        &self.keys
    }

    /// The revocation state of its tokens.
    #[must_use]
    pub fn revocation(&self) -> &Arc<Revocation> {
        &self.revocation
    }

    /// The HTTP client of [`Revocation::run`].
    ///
    /// # Errors
    /// [`UnusableCertificates`].
    pub fn revocation_client(&self) -> Result<HttpClient, UnusableCertificates> {
        self.client(MAX_REVOCATION_ANSWER)
    }

    /// Where its keys come from, and where the last good ones are kept; `None` for our own issuer.
    ///
    /// # Errors
    /// [`UnusableCertificates`].
    pub fn source(&self, state_dir: &Path) -> Result<Option<Source>, UnusableCertificates> {
        if let KeySource::File(file) = &self.source {
            return Ok(Some(key_file::source(file, self.trust_domain())));
        }
        let client = self.client(MAX_DOCUMENT)?;
        let get: Get = Arc::new(move |url, fields| {
            let client = client.clone();
            Box::pin(async move { client.get(&url, fields).await })
        });
        Ok(self.remote_source(get, state_dir))
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
        let home = Url::parse(self.issuer.written())
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

    /// The refused tokens whose `iss` differs from the issuer by slashes only; `None` if there were
    /// none.
    #[must_use]
    pub fn refused_issuer(&self) -> Option<RefusedIssuer> {
        self.refused_issuer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Counts a token whose `iss` differs from the issuer by slashes only, and warns less and less
    /// often, because anyone can send such tokens.
    pub(super) fn note_refused_issuer(&self, claimed: &str) {
        if !self.issuer.is_nearly(claimed) {
            return;
        }
        let iss = excerpt(claimed.as_bytes(), SHOWN_ISSUER).into_owned();
        let count = {
            let mut refused = self
                .refused_issuer
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let count = refused
                .as_ref()
                .map_or(0, |refused| refused.count)
                .saturating_add(1);
            *refused = Some(RefusedIssuer {
                iss: iss.clone(),
                count,
            });
            count
        };
        if count.is_power_of_two() {
            tracing::warn!(
                authority = self.name,
                issuer = self.issuer.written(),
                iss,
                count,
                "tokens are refused whose `iss` differs from the authority's issuer by slashes \
                 only: write `issuer` as tokens have it, or `profile: plgd`, for which slashes at \
                 the end do not count"
            );
        }
    }

    /// Warns when the authority's clock begins to differ from ours by more than `clockSkew`, and
    /// logs when it agrees again. Called after each fetch.
    pub fn check_clock(&self) {
        let Some(seconds) = self.keys.clock_skew() else {
            return;
        };
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
                "the authority's clock differs from ours (negative: it is behind) by more than its \
                 `clockSkew`: valid tokens may be refused"
            );
        } else {
            tracing::info!(
                authority,
                seconds,
                allowed,
                "the authority's clock agrees with ours again"
            );
        }
    }
}

impl Authority {
    /// The authority's keys; a newer set is requested if the token's key is missing.
    pub(super) async fn keys_for(
        &self,
        jws: &Jws<'_>,
        missing: impl FnOnce() -> [u8; 32],
    ) -> Result<Arc<KeySet>, Reason> {
        if let Keys::Usable(keys) = self.keys().current()
            && keys.has(jws.kid())
        {
            return Ok(keys);
        }
        let renewal = self.keys().renew(&missing()).await;
        match self.keys().current() {
            // Another request's fetch may have brought the key, so the set counts more than the
            // renewal.
            Keys::Usable(keys)
                if renewal == Renewal::Current
                    || keys.candidates(jws.kid(), jws.algorithm()).is_ok() =>
            {
                Ok(keys)
            }
            _ => Err(Reason::KeysUnavailable),
        }
    }

    /// A newer set than `keys`, if a fetch brings one now.
    pub(super) async fn newer_than(
        &self,
        keys: &Arc<KeySet>,
        missing: &[u8; 32],
    ) -> Option<Arc<KeySet>> {
        self.keys().renew(missing).await;
        match self.keys().current() {
            Keys::Usable(newer) if !Arc::ptr_eq(&newer, keys) => Some(newer),
            _ => None,
        }
    }
}
