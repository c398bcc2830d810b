//! The management API.

use super::Resolver;
use crate::config::tree::KeyPath;
use crate::config::{AdminRole, files, raw};
use crate::domain::secret::ExposeSecret;

/// A shorter token can be guessed, and whoever has it can make clients.
const MIN_TOKEN_BYTES: usize = 16;

/// Resolves the section `admin`.
pub(super) fn resolve(resolver: &mut Resolver<'_>, path: &KeyPath, raw: raw::Admin) -> Option<AdminRole> {
    if !raw.listen.0.ip().is_loopback() {
        let message =
            "beyond loopback the admin token is sent in plain text: let it be reached through TLS only";
        resolver.findings.warning(&path.key("listen"), message);
    }
    let token_path = path.key("tokenFile");
    let token = match &raw.token_file {
        None => None,
        Some(file) => Some(resolver.file(&token_path, file, files::read_secret)?),
    };
    if token.as_ref().is_some_and(|token| token.expose_secret().len() < MIN_TOKEN_BYTES) {
        let message = format!("the token is shorter than {MIN_TOKEN_BYTES} bytes, so it can be guessed");
        resolver.findings.error(&token_path, message);
    }
    Some(AdminRole { listen: raw.listen.0, token, hosts: raw.hosts.into_iter().map(|host| host.0).collect() })
}
