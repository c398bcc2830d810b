//! Clients that authenticate by a JWT of a trusted authority: a Kubernetes service account token,
//! an ID token of a CI job, a SPIFFE JWT-SVID (RFC 7523 §2.2, draft-ietf-oauth-spiffe-client-auth
//! §3.1).
//!
//! Such a JWT is a bearer credential that its authority issues, and that its holder uses until it
//! expires: it needs no `jti`, and may be used again. Its only audience is this issuer, so no other
//! recipient has one that is valid here.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::assertion::SKEW;
use super::known::KnownClients;
use super::{AssertionFault, AuthenticatedClient, ClientAuth, TokenError};
use crate::domain::claims::Claims;
use crate::domain::clock::UnixTime;
use crate::domain::spiffe::SpiffeId;
use crate::issuer::client::{Authentication, Client};
use crate::issuer::federation::{Federation, Misfit, Trust};
use crate::issuer::token::request::PresentedAssertion;
use crate::jose::verify::Jws;

/// The values of `typ`: those of ID tokens, service account tokens and JWT-SVIDs. An access token
/// is not an assertion (RFC 8725 §3.11).
const TYPES: [&str; 2] = ["jwt", "jose"];

/// The clients that an assertion may be of.
pub(super) enum Named {
    /// The one that is named beside it, or by its `iss`.
    One(Arc<Client>),
    /// Every federated one: the assertion itself decides.
    Any,
}

impl Named {
    /// Finds the client that is named beside an assertion, or by its unverified `iss`.
    pub(super) fn find(
        clients: KnownClients<'_>,
        presented: &PresentedAssertion,
        jws: &Jws<'_>,
    ) -> Result<Self, AssertionFault> {
        let beside = presented.named.iter().find_map(|id| clients.get(id));
        if let Some(client) = beside {
            return Ok(Self::One(client));
        }
        if !presented.named.is_empty() {
            // Clients of SPIFFE name themselves by the SPIFFE ID, which is also the `sub`.
            let subject = jws.claimed_subject();
            let is_subject = |id: &String| {
                SpiffeId::parse(id).is_some() && subject.as_deref() == Some(id.as_str())
            };
            return if presented.named.iter().any(is_subject) {
                Ok(Self::Any)
            } else {
                Err(AssertionFault::UnknownClient)
            };
        }
        let by_issuer = jws.claimed_issuer().and_then(|id| clients.get(id));
        // The `iss` of a foreign JWT is its authority, never a client.
        let own = by_issuer.filter(|it| !is_federated(it));
        Ok(own.map_or(Self::Any, Self::One))
    }
}

impl ClientAuth {
    /// Authenticates one of some federated clients: the only one whose registration fits the JWT.
    pub(super) async fn authenticate_federated(
        &self,
        candidates: Vec<Arc<Client>>,
        presented: &PresentedAssertion,
        jws: &Jws<'_>,
        tried: &AtomicUsize,
        now: UnixTime,
    ) -> Result<AuthenticatedClient, TokenError> {
        let fits = |typ: &str| TYPES.iter().any(|known| typ.eq_ignore_ascii_case(known));
        if jws.has_typ() && !jws.typ().is_some_and(fits) {
            return Err(AssertionFault::Type.into());
        }
        if jws.claimed_issuer() == Some(&self.our_names[0]) {
            return Err(AssertionFault::OwnToken.into());
        }
        if candidates.is_empty() {
            return Err(AssertionFault::UnknownClient.into());
        }
        let live = candidates.iter().flat_map(|client| federations(client));
        let live = live.filter(|it| it.is_live(now));
        // The store may hold thousands of clients, each with an authority of its own.
        let mut known = HashSet::new();
        let trusted = live.map(|it| &it.trust).filter(|it| known.insert(*it));
        let trusted: Vec<Trust> = trusted.cloned().collect();
        let (trust, claims) = self
            .verify_federated(trusted, presented, jws, tried, now)
            .await?;
        self.check_end(&claims, now)?;
        let subject = claims.string("sub").ok().flatten();
        if presented.is_svid && subject.and_then(SpiffeId::parse).is_none() {
            return Err(AssertionFault::Subject.into());
        }
        let client = self.only_fitting(candidates, &trust, &claims, now)?;
        Ok(AuthenticatedClient {
            client,
            exchanged: None,
        })
    }

    /// Checks that a verified JWT ends, and not too late.
    fn check_end(&self, claims: &Claims, now: UnixTime) -> Result<(), AssertionFault> {
        let end = claims
            .numeric_date("exp")
            .map_err(|_| AssertionFault::Claims)?;
        let end = end.map(UnixTime).ok_or(AssertionFault::NoExpiry)?;
        if end > now.plus(SKEW).plus(self.max_assertion_lifetime) {
            return Err(AssertionFault::TooLong);
        }
        Ok(())
    }

    fn only_fitting(
        &self,
        candidates: Vec<Arc<Client>>,
        trust: &Trust,
        claims: &Claims,
        now: UnixTime,
    ) -> Result<Arc<Client>, AssertionFault> {
        let mut nearest = Misfit::Ended;
        let mut fits = |client: &Arc<Client>| {
            federations(client).iter().any(|federation| {
                let checked = federation.check(trust, claims, &self.our_names[0], now);
                nearest = nearest.max(checked.err().unwrap_or(Misfit::Ended));
                checked.is_ok()
            })
        };
        let mut fitting = candidates.into_iter().filter(|client| fits(client));
        match (fitting.next(), fitting.next()) {
            (Some(client), None) => Ok(client),
            (Some(_), Some(_)) => Err(AssertionFault::SeveralClients),
            (None, _) => {
                drop(fitting);
                Err(match nearest {
                    Misfit::Ended | Misfit::Authority => AssertionFault::NotTrusted,
                    Misfit::Audience => AssertionFault::OtherAudience,
                    Misfit::Subject => AssertionFault::NoSuchSubject,
                    Misfit::Claim => AssertionFault::OtherClaims,
                })
            }
        }
    }
}

/// Whether a client authenticates by a JWT of a trusted authority.
pub(super) fn is_federated(client: &Client) -> bool {
    matches!(client.authentication, Authentication::Federated(_))
}

fn federations(client: &Client) -> &[Federation] {
    match &client.authentication {
        Authentication::Federated(federations) => federations,
        _ => &[],
    }
}
