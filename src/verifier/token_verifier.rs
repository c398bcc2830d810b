//! Token verification: a bearer token becomes a [`VerifiedToken`] or a [`Reason`].
//!
//! Listeners, JWT exchange and plgd's tokens API verify through [`TokenVerifier`]. Of a token whose
//! signature is not checked, only `kid` and `iss` are read: they choose the key.

use std::sync::Arc;

use super::bearer::PresentedToken;
use super::cache::VerifiedTokens;
use super::token::{TokenFacts, VerifiedToken};
use super::{Audiences, Authority, BearerToken, Check, CheckObserver};
use crate::domain::clock::{SharedClock, UnixTime};
use crate::domain::keyed_digest::KeyedDigest;
use crate::domain::oauth::MAX_TOKEN_SIZE;
use crate::domain::reason::Reason;
use crate::jose::verify::Jws;

/// The tokens that a verifier accepts, and the claims that it keeps.
#[derive(Clone, Debug)]
pub struct TokenPolicy {
    /// The accepted `aud` values.
    pub audiences: Audiences,
    /// Claims that are sent to the upstream in headers.
    pub forwarded_claims: Vec<String>,
    /// Claims that rules compare.
    pub rule_claims: Vec<String>,
    /// How many verified tokens are cached; 0 turns the cache off.
    pub cache_size: u64,
    /// Whether opaque tokens are accepted from authorities that introspect them.
    pub introspects: bool,
}

impl TokenPolicy {
    /// Accepts JWTs of any audience, keeps no claims and caches nothing.
    #[must_use]
    pub fn any_audience() -> Self {
        Self {
            audiences: Audiences::Any,
            forwarded_claims: Vec::new(),
            rule_claims: Vec::new(),
            cache_size: 0,
            introspects: false,
        }
    }
}

/// A verified token, revoked or not.
pub struct PossiblyRevoked {
    /// The token.
    pub token: VerifiedToken,
    /// Whether it is revoked.
    pub is_revoked: bool,
}

/// Called with `true` when a token is in the cache, with `false` when it must be verified.
pub type ObserveCache = Arc<dyn Fn(bool) + Send + Sync>;

/// Verifies the tokens of some authorities.
pub struct TokenVerifier {
    pub(super) policy: TokenPolicy,
    /// An authority with tenants is one for each of them.
    pub(super) authorities: Vec<Arc<Authority>>,
    /// Those that have tenants.
    pub(super) families: Vec<Arc<Authority>>,
    pub(super) cache: VerifiedTokens,
    pub(super) clock: SharedClock,
    observe_cache: Option<ObserveCache>,
    /// The highest size limit of an authority.
    longest_token: usize,
}

/// The result of a look into the cache.
enum Cached {
    /// Its key is published, and its times and audience are accepted now.
    Hit(VerifiedToken),
    Miss(KeyedDigest),
}

impl TokenVerifier {
    /// A verifier that trusts `authorities`.
    #[must_use]
    pub fn new(policy: TokenPolicy, authorities: Vec<Arc<Authority>>, clock: SharedClock) -> Self {
        let families = authorities.iter().filter(|it| it.family.is_some());
        let families = families.cloned().collect();
        let authorities: Vec<_> = authorities.iter().flat_map(Authority::issuing).collect();
        let limits = authorities.iter().map(|authority| authority.max_token_size);
        Self {
            longest_token: limits.max().unwrap_or_default(),
            cache: VerifiedTokens::new(policy.cache_size),
            policy,
            authorities,
            families,
            clock,
            observe_cache: None,
        }
    }

    /// Reports every use of the cache to `observe`.
    #[must_use]
    pub fn observed(mut self, observe: ObserveCache) -> Self {
        self.observe_cache = Some(observe);
        self
    }

    /// Verifies a token: signature and claims unless they are cached, then everything that may
    /// have changed since.
    ///
    /// # Errors
    /// The [`Reason`] of the check that failed.
    pub async fn verify(&self, bearer: &BearerToken<'_>) -> Result<VerifiedToken, Reason> {
        let presented = PresentedToken::from(*bearer);
        let (token, now) = self.authenticate_unbound(presented).await?;
        self.check_not_revoked(&token, presented, now, &mut ())
            .await?;
        Ok(token)
    }

    /// Verifies a token, but also accepts a revoked one.
    ///
    /// # Errors
    /// As [`verify`](Self::verify), without [`Reason::Revoked`].
    pub async fn verify_even_revoked(
        &self,
        bearer: &BearerToken<'_>,
    ) -> Result<PossiblyRevoked, Reason> {
        let presented = PresentedToken::from(*bearer);
        let (token, now) = self.authenticate_unbound(presented).await?;
        let observer = &mut ();
        let checked = self.check_not_revoked(&token, presented, now, observer);
        let is_revoked = match checked.await {
            Ok(()) => false,
            Err(Reason::Revoked) => true,
            Err(reason) => return Err(reason),
        };
        Ok(PossiblyRevoked { token, is_revoked })
    }

    /// The issuer of a token that this verifier verified, in the spelling of its authority.
    #[must_use]
    pub fn issuer_of(&self, token: &VerifiedToken) -> Option<&str> {
        Some(self.authorities.get(token.authority())?.issuer.name())
    }

    /// The name of the authority that issued a token.
    #[must_use]
    pub fn authority_name(&self, token: &VerifiedToken) -> &str {
        let authority = self.authorities.get(token.authority());
        authority.map_or("", |authority| authority.name())
    }

