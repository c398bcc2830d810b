//! A trusted issuer: its keys and the rules for its tokens.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use url::Url;

use super::choice::is_svid_type;
use super::introspection::{Introspection, IntrospectionClient};
use super::revocation::{self, Revocation};
use super::symptoms::RefusedIssuer;
use super::tenants::{Family, Membership};
use super::token::{Proof, TokenFacts};
use super::{AuthorityConfig, KeySource, Profile};
use crate::domain::clock::{SharedClock, UnixTime};
use crate::domain::issuer_name::IssuerName;
use crate::domain::issuer_pattern::IssuerPattern;
use crate::domain::reason::Reason;
use crate::domain::revoked::RevokedNow;
use crate::domain::spiffe;
use crate::http_client::{Egress, FetchTimeouts};
use crate::jose::Algorithm;
use crate::jose::key_set::KeySet;
use crate::jose::live_keys::{Keys, LiveKeys, Renewal};
use crate::jose::verify::Jws;

/// A trusted issuer.
pub struct Authority {
    pub(super) issuer: IssuerName,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) clock_skew: Duration,
    pub(super) client_id_claims: Vec<String>,
    pub(super) require_expiry: bool,
    pub(super) max_token_lifetime: Option<Duration>,
    pub(super) profile: Profile,
    pub(super) max_token_size: usize,
    name: String,
    /// The trust domain, if it is one of SPIFFE.
    trust_domain: Option<String>,
    keys: Arc<LiveKeys>,
    revocation: Arc<Revocation>,
    introspection: Option<Arc<Introspection>>,
    pub(super) source: KeySource,
    pub(super) key_token_file: Option<PathBuf>,
    pub(super) ca_pem: Option<Vec<u8>>,
    pub(super) timeouts: FetchTimeouts,
    pub(super) egress: Egress,
    /// The proxy on the way to its keys, without credentials.
    proxy: Option<String>,
    /// The hosts of configured URLs, in addition to the issuer's.
    pub(super) named_hosts: Vec<String>,
    pub(super) clock: SharedClock,
    /// Whether its clock differs by more than `clockSkew`.
    pub(super) clock_is_off: AtomicBool,
    pub(super) refused_issuer: Mutex<Option<RefusedIssuer>>,
    /// Its tenants, if its issuer is a pattern.
    pub(super) family: Option<Family>,
    /// The tenant that it is.
    pub(super) membership: Option<Membership>,
}

/// The `caFile` has no usable certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the authority's certificates cannot be used")]
pub struct UnusableCertificates;

