//! Authorities with tenants: a pattern is the issuer, and each allowed tenant has an issuer of its
//! own.
//!
//! A tenant is an [`Authority`] of the same name and settings. If its keys are found by discovery,
//! they are fetched from its first token on, so a list of a thousand tenants costs nothing at the
//! start. `jwksUri` and `jwksFile` are one key set of all tenants.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, Semaphore};

use super::discovery::Get;
use super::{Authority, KeySource, UnusableCertificates};
use crate::domain::claims::Claims;
use crate::domain::issuer_name::IssuerName;
use crate::domain::issuer_pattern::IssuerPattern;
use crate::domain::reason::Reason;
use crate::jose::live_keys::{LiveKeys, Observe, Source};

/// The claim that names the tenant, in the tokens of Microsoft Entra and others.
const TENANT_ID: &str = "tid";
/// How many requests for the keys of different tenants are made at once.
const MAX_FETCHES: usize = 8;

/// The tenants of an authority.
pub(super) struct Family {
    pattern: IssuerPattern,
    members: Vec<Arc<Authority>>,
    woken: Arc<Notify>,
}

/// A tenant's place in its family.
pub(super) struct Membership {
    tenant: String,
    is_wanted: AtomicBool,
    woken: Arc<Notify>,
}

impl Family {
    /// Makes an authority for each tenant.
    pub fn new(
        pattern: IssuerPattern,
        tenants: &[String],
        make: impl Fn(String, Membership) -> Arc<Authority>,
    ) -> Self {
        let woken: Arc<Notify> = Arc::default();
        let member = |tenant: &String| {
            let membership = Membership {
                tenant: tenant.clone(),
                is_wanted: AtomicBool::new(false),
                woken: woken.clone(),
            };
            make(pattern.issuer(tenant), membership)
        };
        Self {
            members: tenants.iter().map(member).collect(),
            pattern,
            woken,
        }
    }

    /// The issuer of the first tenant.
    pub fn first_issuer(&self) -> Option<&IssuerName> {
        Some(&self.members.first()?.issuer)
    }

    /// Whether a text is the issuer of a tenant, allowed or not.
    pub fn matches(&self, issuer: &str) -> bool {
        self.pattern.tenant(issuer).is_some()
    }
}

impl Membership {
    /// Has the keys of the tenant fetched from now on.
    pub fn want(&self) {
        if !self.is_wanted.swap(true, Ordering::AcqRel) {
            self.woken.notify_one();
        }
    }

    fn is_wanted(&self) -> bool {
        self.is_wanted.load(Ordering::Acquire)
    }
}

/// The state of an authority's tenants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantsState {
    /// How many tenants are allowed.
    pub allowed: usize,
    /// How many of them have sent a token, so that their keys are fetched.
    pub used: usize,
    /// Those of them without usable keys.
    pub without_keys: Vec<String>,
}

impl Authority {
    /// The authorities that issue the tokens: this one, or one for each tenant.
    #[must_use]
    pub fn issuing(self: &Arc<Self>) -> Vec<Arc<Self>> {
        match &self.family {
            Some(family) => family.members.clone(),
            None => vec![self.clone()],
        }
    }

    /// The authority of an issuer: this one, or that of a tenant.
    #[must_use]
    pub fn of_issuer(self: &Arc<Self>, issuer: &str) -> Option<Arc<Self>> {
        let mut issuing = self.issuing().into_iter();
        issuing.find(|authority| authority.issuer.is(issuer))
    }

