//! Upstreams, whose names are kept resolved.

use std::net::SocketAddr;
use std::sync::Arc;

use super::super::part::{Life, Part};
use super::Build;
use super::listeners::ListenerId;
use super::parts::UpstreamIdentity;
use super::tls::{ExpiringNow, show_expiry, warn_of_expiry};
use crate::app::error::{StartError, unusable};
use crate::domain::clock::SharedClock;
use crate::proxy::listener::check_platform_certificates;
use crate::proxy::own::OwnAddresses;
use crate::proxy::tls::Expiring;
use crate::proxy::upstream::{self, TlsFiles, Upstream};
use crate::telemetry::Role;

/// The beginning of the label `name` of client certificates towards upstreams.
const UPSTREAM: &str = "upstream:";

impl Build<'_> {
    /// Checks that the platform's certificates are readable if an upstream needs them.
    pub(super) fn platform_certificates(&mut self) {
        let needs = |upstream: &upstream::Config| upstream.tls && upstream.ca_file.is_none();
        let config = self.config;
        let targets = || config.outbound.iter().flat_map(|it| it.targets());
        if config
            .inbound
            .iter()
            .flat_map(|it| &it.upstreams)
            .any(needs)
            || targets().any(|it| needs(&it.upstream))
        {
            let checked = check_platform_certificates();
            self.note(checked.map_err(unusable(
                "the platform's certificates (SSL_CERT_FILE, SSL_CERT_DIR)",
            )));
        }
    }

    /// An upstream of a listener; a request must not go to one of `own`, which would send it back.
    pub(super) fn upstream(
        &mut self,
        listener: &ListenerId,
        config: &upstream::Config,
        own: &[SocketAddr],
    ) -> Result<Arc<Upstream>, StartError> {
        let key = UpstreamIdentity {
            listener: listener.clone(),
            config: config.clone(),
            own: own.to_vec(),
        };
        let (bound, clock) = (self.process.outbound.clone(), self.process.clock.clone());
        let make = |key: &UpstreamIdentity| {
            let own = OwnAddresses::new(key.own.iter().copied());
            let own = Arc::new(match key.listener.role {
                Role::Outbound => own.and_bound(bound),
                _ => own,
            });
            let upstream = Upstream::new(key.config.clone(), own);
            let upstream = upstream.map_err(unusable(&key.listener.name))?;
            let task = format!("upstream of {}", key.listener.name);
            let run = upstream.clone();
            let (secured, id) = (upstream.clone(), key.listener.clone());
            Ok(Part::new(upstream, move |life: &mut Life| {
                life.tasks.spawn(task, move || run.clone().run());
                secure(life, &secured, &id, clock);
            }))
        };
        let id = listener.clone();
        let part = self
            .parts
            .upstreams
            .take(&self.before.upstreams, key, make)?;
        let upstream = (**part).clone();
        if !upstream.watched().is_empty() {
            self.secured.entry(id).or_default().push(upstream.clone());
        }
        Ok(upstream)
    }
}

/// Reads the files of an upstream's TLS again when they change, and reports the end of the client
/// certificate.
fn secure(life: &mut Life, upstream: &Arc<Upstream>, id: &ListenerId, clock: SharedClock) {
    let watched = upstream.watched();
    for (group, files) in &watched {
        let what = match group {
            TlsFiles::Authorities => "upstream authorities",
            TlsFiles::Identity => "client certificate",
        };
        let (group, reloaded) = (*group, upstream.clone());
        let what = format!("{what} of {}", id.name);
        life.watch_files(what, files, move || reloaded.reload(group));
    }
    if watched
        .iter()
        .any(|(group, _)| *group == TlsFiles::Identity)
    {
        let shown = upstream.clone();
        let expiring: Arc<ExpiringNow> = Arc::new(move || {
            let own = shown.expiring().into_iter();
            own.map(|it| Expiring {
                name: format!("{UPSTREAM}{}", it.name),
                ..it
            })
            .collect()
        });
        show_expiry(life, &expiring, id, clock.clone());
        warn_of_expiry(life, expiring, id.name.clone(), clock);
    }
}
