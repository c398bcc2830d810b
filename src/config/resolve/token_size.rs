//! The maximum sizes of tokens, and of the request heads that carry them.

use super::resolver::Resolver;
use crate::config::IssuerRole;
use crate::config::tree::KeyPath;
use crate::config::value::Size;
use crate::domain::oauth::{DEFAULT_TOKEN_SIZE, MAX_TOKEN_SIZE};
use crate::issuer::client::Authentication;
use crate::issuer::federation::Trust;
use crate::proxy::framing::MAX_HEAD;
use crate::verifier::{AuthorityConfig, KeySource};

const LEAST: u64 = 1024;
/// The size of a head without its token.
const BESIDE_TOKEN: usize = MAX_HEAD - DEFAULT_TOKEN_SIZE;
/// The additional size of heads for the tokens API: some 900 ids in the target.
const IDS: usize = 40 * 1024;
/// The longest assertion that always fits into a token request, whose body has at most 64 KiB.
const FITS_INTO_BODY: usize = 60 * 1024;

/// Resolves the key `maxTokenSize` of an issuer or authority, in bytes.
pub(super) fn resolve(
    resolver: &mut Resolver<'_>,
    section: &KeyPath,
    raw: Option<Size>,
    default: usize,
) -> usize {
    let Some(Size(size)) = raw else {
        return default;
    };
    match usize::try_from(size) {
        Ok(bytes) if size >= LEAST && bytes <= MAX_TOKEN_SIZE => bytes,
        _ => {
            resolver.error(
                &section.key("maxTokenSize"),
                "it must be from 1KiB to 64KiB",
            );
            default
        }
    }
}

/// The largest head of a listener whose requests carry tokens of these sizes.
pub(super) fn max_head(token_sizes: impl Iterator<Item = usize>) -> usize {
    token_sizes
        .max()
        .unwrap_or_default()
        .max(DEFAULT_TOKEN_SIZE)
        + BESIDE_TOKEN
}

/// Sets the sizes that issuer and authorities share, and warns of sizes that have no effect.
pub(super) fn settle(
    resolver: &mut Resolver<'_>,
    role: &mut IssuerRole,
    known: &mut [AuthorityConfig],
) {
    let own = role.issuer.max_token_size;
    for authority in known
        .iter_mut()
        .filter(|it| it.keys == KeySource::OwnIssuer)
    {
        let path = KeyPath::root("authorities")
            .key(&authority.name)
            .key("maxTokenSize");
        if resolver.tree.find(&path).is_none() {
            authority.max_token_size = own;
        } else if authority.max_token_size < own {
            let size = authority.max_token_size;
            let message = format!(
                "this issuer's tokens may have {own} bytes (`issuer.maxTokenSize`), but tokens of \
                 more than {size} bytes are refused here"
            );
            resolver.warn(&path, message);
        }
    }
    let has_tokens_api = role.issuer.profile.policy().tokens_api;
    let callers = known
        .iter()
        .filter(|it| has_tokens_api && role.authorities.contains(&it.name));
    let bearers = callers.map(|authority| authority.max_token_size);
    role.max_head = max_head(bearers.chain([own])) + if has_tokens_api { IDS } else { 0 };
    warn_of_assertions(resolver, role, known);
}

/// Warns if an assertion of the configured size does not fit into a token request.
fn warn_of_assertions(resolver: &mut Resolver<'_>, role: &IssuerRole, known: &[AuthorityConfig]) {
    let methods = || {
        role.issuer
            .clients
            .iter()
            .map(|client| &client.authentication)
    };
    let is_exchanged = |authority: &&AuthorityConfig| {
        methods().any(|method| match method {
            Authentication::Exchange(exchange) => exchange.authorities.contains(&authority.name),
            Authentication::Federated(entries) => entries
                .iter()
                .any(|entry| entry.trust == Trust::Named(authority.name.clone())),
            _ => false,
        })
    };
    let exchanged = known.iter().filter(is_exchanged).map(|authority| {
        (
            KeyPath::root("authorities").key(&authority.name),
            authority.max_token_size,
        )
    });
    let has_own_keys = methods().any(|method| matches!(method, Authentication::PrivateKeyJwt(_)));
    let own = has_own_keys.then(|| (KeyPath::root("issuer"), role.issuer.max_token_size));
    for (path, _) in exchanged
        .chain(own)
        .filter(|(_, size)| *size > FITS_INTO_BODY)
    {
        let message = "the body of a token request has at most 64KiB, so assertions of more than \
                       about 60KiB do not fit into it";
        resolver.warn(&path.key("maxTokenSize"), message);
    }
}