    /// The tenant that it is.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        Some(&self.membership.as_ref()?.tenant)
    }

    /// Whether its tenants have key sets of their own.
    fn has_sets(&self) -> bool {
        self.family.is_some() && self.source == KeySource::Discovery
    }

    /// The key sets that are fetched: its own, or those of the tenants that have sent a token.
    #[must_use]
    pub fn key_sets(&self) -> Vec<Arc<LiveKeys>> {
        match &self.family {
            Some(family) if self.has_sets() => {
                let wanted = family.members.iter().filter(|it| it.is_wanted());
                wanted.map(|it| it.keys().clone()).collect()
            }
            _ => vec![self.keys().clone()],
        }
    }

    /// Whether some of its tokens can be verified. A tenant that has sent no token needs no keys.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        let sets = self.key_sets();
        sets.is_empty() || sets.iter().any(|keys| keys.is_usable())
    }

    /// The state of its tenants; `None`: it has none.
    #[must_use]
    pub fn tenants(&self) -> Option<TenantsState> {
        let family = self.family.as_ref()?;
        let used: Vec<_> = family.members.iter().filter(|it| it.is_wanted()).collect();
        let without = used.iter().filter(|it| !it.keys().is_usable());
        Some(TenantsState {
            allowed: family.members.len(),
            used: used.len(),
            without_keys: without
                .filter_map(|it| it.tenant().map(str::to_owned))
                .collect(),
        })
    }

    fn is_wanted(&self) -> bool {
        self.membership.as_ref().is_some_and(Membership::is_wanted)
    }

    /// Fetches the keys of each tenant from its first token on, until the future is dropped. Does
    /// nothing where there is one key set.
    ///
    /// # Errors
    /// [`UnusableCertificates`].
    pub fn tenant_keys(self: &Arc<Self>) -> Result<Option<TenantKeys>, UnusableCertificates> {
        if !self.has_sets() {
            return Ok(None);
        }
        let (get, permits) = (self.get()?, Arc::new(Semaphore::new(MAX_FETCHES)));
        let get: Get = Arc::new(move |url, fields| {
            let (get, permits) = (get.clone(), permits.clone());
            Box::pin(async move {
                // Nothing closes the semaphore.
                let _permit = permits.acquire().await;
                get(url, fields).await
            })
        });
        Ok(Some(TenantKeys {
            of: self.clone(),
            get,
        }))
    }

    /// [`source`](Self::source) of the keys of `issuing`, which is this authority or one of its
    /// tenants.
    ///
    /// # Errors
    /// [`UnusableCertificates`].
    pub fn source_of(
        &self,
        issuing: &Self,
        state_dir: &Path,
    ) -> Result<Option<Source>, UnusableCertificates> {
        if self.has_sets() {
            Ok(issuing.remote_source(self.get()?, state_dir))
        } else {
            self.source(state_dir)
        }
    }

    /// Checks that a token's `tid` names the tenant of its `iss`.
    pub(super) fn check_tenant(&self, claims: &Claims) -> Result<(), Reason> {
        let Some(tenant) = self.tenant() else {
            return Ok(());
        };
        let claimed = claims.string(TENANT_ID);
        match claimed.map_err(|_| Reason::MalformedClaims)? {
            Some(claimed) if claimed == tenant => Ok(()),
            _ => Err(Reason::Tenant),
        }
    }

    /// Whether a key that its set binds to this issuer may sign tokens with these claims. Key sets
    /// that all tenants of Microsoft Entra share have keys of different issuers.
    pub(super) fn is_bound(&self, key_issuer: &str, claims: &Claims) -> bool {
        let tenant = self.tenant();
        let tenant = tenant.or_else(|| claims.string(TENANT_ID).ok().flatten());
        self.issuer.is_in(key_issuer, tenant)
    }
}

/// The keys of an authority's tenants.
#[derive(Clone)]
pub struct TenantKeys {
    of: Arc<Authority>,
    get: Get,
}

impl TenantKeys {
    /// Fetches until the future is dropped. `observe` gives the observer of a tenant's fetches.
    pub async fn run(
        self,
        state_dir: std::path::PathBuf,
        observe: impl Fn(&Arc<Authority>) -> Observe,
    ) {
        let Some(family) = &self.of.family else {
            return;
        };
        let mut running = FuturesUnordered::new();
        let mut begun = vec![false; family.members.len()];
        loop {
            for (member, begun) in family.members.iter().zip(&mut begun) {
                if member.is_wanted() && !*begun {
                    *begun = true;
                    running.extend(self.fetch(member, &state_dir, observe(member)));
                }
            }
            tokio::select! {
                () = family.woken.notified() => {}
                Some(()) = running.next(), if !running.is_empty() => {}
            }
        }
    }

    fn fetch(
        &self,
        member: &Arc<Authority>,
        state_dir: &Path,
        observe: Observe,
    ) -> Option<impl Future<Output = ()> + use<>> {
        let source = member.remote_source(self.get.clone(), state_dir)?;
        Some(member.keys().clone().run(source, observe))
    }
}
