//! Credentials whose tokens come from elsewhere than an OAuth token endpoint.

use super::{Resolver, check_refresh, login, sink, throttle};
use crate::config::raw;
use crate::config::tree::KeyPath;
use crate::config::value::FilePath;
use crate::token_source::{self, KeptAt, TokenEndpoint, check_token_file};

/// The keys of a credential with `tokenFile`.
const OF_A_FILE: &[&str] = &["tokenFile", "localApi", "prefetch", "sink", "throttle"];
/// The keys of a credential with `login`.
const OF_A_LOGIN: &[&str] = &[
    "login",
    "caFile",
    "timeouts",
    "egressProxy",
    "refreshAt",
    "keepToken",
    "localApi",
    "prefetch",
    "sink",
    "throttle",
];

/// Resolves a credential with `tokenFile` or `login`.
pub(super) fn resolve(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    name: &str,
    raw: raw::Credential,
    kept_at: Option<KeptAt>,
) -> Option<token_source::Config> {
    let timeouts = resolver.fetch_timeouts(&path.key("timeouts"), raw.timeouts);
    let endpoint = match raw.login {
        Some(login) if raw.token_file.is_none() => {
            check_keys(resolver, path, OF_A_LOGIN, "login");
            check_refresh(resolver, path, raw.refresh_at);
            login::resolve(resolver, &path.key("login"), login)
        }
        _ => token_file(resolver, path, raw.token_file.as_ref()?),
    };
    let sink = raw
        .sink
        .map(|raw| sink::resolve(resolver, &path.key("sink"), raw));
    let egress = resolver.own_egress(path, raw.egress_proxy);
    let throttle = throttle::resolve(resolver, path, raw.throttle);
    resolver.certificates(&path.key("caFile"), raw.ca_file.as_ref())?;
    Some(token_source::Config {
        ca_file: raw.ca_file.map(|file| file.0),
        refresh_at: raw.refresh_at.0,
        prefetch: raw.prefetch || sink.is_some(),
        sink,
        throttle,
        egress,
        kept_at,
        local_api: raw.local_api,
        ..token_source::Config::without_client(name, endpoint?, timeouts)
    })
}

/// Reports every other key: an operator would rely on it.
fn check_keys(resolver: &mut Resolver<'_>, path: &KeyPath, allowed: &[&str], source: &str) {
    let others = resolver.keys(path).into_iter();
    for other in others.filter(|key| !allowed.iter().any(|name| path.key(name) == *key)) {
        let message = format!("remove this key: the tokens come from `{source}`");
        resolver.error(&other, message);
    }
}

fn token_file(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    file: &FilePath,
) -> Option<TokenEndpoint> {
    check_keys(resolver, path, OF_A_FILE, "tokenFile");
    let path = path.key("tokenFile");
    match check_token_file(&file.0) {
        Ok(true) => resolver.check_readers(&path, file),
        Ok(false) => {
            let shown = resolver.shown(&path, &file.0.to_string_lossy());
            let message = format!(
                "the file `{shown}` is missing or empty: requests get 503 until another program \
                 has written the token"
            );
            resolver.warn(&path, message);
        }
        Err(problem) => {
            resolver.file_error(&path, file, &problem);
            return None;
        }
    }
    Some(TokenEndpoint::File(file.0.clone()))
}
