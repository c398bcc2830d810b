//! JWT exchange: verifies the authorities' JWTs that clients of the issuer exchange for tokens.

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::clock::SharedClock;
use crate::domain::reason::Reason;
use crate::issuer::client::{Authentication, Client};
use crate::issuer::{self, ForeignClaims, VerifyForeign};
use crate::verifier::{Authority, BearerToken, TokenPolicy, TokenVerifier};

/// One verifier for each list of authorities that a client names. The issuer checks the audience
/// itself.
pub(super) fn verify(
    clients: &[Client],
    authorities: &HashMap<String, Arc<Authority>>,
    clock: &SharedClock,
) -> VerifyForeign {
    let mut verifiers = HashMap::new();
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
        let verifier = TokenVerifier::new(TokenPolicy::any_audience(), trusted, clock.clone());
        verifiers.insert(names.clone(), verifier);
    }
    let verifiers = Arc::new(verifiers);
    Arc::new(move |names, jwt| {
        let verifiers = verifiers.clone();
        Box::pin(async move {
            let verifier = verifiers.get(&names).ok_or(Reason::UnknownIssuer)?;
            let bearer = BearerToken::parse(jwt)?;
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