/// Our clients at an authority's introspection endpoints.
#[derive(Default)]
pub struct IntrospectionClients {
    /// Of the credential that `revocation.credential` names.
    pub of_revocation: Option<IntrospectionClient>,
    /// Of `introspection`.
    pub of_opaque_tokens: Option<IntrospectionClient>,
}

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
    #[must_use]
    pub fn new(
        config: AuthorityConfig,
        clock: SharedClock,
        own: Option<OwnIssuer>,
        clients: IntrospectionClients,
    ) -> Arc<Self> {
        let own = own.filter(|_| config.keys == KeySource::OwnIssuer);
        let pattern = IssuerPattern::parse(&config.issuer).filter(|_| !config.tenants.is_empty());
        let has_sets = pattern.is_some() && config.keys == KeySource::Discovery;
        let (keys, revoked) = match own {
            Some(own) => (own.keys, Some(own.revoked)),
            // Each tenant has keys of its own.
            None if has_sets => (LiveKeys::in_process(KeySet::default(), clock.clone()), None),
            None => (LiveKeys::fetched(clock.clone(), config.max_stale), None),
        };
        let issuer = config.issuer_name();
        let fixed = config.revocation.fixed_method(&config.keys);
        let revocation = Arc::new(Revocation::new(
            config.revocation.clone(),
            revocation::Issuer {
                name: issuer.clone(),
                algorithms: config.algorithms.clone(),
                keys: keys.clone(),
                clock: clock.clone(),
                clock_skew: config.clock_skew,
            },
            clients.of_revocation,
            revoked,
            fixed,
        ));
        let parts = (keys, revocation);
        let family = pattern.map(|it| Self::tenants_of(&config, it, &clock, &parts, has_sets));
        let introspection = config.introspection.clone().map(|config| {
            let client = clients.of_opaque_tokens;
            let introspection = Introspection::new(config, issuer, client, clock.clone());
            Arc::new(introspection)
        });
        Arc::new(Self {
            family,
            ..Self::with_parts(config, clock, parts, introspection)
        })
    }

    /// The tenants, which have keys of their own if `has_sets`, and all else in common.
    fn tenants_of(
        config: &AuthorityConfig,
        pattern: IssuerPattern,
        clock: &SharedClock,
        (keys, revocation): &(Arc<LiveKeys>, Arc<Revocation>),
        has_sets: bool,
    ) -> Family {
        Family::new(pattern, &config.tenants, |issuer, membership| {
            let keys = if has_sets {
                LiveKeys::fetched(clock.clone(), config.max_stale)
            } else {
                keys.clone()
            };
            let config = AuthorityConfig {
                issuer,
                tenants: Vec::new(),
                ca_pem: None,
                introspection: None,
                ..config.clone()
            };
            let parts = (keys, revocation.clone());
            Arc::new(Self {
                membership: Some(membership),
                ..Self::with_parts(config, clock.clone(), parts, None)
            })
        })
    }

    fn with_parts(
        config: AuthorityConfig,
        clock: SharedClock,
        (keys, revocation): (Arc<LiveKeys>, Arc<Revocation>),
        introspection: Option<Arc<Introspection>>,
    ) -> Self {
        Self {
            issuer: config.issuer_name(),
            named_hosts: named_hosts(&config),
            proxy: config.proxy().map(ToString::to_string),
            algorithms: config.algorithms,
            clock_skew: config.clock_skew,
            client_id_claims: config.client_id_claims,
            require_expiry: config.require_expiry,
            max_token_lifetime: config.max_token_lifetime,
            profile: config.profile,
            max_token_size: config.max_token_size,
            name: config.name,
            trust_domain: spiffe::trust_domain(&config.issuer).map(str::to_owned),
            keys,
            revocation,
            introspection,
            source: config.keys,
            key_token_file: config.key_token_file,
            ca_pem: config.ca_pem,
            egress: config.egress,
            timeouts: config.timeouts,
            clock,
            clock_is_off: AtomicBool::new(false),
            refused_issuer: Mutex::default(),
            family: None,
            membership: None,
        }
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

    /// The introspection of its opaque tokens, if it is configured.
    #[must_use]
    pub fn introspection(&self) -> Option<&Arc<Introspection>> {
        self.introspection.as_ref()
    }
}

impl Authority {
    /// Checks that a token is still proven to be genuine.
    ///
    /// # Errors
    /// [`Reason::KeysUnavailable`], or [`Reason::UnknownKid`] if its key is withdrawn.
    pub(super) fn check_proof(&self, facts: &TokenFacts, now: UnixTime) -> Result<(), Reason> {
        let Proof::Key(key) = &facts.proof else {
            return Ok(());
        };
        match self.keys().publishes(key, now) {
            None => Err(Reason::KeysUnavailable),
            Some(false) => Err(Reason::UnknownKid),
            Some(true) => Ok(()),
        }
    }

    /// The authority's keys; a newer set is requested if the token's key is missing.
    pub(super) async fn keys_for(
        &self,
        jws: &Jws<'_>,
        missing: impl FnOnce() -> [u8; 32],
    ) -> Result<Arc<KeySet>, Reason> {
        if let Some(membership) = &self.membership {
            membership.want();
        }
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

/// The hosts of configured URLs and of tenants.
fn named_hosts(config: &AuthorityConfig) -> Vec<String> {
    let endpoint = config.revocation.endpoint.clone();
    let introspection = config.introspection.as_ref().map(|it| it.url.clone());
    let tenants = config
        .issuers()
        .into_iter()
        .filter(|_| !config.tenants.is_empty());
    let tenants = tenants.filter_map(|issuer| Url::parse(&issuer).ok());
    let urls = endpoint.into_iter().chain(introspection).chain(tenants);
    let mut hosts: Vec<_> = urls
        .filter_map(|url| url.host_str().map(str::to_owned))
        .collect();
    hosts.sort_unstable();
    hosts.dedup();
    hosts
}
