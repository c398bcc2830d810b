//! What the issuer needs of the verifier: JWTs of authorities, which its clients exchange for
//! tokens.

use std::collections::HashMap;
use std::sync::Arc;

use super::{StartError, unusable};
use crate::domain::clock::SharedClock;
use crate::domain::reason::Reason;
use crate::issuer::client::{Authentication, Client};
use crate::issuer::{self, ForeignClaims, VerifyForeign};
use crate::verifier::{self, Audiences, Authority, BearerToken, CorsPreflight, Mode, Verifier};

/// One verifier for each list of authorities that a client names. Whom a JWT is for, the issuer
/// judges itself.
pub(super) fn verify(
    clients: &[Client],
    authorities: &HashMap<String, Arc<Authority>>,
    clock: &SharedClock,
) -> Result<VerifyForeign, StartError> {
    let mut verifiers = HashMap::new();
    for client in clients {
        let Authentication::Exchange(issuer::client::Exchange {
            authorities: names, ..
        }) = &client.authentication
        else {
            continue;
        };
        let config = verifier::Config {
            authorities: names.clone(),
            audiences: Audiences::Any,
            verified_token_cache: 0,
            rules: Vec::new(),
            path_case: verifier::rules::PathCase::Unset,
            forwarded_claims: Vec::new(),
            mode: Mode::Enforce,
            cors_preflight: CorsPreflight::Authenticate,
        };
        let trusted = names
            .iter()
            .filter_map(|name| authorities.get(name).cloned())
            .collect();
        let verifier = Verifier::new(&config, trusted, clock.clone(), Arc::new(|_| ()))
            .map_err(|error| unusable(&client.id)(error.to_string()))?;
        verifiers.insert(names.clone(), verifier);
    }
    let verifiers = Arc::new(verifiers);
    Ok(Arc::new(move |names, jwt| {
        let verifiers = verifiers.clone();
        Box::pin(async move {
            let verifier = verifiers.get(&names).ok_or(Reason::UnknownIssuer)?;
            let (claims, issuer) = verifier.verified_claims(&BearerToken::parse(jwt)?).await?;
            Ok(ForeignClaims { claims, issuer })
        })
    }))
}