    /// The size limit that a token exceeds: each authority has its own.
    pub(super) fn size_limit(&self, presented: PresentedToken<'_>) -> usize {
        let size = presented.bytes().len();
        let longest = self.longest_token;
        if size > longest {
            return if size > MAX_TOKEN_SIZE {
                MAX_TOKEN_SIZE
            } else {
                longest
            };
        }
        let bearer = presented.checked().ok();
        let opaque = bearer.and_then(|bearer| self.introspecting(bearer.text()));
        if let Some(asked) = opaque {
            return asked.authority.max_token_size;
        }
        let jws = bearer.and_then(|bearer| Jws::parse(bearer.text()).ok());
        jws.and_then(|jws| Some(self.authority_of(&jws).ok()?.1.max_token_size))
            .unwrap_or(longest)
    }

    /// [`authenticate`](Self::authenticate) where no proof of a bound token can be checked.
    async fn authenticate_unbound(
        &self,
        presented: PresentedToken<'_>,
    ) -> Result<(VerifiedToken, UnixTime), Reason> {
        let (token, now) = self.authenticate(presented, &mut ()).await?;
        if token.binding().is_none() {
            Ok((token, now))
        } else {
            Err(Reason::SenderConstrained)
        }
    }

    /// Every check of the token but its binding and revocation. Gives also the time at which the
    /// token was checked.
    ///
    /// # Errors
    /// Those of [`PresentedToken::checked`] too.
    pub(super) async fn authenticate(
        &self,
        presented: PresentedToken<'_>,
        observer: &mut impl CheckObserver,
    ) -> Result<(VerifiedToken, UnixTime), Reason> {
        let now = self.clock.now();
        match self.look_up(presented, now, observer)? {
            Cached::Hit(token) => Ok((token, now)),
            // In a box: the future is large, and every request would move it.
            Cached::Miss(digest) => {
                Box::pin(self.authenticate_new(presented, digest, observer)).await
            }
        }
    }

    /// Looks for a token in the cache and checks what may have changed since. Never waits.
    fn look_up(
        &self,
        presented: PresentedToken<'_>,
        now: UnixTime,
        observer: &mut impl CheckObserver,
    ) -> Result<Cached, Reason> {
        // Before anything is computed over it.
        if presented.bytes().len() > self.longest_token {
            presented.checked()?;
            return Err(Reason::TokenTooLarge);
        }
        let digest = KeyedDigest::of(presented.bytes());
        let Some(facts) = self
            .cache
            .get(&digest)
            .filter(|facts| facts.may_be_cached(now))
        else {
            return Ok(Cached::Miss(digest));
        };
        self.observe_cache(true);
        let proven = self.authority(&facts)?.check_proof(&facts, now);
        match proven.and_then(|()| self.check_now(&facts, now, observer)) {
            Ok(()) => Ok(Cached::Hit(VerifiedToken(facts))),
            Err(Reason::KeysUnavailable) => Err(Reason::KeysUnavailable),
            Err(reason) => {
                self.cache.remove(&digest);
                Err(reason)
            }
        }
    }

    /// Verifies a token that is not in the cache.
    async fn authenticate_new(
        &self,
        presented: PresentedToken<'_>,
        digest: KeyedDigest,
        observer: &mut impl CheckObserver,
    ) -> Result<(VerifiedToken, UnixTime), Reason> {
        let bearer = presented.checked()?;
        self.observe_cache(false);
        let facts = match self.introspecting(bearer.text()) {
            Some(asked) => self.introspect(&bearer, digest, asked, observer).await?,
            None => self.verify_signature(&bearer, digest, observer).await?,
        };
        // The check may have waited.
        let now = self.clock.now();
        self.check_now(&facts, now, observer)?;
        let facts = Arc::new(facts);
        self.cache.insert(facts.clone());
        Ok((VerifiedToken(facts), now))
    }

    fn observe_cache(&self, is_hit: bool) {
        if let Some(observe) = &self.observe_cache {
            observe(is_hit);
        }
    }

    pub(super) fn authority(&self, facts: &TokenFacts) -> Result<&Arc<Authority>, Reason> {
        self.authorities
            .get(facts.authority())
            .ok_or(Reason::Internal)
    }

    /// The checks that are made on every request, cached token or not.
    fn check_now(
        &self,
        facts: &TokenFacts,
        now: UnixTime,
        observer: &mut impl CheckObserver,
    ) -> Result<(), Reason> {
        observer.checking(Check::Times);
        let authority = self.authority(facts)?;
        facts.check_times(now, authority.clock_skew)?;
        facts.check_lifetime(now, authority.clock_skew, authority.max_token_lifetime)?;
        observer.checking(Check::Audience);
        if facts.is_for(&self.policy.audiences) {
            Ok(())
        } else {
            Err(Reason::Audience)
        }
    }

    /// The last check: it may have to query the authority, which is spared tokens that are refused
    /// anyway. An opaque token has been confirmed already.
    pub(super) async fn check_not_revoked(
        &self,
        token: &VerifiedToken,
        presented: PresentedToken<'_>,
        now: UnixTime,
        observer: &mut impl CheckObserver,
    ) -> Result<(), Reason> {
        if token.is_introspected() {
            return Ok(());
        }
        observer.checking(Check::Revocation);
        let revocation = self.authority(token)?.revocation();
        if !revocation.is_checked() && !token.never_expires() {
            return Ok(());
        }
        if let Some(checked) = revocation.check_at_once(token, now) {
            return checked;
        }
        let bearer = presented.checked()?;
        let before_query = || observer.before_query(token);
        Box::pin(revocation.check(token, Some(&bearer), before_query)).await
    }
}
