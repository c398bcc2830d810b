//! The metadata of an inbound listener (RFC 9728).

use std::collections::BTreeSet;

use crate::endpoints::protected_resource::ResourceMetadata;
use crate::jose::{ALGORITHMS, algorithm_name};
use crate::proxy::inbound;
use crate::verifier::{Access, AuthorityConfig};

/// Describes a listener by its configuration. `url` is its public URL.
pub(super) fn metadata(
    listener: &inbound::Config,
    url: &str,
    authorities: &[AuthorityConfig],
) -> ResourceMetadata {
    let verifier = &listener.verifier;
    let trusted = |name: &String| authorities.iter().find(|it| it.name == *name);
    let trusted = verifier.authorities.iter().filter_map(trusted);
    let asks_for_certificate = listener
        .tls
        .as_ref()
        .is_some_and(|tls| tls.clients.is_some());
    ResourceMetadata {
        resource: url.to_owned(),
        authorization_servers: trusted
            // A client has one tenant; the others are not for it to see.
            .filter(|it| it.tenants.is_empty())
            .map(|it| it.issuer.clone())
            .collect(),
        scopes_supported: scopes(listener),
        bearer_methods_supported: if verifier.token_locations.bearer {
            vec!["header"]
        } else {
            Vec::new()
        },
        dpop_signing_alg_values_supported: ALGORITHMS.iter().copied().map(algorithm_name).collect(),
        dpop_bound_access_tokens_required: verifier.dpop.required,
        tls_client_certificate_bound_access_tokens: asks_for_certificate,
    }
}

/// The scopes that the rules ask for.
fn scopes(listener: &inbound::Config) -> Vec<String> {
    let needs = listener
        .verifier
        .rules
        .iter()
        .filter_map(|rule| match &rule.access {
            Access::Token(needs) => Some(needs),
            Access::Public | Access::Optional => None,
        });
    let scopes = needs.flat_map(|needs| needs.scopes.iter().chain(needs.any_scope.iter()));
    let scopes: BTreeSet<&str> = scopes.collect();
    scopes.into_iter().map(str::to_owned).collect()
}
