//! How long tokens may be, and how large the heads of the requests that carry them.

use super::Resolver;
use crate::config::IssuerRole;
use crate::config::tree::KeyPath;
use crate::config::value::Size;
use crate::domain::oauth::{DEFAULT_TOKEN_SIZE, MAX_TOKEN_SIZE};
use crate::issuer::Profile;
use crate::issuer::client::Authentication;
use crate::proxy::framing::MAX_HEAD;
use crate::verifier::{AuthorityConfig, KeySource};

const LEAST: u64 = 1024;
/// What a head may have beside a token.
const BESIDE_TOKEN: usize = MAX_HEAD - DEFAULT_TOKEN_SIZE;
/// What a head may have more where the tokens API answers: some 900 ids in its target.
const IDS: usize = 40 * 1024;
/// The longest assertion that fits into a token request for certain: its body has at most 64 KiB.
const FITS_INTO_BODY: usize = 60 * 1024;

/// The value of a key `maxTokenSize`, in bytes.
pub(super) fn resolve(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: Option<Size>,
    default: usize,
) -> usize {
    let Some(Size(size)) = raw else {
        return default;
    };
    match usize::try_from(size) {
        Ok(bytes) if size >= LEAST && bytes <= MAX_TOKEN_SIZE => bytes,
        _ => {
            resolver
                .findings
                .error(path, "it must be from 1KiB to 64KiB");
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

/// Settles what the issuer and the authorities need to know of each other. Warns of sizes that are
/// of no use.
pub(super) fn settle(
    resolver: &mut Resolver<'_>,
    role: &mut IssuerRole,
    known: &mut [AuthorityConfig],
) {
    let own = role.issuer.max_token_size;
    for authority in known
        .iter_mut()
        .filter(|authority| authority.keys == KeySource::OwnIssuer)
    {
        let path = KeyPath::root("authorities")
            .key(&authority.name)
            .key("maxTokenSize");
        if resolver.tree.find(&path).is_none() {
            authority.max_token_size = own;
        } else if authority.max_token_size < own {
            let size = authority.max_token_size;
            let message = format!(
                "this issuer's tokens may have {own} bytes (`issuer.maxTokenSize`), and those of more than {size} are refused here"
            );
            resolver.findings.warning(&path, message);
        }
    }
    let is_plgd = role.issuer.profile == Profile::Plgd;
    let users = known
        .iter()
        .filter(|authority| is_plgd && role.authorities.contains(&authority.name));
    let bearers = users.map(|authority| authority.max_token_size);
    role.max_head = max_head(bearers.chain(std::iter::once(own))) + if is_plgd { IDS } else { 0 };
    warn_of_assertions(resolver, role, known);
}

/// Warns where an assertion of the configured size does not fit into a token request.
fn warn_of_assertions(resolver: &mut Resolver<'_>, role: &IssuerRole, known: &[AuthorityConfig]) {
    let clients = || {
        role.issuer
            .clients
            .iter()
            .map(|client| &client.authentication)
    };
    let shows_own = clients().any(|it| matches!(it, Authentication::PrivateKeyJwt(_)));
    let is_exchanged = |authority: &&AuthorityConfig| {
        clients().any(|it| matches!(it, Authentication::Exchange(exchange) if exchange.authorities.contains(&authority.name)))
    };
    let exchanged = known.iter().filter(is_exchanged);
    let sizes = exchanged.map(|it| {
        (
            KeyPath::root("authorities").key(&it.name),
            it.max_token_size,
        )
    });
    let own = shows_own.then(|| (KeyPath::root("issuer"), role.issuer.max_token_size));
    for (path, _) in sizes.chain(own).filter(|(_, size)| *size > FITS_INTO_BODY) {
        let message = "the body of a token request has at most 64KiB: of assertions, only those of up to some 60KiB fit into it";
        resolver
            .findings
            .warning(&path.key("maxTokenSize"), message);
    }
}
