//! JWTs: the signature of a token becomes its facts.

use super::choice::{is_access_token_type, is_svid_type};
use super::token::{Proof, Reading, TokenFacts};
use super::{Authority, BearerToken, Check, CheckObserver, TokenVerifier, share};
use crate::domain::claims::Claims;
use crate::domain::hash::sha256;
use crate::domain::keyed_digest::KeyedDigest;
use crate::domain::reason::Reason;
use crate::jose::key_set::{Fingerprint, KeySet};
use crate::jose::verify::{InvalidJws, Jws};

impl TokenVerifier {
    /// The facts of a JWT that a key of its authority has signed.
    pub(super) async fn verify_signature(
        &self,
        bearer: &BearerToken<'_>,
        digest: KeyedDigest,
        observer: &mut impl CheckObserver,
    ) -> Result<TokenFacts, Reason> {
        let jws = Jws::parse(bearer.text()).map_err(|error| match error {
            InvalidJws::Malformed => Reason::MalformedToken,
            InvalidJws::Algorithm => {
                observer.checking(Check::Algorithm);
                Reason::Algorithm
            }
            InvalidJws::Critical => Reason::CriticalHeader,
        })?;
        observer.checking(Check::Type);
        if !is_access_token_type(&jws) && !is_svid_type(&jws) {
            return Err(Reason::TokenType);
        }
        observer.checking(Check::Issuer);
        let (index, authority) = self.authority_of(&jws)?;
        if !authority.accepts_type(&jws) {
            return Err(Reason::TokenType);
        }
        if bearer.text().len() > authority.max_token_size {
            return Err(Reason::TokenTooLarge);
        }
        observer.checking(Check::Algorithm);
        if !authority.algorithms.contains(&jws.algorithm()) {
            return Err(Reason::Algorithm);
        }
        observer.checking(Check::Key);
        let signed = self.check_signature(&jws, authority, bearer).await;
        if matches!(signed, Ok(_) | Err(Reason::Signature)) {
            observer.checking(Check::Signature);
        }
        let (claims, key) = signed?;
        observer.checking(Check::Claims);
        authority.check_tenant(&claims)?;
        let reading = self.reading(authority);
        TokenFacts::read(&claims, digest, index, Proof::Key(key), &reading)
    }

    /// How claims of an authority are read.
    pub(super) fn reading<'a>(&'a self, authority: &'a Authority) -> Reading<'a> {
        Reading {
            forwarded: &self.policy.forwarded_claims,
            compared: &self.policy.rule_claims,
            client_id: &authority.client_id_claims,
            require_expiry: authority.require_expiry,
            profile: authority.profile,
            issuer: &authority.issuer,
            now: self.clock.now(),
        }
    }

    async fn check_signature(
        &self,
        jws: &Jws<'_>,
        authority: &Authority,
        bearer: &BearerToken<'_>,
    ) -> Result<(Claims, Fingerprint), Reason> {
        // A token without `kid` may be signed by any key, so the token itself is looked up.
        let missing = || sha256(jws.kid().unwrap_or(bearer.text()).as_bytes());
        let keys = authority.keys_for(jws, missing).await?;
        // Only requests with cached tokens need protection from a flood of new tokens.
        let signed = if self.cache.is_enabled() {
            let turn = share::turn().await.map_err(|_| Reason::Busy)?;
            turn.work(|| jws.verify_with(&keys)).await
        } else {
            jws.verify_with(&keys)
        };
        // A token without `kid` may be signed by a key that is newer than the set.
        if signed.is_err()
            && jws.kid().is_none()
            && let Some(newer) = authority.newer_than(&keys, &missing()).await
        {
            return bound(jws.verify_with(&newer)?, &newer, authority);
        }
        bound(signed?, &keys, authority)
    }
}

/// Refuses a signature of a key that is published for another issuer.
fn bound(
    (claims, key): (Claims, Fingerprint),
    keys: &KeySet,
    authority: &Authority,
) -> Result<(Claims, Fingerprint), Reason> {
    let mut issuers = keys.issuers_of(&key).peekable();
    let is_bound = issuers.peek().is_some();
    if is_bound && !issuers.any(|issuer| authority.is_bound(issuer, &claims)) {
        Err(Reason::UnknownKid)
    } else {
        Ok((claims, key))
    }
}
