//! Verifies the authorities' JWTs that clients of the issuer send.

use std::sync::Arc;

use super::Build;
use super::authorities::Authorities;
use super::issuer::OpenIssuer;
use crate::domain::clock::SharedClock;
use crate::domain::reason::Reason;
use crate::issuer::{ForeignClaims, VerifyForeign};
use crate::verifier::{BearerToken, TokenPolicy, TokenVerifier};

impl Build<'_> {
    /// Lets the issuer verify JWTs of these authorities from the start of this generation on.
    pub(super) fn exchange(&mut self, open: Option<&OpenIssuer>, authorities: &Authorities) {
        let Some(open) = open else {
            return;
        };
        let verify = verify(authorities.clone(), self.process.clock.clone());
        let issuer = open.issuer.clone();
        self.at_start(move || issuer.exchange_with(verify));
    }
}

/// A verifier of the named authorities. The issuer checks the audience of a JWT itself.
fn verify(authorities: Authorities, clock: SharedClock) -> VerifyForeign {
    let authorities = Arc::new(authorities);
    Arc::new(move |names, jwt| {
        let trusted = names.iter();
        let trusted = trusted.filter_map(|name| authorities.get(name).cloned());
        let (trusted, clock) = (trusted.collect(), clock.clone());
        let verifier = TokenVerifier::new(TokenPolicy::any_audience(), trusted, clock);
        Box::pin(async move {
            let bearer = BearerToken::parse(&jwt)?;
            let token = verifier.verify(&bearer).await?;
            Ok(ForeignClaims {
                claims: token.claims(&bearer).ok_or(Reason::Internal)?,
                issuer: verifier
                    .issuer_of(&token)
                    .ok_or(Reason::Internal)?
                    .to_owned(),
                authority: verifier.authority_name(&token).to_owned(),
            })
        })
    })
}
