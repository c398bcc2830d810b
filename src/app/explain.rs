//! The decision of a listener about one request, without the listener.
//!
//! Nothing is bound, spawned or written, and the store is not opened. It can run beside a sidecar,
//! and as another user.

use std::collections::HashSet;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use url::Url;

use super::build::{gate, introspection_clients};
use super::error::{StartError, unusable};
use super::would_issue::WouldIssue;
use crate::config::{Config, IssuerRole};
use crate::domain::claims::Claims;
use crate::domain::clock::SharedClock;
use crate::domain::listen::Listen;
use crate::domain::secret::{ExposeSecret, SecretString};
use crate::endpoints::oauth::{self, Placement};
use crate::http_client::place;
use crate::issuer::metadata::{JWKS_PATH, REVOCATIONS_PATH};
use crate::jose::live_keys::FetchError;
use crate::jose::provider;
use crate::proxy::dry_run::{Outcome, Request};
use crate::proxy::inbound;
use crate::verifier::{
    Asked, Authority, AuthorityConfig, BearerToken, Gate, IntrospectionClients, KeptLists,
    KeySource, RevocationConfig, RevocationKind,
};

/// The parts of a listener that decide about its requests.
pub struct Explained<'c> {
    listener: &'c inbound::Config,
    own: HashSet<String>,
    gate: Arc<Gate>,
    /// The authority that issued the token.
    authority: Option<Arc<Authority>>,
    /// The authority that is asked about the token, because the token is opaque.
    introspecting: Option<Arc<Authority>>,
    keys: Option<KeysFetched>,
    state_dir: PathBuf,
}

/// The result of a fetch of keys.
#[derive(Clone, Debug)]
pub struct KeysFetched {
    /// The number of keys; after an error, of those that a running sidecar keeps on disk.
    pub count: usize,
    /// Why the keys could not be fetched.
    pub error: Option<FetchError>,
}

/// How a request was evaluated.
pub struct Evaluation {
    /// The decision, and the checks that led to it.
    pub outcome: Outcome,
    /// How the revocation was checked; none when an earlier check refused the token.
    pub revocation: Option<String>,
    /// Why the revocation is unknown.
    pub revocation_error: Option<String>,
    /// The introspection of an opaque token; none for a JWT.
    pub introspection: Option<Introspected>,
}

/// The introspection of an opaque token.
pub struct Introspected {
    /// The authority that was asked.
    pub authority: String,
    /// The endpoint.
    pub endpoint: String,
    /// The claims of an active token.
    pub claims: Option<Claims>,
    /// Why there is no answer.
    pub error: Option<String>,
}

impl Evaluation {
    /// The claims of an opaque token, if its authority named them.
    #[must_use]
    pub fn claims(&self) -> Option<&Claims> {
        self.introspection.as_ref()?.claims.as_ref()
    }
}

impl<'c> Explained<'c> {
    /// The gate of a listener, as [`super::start`] makes it. The keys of `issuer`, which `token`
    /// names, are fetched once.
    ///
    /// # Errors
    /// [`StartError`], as when a sidecar is started.
    pub async fn new(
        config: &Config,
        listener: &'c inbound::Config,
        (token, issuer): (Option<&SecretString>, Option<&str>),
        clock: SharedClock,
    ) -> Result<Self, StartError> {
        provider::install();
        let (mut authorities, mut asked, mut keys) = (Vec::new(), None, None);
        for name in &listener.verifier.authorities {
            let Some(of) = config
                .authorities
                .iter()
                .find(|authority| authority.name == *name)
            else {
                continue;
            };
            let seen = seen_from_outside(config, of);
            let clients = introspection_clients(config, of)?.clients;
            let authority = Authority::new(seen, clock.clone(), None, clients);
            if let Some(issuing) = issuer.and_then(|issuer| authority.of_issuer(issuer)) {
                keys = Some(fetch_keys(config, &authority, &issuing).await?);
                asked = Some(authority.clone());
            }
            authorities.push(authority);
        }
        let gate = gate(listener, authorities, clock, Arc::new(|_| {}))?;
        let introspecting = token.and_then(|token| gate.introspecting(token.expose_secret()));
        Ok(Self {
            listener,
            own: own_paths(config, listener),
            introspecting,
            gate: Arc::new(gate),
            authority: asked,
            keys,
            state_dir: config.state_dir.clone(),
        })
    }

