//! Introspection of the local API: tokens are verified with the configured authorities.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::authorities::Authorities;
use crate::domain::claims::Claims;
use crate::domain::clock::SharedClock;
use crate::domain::reason::Reason;
use crate::endpoints::local_api::Introspect;
use crate::verifier::{Audiences, BearerToken, TokenPolicy, TokenVerifier, VerifiedToken};

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
            introspects: true,
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
                let claims = token.claims(&bearer);
                Ok::<_, Reason>(claims.unwrap_or_else(|| of_opaque(verifier, &token)))
            };
            Some(verified.await)
        })
    })
}

/// The known members of an opaque token, which has no claims.
fn of_opaque(verifier: &TokenVerifier, token: &VerifiedToken) -> Claims {
    let members = [
        ("iss", verifier.issuer_of(token)),
        ("sub", token.subject()),
        ("client_id", token.client_id()),
    ];
    let members = members.into_iter();
    let members = members.filter_map(|(name, text)| Some((name.to_owned(), text?.into())));
    Claims::from(members.collect::<Map<String, Value>>())
}
