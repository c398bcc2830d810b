//! The files that get tokens.

use super::Resolver;
use crate::config::raw;
use crate::config::tree::KeyPath;
use crate::token_source::{self, Sink};

/// Resolves `sink`.
pub(super) fn resolve(resolver: &mut Resolver<'_>, path: &KeyPath, raw: raw::Sink) -> Sink {
    let mode = raw.mode.bits();
    if mode & 0o004 != 0 {
        let message = "every user of this machine can read the token: use `0600` or `0640`";
        resolver.warn(&path.key("mode"), message);
    }
    let owner = raw.owner.map(|owner| owner.0).unwrap_or_default();
    let (user, group) = owner.split_once(':').unwrap_or((&owner, ""));
    let some = |name: &str| Some(name.to_owned()).filter(|name| !name.is_empty());
    Sink {
        path: raw.path.0,
        mode,
        user: some(user),
        group: some(group),
        format: raw.format,
    }
}

/// Checks that no two files are the same, and that none is the source of a token.
pub(in crate::config::resolve) fn check(
    resolver: &mut Resolver<'_>,
    credentials: &[token_source::Config],
) {
    for (at, credential) in credentials.iter().enumerate() {
        let Some(sink) = &credential.sink else {
            continue;
        };
        let section = KeyPath::root("credentials").key(&credential.name);
        let path = section.key("sink").key("path");
        let mut sinks = credentials[..at].iter().filter_map(|it| it.sink.as_ref());
        if sinks.any(|other| other.path == sink.path) {
            let message = "another credential writes this file: each needs a file of its own";
            resolver.error(&path, message);
        }
        let mut sources = credentials.iter().flat_map(token_source::Config::files);
        if sources.any(|file| file == sink.path) {
            let message = "a credential reads this file: name another one";
            resolver.error(&path, message);
        }
    }
}
