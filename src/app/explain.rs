//! What decides about a listener's requests, without the listener: for one look at a decision.
//!
//! Nothing is bound, spawned, or written: neither the store nor the state directory is touched, so this may run beside a
//! sidecar, and as another user.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use url::Url;

use super::{StartError, unusable, verifier};
use crate::config::{Config, IssuerRole};
use crate::domain::clock::SharedClock;
use crate::domain::listen::Listen;
use crate::domain::revoked::RevokedNow;
use crate::endpoints::oauth::{self, Placement};
use crate::issuer::metadata::JWKS_PATH;
use crate::jose::live_keys::{FetchError, LiveKeys};
use crate::jose::provider;
use crate::proxy::inbound;
use crate::verifier::{Authority, AuthorityConfig, KeySource, OwnIssuer, Verifier};

/// What was fetched: how many keys, or why none.
pub type KeysFetched = Result<usize, FetchError>;

/// The verifier of a listener as [`super::start`] makes it. With `issuer`, its keys are fetched, once; there are no others.
///
/// # Errors
/// [`StartError`], as when a sidecar is started.
pub async fn listener_verifier(
    config: &Config,
    listener: &inbound::Config,
    issuer: Option<&str>,
    clock: SharedClock,
) -> Result<(Arc<Verifier>, Option<KeysFetched>), StartError> {
    provider::install();
    let mut fetched = None;
    let mut authorities = Vec::new();
    for name in &listener.verifier.authorities {
        let Some(authority) = config.authorities.iter().find(|authority| authority.name == *name) else {
            continue;
        };
        let mut keys = None;
        if issuer == Some(&authority.issuer) {
            let fetching = fetch_keys(config, authority, &clock).await?;
            fetched = Some(fetching.as_ref().map(|(_, count)| *count).map_err(Clone::clone));
            keys = fetching.ok().map(|(keys, _)| keys);
        }
        // Keys that were fetched just now are as new as can be: nothing is gained by asking again.
        let source = if keys.is_some() { KeySource::OwnIssuer } else { authority.keys.clone() };
        // With keys that are handed over in process comes the state of revocation: none, because nobody is asked here.
        let own = keys.map(|keys| OwnIssuer { keys, revoked: RevokedNow::default() });
        let authority = AuthorityConfig { keys: source, ..authority.clone() };
        authorities.push(Authority::new(authority, clock.clone(), own, None));
    }
    let verifier = verifier(listener, authorities, clock, Arc::new(|_| {}))?;
    Ok((verifier, fetched))
}

type Fetching = Result<(Arc<LiveKeys>, usize), FetchError>;

async fn fetch_keys(
    config: &Config,
    authority: &AuthorityConfig,
    clock: &SharedClock,
) -> Result<Fetching, StartError> {
    let unusable = |problem| unusable(&authority.name)(problem);
    let mut asked = authority.clone();
    if let (KeySource::OwnIssuer, Some(role)) = (&authority.keys, &config.issuer) {
        asked.keys = published(role);
    }
    let asked = Authority::new(asked, clock.clone(), None, None);
    let source = asked.source(&config.state_dir).map_err(|error| unusable(error.to_string()))?;
    let source = source.ok_or_else(|| unusable("its keys cannot be fetched".to_owned()))?;
    Ok((source.fetch)().await.map(|fetched| {
        let count = fetched.keys.len();
        (LiveKeys::in_process(fetched.keys, clock.clone()), count)
    }))
}

/// Where a running sidecar publishes its own issuer's keys, as seen from this machine.
fn published(role: &IssuerRole) -> KeySource {
    let at_listener = role.listen.map(|listen| format!("http://{}{JWKS_PATH}", reachable(listen)));
    let url = at_listener.and_then(|url| Url::parse(&url).ok());
    url.map_or(KeySource::Discovery, KeySource::Url)
}

/// The paths that a listener answers itself.
#[must_use]
pub fn own_paths(config: &Config, listener: &inbound::Config) -> HashSet<String> {
    let Some(role) = config.issuer.as_ref().filter(|_| listener.issuer) else {
        return HashSet::new();
    };
    let url = Url::parse(&role.issuer.url);
    let base = url.map_or(String::new(), |url| url.path().trim_end_matches('/').to_owned());
    let at = if role.issuer.root_paths { Placement::BasePathAndRoot } else { Placement::BasePath };
    oauth::paths_below(&base, role.issuer.profile, at).into_iter().collect()
}

/// Where a listener on any address can be reached from here.
#[must_use]
pub fn reachable(listen: Listen) -> SocketAddr {
    let mut listen = listen.address();
    match listen.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => listen.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => listen.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    listen
}