    /// The gate of a listener for a token of an issuer that is not running. Nothing is fetched.
    ///
    /// # Errors
    /// [`StartError`], as when a sidecar is started.
    pub fn of_issued(
        config: &Config,
        listener: &'c inbound::Config,
        issued: &WouldIssue,
        clock: SharedClock,
    ) -> Result<Self, StartError> {
        provider::install();
        let trusted = |of: &&AuthorityConfig| listener.verifier.authorities.contains(&of.name);
        let authorities = config.authorities.iter().filter(trusted).map(|of| {
            let is_its = of.issuer_name().is(&issued.issuer);
            let seen = AuthorityConfig {
                keys: if is_its {
                    KeySource::OwnIssuer
                } else {
                    of.keys.clone()
                },
                revocation: RevocationConfig::default(),
                ..of.clone()
            };
            let own = is_its.then(|| issued.verifies.clone());
            Authority::new(seen, clock.clone(), own, IntrospectionClients::default())
        });
        let authorities = authorities.collect();
        let gate = gate(listener, authorities, clock, Arc::new(|_| {}))?;
        Ok(Self {
            listener,
            own: own_paths(config, listener),
            gate: Arc::new(gate),
            authority: None,
            introspecting: None,
            keys: None,
            state_dir: config.state_dir.clone(),
        })
    }

    /// The fetch of the token's keys.
    #[must_use]
    pub fn keys(&self) -> Option<&KeysFetched> {
        self.keys.as_ref()
    }

    /// Evaluates a request as the listener does. Its token is introspected, or the revocation of
    /// its token is queried.
    ///
    /// # Errors
    /// [`StartError`] when the issuer cannot be asked with this configuration.
    pub async fn evaluate(
        &self,
        request: &Request<'_>,
        token: Option<&SecretString>,
    ) -> Result<Evaluation, StartError> {
        let evaluation = request.evaluate(self.listener, &self.gate, &self.own);
        if let (Some(authority), Some(token)) = (&self.introspecting, token) {
            return introspect(authority, token, evaluation).await;
        }
        let Some(authority) = &self.authority else {
            return Ok(Evaluation {
                outcome: evaluation.await,
                revocation: None,
                revocation_error: None,
                introspection: None,
            });
        };
        let http = authority.revocation_client();
        let http = http.map_err(|error| unusable(authority.name())(error))?;
        let failed: Arc<Mutex<Option<String>>> = Arc::default();
        let noted = failed.clone();
        let observe = Arc::new(move |result: Result<(), &str>| {
            *noted.lock().unwrap_or_else(PoisonError::into_inner) = result.err().map(str::to_owned);
        });
        let revocation = authority.revocation();
        let evaluated = async {
            revocation.first_known().await;
            evaluation.await
        };
        let asking = async {
            revocation
                .clone()
                .run(http, KeptLists::read_only(&self.state_dir), observe)
                .await;
            std::future::pending::<Infallible>().await
        };
        let outcome = tokio::select! {
            outcome = evaluated => outcome,
            never = asking => match never {},
        };
        let revocation_error = failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(Evaluation {
            outcome,
            revocation: Some(revocation.method().to_string()),
            revocation_error,
            introspection: None,
        })
    }
}

