//! Outbound listeners whose tokens are bound to a key, by DPoP or to a client certificate, or are
//! exchanged for those of callers.

use http::header::AUTHORIZATION;

use super::resolver::Resolver;
use crate::config::tree::KeyPath;
use crate::files::{self, MAX_PUBLIC};
use crate::proxy::outbound::{self, Kind, Target};
use crate::proxy::tls::PairFiles;
use crate::token_source::{self, Authentication, CredentialGrant};

/// Checks that each listener can use the tokens of its credentials.
pub(super) fn check(
    resolver: &mut Resolver<'_>,
    listeners: &[outbound::Config],
    credentials: &[token_source::Config],
) {
    for listener in listeners {
        let Some(path) = path_of(resolver, &listener.name) else {
            continue;
        };
        for (index, target) in listener.targets().into_iter().enumerate() {
            let mut named = credentials.iter();
            let Some(credential) = named.find(|it| it.name == target.credential) else {
                continue;
            };
            let target_path = match listener.kind {
                Kind::Reverse(_) => path.clone(),
                Kind::Forward(_) => path.key("forwardProxy").key("targets").index(index),
            };
            if credential.dpop.is_some() {
                check_dpop(resolver, &path, listener);
            }
            if credential.grant == CredentialGrant::TokenExchange {
                check_exchange(resolver, &path, listener);
            }
            if let Authentication::Certificate { cert_file, .. } = &credential.authentication
                && !shows(target, cert_file)
            {
                let message = "it does not show the client certificate of the credential: if the \
                               authority binds its tokens to that certificate (RFC 8705), the \
                               upstream refuses them. Set `certFile` and `keyFile` to the files of \
                               the credential";
                resolver.warn(&target_path.key("upstreamTls"), message);
            }
        }
    }
}

/// The path of the listener with this name.
fn path_of(resolver: &Resolver<'_>, name: &str) -> Option<KeyPath> {
    let paths = resolver.list(&KeyPath::root("outbound"));
    paths
        .into_iter()
        .find(|path| resolver.text(&path.key("name")) == Some(name))
}

fn check_dpop(resolver: &mut Resolver<'_>, path: &KeyPath, listener: &outbound::Config) {
    const MESSAGE: &str = "remove this key: a token that is bound by `dpop` is sent as \
                           `Authorization: DPoP` with a proof, and in no other way";
    let attach = &listener.attach;
    let is_prefixed = resolver.tree.find(&path.key("prefix")).is_some();
    for (key, is_wrong) in [
        ("header", attach.header != AUTHORIZATION),
        ("prefix", is_prefixed),
        ("query", attach.query.is_some()),
        ("upstreamAuthorization", attach.websocket_cookie.is_some()),
    ] {
        if is_wrong {
            resolver.error(&path.key(key), MESSAGE);
        }
    }
}

/// The caller's token is replaced where it stands, and never passes.
fn check_exchange(resolver: &mut Resolver<'_>, path: &KeyPath, listener: &outbound::Config) {
    const MESSAGE: &str = "remove this key: with `grant: tokenExchange` the new token replaces the \
                           caller's in `Authorization`";
    let attach = &listener.attach;
    for (key, is_wrong) in [
        ("header", attach.header != AUTHORIZATION),
        ("query", attach.query.is_some()),
        ("upstreamAuthorization", attach.websocket_cookie.is_some()),
        ("overwrite", !listener.settings.overwrite),
    ] {
        if is_wrong {
            resolver.error(&path.key(key), MESSAGE);
        }
    }
}

/// Whether the connections to a target show this certificate.
fn shows(target: &Target, certificate: &std::path::Path) -> bool {
    let Some(PairFiles {
        certificate: shown, ..
    }) = &target.upstream.identity
    else {
        return false;
    };
    let read = |file| files::read(file, MAX_PUBLIC).ok();
    shown == certificate || read(shown).is_some_and(|shown| Some(shown) == read(certificate))
}
