//! Introspection of the local API: tokens are verified with the configured authorities.

use std::collections::HashMap;
use std::sync::Arc;

use super::authorities::Authorities;
use crate::domain::clock::SharedClock;
use crate::domain::reason::Reason;
use crate::endpoints::local_api::Introspect;
use crate::verifier::{Audiences, BearerToken, TokenPolicy, TokenVerifier};

/// How many verified tokens are cached.
const CACHE_SIZE: u64 = 1000;

/// Verifies tokens for these audiences, by the name of an authority or with all of them.
pub(super) fn introspect(
    audiences: &Audiences,
    authorities: &Authorities,
    clock: &SharedClock,
) -> Introspect {
    let verifier = |trusted| {
        let policy = TokenPolicy {
            audiences: audiences.clone(),
            cache_size: CACHE_SIZE,
            ..TokenPolicy::any_audience()
        };
        TokenVerifier::new(policy, trusted, clock.clone())
    };
    let all = verifier(authorities.values().cloned().collect());
    let named = authorities.iter();
    let named = named.map(|(name, one)| (name.clone(), verifier(vec![one.clone()])));
    let verifiers: Arc<(TokenVerifier, HashMap<_, _>)> = Arc::new((all, named.collect()));
    Arc::new(move |name, token| {
        let verifiers = verifiers.clone();
        Box::pin(async move {
            let (all, named) = &*verifiers;
            let verifier = match name {
                None => all,
                Some(name) => named.get(&name)?,
            };
            let verified = async {
                let bearer = BearerToken::parse(&token)?;
                let token = verifier.verify(&bearer).await?;
                token.claims(&bearer).ok_or(Reason::Internal)
            };
            Some(verified.await)
        })
    })
}
