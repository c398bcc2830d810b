//! Who calls plgd's tokens API: a bearer token → a user, or an access token of our own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use super::Parts;
use crate::config::{Config, IssuerRole};
use crate::domain::clock::SharedClock;
use crate::domain::reason::Reason;
use crate::endpoints::plgd::{Caller, UnknownCaller, VerifyCaller};
use crate::issuer::Issuer;
use crate::verifier::{
    self, Authority, AuthorityConfig, BearerToken, KeySource, OwnIssuer, PossiblyRevoked,
    TokenPolicy, TokenVerifier,
};

/// How many verified tokens are cached: plgd's services ask about each token every half minute.
const CACHE_SIZE: u64 = 1000;

/// The index of our own issuer among the trusted authorities.
const OWN_ISSUER: usize = 0;

impl Parts {
    /// What verifiers in this process read of our own issuer.
    pub(super) fn own_issuer(issuer: &Issuer) -> OwnIssuer {
        OwnIssuer {
            keys: issuer.live_keys().clone(),
            revoked: issuer.revoked().clone(),
        }
    }

    /// Who may call plgd's tokens API: our own tokens, and users of the authorities that are named
    /// for it.
    pub(super) fn callers(
        &self,
        config: &Config,
        issuer: Option<&Issuer>,
        own: Option<OwnIssuer>,
        authorities: &HashMap<String, Arc<Authority>>,
    ) -> VerifyCaller {
        let issuer = issuer.filter(|issuer| issuer.profile().tokens_api);
        let (Some(issuer), Some(own), Some(role)) = (issuer, own, &config.issuer) else {
            return Arc::new(|_| Box::pin(async { Err(UnknownCaller::Unauthenticated) }));
        };
        let mut trusted = vec![own_authority(role, own, self.clock.clone())];
        let is_other = |each: &&AuthorityConfig| !each.issuer_name().is(issuer.url());
        let named = config
            .authorities
            .iter()
            .filter(|each| role.authorities.contains(&each.name));
        trusted.extend(
            named
                .filter(is_other)
                .filter_map(|each| authorities.get(&each.name).cloned()),
        );
        verify(issuer.owner_claim(), trusted, self.clock.clone())
    }
}

/// Our own issuer as an authority: also its tokens that never expire, which plgd's services ask
/// about with the tokens themselves.
fn own_authority(role: &IssuerRole, own: OwnIssuer, clock: SharedClock) -> Arc<Authority> {
    let config = AuthorityConfig {
        // Their times are those of our own clock. What has expired is no longer in the list.
        clock_skew: Duration::ZERO,
        require_expiry: false,
        profile: verifier::Profile::Plgd,
        max_token_size: role.issuer.max_token_size,
        ..AuthorityConfig::new("self", role.issuer.url.as_str(), KeySource::OwnIssuer)
    };
    Authority::new(config, clock, Some(own), None)
}

/// Authenticates callers by the tokens of these authorities. Audiences are not checked: plgd's users
/// have tokens for its web page.
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
        // A revoked token of ours may read its own entry: plgd's services find the revocation there.
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
