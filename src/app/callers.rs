//! Who calls plgd's tokens API: a bearer token → a user, or an access token of our own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use super::{Parts, StartError, unusable};
use crate::config::{Config, IssuerRole};
use crate::domain::clock::SharedClock;
use crate::domain::issuer_name::IssuerName;
use crate::domain::reason::Reason;
use crate::endpoints::plgd::{Caller, UnknownCaller, VerifyCaller};
use crate::http_client::FetchTimeouts;
use crate::issuer::{Issuer, Profile};
use crate::jose::ALGORITHMS;
use crate::jose::verify::Jws;
use crate::verifier::{
    self, Audiences, Authority, AuthorityConfig, BearerToken, CLIENT_ID_CLAIMS, CorsPreflight,
    KeySource, Mode, OwnIssuer, RevocationConfig, Verifier,
};

/// How many tokens' signatures are remembered: plgd's services ask about each token every half
/// minute.
const REMEMBERED: u64 = 1000;

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
    ) -> Result<VerifyCaller, StartError> {
        let issuer = issuer.filter(|issuer| issuer.profile() == Profile::Plgd);
        let (Some(issuer), Some(own), Some(role)) = (issuer, own, &config.issuer) else {
            return Ok(Arc::new(|_| {
                Box::pin(async { Err(UnknownCaller::Unauthenticated) })
            }));
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
        verify(
            issuer.url(),
            issuer.owner_claim(),
            trusted,
            self.clock.clone(),
        )
        .map_err(unusable("issuer.authorities"))
    }
}

/// Our own issuer as an authority: also its tokens that never expire, which plgd's services ask
/// about with the tokens themselves.
fn own_authority(role: &IssuerRole, own: OwnIssuer, clock: SharedClock) -> Arc<Authority> {
    let config = AuthorityConfig {
        name: "self".to_owned(),
        issuer: role.issuer.url.to_string(),
        keys: KeySource::OwnIssuer,
        ca_pem: None,
        timeouts: FetchTimeouts {
            connect: Duration::from_secs(3),
            total: Duration::from_secs(15),
        },
        algorithms: ALGORITHMS.to_vec(),
        // Their times are those of our own clock. What has expired is no longer in the list.
        clock_skew: Duration::ZERO,
        // Nothing is fetched.
        max_stale: Duration::ZERO,
        revocation: RevocationConfig::default(),
        client_id_claims: CLIENT_ID_CLAIMS.map(str::to_owned).to_vec(),
        require_expiry: false,
        profile: verifier::Profile::Plgd,
        max_token_size: role.issuer.max_token_size,
    };
    Authority::new(config, clock, Some(own), None)
}

/// Verifies who calls, by these authorities. Audiences are not checked: plgd's users have tokens
/// for its web page.
fn verify(
    issuer: &str,
    owner_claim: &str,
    authorities: Vec<Arc<Authority>>,
    clock: SharedClock,
) -> Result<VerifyCaller, String> {
    let config = verifier::Config {
        authorities: Vec::new(),
        audiences: Audiences::Any,
        verified_token_cache: REMEMBERED,
        rules: Vec::new(),
        path_case: verifier::rules::PathCase::Unset,
        forwarded_claims: Vec::new(),
        mode: Mode::Enforce,
        cors_preflight: CorsPreflight::Authenticate,
    };
    let verifier = Verifier::new(&config, authorities, clock, Arc::new(|_| {}));
    let verifier = Arc::new(verifier.map_err(|error| error.to_string())?);
    let (issuer, owner_claim): (Arc<IssuerName>, Arc<str>) = (
        Arc::new(verifier::Profile::Plgd.issuer(issuer)),
        owner_claim.into(),
    );
    Ok(Arc::new(move |headers: HeaderMap| {
        let (verifier, issuer, owner_claim) =
            (verifier.clone(), issuer.clone(), owner_claim.clone());
        Box::pin(async move { caller(&verifier, &issuer, &owner_claim, &headers).await })
    }))
}

async fn caller(
    verifier: &Verifier,
    own: &IssuerName,
    owner_claim: &str,
    headers: &HeaderMap,
) -> Result<Caller, UnknownCaller> {
    let bearer = BearerToken::extract(headers).map_err(|_| UnknownCaller::Unauthenticated)?;
    let verified = verifier.verify(&bearer).await;
    // What follows reads claims of a token whose signature was checked, also where it turned out to
    // be revoked.
    let jws = Jws::parse(bearer.text()).map_err(|_| UnknownCaller::Unauthenticated)?;
    let is_ours = jws.claimed_issuer().is_some_and(|issuer| own.is(issuer));
    let issuer = match &verified {
        Ok(token) => verifier.issuer_of(token),
        // A revoked token of ours may still read its own entry, which says so: that is how plgd's
        // services learn it.
        Err(Reason::Revoked) if is_ours => None,
        Err(reason) => {
            tracing::info!(
                reason = reason.code(),
                "the bearer token of a request to the tokens API is refused"
            );
            return Err(match reason {
                Reason::Busy | Reason::KeysUnavailable | Reason::RevocationUnavailable => {
                    UnknownCaller::Unavailable
                }
                _ => UnknownCaller::Unauthenticated,
            });
        }
    };
    let named = if is_ours {
        jws.claimed_id().map(|jti| Caller::Token {
            jti: jti.to_owned(),
            is_revoked: verified.is_err(),
        })
    } else {
        let owner = jws
            .claimed_text(owner_claim)
            .filter(|owner| !owner.is_empty());
        owner.zip(issuer).map(|(owner, issuer)| Caller::Owner {
            owner: owner.to_owned(),
            issuer: issuer.to_owned(),
        })
    };
    named.ok_or(UnknownCaller::Unauthenticated)
}
