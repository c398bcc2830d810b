//! JWT exchange: verifies the authorities' JWTs that clients of the issuer exchange for tokens.

use std::collections::HashMap;
use std::sync::Arc;

use super::Build;
use super::authorities::Authorities;
use super::issuer::OpenIssuer;
use crate::domain::clock::SharedClock;
use crate::domain::reason::Reason;
use crate::issuer::client::{Authentication, Client};
use crate::issuer::{self, ForeignClaims, VerifyForeign};
use crate::verifier::{Authority, BearerToken, TokenPolicy, TokenVerifier};

impl Build<'_> {
    /// Lets the issuer verify JWTs of these authorities from the start of this generation on.
    pub(super) fn exchange(&mut self, open: Option<&OpenIssuer>, authorities: &Authorities) {
        let (Some(open), Some(role)) = (open, &self.config.issuer) else {
            return;
        };
        let verify = verify(&role.issuer.clients, authorities, &self.process.clock);
        let issuer = open.issuer.clone();
        self.at_start(move || issuer.exchange_with(verify));
    }
}

/// One verifier for each list of authorities that a client names. The issuer checks the audience of
/// a JWT itself.
fn verify(clients: &[Client], authorities: &Authorities, clock: &SharedClock) -> VerifyForeign {
    let verifier =
        |trusted| TokenVerifier::new(TokenPolicy::any_audience(), trusted, clock.clone());
    // Token exchange verifies with one authority at a time, which the store may name.
    let single = |(name, authority): (&String, &Arc<Authority>)| {
        (vec![name.clone()], verifier(vec![authority.clone()]))
    };
    let mut verifiers: HashMap<_, _> = authorities.iter().map(single).collect();
    for client in clients {
        let Authentication::Exchange(issuer::client::Exchange {
            authorities: names, ..
        }) = &client.authentication
        else {
            continue;
        };
        let trusted = names
            .iter()
            .filter_map(|name| authorities.get(name).cloned())
            .collect();
        verifiers.insert(names.clone(), verifier(trusted));
    }
    let verifiers = Arc::new(verifiers);
    Arc::new(move |names, jwt| {
        let verifiers = verifiers.clone();
        Box::pin(async move {
            let verifier = verifiers.get(&names).ok_or(Reason::UnknownIssuer)?;
            let bearer = BearerToken::parse(&jwt)?;
            let token = verifier.verify(&bearer).await?;
            Ok(ForeignClaims {
                claims: token.claims(&bearer).ok_or(Reason::Internal)?,
                issuer: verifier
                    .issuer_of(&token)
                    .ok_or(Reason::Internal)?
                    .to_owned(),
            })
        })
    })
}
