//! Access tokens that this issuer issued, when they are presented to it.

use super::client_auth::AuthenticatedClient;
use super::policy::Policy;
use super::signing_keys::SigningKeys;
use super::state::State;
use crate::domain::claims::Claims;
use crate::domain::clock::UnixTime;
use crate::domain::revoked::{AFTER_END, EndMark, Issued, TokenId};
use crate::jose::verify::Jws;

/// An access token of this issuer. Its signature is verified; it may have expired.
pub(super) struct OwnToken {
    claims: Claims,
}

impl OwnToken {
    /// Verifies the signature, the type and the issuer of a token.
    pub(super) fn verify(text: &str, keys: &SigningKeys, policy: &Policy) -> Option<Self> {
        let jws = Jws::parse(text).ok()?;
        // The keys also sign the revocation list.
        if !matches!(jws.typ(), Some("at+jwt" | "JWT")) {
            return None;
        }
        let published = keys.verifying_keys();
        let candidates = published.candidates(jws.kid(), jws.algorithm()).ok()?;
        let (claims, _) = jws.verified_claims(&candidates)?;
        let token = Self { claims };
        (token.text("iss") == Some(&policy.issuer)).then_some(token)
    }

    pub(super) fn claims(&self) -> &Claims {
        &self.claims
    }

    pub(super) fn text(&self, name: &'static str) -> Option<&str> {
        self.claims.string(name).ok().flatten()
    }

    /// Its `exp`; far in the future if it has none. `None` if the claim is malformed.
    pub(super) fn expires_at(&self) -> Option<UnixTime> {
        let end = self.claims.numeric_date("exp").ok()?;
        Some(end.map_or(UnixTime::NEVER, UnixTime))
    }

    /// The claims that decide whether it is revoked.
    pub(super) fn issued(&self) -> Option<Issued<'_>> {
        Some(Issued {
            token: TokenId::of(self.text("jti")?),
            client_id: Some(self.text("client_id")?),
            at: UnixTime(self.claims.numeric_date("iat").ok()??),
            after_end: self.text(AFTER_END).and_then(EndMark::parse),
        })
    }

    /// Whether it has neither expired nor been revoked, and its client may still use it.
    pub(super) fn is_valid(&self, state: &State, now: UnixTime) -> bool {
        let Some((issued, expires_at)) = self.issued().zip(self.expires_at()) else {
            return false;
        };
        now < expires_at
            && !state.revocations.now().current().covers(&issued, now)
            && issued
                .client_id
                .is_some_and(|id| state.clients.is_usable(id, now))
    }

    /// Whether its owner is the user whose JWT the caller exchanges; true for a caller without
    /// such a JWT.
    pub(super) fn is_of_user(&self, caller: &AuthenticatedClient, policy: &Policy) -> bool {
        let (owner, issuer) = policy.owner_of(&self.claims);
        caller
            .exchanged()
            .is_none_or(|user| policy.is_of_user(user, owner, issuer))
    }
}
