//! The authority of a token whose signature is not checked yet, and the types of tokens.

use std::sync::Arc;

use super::{Authority, TokenVerifier};
use crate::domain::reason::Reason;
use crate::domain::spiffe::SpiffeId;
use crate::jose::verify::Jws;

impl TokenVerifier {
    /// The authority that an unverified token names, and its index: by `iss`, or else, as JWT-SVIDs
    /// need no `iss`, by the trust domain of `sub`. Every authority whose issuer differs by slashes
    /// only counts the miss.
    ///
    /// # Errors
    /// [`Reason::UnknownIssuer`], or [`Reason::Tenant`] if `iss` is that of a tenant that is not
    /// allowed.
    pub(super) fn authority_of(&self, jws: &Jws<'_>) -> Result<(usize, &Arc<Authority>), Reason> {
        let claimed = jws.claimed_issuer();
        let mut authorities = self.authorities.iter().enumerate();
        let found = claimed.and_then(|claimed| {
            authorities.find(|(_, it)| it.trust_domain().is_none() && it.issuer.is(claimed))
        });
        let found = found.or_else(|| self.trust_domain_of(jws));
        found.ok_or_else(|| self.unknown(claimed))
    }

    /// The reason against a token of no authority.
    fn unknown(&self, claimed: Option<&str>) -> Reason {
        let Some(claimed) = claimed else {
            return Reason::UnknownIssuer;
        };
        let mut families = self.families.iter().filter_map(|it| it.family.as_ref());
        if families.any(|family| family.matches(claimed)) {
            return Reason::Tenant;
        }
        // There can be thousands of tenants, and their pattern did not match.
        let single = self.authorities.iter().filter(|it| it.membership.is_none());
        single.for_each(|authority| authority.note_refused_issuer(claimed));
        Reason::UnknownIssuer
    }

    fn trust_domain_of(&self, jws: &Jws<'_>) -> Option<(usize, &Arc<Authority>)> {
        // Few listeners trust a trust domain, and `sub` is read for them only.
        if self
            .authorities
            .iter()
            .all(|it| it.trust_domain().is_none())
        {
            return None;
        }
        let subject = jws.claimed_subject()?;
        let name = SpiffeId::parse(&subject)?.trust_domain();
        let mut authorities = self.authorities.iter().enumerate();
        authorities.find(|(_, authority)| authority.trust_domain() == Some(name))
    }
}

/// JWT-SVID §2.3: the other type of an authority of SPIFFE.
pub(super) fn is_svid_type(jws: &Jws<'_>) -> bool {
    jws.typ()
        .is_some_and(|typ| typ.eq_ignore_ascii_case("jose"))
}

/// RFC 9068 §4: `at+jwt`; older authorities write `JWT` or nothing.
pub(super) fn is_access_token_type(jws: &Jws<'_>) -> bool {
    match jws.typ() {
        None => !jws.has_typ(),
        Some(typ) => ["at+jwt", "application/at+jwt", "jwt"]
            .iter()
            .any(|known| typ.eq_ignore_ascii_case(known)),
    }
}
