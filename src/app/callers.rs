//! Who calls plgd's tokens API: a bearer token → a user, or an access token of our own.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use crate::domain::clock::SharedClock;
use crate::domain::reason::Reason;
use crate::endpoints::plgd::{Caller, UnknownCaller, VerifyCaller};
use crate::jose::ALGORITHMS;
use crate::jose::verify::Jws;
use crate::verifier::{
    Audiences, Authority, AuthorityConfig, BearerToken, Config, CorsPreflight, KeySource, Mode, OwnIssuer,
    Profile, RevocationConfig, Verifier,
};

/// By how much a user's issuer's clock may differ from ours where no authority of the configuration says.
const CLOCK_SKEW: Duration = Duration::from_secs(60);
/// How many tokens' signatures are remembered: plgd's services ask about each token every half minute.
const REMEMBERED: u64 = 1000;

/// Our own issuer as an authority: also its tokens that never expire, which plgd's services ask about with the tokens
/// themselves.
pub(super) fn own_authority(issuer: &str, own: OwnIssuer, clock: SharedClock) -> Arc<Authority> {
    let config = AuthorityConfig {
        name: "self".to_owned(),
        issuer: issuer.to_owned(),
        keys: KeySource::OwnIssuer,
        ca_pem: None,
        algorithms: ALGORITHMS.to_vec(),
        clock_skew: CLOCK_SKEW,
        // Nothing is fetched.
        max_stale: Duration::ZERO,
        revocation: RevocationConfig::default(),
        require_expiry: false,
        profile: Profile::Plgd,
    };
    Authority::new(config, clock, Some(own), None)
}

/// Verifies who calls, by these authorities. Audiences are not checked: plgd's users have tokens for its web page.
pub(super) fn verify(
    issuer: &str,
    owner_claim: &str,
    authorities: Vec<Arc<Authority>>,
    clock: SharedClock,
) -> Result<VerifyCaller, String> {
    let config = Config {
        authorities: Vec::new(),
        audiences: Audiences::Any,
        verified_token_cache: REMEMBERED,
        rules: Vec::new(),
        forwarded_claims: Vec::new(),
        mode: Mode::Enforce,
        cors_preflight: CorsPreflight::Authenticate,
    };
    let verifier = Verifier::new(&config, authorities, clock, Arc::new(|_| {}));
    let verifier = Arc::new(verifier.map_err(|error| error.to_string())?);
    let (issuer, owner_claim): (Arc<str>, Arc<str>) = (issuer.into(), owner_claim.into());
    Ok(Arc::new(move |headers: HeaderMap| {
        let (verifier, issuer, owner_claim) = (verifier.clone(), issuer.clone(), owner_claim.clone());
        Box::pin(async move { caller(&verifier, &issuer, &owner_claim, &headers).await })
    }))
}

async fn caller(
    verifier: &Verifier,
    issuer: &str,
    owner_claim: &str,
    headers: &HeaderMap,
) -> Result<Caller, UnknownCaller> {
    let bearer = BearerToken::extract(headers).map_err(|_| UnknownCaller::Unauthenticated)?;
    let verified = verifier.verify(&bearer).await;
    // What follows reads claims of a token whose signature was checked, also where it turned out to be revoked.
    let jws = Jws::parse(bearer.text()).map_err(|_| UnknownCaller::Unauthenticated)?;
    let is_ours = jws.claimed_issuer() == Some(issuer);
    match verified {
        Ok(_) => {}
        // A revoked token of ours may still read its own entry, which says so: that is how plgd's services learn it.
        Err(Reason::Revoked) if is_ours => {}
        Err(Reason::KeysUnavailable | Reason::RevocationUnavailable) => {
            return Err(UnknownCaller::Unavailable);
        }
        Err(_) => return Err(UnknownCaller::Unauthenticated),
    }
    let named = if is_ours {
        jws.claimed_id().map(|jti| Caller::Token(jti.to_owned()))
    } else {
        let owner = jws.claimed_text(owner_claim).filter(|owner| !owner.is_empty());
        owner.map(|owner| Caller::Owner(owner.to_owned()))
    };
    named.ok_or(UnknownCaller::Unauthenticated)
}