/// Evaluates a request while its opaque token is introspected.
async fn introspect(
    authority: &Authority,
    token: &SecretString,
    evaluation: impl Future<Output = Outcome>,
) -> Result<Evaluation, StartError> {
    let name = authority.name();
    let http = authority.introspection_client().map_err(unusable(name))?;
    let introspection = authority.introspection();
    let introspection = introspection.ok_or_else(|| unusable(name)("it introspects no tokens"))?;
    let asking = introspection.clone().run(http, Arc::new(|_: Asked<'_>| {}));
    let outcome = tokio::select! {
        outcome = evaluation => outcome,
        () = asking => return Err(unusable(name)("the introspection ended")),
    };
    let bearer = BearerToken::parse(token).ok();
    Ok(Evaluation {
        outcome,
        revocation: None,
        revocation_error: None,
        introspection: Some(Introspected {
            authority: authority.name().to_owned(),
            endpoint: place(introspection.url()),
            claims: bearer.and_then(|bearer| introspection.last_claims(&bearer)),
            error: introspection.last_error(),
        }),
    })
}

/// Fetches the keys of an authority, or of one of its tenants.
async fn fetch_keys(
    config: &Config,
    authority: &Authority,
    issuing: &Authority,
) -> Result<KeysFetched, StartError> {
    let name = authority.name();
    let source = authority.source_of(issuing, &config.state_dir);
    let source = source.map_err(unusable(name))?;
    let source = source.ok_or_else(|| unusable(name)("its keys cannot be fetched"))?;
    let error = issuing.keys().fetch_once(&source).await.err();
    Ok(KeysFetched {
        count: issuing.keys().count(),
        error,
    })
}

/// An authority as another process sees it: what the own issuer of a running sidecar hands over in
/// process is asked of that sidecar's listener.
fn seen_from_outside(config: &Config, authority: &AuthorityConfig) -> AuthorityConfig {
    let mut seen = authority.clone();
    if let (KeySource::OwnIssuer, Some(role)) = (&authority.keys, &config.issuer) {
        let published =
            |path: &str| Url::parse(&format!("{}{path}", running_issuer(config, role)?)).ok();
        seen.keys = published(JWKS_PATH).map_or(KeySource::Discovery, KeySource::Url);
        if let (Some(list), true) = (
            published(REVOCATIONS_PATH),
            seen.revocation.kind != RevocationKind::None,
        ) {
            seen.revocation.kind = RevocationKind::List;
            seen.revocation.endpoint = Some(list);
        }
    }
    seen
}

/// Where a running sidecar answers for its own issuer, as seen from this machine.
fn running_issuer(config: &Config, role: &IssuerRole) -> Option<String> {
    // Over TLS its public URL has a name that the certificate fits.
    let own = role.listen.as_ref().filter(|_| role.tls.is_none());
    if let Some(address) = own.and_then(Listen::address) {
        return Some(format!("http://{}", reachable(address)));
    }
    let inbound = config.inbound.iter();
    let mut inbound = inbound.filter(|it| it.settings.issuer && it.tls.is_none());
    let address = inbound.find_map(|it| it.listen.address())?;
    Some(format!(
        "http://{}{}",
        reachable(address),
        role.issuer.url.base_path()
    ))
}

/// The paths that a listener answers itself.
#[must_use]
pub fn own_paths(config: &Config, listener: &inbound::Config) -> HashSet<String> {
    let metadata = listener.metadata_path().into_iter();
    let Some(role) = config.issuer.as_ref().filter(|_| listener.settings.issuer) else {
        return metadata.collect();
    };
    let at = if role.issuer.root_paths {
        Placement::BasePathAndRoot
    } else {
        Placement::BasePath
    };
    oauth::paths_below(
        role.issuer.url.base_path(),
        role.issuer.profile.policy(),
        at,
    )
    .into_iter()
    .chain(metadata)
    .collect()
}

/// Where a listener at an address, perhaps an unspecified one, can be reached from here.
#[must_use]
pub fn reachable(mut listen: SocketAddr) -> SocketAddr {
    match listen.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => listen.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => listen.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    listen
}
