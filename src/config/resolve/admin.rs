//! The management API.

use super::resolver::Resolver;
use crate::config::tree::KeyPath;
use crate::config::{AdminRole, files, raw};
use crate::endpoints::admin::{MIN_ADMIN_TOKEN, is_admin_token};

/// Resolves the section `admin`.
pub(super) fn resolve(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: raw::Admin,
) -> Option<AdminRole> {
    if !raw.listen.0.is_local() && raw.tls.is_none() {
        let message = "beyond loopback the admin token is sent in plain text: set `tls`, or allow \
                       access only through a proxy with TLS";
        resolver.warn(&path.key("listen"), message);
    }
    let token_path = path.key("tokenFile");
    let token = match &raw.token_file {
        None => None,
        Some(file) => Some(resolver.secret(&token_path, file, files::read_secret)?),
    };
    if token.as_ref().is_some_and(|token| !is_admin_token(token)) {
        let message = format!(
            "the file holds no token: it must be one line of at least {MIN_ADMIN_TOKEN} visible \
             ASCII characters without spaces"
        );
        resolver.error(&token_path, message);
    }
    Some(AdminRole {
        listen: raw.listen.0.private(),
        tls: resolver.server_tls(path, raw.tls),
        max_connections: resolver.max_connections(path, raw.max_connections),
        token,
        token_file: raw.token_file.map(|file| file.0),
        hosts: raw.hosts.into_iter().map(Into::into).collect(),
    })
}
