//! The authority of a federated client's JWT, and the verification of the JWT by its keys.
//!
//! The keys of authorities of the configuration are live in this process. Those that clients of the
//! store name themselves are fetched as a client's `jwks_uri` is, with the same limits on where the
//! URL may lead.

use std::sync::atomic::AtomicUsize;

use super::assertion::SKEW;
use super::client_keys::{ClientKeys, KeyPlace};
use super::{AssertionFault, ClientAuth, TokenError};
use crate::domain::claims::Claims;
use crate::domain::clock::UnixTime;
use crate::domain::reason::Reason;
use crate::domain::secret::ExposeSecret;
use crate::domain::spiffe::{self, SpiffeId};
use crate::issuer::federation::Trust;
use crate::issuer::token::request::PresentedAssertion;
use crate::jose::verify::Jws;

/// How many key sets are tried for one JWT: clients may name several for one issuer.
const MOST_SETS: usize = 4;

const UNKNOWN: AssertionFault = AssertionFault::Foreign(Reason::UnknownIssuer);

impl ClientAuth {
    /// Verifies a JWT by one of these authorities, and says which one.
    pub(super) async fn verify_federated(
        &self,
        trusted: Vec<Trust>,
        presented: &PresentedAssertion,
        jws: &Jws<'_>,
        tried: &AtomicUsize,
        now: UnixTime,
    ) -> Result<(Trust, Claims), TokenError> {
        if trusted.is_empty() {
            return Err(AssertionFault::NotTrusted.into());
        }
        let (mut named, mut places) = (Vec::new(), Vec::new());
        for trust in trusted {
            match trust {
                Trust::Named(name) => named.push(name),
                Trust::At { issuer, keys } => places.push((issuer, keys)),
            }
        }
        if !named.is_empty() {
            let verified = self.verify_by_authority(named, &presented.jwt, tried);
            match verified.await {
                Ok(verified) => return Ok((Trust::Named(verified.authority), verified.claims)),
                // The client may trust an authority of its own.
                Err(TokenError::InvalidAssertion(UNKNOWN)) => {}
                Err(error) => return Err(error),
            }
        }
        let subject = jws.claimed_subject();
        places.retain(|(issuer, _)| is_of(issuer, jws.claimed_issuer(), subject.as_deref()));
        if presented.jwt.expose_secret().len() > self.max_token_size {
            return Err(AssertionFault::TooLarge.into());
        }
        let mut failed: TokenError = UNKNOWN.into();
        for (issuer, keys) in places.into_iter().take(MOST_SETS) {
            match self.verify_at(&issuer, &keys, jws, tried, now).await {
                Ok(claims) => return Ok((Trust::At { issuer, keys }, claims)),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// Verifies a JWT of an issuer with the keys at a place: signature, issuer and times.
    async fn verify_at(
        &self,
        issuer: &str,
        keys: &KeyPlace,
        jws: &Jws<'_>,
        tried: &AtomicUsize,
        now: UnixTime,
    ) -> Result<Claims, TokenError> {
        let keys = ClientKeys::At(keys.clone());
        let claims = self.signed_claims(&keys, jws, tried).await?;
        let wrong = |_| AssertionFault::Claims;
        let named = claims.string("iss").map_err(wrong)?;
        let subject = claims.string("sub").map_err(wrong)?;
        if !is_of(issuer, named, subject) {
            return Err(AssertionFault::Issuer.into());
        }
        // Its holder would have to prove that it has the key.
        if claims.contains("cnf") {
            return Err(AssertionFault::Foreign(Reason::SenderConstrained).into());
        }
        check_times(&claims, now)?;
        Ok(claims)
    }
}

/// Whether a JWT with these claims is of an issuer: by `iss`, or of a trust domain by `sub`.
fn is_of(issuer: &str, named: Option<&str>, subject: Option<&str>) -> bool {
    match spiffe::trust_domain(issuer) {
        None => named == Some(issuer),
        Some(name) => subject
            .and_then(SpiffeId::parse)
            .is_some_and(|id| id.trust_domain() == name),
    }
}

fn check_times(claims: &Claims, now: UnixTime) -> Result<(), AssertionFault> {
    let (earliest, latest) = (now.minus(SKEW), now.plus(SKEW));
    let date = |name| {
        let date = claims.numeric_date(name);
        date.map(|date| date.map(UnixTime))
            .map_err(|_| AssertionFault::Claims)
    };
    if date("exp")?.is_some_and(|end| end <= earliest) {
        Err(AssertionFault::Expired)
    } else if date("nbf")?.is_some_and(|not_before| not_before > latest) {
        Err(AssertionFault::NotYetValid)
    } else if date("iat")?.is_some_and(|issued_at| issued_at > latest) {
        Err(AssertionFault::IssuedInFuture)
    } else {
        Ok(())
    }
}
