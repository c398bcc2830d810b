//! plgd's exchange: a JWT of a trusted authority's user becomes an M2M token of its owner.
//!
//! The client proves nothing of its own: whoever holds a user's JWT may have one. So the JWT must be live, of an authority
//! that the client is registered for, and, in the standard profile, meant for us.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Map, Value};

use super::{AssertionFault, ClientAuth, TokenError};
use crate::domain::claims::Claims;
use crate::domain::reason::Reason;
use crate::domain::secret::SecretString;
use crate::issuer::Profile;
use crate::issuer::token_request::PresentedAssertion;
use crate::jose::verify::Jws;

/// The most of a JWT's claims that are copied, as JSON, in bytes: a token that is larger no server accepts.
const MAX_COPIED: usize = 4096;
/// Never copied: what whoever sees it could use.
const SECRETS: [&str; 7] =
    ["cnf", "access_token", "refresh_token", "id_token", "client_secret", "client_assertion", "password"];

/// What a client may exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The names of the authorities whose JWTs it may bring.
    pub authorities: Vec<String>,
    /// The claims that go into the new token's `originalTokenClaims`, where they are there.
    pub copy_claims: Vec<String>,
}

/// Verifies a JWT with the live keys of one of the named authorities: signature, issuer, algorithm, times, revocation.
/// Gives its claims, or the check that refused it.
pub type VerifyForeign = Arc<
    dyn Fn(Vec<String>, SecretString) -> Pin<Box<dyn Future<Output = Result<Claims, Reason>> + Send>>
        + Send
        + Sync,
>;

/// What came of a JWT that was exchanged.
#[derive(Clone, Debug)]
pub(in crate::issuer) struct Exchanged {
    issuer: String,
    owner: String,
    claims: Claims,
    copied: Map<String, Value>,
}

impl Exchanged {
    /// The issuer of the JWT, which says who the owner is.
    pub(in crate::issuer) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Whose it is: the value of the owner claim.
    pub(in crate::issuer) fn owner(&self) -> &str {
        &self.owner
    }

    /// The text of one of its claims, `sub` or the device id.
    pub(in crate::issuer) fn claim(&self, name: &str) -> Option<&str> {
        self.claims.get(name)?.as_str()
    }

    /// The claims that are to be copied.
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
    ) -> Result<Exchanged, TokenError> {
        if jws.claimed_issuer() == Some(&self.our_names[0]) {
            return Err(AssertionFault::OwnToken.into());
        }
        let verify = self.verify_foreign.get().ok_or(TokenError::ClientKeysUnavailable)?;
        let verified = verify(exchange.authorities.clone(), presented.jwt.clone()).await;
        // Before the signature other reasons are told apart, and no key was tried.
        if matches!(verified, Ok(_) | Err(Reason::Signature)) {
            tried.fetch_add(1, Ordering::Relaxed);
        }
        let claims = verified.map_err(|reason| match reason {
            Reason::Busy | Reason::KeysUnavailable | Reason::RevocationUnavailable => {
                TokenError::ClientKeysUnavailable
            }
            reason => AssertionFault::Foreign(reason).into(),
        })?;
        // RFC 7523 §3. plgd's users may have tokens without end; the authority then says `requireExpiry: false`.
        if self.profile == Profile::Standard && !claims.contains("exp") {
            return Err(AssertionFault::NoExpiry.into());
        }
        let audiences = claims.strings("aud").map_err(|_| AssertionFault::Claims)?;
        let is_for_us = audiences.iter().any(|aud| self.our_names.iter().any(|name| name == aud));
        if self.profile == Profile::Standard && !is_for_us {
            return Err(AssertionFault::Audience.into());
        }
        let issuer = claims.string("iss").ok().flatten().ok_or(AssertionFault::Claims)?.to_owned();
        let owner = claims.get(&self.owner_claim).and_then(Value::as_str).filter(|owner| !owner.is_empty());
        let owner = owner.ok_or(AssertionFault::NoOwner)?.to_owned();
        let copied = copied(&claims, &exchange.copy_claims)?;
        Ok(Exchanged { issuer, owner, claims, copied })
    }
}

fn copied(claims: &Claims, names: &[String]) -> Result<Map<String, Value>, AssertionFault> {
    let is_copied = |name: &String| names.contains(name) && !SECRETS.contains(&name.as_str());
    let copied = claims.as_map().iter().filter(|(name, _)| is_copied(name));
    let copied: Map<_, _> = copied.map(|(name, value)| (name.clone(), value.clone())).collect();
    let size = serde_json::to_vec(&copied).map_or(usize::MAX, |json| json.len());
    if size <= MAX_COPIED { Ok(copied) } else { Err(AssertionFault::CopiedClaims) }
}
