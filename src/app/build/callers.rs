//! The callers of plgd's tokens API: a bearer token → a user, or an access token of our own.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use super::Build;
use super::authorities::Authorities;
use super::issuer::{OpenIssuer, own_issuer};
use crate::config::IssuerRole;
use crate::domain::clock::SharedClock;
use crate::domain::reason::Reason;
use crate::endpoints::plgd::{Caller, UnknownCaller, VerifyCaller};
use crate::verifier::{
    self, Authority, AuthorityConfig, BearerToken, IntrospectionClients, KeySource, OwnIssuer,
    PossiblyRevoked, TokenPolicy, TokenVerifier,
};

/// How many verified tokens are cached: plgd's services ask about each token every half minute.
const CACHE_SIZE: u64 = 1000;

/// The index of our own issuer among the trusted authorities.
const OWN_ISSUER: usize = 0;

impl Build<'_> {
    /// Verifies the callers of plgd's tokens API: tokens of our own issuer, and users of the
    /// authorities in `issuer.authorities`.
    pub(super) fn callers(
        &self,
        open: Option<&OpenIssuer>,
        authorities: &Authorities,
    ) -> VerifyCaller {
        let issuer = open.map(|open| &open.issuer);
        let issuer = issuer.filter(|issuer| issuer.profile().tokens_api);
        let (Some(issuer), Some(role)) = (issuer, &self.config.issuer) else {
            return Arc::new(|_| Box::pin(async { Err(UnknownCaller::Unauthenticated) }));
        };
        let clock = &self.process.clock;
        let mut trusted = vec![own_authority(role, own_issuer(issuer), clock.clone())];
        let is_other = |each: &&AuthorityConfig| !each.is_issuer(issuer.url());
        let all = self.config.authorities.iter();
        let named = all.filter(|each| role.authorities.contains(&each.name));
        let others = named
            .filter(is_other)
            .filter_map(|each| authorities.get(&each.name).cloned());
        trusted.extend(others);
        verify(issuer.owner_claim(), trusted, clock.clone())
    }
}

/// Our own issuer as an authority. Tokens without `exp` are accepted: plgd's services present them
/// to ask about them.
fn own_authority(role: &IssuerRole, own: OwnIssuer, clock: SharedClock) -> Arc<Authority> {
    let config = AuthorityConfig {
        // The clock is our own, and expired entries are no longer in the list.
        clock_skew: Duration::ZERO,
        require_expiry: false,
        profile: verifier::Profile::Plgd,
        max_token_size: role.issuer.max_token_size,
        ..AuthorityConfig::new("self", role.issuer.url.as_str(), KeySource::OwnIssuer)
    };
    Authority::new(config, clock, Some(own), IntrospectionClients::default())
}

/// Authenticates callers by the tokens of these authorities. Audiences are not checked: plgd's
/// users have tokens for its web page.
fn verify(owner_claim: &str, authorities: Vec<Arc<Authority>>, clock: SharedClock) -> VerifyCaller {
    let policy = TokenPolicy {
        cache_size: CACHE_SIZE,
        ..TokenPolicy::any_audience()
    };
    let verifier = Arc::new(TokenVerifier::new(policy, authorities, clock));
    let owner_claim: Arc<str> = owner_claim.into();
    Arc::new(move |headers: HeaderMap| {
        let (verifier, owner_claim) = (verifier.clone(), owner_claim.clone());
        Box::pin(async move { caller(&verifier, &owner_claim, &headers).await })
    })
}

async fn caller(
    verifier: &TokenVerifier,
    owner_claim: &str,
    headers: &HeaderMap,
) -> Result<Caller, UnknownCaller> {
    const UNAUTHENTICATED: UnknownCaller = UnknownCaller::Unauthenticated;
    let bearer = BearerToken::extract(headers).map_err(|_| UNAUTHENTICATED)?;
    let PossiblyRevoked { token, is_revoked } = verifier
        .verify_even_revoked(&bearer)
        .await
        .map_err(refused)?;
    let claims = token.claims(&bearer).ok_or(UNAUTHENTICATED)?;
    let text = |name| claims.get(name).and_then(|value| value.as_str());
    if token.authority() == OWN_ISSUER {
        // A revoked token of ours may read its own entry: plgd's services find the revocation
        // there.
        let jti = text("jti").ok_or(UNAUTHENTICATED)?.to_owned();
        return Ok(Caller::Token { jti, is_revoked });
    }
    if is_revoked {
        return Err(refused(Reason::Revoked));
    }
    let owner = text(owner_claim).filter(|owner| !owner.is_empty());
    let (owner, issuer) = owner
        .zip(verifier.issuer_of(&token))
        .ok_or(UNAUTHENTICATED)?;
    Ok(Caller::Owner {
        owner: owner.to_owned(),
        issuer: issuer.to_owned(),
    })
}

fn refused(reason: Reason) -> UnknownCaller {
    tracing::info!(
        reason = reason.code(),
        "the bearer token of a request to the tokens API is refused"
    );
    match reason {
        Reason::Busy | Reason::KeysUnavailable | Reason::RevocationUnavailable => {
            UnknownCaller::Unavailable
        }
        _ => UnknownCaller::Unauthenticated,
    }
}
