//! `private_key_jwt`: a JWT that the client signed with its own key (RFC 7523 §2.2 and §3).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::client_keys::ClientKeys;
use super::{AssertionFault, ClientAuth, TokenError};
use crate::domain::claims::{Claims, WrongType};
use crate::domain::clock::UnixTime;
use crate::domain::hash::sha256_parts;
use crate::issuer::Client;
use crate::issuer::client::AssertionAudiences;
use crate::jose::key_set::{KeySet, NoCandidate};
use crate::jose::verify::Jws;

/// How far a client's clock may differ.
pub(super) const SKEW: Duration = Duration::from_secs(60);
/// The longest `jti`, in bytes.
const MAX_JTI: usize = 256;

impl ClientAuth {
    /// Verifies a client's own assertion, which is then used.
    pub(super) async fn verify_own(
        &self,
        client: &Client,
        keys: &ClientKeys,
        jws: &Jws<'_>,
        verified: &AtomicUsize,
        now: UnixTime,
    ) -> Result<(), TokenError> {
        // An access token, or another JWT that the client signs with this key, must not pass for an
        // assertion (RFC 8725 §3.11).
        let known = [
            "jwt",
            "client-authentication+jwt",
            "application/client-authentication+jwt",
        ];
        let fits = |typ: &str| known.iter().any(|known| typ.eq_ignore_ascii_case(known));
        if jws.has_typ() && !jws.typ().is_some_and(fits) {
            return Err(AssertionFault::Type.into());
        }
        if jws.claimed_issuer() != Some(&client.id) {
            return Err(AssertionFault::Issuer.into());
        }
        let claims = self.signed_claims(keys, jws, verified).await?;
        let (jti, expires_at) = self.check_claims(&claims, client, now)?;
        let id = sha256_parts(&[client.id.as_bytes(), jti.as_bytes()]);
        match self.store.use_assertion(&id, expires_at.plus(SKEW)).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(AssertionFault::Replayed.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// The claims, if a key of the client verifies the signature. If a newer key set may have the
    /// key, it is fetched.
    pub(super) async fn signed_claims(
        &self,
        keys: &ClientKeys,
        jws: &Jws<'_>,
        verified: &AtomicUsize,
    ) -> Result<Claims, TokenError> {
        let known = self
            .keys
            .current(keys)
            .await
            .ok_or(TokenError::ClientKeysUnavailable)?;
        let fault = match verify(jws, &known, verified) {
            Ok(claims) => return Ok(claims),
            Err(fault) => fault,
        };
        let may_be_newer = match fault {
            AssertionFault::UnknownKey => true,
            AssertionFault::Signature => jws.kid().is_none(),
            _ => false,
        };
        if !may_be_newer || matches!(keys, ClientKeys::Inline(_)) {
            return Err(fault.into());
        }
        match self.keys.newer(keys).await {
            Ok(newer) => Ok(verify(jws, &newer, verified)?),
            Err(_) => Err(TokenError::ClientKeysUnavailable),
        }
    }

    /// Whether all of these name this issuer or its token endpoint, and at least one does.
    fn are_ours(&self, audiences: &[&str]) -> bool {
        let is_ours = |aud: &&str| self.our_names.iter().any(|name| name == aud);
        !audiences.is_empty() && audiences.iter().all(is_ours)
    }

    /// Checks the claims, and gives `jti` and `exp`.
    fn check_claims<'c>(
        &self,
        claims: &'c Claims,
        client: &Client,
        now: UnixTime,
    ) -> Result<(&'c str, UnixTime), AssertionFault> {
        let wrong = |_: WrongType| AssertionFault::Claims;
        if claims.string("sub").map_err(wrong)? != Some(&client.id) {
            return Err(AssertionFault::Subject);
        }
        // Another recipient could present the assertion here.
        let audiences = claims.strings("aud").map_err(wrong)?;
        match client.assertion_audiences {
            AssertionAudiences::Issuer if audiences != [self.our_names[0].as_str()] => {
                return Err(AssertionFault::NotIssuerAlone);
            }
            AssertionAudiences::Legacy if !self.are_ours(&audiences) => {
                return Err(AssertionFault::Audience);
            }
            AssertionAudiences::Issuer | AssertionAudiences::Legacy => {}
        }
        let (earliest, latest) = (now.minus(SKEW), now.plus(SKEW));
        let date = |name| {
            claims
                .numeric_date(name)
                .map_err(wrong)
                .map(|date| date.map(UnixTime))
        };
        let expires_at = date("exp")?.ok_or(AssertionFault::NoExpiry)?;
        if expires_at <= earliest {
            return Err(AssertionFault::Expired);
        }
        if expires_at > latest.plus(self.max_assertion_lifetime) {
            return Err(AssertionFault::TooLong);
        }
        if date("nbf")?.is_some_and(|not_before| not_before > latest) {
            return Err(AssertionFault::NotYetValid);
        }
        if date("iat")?.is_some_and(|issued_at| issued_at > latest) {
            return Err(AssertionFault::IssuedInFuture);
        }
        let jti = claims.string("jti").map_err(wrong)?;
        let jti = jti
            .filter(|jti| (1..=MAX_JTI).contains(&jti.len()))
            .ok_or(AssertionFault::NoId)?;
        Ok((jti, expires_at))
    }
}

fn verify(jws: &Jws<'_>, keys: &KeySet, verified: &AtomicUsize) -> Result<Claims, AssertionFault> {
    let candidates = keys
        .candidates(jws.kid(), jws.algorithm())
        .map_err(|why| match why {
            NoCandidate::UnknownKid => AssertionFault::UnknownKey,
            NoCandidate::Algorithm => AssertionFault::KeyAlgorithm,
        })?;
    verified.fetch_add(candidates.len(), Ordering::Relaxed);
    let (claims, key) = jws
        .verified_claims(&candidates)
        .ok_or(AssertionFault::Signature)?;
    if candidates.len() > 1 {
        keys.verified_by(key);
    }
    Ok(claims)
}
