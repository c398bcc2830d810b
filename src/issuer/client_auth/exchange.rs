//! plgd's exchange: the JWT of a trusted authority's user becomes an M2M token of its owner.
//!
//! The client proves nothing itself: the holder of a user's JWT gets a token. So the JWT must be
//! valid, from an authority that the client is registered for, and, in the standard profile, have
//! this issuer in `aud`.

use std::sync::atomic::AtomicUsize;

use serde_json::{Map, Value};

use super::foreign::ForeignClaims;
use super::{AssertionFault, ClientAuth, TokenError};
use crate::domain::claims::Claims;
use crate::domain::clock::UnixTime;
use crate::issuer::claim_names::REQUIRED_SCOPE;
use crate::issuer::client::{CopyClaims, Exchange};
use crate::issuer::token::request::PresentedAssertion;
use crate::jose::verify::Jws;

/// Claims that are never copied, at any depth: secrets, and the claim that disables the scope check
/// of plgd's services.
const NEVER_COPIED: [&str; 8] = [
    "cnf",
    "access_token",
    "refresh_token",
    "id_token",
    "client_secret",
    "client_assertion",
    "password",
    REQUIRED_SCOPE,
];

/// An exchanged JWT.
#[derive(Clone, Debug)]
pub(in crate::issuer) struct Exchanged {
    issuer: String,
    owner: String,
    claims: Claims,
    copied: Map<String, Value>,
    ends_by: Option<UnixTime>,
}

impl Exchanged {
    /// The issuer of the JWT and its owner, in canonical spelling.
    pub(in crate::issuer) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The value of the owner claim.
    pub(in crate::issuer) fn owner(&self) -> &str {
        &self.owner
    }

    /// The text of a claim.
    pub(in crate::issuer) fn claim(&self, name: &str) -> Option<&str> {
        self.claims.get(name)?.as_str()
    }

    /// The latest end of the issued token; `None`: the JWT sets no end.
    pub(in crate::issuer) fn ends_by(&self) -> Option<UnixTime> {
        self.ends_by
    }

    /// The claims to copy.
    pub(in crate::issuer) fn copied(&self) -> &Map<String, Value> {
        &self.copied
    }
}

impl ClientAuth {
    pub(super) async fn verify_foreign(
        &self,
        exchange: &Exchange,
        presented: &PresentedAssertion,
        jws: &Jws<'_>,
        tried: &AtomicUsize,
        now: UnixTime,
    ) -> Result<Exchanged, TokenError> {
        if jws.claimed_issuer() == Some(&self.our_names[0]) {
            return Err(AssertionFault::OwnToken.into());
        }
        let authorities = exchange.authorities.clone();
        let ForeignClaims { claims, issuer, .. } = self
            .verify_by_authority(authorities, &presented.jwt, tried)
            .await?;
        self.exchanged(exchange, claims, issuer, now)
            .map_err(TokenError::from)
    }

    /// Checks the claims of a verified JWT.
    fn exchanged(
        &self,
        exchange: &Exchange,
        claims: Claims,
        issuer: String,
        now: UnixTime,
    ) -> Result<Exchanged, AssertionFault> {
        // RFC 7523 §3. plgd's users may have endless tokens; the authority then has
        // `requireExpiry: false`.
        if self.profile.strict_exchange && !claims.contains("exp") {
            return Err(AssertionFault::NoExpiry);
        }
        let audiences = claims.strings("aud").map_err(|_| AssertionFault::Claims)?;
        let is_for_us = self
            .our_names
            .iter()
            .any(|name| audiences.contains(&name.as_str()));
        if self.profile.strict_exchange && !is_for_us {
            return Err(AssertionFault::Audience);
        }
        let owner = claims.get(&self.owner_claim).and_then(Value::as_str);
        let owner = owner
            .filter(|owner| !owner.is_empty())
            .ok_or(AssertionFault::NoOwner)?;
        let owner = owner.to_owned();
        // The size of the token is checked again when it is signed.
        let most = self
            .profile
            .limits
            .copied_claims
            .unwrap_or(self.max_token_size);
        let copied = copied(&claims, &exchange.copy_claims, most)?;
        let end = claims
            .numeric_date("exp")
            .map_err(|_| AssertionFault::Claims)?;
        let ends_by = end.map(UnixTime).filter(|_| exchange.cap_to_assertion);
        // Within the clock skew an expired JWT is still valid; the token would have expired
        // already.
        if ends_by.is_some_and(|end| end <= now) {
            return Err(AssertionFault::Expired);
        }
        Ok(Exchanged {
            issuer,
            owner,
            claims,
            copied,
            ends_by,
        })
    }
}

fn copied(
    claims: &Claims,
    which: &CopyClaims,
    most: usize,
) -> Result<Map<String, Value>, AssertionFault> {
    let mut copied = claims.as_map().clone();
    copied.retain(|name, _| which.names(name));
    remove_secrets(&mut copied);
    let size = serde_json::to_vec(&copied).map_or(usize::MAX, |json| json.len());
    if size <= most {
        Ok(copied)
    } else {
        Err(AssertionFault::CopiedClaims)
    }
}

/// Removes the claims that are never copied, also from nested objects. The parser limits their
/// depth.
fn remove_secrets(members: &mut Map<String, Value>) {
    members.retain(|name, _| !NEVER_COPIED.contains(&name.as_str()));
    members.values_mut().for_each(remove_secrets_in);
}

fn remove_secrets_in(value: &mut Value) {
    match value {
        Value::Object(members) => remove_secrets(members),
        Value::Array(items) => items.iter_mut().for_each(remove_secrets_in),
        _ => {}
    }
}
